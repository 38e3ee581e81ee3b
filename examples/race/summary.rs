//! The tables.

use std::collections::BTreeSet;
use std::fmt::Write;

use clap::ValueEnum;
use mac_burn_examples::machine::describe_machine;
use mac_burn_examples::optimizers::OptimizerChoice;
use mac_burn_examples::tasks::{Part, TaskChoice};

use crate::runs::Run;
use crate::statistics::{mean_and_deviation, median, paired_test};
use crate::trial::Trial;

const MEBIBYTE: f64 = 1048576.0;

/// A cell of a table in which there is nothing.
const NONE: &str = "–";

/// An optimizer with MAC's preconditioner, and the same without.
const SHARES_OF_MAC: [(&str, &str); 4] = [
    ("mac-adamw", "sgd-adamw"),
    ("mac-mean-adamw", "sgd-adamw"),
    ("mac", "sgd"),
    ("mac-in-adamw", "adamw"),
];

/// The runs of all optimizers on a task, on the same data and with as many steps.
pub(crate) struct Race {
    pub(crate) task: TaskChoice,
    data: String,
    rules: String,
    steps: usize,
    /// In the order of the optimizers' names on the command line.
    pub(crate) standings: Vec<Standing>,
}

/// The runs of an optimizer.
pub(crate) struct Standing {
    pub(crate) optimizer: OptimizerChoice,
    /// The trials, by which its settings were chosen.
    pub(crate) tuning: Vec<Run>,
    /// The best of these.
    pub(crate) best: Trial,
    /// The runs with its settings on the test part, by seed.
    pub(crate) tests: Vec<Run>,
}

impl Race {
    /// The races that runs are of, in the order in which they began.
    pub(crate) fn all(runs: &[Run]) -> Vec<Self> {
        let mut races: Vec<Self> = Vec::new();
        for Run { trial, .. } in runs {
            let known = |race: &Self| race.is_of(trial);
            if !races.iter().any(known) {
                races.push(Self {
                    task: trial.task,
                    data: trial.data.clone(),
                    rules: trial.rules.clone(),
                    steps: trial.steps,
                    standings: Vec::new(),
                });
            }
        }
        for race in &mut races {
            let own: Vec<&Run> = runs.iter().filter(|run| race.is_of(&run.trial)).collect();
            let all = OptimizerChoice::value_variants().iter();
            let trials = |choice: &OptimizerChoice| {
                let tuning = own.iter().filter(|run| run.trial.part == Part::Validation);
                tuning.filter(|run| run.trial.optimizer == *choice).count()
            };
            // As many trials of each: a search with fewer is the beginning of one with more.
            let fewest = all.clone().map(trials).filter(|trials| *trials > 0).min();
            let fewest = fewest.unwrap_or(0);
            let standings = all.filter_map(|choice| Standing::of(*choice, &own, fewest));
            race.standings = standings.collect();
        }
        races
    }

    fn is_of(&self, trial: &Trial) -> bool {
        (self.task, &self.data, &self.rules, self.steps)
            == (trial.task, &trial.data, &trial.rules, trial.steps)
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

    /// The task and the data, in a line.
    pub(crate) fn title(&self) -> String {
        format!("{} on {}", self.task.name(), self.data)
    }

    fn standing(&self, name: &str) -> Option<&Standing> {
        self.standings
            .iter()
            .find(|standing| standing.optimizer.name() == name)
    }

    /// The smallest mean of an optimizer's losses.
    fn smallest_loss(&self) -> Option<f64> {
        let means = self.standings.iter().filter_map(Standing::mean_loss);
        means.min_by(f64::total_cmp)
    }

    /// The difference of the loss to that of another optimizer, over the seeds that both have: mean, deviation, how many have the sign of
    /// the mean, and the probability of a difference as large by chance.
    fn difference(&self, standing: &Standing, other: &str) -> Option<String> {
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
        let agree = pairs.iter().filter(|pair| pair.signum() == mean.signum());
        let (agree, count, p) = (agree.count(), pairs.len(), paired_test(&pairs));
        Some(format!(
            "{mean:+.3} ± {deviation:.3} ({agree} of {count}, p {p:.3})"
        ))
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "| optimizer | learning rate | AdamW's beside it | decay or damping | test loss | accuracy | to AdamW | to SGD + AdamW | seconds | state, MiB | peak, MiB |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for standing in &self.standings {
            let cells = standing.cells();
            let to = |other| self.difference(standing, other).unwrap_or(NONE.into());
            let [adamw, sgd] = ["adamw", "sgd-adamw"].map(to);
            let [rate, auxiliary, last, loss, accuracy, seconds, state, peak] = cells;
            let optimizer = standing.optimizer;
            writeln!(
                text,
                "| {optimizer} | {rate} | {auxiliary} | {last} | {loss} | {accuracy} | {adamw} | {sgd} | {seconds} | {state} | {peak} |"
            )
            .ok();
        }
        text
    }

    /// The differences that are the preconditioner's alone.
    fn share_of_mac(&self) -> String {
        let mut text = String::new();
        for (with, without) in SHARES_OF_MAC {
            if let Some(standing) = self.standing(with)
                && let Some(difference) = self.difference(standing, without)
                && let Some(without) = self.standing(without)
            {
                let (with, without) = (standing.optimizer, without.optimizer);
                writeln!(text, "- {with} against {without}: {difference}").ok();
            }
        }
        text
    }
}

impl Standing {
    /// With the settings that are the best of as many trials.
    fn of(optimizer: OptimizerChoice, runs: &[&Run], trials: usize) -> Option<Self> {
        let own = runs.iter().copied();
        let own = own.filter(|run| run.trial.optimizer == optimizer);
        let (mut tuning, tests): (Vec<&Run>, Vec<&Run>) =
            own.partition(|run| run.trial.part == Part::Validation);
        tuning.truncate(trials);
        let loss = |run: &Run| run.outcome.loss.unwrap_or(f64::INFINITY);
        let best = tuning
            .iter()
            .min_by(|left, right| loss(left).total_cmp(&loss(right)))?;
        let best = best.trial.clone();
        let mut tests: Vec<Run> = tests
            .into_iter()
            .filter(|run| {
                let seed = run.trial.seed;
                best.for_test(seed) == run.trial
            })
            .cloned()
            .collect();
        tests.sort_by_key(|run| run.trial.seed);
        Some(Self {
            optimizer,
            tuning: tuning.into_iter().cloned().collect(),
            best,
            tests,
        })
    }

    /// The losses on the test part; none if a run diverged.
    fn losses(&self) -> Option<Vec<f64>> {
        self.tests.iter().map(|run| run.outcome.loss).collect()
    }

    /// Their mean; none if there are none, or a run diverged.
    fn mean_loss(&self) -> Option<f64> {
        let losses = self.losses().filter(|losses| !losses.is_empty())?;
        Some(mean_and_deviation(&losses)[0])
    }

    /// Mean and deviation, or how many runs diverged.
    fn loss(&self) -> String {
        match self.losses() {
            Some(losses) if losses.is_empty() => NONE.to_string(),
            Some(losses) => spread(&losses, 3),
            None => {
                let diverged = self.tests.iter().filter(|run| run.outcome.loss.is_none());
                format!("{} of {} runs diverged", diverged.count(), self.tests.len())
            }
        }
    }

    /// Rate, rate of AdamW, decay or damping, loss, accuracy, seconds, bytes of state and of memory.
    fn cells(&self) -> [String; 8] {
        let mark = |value: f64, of: fn(&Trial) -> Option<f64>| {
            let tried = self.tuning.iter().filter_map(|run| of(&run.trial));
            let tried: Vec<f64> = tried.collect();
            let [least, largest] =
                [f64::min, f64::max].map(|end| tried.iter().copied().reduce(end));
            let at_the_end = [least, largest].contains(&Some(value));
            format!("{value}{}", if at_the_end { "*" } else { "" })
        };
        let none = || NONE.to_string();
        let best = &self.best;
        let accuracies: Option<Vec<f64>> =
            self.tests.iter().map(|run| run.outcome.accuracy).collect();
        let accuracies = accuracies.filter(|accuracies| !accuracies.is_empty());
        let of_tests = |value: fn(&Run) -> f64| {
            let values: Vec<f64> = self.tests.iter().map(value).collect();
            median(&values)
        };
        [
            mark(best.lr, |trial| Some(trial.lr)),
            best.auxiliary_lr
                .map_or_else(none, |lr| mark(lr, |trial| trial.auxiliary_lr)),
            match best.damping {
                Some(damping) => mark(damping, |trial| trial.damping),
                None => mark(best.weight_decay, |trial| Some(trial.weight_decay)),
            },
            self.loss(),
            accuracies.map_or_else(none, |accuracies| format!("{} %", spread(&accuracies, 1))),
            format!("{:.1}", of_tests(|run| run.outcome.seconds)),
            format!(
                "{:.2}",
                of_tests(|run| run.outcome.state_bytes as f64) / MEBIBYTE
            ),
            format!(
                "{:.1}",
                of_tests(|run| run.outcome.peak_bytes as f64) / MEBIBYTE
            ),
        ]
    }
}

/// Mean and deviation, as text.
fn spread(values: &[f64], decimals: usize) -> String {
    let [mean, deviation] = mean_and_deviation(values);
    format!("{mean:.decimals$} ± {deviation:.decimals$}")
}

/// The losses of all optimizers in all races, and what MAC's preconditioner alone brings in each.
fn overview(races: &[Race]) -> String {
    let mut text = String::from("| test loss |");
    let line = |text: &mut String, cells: &[String]| writeln!(text, " {} |", cells.join(" | "));
    let titles: Vec<String> = races.iter().map(Race::title).collect();
    line(&mut text, &titles).ok();
    writeln!(text, "|---|{}", "---|".repeat(races.len())).ok();
    for choice in OptimizerChoice::value_variants() {
        let losses = races.iter().map(|race| {
            let standing = race.standing(choice.name());
            let best = race.smallest_loss();
            standing.map_or(NONE.to_string(), |standing| {
                let loss = standing.loss();
                match standing.mean_loss() {
                    mean if mean.is_some() && mean == best => format!("**{loss}**"),
                    _ => loss,
                }
            })
        });
        let losses: Vec<String> = losses.collect();
        if losses.iter().any(|loss| loss != NONE) {
            write!(text, "| {choice} |").ok();
            line(&mut text, &losses).ok();
        }
    }
    text.push_str("\nWhat MAC's preconditioner alone brings:\n\n|  |");
    line(&mut text, &titles).ok();
    writeln!(text, "|---|{}", "---|".repeat(races.len())).ok();
    for (with, without) in SHARES_OF_MAC {
        let differences = races.iter().map(|race| {
            let standing = race.standing(with);
            let difference = standing.and_then(|standing| race.difference(standing, without));
            difference.unwrap_or(NONE.to_string())
        });
        let differences: Vec<String> = differences.collect();
        let name = |name| {
            OptimizerChoice::from_str(name, false)
                .map_or(name.to_string(), |choice| choice.to_string())
        };
        if differences.iter().any(|difference| difference != NONE) {
            write!(text, "| {} against {} |", name(with), name(without)).ok();
            line(&mut text, &differences).ok();
        }
    }
    text
}

/// The tables of all runs, as Markdown.
pub(crate) fn summary(runs: &[Run]) -> String {
    let races = Race::all(runs);
    let seconds: f64 = runs.iter().map(|run| run.outcome.seconds).sum();
    let mut text = format!(
        "# Race\n\n{}; {} runs, whose steps took {:.1} hours one after the other.\n\n{}",
        describe_machine(),
        runs.len(),
        seconds / 3600.0,
        overview(&races)
    );
    for race in races {
        let own = || runs.iter().filter(|run| race.is_of(&run.trial));
        let seconds: f64 = own().map(|run| run.outcome.seconds).sum();
        let rules = race.task.rules();
        let seeds: BTreeSet<u64> = own()
            .filter(|run| run.trial.part == Part::Test)
            .map(|run| run.trial.seed)
            .collect();
        let trials: BTreeSet<usize> = race
            .standings
            .iter()
            .map(|standing| standing.tuning.len())
            .collect();
        let trials = trials.iter().map(ToString::to_string).collect::<Vec<_>>();
        let name = race.file_name();
        write!(
            text,
            "\n## {}\n\n{}, {} steps of {}; {}. {} trials an optimizer, {} seeds; {} runs of {:.0} s together.\n\n{}\n\
             \\* the smallest, the largest or the only value that was tried. Differences: mean ± deviation over pairs of the same seed (how many have \
             the sign of the mean, probability by chance in a paired randomization test).\n\n\
             What MAC's preconditioner alone brings:\n\n{}\n![loss]({name}-loss.svg)\n\n![learning rates]({name}-rates.svg)\n",
            race.title(),
            rules.network,
            race.steps,
            rules.batch_size,
            race.task.loss(),
            trials.join(" or "),
            seeds.len(),
            own().count(),
            seconds,
            race.table(),
            race.share_of_mac(),
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::run;

    /// The same as on the test part, on the validation part.
    fn tuning(optimizer: OptimizerChoice, lr: f64, loss: f64) -> Run {
        let mut run = run(optimizer, lr, 0, loss);
        run.trial.part = Part::Validation;
        run
    }

    fn choice(name: &str) -> OptimizerChoice {
        OptimizerChoice::from_str(name, false).expect("it is one")
    }

    /// Breaks when settings are chosen by the test part, or by a run that diverged, or runs with other settings or of another task
    /// come into the table.
    #[test]
    fn the_table_is_of_the_settings_with_the_smallest_validation_loss() {
        let sgd = choice("sgd");
        let mut diverged = tuning(sgd, 9.0, 0.0);
        diverged.outcome.loss = None;
        let mut other = run(sgd, 0.2, 1, 5.0);
        other.trial.task = TaskChoice::Vit;
        let runs = [
            tuning(sgd, 0.1, 0.9),
            tuning(sgd, 0.2, 0.5),
            tuning(sgd, 0.4, 0.6),
            diverged,
            run(sgd, 0.2, 2, 0.7),
            run(sgd, 0.2, 1, 0.5),
            run(sgd, 0.1, 1, 0.1),
            other,
        ];
        let races = Race::all(&runs);
        let [standing] = &races[0].standings[..] else {
            panic!("there is one optimizer");
        };
        assert_eq!(standing.best.lr, 0.2);
        let seeds: Vec<u64> = standing.tests.iter().map(|run| run.trial.seed).collect();
        assert_eq!(seeds, [1, 2]);
        let text = summary(&runs);
        assert!(
            text.contains("| SGD | 0.2 | – | 0.1* | 0.600 ± 0.141 | 75.0 ± 0.0 % |"),
            "{text}"
        );
    }

    /// Breaks when differences are of the means of other seeds, have the other sign, or the sign of what MAC brings depends on the order.
    #[test]
    fn differences_are_paired_by_seed() {
        let (with, without) = (choice("mac-adamw"), choice("sgd-adamw"));
        let mut runs = vec![tuning(with, 0.1, 0.5), tuning(without, 0.1, 0.5)];
        for (seed, loss) in [(1, 0.5), (2, 0.7), (3, 0.9)] {
            runs.push(run(without, 0.1, seed, loss));
            runs.push(run(with, 0.1, seed, loss - 0.1));
        }
        // Of no pair.
        runs.push(run(with, 0.1, 4, 100.0));
        let text = summary(&runs);
        let line = "- MAC + AdamW against SGD + AdamW: -0.100 ± 0.000 (3 of 3, p 0.250)";
        assert!(text.contains(line), "{text}");
    }

    /// Breaks when losses are in another task's column, or another than the smallest is in bold.
    #[test]
    fn the_overview_has_a_column_for_each_race() {
        let (with, without) = (choice("mac-adamw"), choice("sgd-adamw"));
        let mut runs = Vec::new();
        for (task, with_loss, without_loss) in
            [(TaskChoice::Vit, 0.5, 0.75), (TaskChoice::Lenet, 2.0, 1.0)]
        {
            let both = [(with, with_loss), (without, without_loss)];
            for (optimizer, loss) in both {
                let of_task = [tuning(optimizer, 0.1, loss), run(optimizer, 0.1, 1, loss)];
                runs.extend(of_task.map(|mut run| {
                    run.trial.task = task;
                    run
                }));
            }
        }
        // Only the first task has it.
        let mut third = tuning(choice("muon"), 0.1, 3.0);
        third.trial.task = TaskChoice::Vit;
        runs.push(third.clone());
        third.trial = third.trial.for_test(1);
        third.outcome.loss = None;
        runs.push(third);

        let text = summary(&runs);
        let start = text.find("| test loss |").expect("there is an overview");
        let rows: Vec<&str> = text[start..].lines().skip(2).collect();
        assert_eq!(
            rows[..3],
            [
                "| MAC + AdamW | **0.500 ± 0.000** | 2.000 ± 0.000 |",
                "| SGD + AdamW | 0.750 ± 0.000 | **1.000 ± 0.000** |",
                "| Muon + AdamW | 1 of 1 runs diverged | – |",
            ]
        );
        let shares = rows[8];
        let expected =
            "| MAC + AdamW against SGD + AdamW | -0.250 ± 0.000 (1 of 1, p 1.000) | +1.000";
        assert!(shares.starts_with(expected), "{shares}");
    }

    #[test]
    fn a_value_at_the_end_of_those_tried_is_marked() {
        let sgd = choice("sgd");
        let runs = [
            tuning(sgd, 0.1, 0.9),
            tuning(sgd, 0.2, 0.5),
            run(sgd, 0.2, 1, 0.5),
        ];
        assert!(summary(&runs).contains("| SGD | 0.2* | – | 0.1* |"));
    }
}
