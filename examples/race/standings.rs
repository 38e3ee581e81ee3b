//! The runs of a comparison, sorted out: which settings a search has chosen, and the runs with these.

use std::collections::BTreeSet;

use clap::ValueEnum;
use mac_burn_examples::optimizers::OptimizerChoice;
use mac_burn_examples::tasks::{Part, TaskChoice};

use crate::runs::Run;
use crate::statistics::{mean_and_deviation, paired_test};
use crate::trial::{RATE_FACTORS, Trial, rules_number};
use crate::tuning::search;

/// The runs of all optimizers on a task, on the same data and with as many steps.
pub(crate) struct Race {
    pub(crate) task: TaskChoice,
    data: String,
    pub(crate) steps: usize,
    /// The trials of each optimizer; 0 if their settings are from another race.
    pub(crate) trials: usize,
    /// The seeds of the tests.
    pub(crate) seeds: usize,
    /// In the order of the optimizers' names on the command line.
    pub(crate) standings: Vec<Standing>,
    /// The optimizers with fewer trials or none, which are not in the tables.
    pub(crate) behind: Vec<OptimizerChoice>,
}

/// A run that a search needs, and that is not done.
struct Missing;

/// The runs of an optimizer.
pub(crate) struct Standing {
    pub(crate) optimizer: OptimizerChoice,
    /// The trials, by which its settings were chosen; none if they are from another race.
    pub(crate) tuning: Vec<Run>,
    /// The best of these.
    pub(crate) best: Trial,
    /// The runs with its settings on the test part, by seed.
    pub(crate) tests: Vec<Run>,
    /// The losses at each of [`RATE_FACTORS`], by seed, on the validation part; infinite where a run diverged. Empty if that was not
    /// asked for.
    pub(crate) at_rates: Vec<Vec<f64>>,
}

impl Race {
    /// The races that runs are of, in the order in which they began. Runs under rules that a task no longer has are of none.
    pub(crate) fn all(runs: &[Run]) -> Vec<Self> {
        let mut races: Vec<Self> = Vec::new();
        for Run { trial, .. } in runs {
            let known = |race: &Self| race.is_of(trial);
            if !races.iter().any(known) && trial.rules == rules_number(trial.task) {
                races.push(Self {
                    task: trial.task,
                    data: trial.data.clone(),
                    steps: trial.steps,
                    trials: 0,
                    seeds: 0,
                    standings: Vec::new(),
                    behind: Vec::new(),
                });
            }
        }
        for race in &mut races {
            let own: Vec<&Run> = runs.iter().filter(|run| race.is_of(&run.trial)).collect();
            let all = OptimizerChoice::value_variants().iter();
            let trials = all.map(|choice| (*choice, race.trials_of(*choice, &own).len()));
            let trials: Vec<_> = trials.filter(|(_, trials)| *trials > 0).collect();
            // As many trials of each.
            race.trials = trials.iter().map(|(_, trials)| *trials).max().unwrap_or(0);
            let all = OptimizerChoice::value_variants().iter();
            let carried: Vec<Standing> = all
                .filter(|choice| trials.iter().all(|(tuned, _)| *tuned != **choice))
                .filter_map(|choice| carried_over(*choice, &own))
                .collect();
            match trials.is_empty() {
                true => race.standings = carried,
                false => race.behind = carried.iter().map(|other| other.optimizer).collect(),
            }
            for (choice, trials) in trials {
                match trials == race.trials {
                    true => race.standings.extend(race.standing_of(choice, &own)),
                    false => race.behind.push(choice),
                }
            }
        }
        for race in &mut races {
            race.keep_common_seeds();
        }
        races
    }

    /// Leaves the tests of the seeds that all optimizers with tests have: means over others would be of other seeds.
    fn keep_common_seeds(&mut self) {
        let tested = self
            .standings
            .iter()
            .filter(|standing| !standing.tests.is_empty());
        let seeds = tested.map(|standing| {
            let seeds = standing.tests.iter().map(|run| run.trial.seed);
            seeds.collect::<BTreeSet<u64>>()
        });
        let common = seeds
            .reduce(|left, right| &left & &right)
            .unwrap_or_default();
        for standing in &mut self.standings {
            standing
                .tests
                .retain(|run| common.contains(&run.trial.seed));
        }
        self.seeds = common.len();
    }

    /// The trials that a search has made.
    fn trials_of<'a>(&self, choice: OptimizerChoice, runs: &[&'a Run]) -> Vec<&'a Run> {
        let mut found = Vec::new();
        // It ends where a run is missing.
        self.replay(choice, usize::MAX, runs, |run| found.push(run))
            .ok();
        found
    }

    /// Searches again, among runs that are done, and returns the best.
    ///
    /// # Errors
    /// If one is missing.
    fn replay<'a>(
        &self,
        choice: OptimizerChoice,
        trials: usize,
        runs: &[&'a Run],
        mut visit: impl FnMut(&'a Run),
    ) -> Result<Trial, Missing> {
        let trial = Trial::to_tune(self.task, &self.data, self.steps, choice);
        let searched = trial.searched();
        let best = search(&searched, trials, |values| {
            let trial = trial.with(&searched, values);
            let run = runs.iter().find(|run| run.trial == trial).ok_or(Missing)?;
            visit(run);
            Ok(run.outcome.loss.unwrap_or(f64::INFINITY))
        })?;
        Ok(trial.with(&searched, &best))
    }

    fn standing_of(&self, choice: OptimizerChoice, runs: &[&Run]) -> Option<Standing> {
        let mut tuning = Vec::new();
        let best = self.replay(choice, self.trials, runs, |run| tuning.push(run.clone()));
        let best = best.ok()?;
        Some(Standing {
            optimizer: choice,
            tuning,
            tests: tests_of(&best, runs),
            at_rates: losses_at_rates(&best, runs),
            best,
        })
    }

    pub(crate) fn is_of(&self, trial: &Trial) -> bool {
        (self.task, &self.data, self.steps) == (trial.task, &trial.data, trial.steps)
            && trial.rules == rules_number(trial.task)
    }

    /// A name for its files.
    pub(crate) fn file_name(&self) -> String {
        let name = format!("{}-{}-{}", self.task.name(), self.data, self.steps);
        let plain = |letter: char| match letter.is_ascii_alphanumeric() {
            true => letter.to_ascii_lowercase(),
            false => '-',
        };
        name.chars().map(plain).collect()
    }

    /// The task and the data, in a line; the steps too, if they are not the task's.
    pub(crate) fn title(&self) -> String {
        let steps = match self.steps == self.task.rules().steps {
            true => String::new(),
            false => format!(", {} steps", self.steps),
        };
        format!("{} on {}{steps}", self.task.name(), self.data)
    }

    pub(crate) fn standing(&self, name: &str) -> Option<&Standing> {
        self.standings
            .iter()
            .find(|standing| standing.optimizer.name() == name)
    }

    /// The smallest mean of an optimizer's losses.
    pub(crate) fn smallest_loss(&self) -> Option<f64> {
        let means = self.standings.iter().filter_map(Standing::mean_loss);
        means.min_by(f64::total_cmp)
    }

    /// The difference of the loss to that of another optimizer, over the seeds that both have: mean, deviation, how many have the sign of
    /// the mean, and the probability of a difference as large by chance.
    pub(crate) fn difference(&self, standing: &Standing, other: &str) -> Option<String> {
        let other = self.standing(other)?;
        if standing.optimizer == other.optimizer {
            return None;
        }
        let pairs = standing.tests.iter().filter_map(|run| {
            let same = |other: &&Run| other.trial.seed == run.trial.seed;
            let other = other.tests.iter().find(same)?;
            Some(run.outcome.loss.zip(other.outcome.loss))
        });
        let pairs: Vec<Option<(f64, f64)>> = pairs.collect();
        if pairs.is_empty() {
            return None;
        }
        let Some(pairs) = pairs.into_iter().collect::<Option<Vec<_>>>() else {
            return Some("a run diverged".into());
        };
        let pairs: Vec<f64> = pairs.into_iter().map(|(own, other)| own - other).collect();
        let [mean, deviation] = mean_and_deviation(&pairs);
        let agree = pairs.iter().filter(|pair| **pair * mean > 0.0);
        let (agree, count, p) = (agree.count(), pairs.len(), paired_test(&pairs));
        Some(format!(
            "{mean:+.3} ± {deviation:.3} ({agree} of {count}, p {p:.3})"
        ))
    }
}

/// The runs of an optimizer with settings from another race: those that were run last.
fn carried_over(choice: OptimizerChoice, runs: &[&Run]) -> Option<Standing> {
    let of_test = |run: &&&Run| run.trial.optimizer == choice && run.trial.part == Part::Test;
    let last = runs.iter().rfind(of_test)?;
    let best = last.trial.clone();
    Some(Standing {
        optimizer: choice,
        tuning: Vec::new(),
        tests: tests_of(&best, runs),
        at_rates: losses_at_rates(&best, runs),
        best,
    })
}

/// The runs with some settings on the test part, by seed.
fn tests_of(settings: &Trial, runs: &[&Run]) -> Vec<Run> {
    let tests = runs.iter().copied();
    let tests = tests.filter(|run| run.trial == settings.for_test(run.trial.seed));
    let mut tests: Vec<Run> = tests.cloned().collect();
    tests.sort_by_key(|run| run.trial.seed);
    tests
}

/// The losses of the seeds with which all learning rates were run, at each of them.
fn losses_at_rates(settings: &Trial, runs: &[&Run]) -> Vec<Vec<f64>> {
    let mut losses = vec![Vec::new(); RATE_FACTORS.len()];
    for seed in 0..=u64::from(u8::MAX) {
        let of_seed = settings.at_rates(seed).map(|trial| {
            let run = runs.iter().find(|run| run.trial == trial);
            run.map(|run| run.outcome.loss.unwrap_or(f64::INFINITY))
        });
        let Some(of_seed) = of_seed.collect::<Option<Vec<f64>>>() else {
            break;
        };
        for (losses, loss) in losses.iter_mut().zip(of_seed) {
            losses.push(loss);
        }
    }
    losses.retain(|losses| !losses.is_empty());
    losses
}

impl Standing {
    /// The losses on the test part; none if a run diverged.
    pub(crate) fn losses(&self) -> Option<Vec<f64>> {
        self.tests.iter().map(|run| run.outcome.loss).collect()
    }

    /// Their mean; none if there are none, or a run diverged.
    pub(crate) fn mean_loss(&self) -> Option<f64> {
        let losses = self.losses().filter(|losses| !losses.is_empty())?;
        Some(mean_and_deviation(&losses)[0])
    }
}
