//! The search for the settings of an optimizer.

use mac_burn_examples::optimizers::{LayerCurvature, LayerStep, OptimizerChoice};
use mac_burn_examples::tasks::StartingRates;

/// A setting that is searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Searched {
    pub(crate) setting: Setting,
    /// The first value that is tried.
    pub(crate) start: f64,
    /// The factor between neighbours in the first round.
    factor: f64,
    /// The smallest and the largest value.
    range: [f64; 2],
}

impl Searched {
    /// Whether it is the rate of AdamW beside another optimizer.
    pub(crate) fn is_auxiliary(&self) -> bool {
        self.setting == Setting::AuxiliaryLearningRate
    }
}

/// A kind of setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    LearningRate,
    AuxiliaryLearningRate,
    WeightDecay,
    Damping,
}

/// The smallest learning rate that a search starts from where a KL clip limits the steps: these do not grow with the loss, as those do for
/// which a task starts from less.
const LEAST_CLIPPED_RATE: f64 = 0.03;

/// The settings of an optimizer that are searched for, in this order: its learning rate, that of AdamW beside it if that steps
/// anything, and MAC's damping or the weight decay of the others. `has_rest` says whether there are parameters of no recorded layer.
pub(crate) fn searched(
    choice: OptimizerChoice,
    rates: StartingRates,
    has_rest: bool,
) -> Vec<Searched> {
    let with_momentum = choice.step == LayerStep::Momentum;
    let is_clipped = choice.curvature.is_some_and(LayerCurvature::has_kl_clip);
    let lr = Searched {
        setting: Setting::LearningRate,
        start: match (with_momentum, is_clipped) {
            (true, true) => rates.momentum.max(LEAST_CLIPPED_RATE),
            (true, false) => rates.momentum,
            (false, _) => rates.adamw,
        },
        factor: 3.0,
        range: if with_momentum {
            [1e-5, 10.0]
        } else {
            [1e-5, 1.0]
        },
    };
    let steps_some = choice.auxiliary && (has_rest || choice.step != LayerStep::Momentum);
    let auxiliary = steps_some.then_some(Searched {
        setting: Setting::AuxiliaryLearningRate,
        start: rates.auxiliary,
        factor: 3.0,
        range: [1e-5, 1.0],
    });
    // The forms' damping is relative, and hardly matters.
    let with_damping = choice.is_preconditioned() && !matches!(choice.step, LayerStep::Form(_));
    let last = match (with_damping, with_momentum) {
        (true, _) => Searched {
            setting: Setting::Damping,
            start: choice
                .curvature
                .and_then(LayerCurvature::own_damping)
                .unwrap_or(1.0),
            factor: 10.0,
            range: [1e-3, 1e3],
        },
        (false, true) => Searched {
            setting: Setting::WeightDecay,
            start: 1e-4,
            factor: 10.0,
            range: [1e-6, 1.0],
        },
        (false, false) => Searched {
            setting: Setting::WeightDecay,
            start: 0.05,
            factor: 4.0,
            range: [1e-4, 1.0],
        },
    };
    [Some(lr), auxiliary, Some(last)]
        .into_iter()
        .flatten()
        .collect()
}

/// Searches for the values with the smallest loss, in at most `trials` trials, and returns the best that it found.
///
/// The first value, a learning rate, is tried a factor up and a factor down. After that, from the best values so far, one value after
/// the other has two trials: up by its factor, and then further up if that was better, or down if not. A round in which nothing was
/// better halves the factors (on a logarithmic scale). A value outside its range is not tried, and none is tried twice. Better is
/// what is better by more than [`MARGIN`], so that the search does not follow the noise of a network that learns nothing.
///
/// # Errors
/// The errors of `loss_of`.
pub(crate) fn search<E>(
    searched: &[Searched],
    trials: usize,
    loss_of: impl FnMut(&[f64]) -> Result<f64, E>,
) -> Result<Vec<f64>, E> {
    let mut search = Search {
        searched,
        trials,
        loss_of,
        best: vec![0.0; searched.len()],
        loss: f64::INFINITY,
        tried: Vec::new(),
    };
    search.run()?;
    Ok(search.values(&search.best))
}

/// The share of a loss by which another has to be smaller to be better.
const MARGIN: f64 = 2e-3;

/// Trials of a value in a round, before the next value gets its turn: three values have theirs in seven trials.
const TURNS: usize = 2;

/// The number of times that factors are halved: after these, neighbours are the same numbers.
const MOST_HALVINGS: i32 = 12;

/// A search, whose places are powers of the factors.
struct Search<'a, F> {
    searched: &'a [Searched],
    trials: usize,
    loss_of: F,
    best: Vec<f64>,
    loss: f64,
    tried: Vec<Vec<f64>>,
}

impl<E, F: FnMut(&[f64]) -> Result<f64, E>> Search<'_, F> {
    fn run(&mut self) -> Result<(), E> {
        let start = self.best.clone();
        self.attempt(start.clone())?;
        for direction in [1.0, -1.0] {
            let mut neighbour = start.clone();
            neighbour[0] += direction;
            self.attempt(neighbour)?;
        }
        let mut halvings = 0;
        // The rate has had its turns of the first round.
        let mut first = 1;
        while self.tried.len() < self.trials && halvings < MOST_HALVINGS {
            let before = self.best.clone();
            for index in first..self.searched.len() {
                self.turns(index, 0.5_f64.powi(halvings))?;
            }
            if self.best == before && first == 0 {
                halvings += 1;
            }
            first = 0;
        }
        Ok(())
    }

    /// The turns of a value: in one direction, and in the other if that did not lead anywhere.
    fn turns(&mut self, index: usize, distance: f64) -> Result<(), E> {
        let mut turns = TURNS;
        for direction in [1.0, -1.0] {
            let before = self.best[index];
            while turns > 0 {
                let mut neighbour = self.best.clone();
                neighbour[index] += direction * distance;
                match self.attempt(neighbour)? {
                    Attempt::None => break,
                    Attempt::Better => turns -= 1,
                    Attempt::NoBetter => {
                        turns -= 1;
                        break;
                    }
                }
            }
            if self.best[index] != before {
                break;
            }
        }
        Ok(())
    }

    fn attempt(&mut self, place: Vec<f64>) -> Result<Attempt, E> {
        let values = self.values(&place);
        let mut ranges = values.iter().zip(self.searched);
        let is_inside = ranges.all(|(value, searched)| {
            let [least, largest] = searched.range;
            (least..=largest).contains(value)
        });
        if !is_inside || self.tried.contains(&place) || self.tried.len() >= self.trials {
            return Ok(Attempt::None);
        }
        self.tried.push(place.clone());
        let loss = (self.loss_of)(&values)?;
        // Infinite as long as nothing was tried, or all diverged.
        let is_better = match self.loss.is_finite() {
            true => loss < self.loss * (1.0 - MARGIN),
            false => loss.is_finite(),
        };
        Ok(match is_better {
            true => {
                (self.best, self.loss) = (place, loss);
                Attempt::Better
            }
            false => Attempt::NoBetter,
        })
    }

    /// The values at a place, in three digits.
    fn values(&self, place: &[f64]) -> Vec<f64> {
        let values = place.iter().zip(self.searched);
        values
            .map(|(power, searched)| rounded(searched.start * searched.factor.powf(*power)))
            .collect()
    }
}

/// The outcome of an attempt.
enum Attempt {
    /// It was not made: outside the range, tried before, or no trial was left.
    None,
    Better,
    NoBetter,
}

/// In three digits.
pub(crate) fn rounded(value: f64) -> f64 {
    let text = format!("{value:.2e}");
    text.parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use std::convert::Infallible;

    const RATES: StartingRates = StartingRates {
        momentum: 0.1,
        adamw: 0.01,
        auxiliary: 0.02,
    };

    /// The distance to the best values, in factors of ten.
    fn distance(values: &[f64], best: &[f64]) -> f64 {
        let pairs = values.iter().zip(best);
        pairs
            .map(|(value, best)| (value / best).log10().powi(2))
            .sum()
    }

    fn found(choice: &str, trials: usize, best: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let choice = OptimizerChoice::from_str(choice, false).expect("it is one");
        let mut tried = Vec::new();
        let values = search(&searched(choice, RATES, true), trials, |values| {
            tried.push(values.to_vec());
            Ok::<_, Infallible>(distance(values, best))
        });
        let Ok(values) = values;
        (values, tried)
    }

    /// Breaks when a value is not searched for, or not to both sides, or the search ends at the start.
    #[test]
    fn the_best_values_are_found_where_there_are_enough_trials() {
        for (choice, best) in [
            ("sgd", vec![0.9, 1e-6]),
            ("adamw", vec![0.001, 0.2]),
            ("mac-adamw", vec![0.011, 0.09, 0.1]),
            ("sgd-adamw", vec![1.0, 0.001, 1e-3]),
            ("mac-in-adamw", vec![0.03, 100.0]),
        ] {
            let (values, _) = found(choice, 40, &best);
            assert!(distance(&values, &best) < 0.02, "{choice}: {values:?}");
        }
    }

    /// Breaks when an optimizer has more trials than another, or one twice, wherever its best values are: far from the start, or there.
    #[test]
    fn all_optimizers_have_the_same_number_of_trials() {
        for choice in OptimizerChoice::value_variants() {
            let searched = searched(*choice, RATES, true);
            let start: Vec<f64> = searched.iter().map(|searched| searched.start).collect();
            for (trials, best) in [(7, vec![1e-3; start.len()]), (30, start)] {
                let (_, tried) = found(choice.name(), trials, &best);
                assert_eq!(tried.len(), trials, "{choice}");
                let twice = |index: usize| tried[..index].contains(&tried[index]);
                assert!(!(0..trials).any(twice), "{choice}: {tried:?}");
            }
        }
    }

    /// Breaks when trials are spent on a rate that steps nothing, or Muon's AdamW, which steps biases, is left at its start.
    #[test]
    fn the_rate_of_adamw_is_searched_for_where_it_steps_something() {
        for (choice, count) in [("mac-adamw", 2), ("sgd-adamw", 2), ("sgd", 2), ("muon", 3)] {
            let choice = OptimizerChoice::from_str(choice, false).expect("it is one");
            assert_eq!(searched(choice, RATES, false).len(), count, "{choice}");
        }
    }

    /// Breaks when the learning rate takes all trials.
    #[test]
    fn seven_trials_are_enough_for_each_value_to_be_tried() {
        for choice in OptimizerChoice::value_variants() {
            let searched = searched(*choice, RATES, true);
            let (_, tried) = found(choice.name(), 7, &vec![1e-5; searched.len()]);
            for (index, searched) in searched.iter().enumerate() {
                let others = tried.iter().any(|values| values[index] != searched.start);
                assert!(others, "{choice}: {tried:?}");
            }
        }
    }

    #[test]
    fn no_value_is_outside_its_range() {
        let (values, tried) = found("mac", 60, &[1e3, 1e9]);
        assert!(
            tried
                .iter()
                .all(|values| values[0] <= 10.0 && values[1] <= 1e3),
            "{tried:?}"
        );
        assert!(values[0] > 5.0 && values[1] == 1e3, "{values:?}");
    }

    /// Breaks when differences that are noise lead a search away from its start, as those of a rate at which nothing is learnt do:
    /// below it the network learns.
    #[test]
    fn noise_is_not_followed() {
        let choice = searched(OptimizerChoice::SGD, RATES, true);
        let mut tried = 0.0;
        let values = search(&choice, 7, |values| {
            tried += 1.0;
            Ok::<_, Infallible>(match values[0] > 0.05 {
                true => 2.3 - 1e-4 * tried,
                false => 0.5,
            })
        });
        let Ok(values) = values;
        assert!(values[0] < 0.05, "{values:?}");
    }

    /// Breaks when a loss that is no number is taken for a small one.
    #[test]
    fn a_run_that_diverges_is_never_the_best() {
        let choice = searched(OptimizerChoice::SGD, RATES, true);
        let values = search(&choice, 9, |values| {
            Ok::<_, Infallible>(match values[0] > 0.05 {
                true => f64::INFINITY,
                false => values[0],
            })
        });
        let Ok(values) = values;
        assert!(values[0] < 0.05, "{values:?}");
    }
}
