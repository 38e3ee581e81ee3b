//! The tables.

use std::collections::BTreeSet;
use std::fmt::Write;

use clap::ValueEnum;
use mac_burn_examples::optimizers::{LayerCurvature, OptimizerChoice};

use crate::runs::Run;
use crate::standings::{Race, Standing};
use crate::statistics::{mean_and_deviation, median};
use crate::trial::{RATE_FACTORS, Trial};
use crate::tuning::Searched;

const MEBIBYTE: f64 = 1048576.0;

/// A cell of a table in which there is nothing.
const NONE: &str = "–";

impl Race {
    fn table(&self) -> String {
        let mut text = String::from(
            "| optimizer | learning rate | AdamW's beside it | decay or damping | test loss | accuracy | to AdamW | to SGD + AdamW | to Muon + AdamW | seconds | state, MiB | peak, MiB |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for standing in &self.standings {
            let cells = standing.cells();
            let to = |other| self.difference(standing, other).unwrap_or(NONE.into());
            let [adamw, sgd, muon] = ["adamw", "sgd-adamw", "muon"].map(to);
            let [rate, auxiliary, last, loss, accuracy, seconds, state, peak] = cells;
            let optimizer = standing.optimizer;
            writeln!(
                text,
                "| {optimizer} | {rate} | {auxiliary} | {last} | {loss} | {accuracy} | {adamw} | {sgd} | {muon} | {seconds} | {state} | {peak} |"
            )
            .ok();
        }
        text
    }

    /// The machines that the optimizers' seconds are of; nothing if all are of one.
    fn machines(&self) -> String {
        let mut of_machines: Vec<(BTreeSet<&str>, Vec<String>)> = Vec::new();
        for standing in self
            .standings
            .iter()
            .filter(|standing| !standing.tests.is_empty())
        {
            let (machines, name) = (standing.machines(), standing.optimizer.to_string());
            match of_machines.iter_mut().find(|(known, _)| *known == machines) {
                Some((_, names)) => names.push(name),
                None => of_machines.push((machines, vec![name])),
            }
        }
        if of_machines.len() < 2 {
            return String::new();
        }
        let lines = of_machines.into_iter().map(|(machines, names)| {
            let machines: Vec<&str> = machines.into_iter().collect();
            format!("- {}: {}\n", machines.join("; "), names.join("; "))
        });
        let lines: String = lines.collect();
        format!("\nSeconds are of several machines, and compare on one of them only:\n\n{lines}")
    }

    /// The losses with other learning rates; nothing if they were not run.
    fn sensitivity(&self) -> String {
        let standings = self.standings.iter();
        let mut standings = standings
            .filter(|standing| !standing.at_rates.is_empty())
            .peekable();
        if standings.peek().is_none() {
            return String::new();
        }
        let mut text = String::from(
            "\nValidation loss of the best settings with another learning rate:\n\n| optimizer | seeds |",
        );
        for factor in RATE_FACTORS {
            write!(text, " {factor} x |").ok();
        }
        write!(text, "\n|---|---|{}", "---|".repeat(RATE_FACTORS.len())).ok();
        for standing in standings {
            let cells = standing.at_rates.iter().map(|losses| {
                match losses.iter().all(|loss| loss.is_finite()) {
                    true => spread(losses, 3),
                    false => "diverged".to_string(),
                }
            });
            let cells: Vec<String> = cells.collect();
            let seeds = standing.at_rates[0].len();
            let optimizer = standing.optimizer;
            write!(text, "\n| {optimizer} | {seeds} | {} |", cells.join(" | ")).ok();
        }
        let name = self.file_name();
        write!(text, "\n\n![sensitivity]({name}-sensitivity.svg)\n").ok();
        text
    }

    /// The difference that MAC's preconditioner alone makes to an optimizer; none if it has none, or was not run with and without.
    fn share_of_mac(&self, choice: OptimizerChoice) -> Option<String> {
        let standing = self.standing(choice.name())?;
        self.difference(standing, choice.without_preconditioner()?.name())
    }

    /// All of these differences, a line each.
    fn shares_of_mac(&self) -> String {
        let all = OptimizerChoice::value_variants().iter();
        let lines = all.filter_map(|choice| {
            let difference = self.share_of_mac(*choice)?;
            Some(format!("- {}: {difference}\n", share_name(*choice)?))
        });
        lines.collect()
    }
}

/// The name of the share that the preconditioner has in an optimizer.
fn share_name(choice: OptimizerChoice) -> Option<String> {
    let without = choice.without_preconditioner()?;
    let note = match (choice.curvature, choice.input_covariance) {
        (_, true) => " (the first layer by its covariance, where that can be measured)",
        (Some(LayerCurvature::Mac), false) => " (rank one alone)",
        _ => "",
    };
    Some(format!("{choice} against {without}{note}"))
}

impl Standing {
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
        // A run that diverged has ended early.
        let accuracies = accuracies.filter(|_| self.mean_loss().is_some());
        [
            mark(best.lr, |trial| Some(trial.lr)),
            match best.searched().iter().any(Searched::is_auxiliary) {
                true => mark(best.auxiliary_lr.unwrap_or(0.0), |trial| trial.auxiliary_lr),
                false => none(),
            },
            match best.damping {
                Some(damping) => mark(damping, |trial| trial.damping),
                None => mark(best.weight_decay, |trial| Some(trial.weight_decay)),
            },
            self.loss(),
            accuracies.map_or_else(none, |accuracies| format!("{} %", spread(&accuracies, 1))),
            self.seconds(),
            self.state(),
            self.of_tests(1, |run| run.outcome.peak_bytes as f64 / MEBIBYTE),
        ]
    }

    fn seconds(&self) -> String {
        self.of_tests(1, |run| run.outcome.seconds)
    }

    /// In MiB.
    fn state(&self) -> String {
        self.of_tests(2, |run| run.outcome.state_bytes as f64 / MEBIBYTE)
    }

    /// The median of the tests, unless a run ended early.
    fn of_tests(&self, decimals: usize, value: fn(&Run) -> f64) -> String {
        let values: Vec<f64> = self.tests.iter().map(value).collect();
        match self.mean_loss() {
            Some(_) => format!("{:.decimals$}", median(&values)),
            None => NONE.to_string(),
        }
    }

    /// The machines on which the tests were run.
    fn machines(&self) -> BTreeSet<&str> {
        let machines = self.tests.iter().map(|run| &*run.outcome.machine);
        machines.collect()
    }
}

/// Mean and deviation, as text.
fn spread(values: &[f64], decimals: usize) -> String {
    let [mean, deviation] = mean_and_deviation(values);
    format!("{mean:.decimals$} ± {deviation:.decimals$}")
}

/// The losses of all optimizers in all races, what MAC's preconditioner alone brings in each, and what they cost.
fn overview(races: &[Race]) -> String {
    let losses = by_race("test loss", races, |choice, race| {
        let standing = race.standing(choice.name())?;
        let loss = standing.loss();
        let mean = standing.mean_loss();
        let is_best = mean.is_some() && mean == race.smallest_loss();
        let cell = if is_best { format!("**{loss}**") } else { loss };
        (!standing.tests.is_empty()).then_some((choice.to_string(), cell))
    });
    let shares = by_race("", races, |choice, race| {
        Some((share_name(choice)?, race.share_of_mac(choice)?))
    });
    let costs = by_race("seconds, state in MiB", races, |choice, race| {
        let standing = race.standing(choice.name())?;
        standing.mean_loss()?;
        let mut all = race.standings.iter().map(Standing::machines);
        let first = all.find(|machines| !machines.is_empty())?;
        let mark = match standing.machines() == first {
            true => "",
            false => "†",
        };
        let cell = format!("{}{mark}, {}", standing.seconds(), standing.state());
        Some((choice.to_string(), cell))
    });
    let note = match costs.contains('†') {
        true => {
            "\n† On another machine than the first of the column, see below: seconds compare on one machine only.\n"
        }
        false => "",
    };
    format!(
        "{losses}\nWhat MAC's preconditioner alone brings:\n\n{shares}\nSeconds of the steps, and the size of the optimizer's record:\n\n{costs}{note}"
    )
}

/// A table with a column for each race and a row for each optimizer that has a cell, each with the name of its row.
fn by_race(
    title: &str,
    races: &[Race],
    cell: impl Fn(OptimizerChoice, &Race) -> Option<(String, String)>,
) -> String {
    let titles: Vec<String> = races.iter().map(Race::title).collect();
    let mut text = format!(
        "| {title} | {} |\n|---|{}\n",
        titles.join(" | "),
        "---|".repeat(races.len())
    );
    for choice in OptimizerChoice::value_variants() {
        let cells: Vec<_> = races.iter().map(|race| cell(*choice, race)).collect();
        if let Some((name, _)) = cells.iter().flatten().next() {
            let cells = cells.iter().map(|cell| match cell {
                Some((_, cell)) => cell,
                None => NONE,
            });
            let cells: Vec<&str> = cells.collect();
            writeln!(text, "| {name} | {} |", cells.join(" | ")).ok();
        }
    }
    text
}

/// The tables of all runs, as Markdown.
pub(crate) fn summary(runs: &[Run]) -> String {
    let races = Race::all(runs);
    let seconds: f64 = runs.iter().map(|run| run.outcome.seconds).sum();
    let machines: BTreeSet<&str> = runs.iter().map(|run| &*run.outcome.machine).collect();
    let mut text = format!(
        "# Race\n\n{}. {} runs, whose steps took {:.1} hours one after the other.\n\n{}",
        machines.into_iter().collect::<Vec<_>>().join("; "),
        runs.len(),
        seconds / 3600.0,
        overview(&races)
    );
    for race in races {
        let own = || runs.iter().filter(|run| race.is_of(&run.trial));
        let seconds: f64 = own().map(|run| run.outcome.seconds).sum();
        let rules = race.task.rules();
        let behind: Vec<String> = race.behind.iter().map(ToString::to_string).collect();
        let behind = match behind.is_empty() {
            true => String::new(),
            false => format!(
                " Not in the tables, with fewer trials: {}.",
                behind.join(", ")
            ),
        };
        let name = race.file_name();
        let rates = match race.trials {
            0 => String::new(),
            _ => format!("\n![learning rates]({name}-rates.svg)\n"),
        };
        write!(
            text,
            "\n## {}\n\n{}, {} steps of {}; {}. {}, {} seeds; {} runs of {:.0} s together.{behind}\n\n{}\n\
             \\* the smallest, the largest or the only value that was tried. Differences: mean ± deviation over pairs of the same seed (how many have \
             the sign of the mean, probability by chance in a paired randomization test).\n{}\n\
             What MAC's preconditioner alone brings:\n\n{}\n![loss]({name}-loss.svg)\n{rates}{}",
            race.title(),
            rules.network,
            race.steps,
            rules.batch_size,
            race.task.loss(),
            match race.trials {
                0 => "Settings of another race".to_string(),
                trials => format!("{trials} trials an optimizer"),
            },
            race.seeds,
            own().count(),
            seconds,
            race.table(),
            race.machines(),
            race.shares_of_mac(),
            race.sensitivity(),
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::run;
    use crate::tuning::rounded;
    use mac_burn_examples::tasks::TaskChoice;

    /// A trial of the start of a search, with another learning rate and setting that is searched for last.
    fn tuning(
        task: TaskChoice,
        optimizer: OptimizerChoice,
        [rate, last]: [f64; 2],
        loss: f64,
    ) -> Run {
        let trial = Trial::to_tune(task, "digits", 20, optimizer);
        let searched = trial.searched();
        let mut values: Vec<f64> = searched.iter().map(|searched| searched.start).collect();
        values[0] = rounded(rate * values[0]);
        let end = values.len() - 1;
        values[end] = rounded(last * values[end]);
        Run {
            trial: trial.with(&searched, &values),
            ..run(optimizer, 0.1, 1, loss)
        }
    }

    /// The run with the settings of a trial on the test part.
    fn test(tuned: &Run, seed: u64, loss: f64) -> Run {
        Run {
            trial: tuned.trial.for_test(seed),
            ..run(tuned.trial.optimizer, 0.1, seed, loss)
        }
    }

    fn choice(name: &str) -> OptimizerChoice {
        OptimizerChoice::from_str(name, false).expect("it is one")
    }

    /// Breaks when settings are chosen by the test part, or by a run that diverged, or runs with other settings, of another task or under
    /// other rules come into the table.
    #[test]
    fn the_table_is_of_the_settings_with_the_smallest_validation_loss() {
        let sgd = choice("sgd");
        let of_sgd = |rate, loss| tuning(TaskChoice::Mlp, sgd, rate, loss);
        let best = of_sgd([3.0, 1.0], 0.5);
        let mut diverged = of_sgd([3.0, 10.0], 0.0);
        diverged.outcome.loss = None;
        let start = of_sgd([1.0, 1.0], 0.9);
        let mut of_old_rules = test(&best, 3, 9.0);
        of_old_rules.trial.rules = "1".into();
        let runs = [
            start.clone(),
            best.clone(),
            of_sgd([1.0 / 3.0, 1.0], 0.6),
            diverged,
            test(&best, 2, 0.7),
            test(&best, 1, 0.5),
            test(&start, 1, 0.1),
            tuning(TaskChoice::Vit, sgd, [1.0; 2], 5.0),
            of_old_rules,
        ];
        let races = Race::all(&runs);
        assert_eq!(races.len(), 2);
        assert_eq!(races[0].seeds, 2);
        let [standing] = &races[0].standings[..] else {
            panic!("there is one optimizer");
        };
        assert_eq!(standing.best, best.trial);
        assert_eq!(standing.tuning.len(), 4);
        let seeds: Vec<u64> = standing.tests.iter().map(|run| run.trial.seed).collect();
        assert_eq!(seeds, [1, 2]);
        let text = summary(&runs);
        let row = "| SGD | 0.3* | – | 0.0001* | 0.600 ± 0.141 | 75.0 ± 0.0 % |";
        assert!(text.contains(row), "{text}");
    }

    /// Breaks when a search that was interrupted is compared with one that was not, or cuts it short.
    #[test]
    fn an_optimizer_with_fewer_trials_is_not_in_the_table() {
        let (sgd, adamw) = (choice("sgd"), choice("adamw"));
        let best = tuning(TaskChoice::Mlp, sgd, [3.0, 1.0], 0.5);
        let of_adamw = tuning(TaskChoice::Mlp, adamw, [1.0; 2], 0.1);
        let runs = [
            tuning(TaskChoice::Mlp, sgd, [1.0; 2], 0.9),
            best.clone(),
            test(&best, 1, 0.5),
            of_adamw.clone(),
            test(&of_adamw, 1, 0.1),
        ];
        let text = summary(&runs);
        assert!(
            text.contains("Not in the tables, with fewer trials: AdamW."),
            "{text}"
        );
        assert!(
            text.contains("| SGD | 0.3* |") && !text.contains("| AdamW | "),
            "{text}"
        );
    }

    /// Breaks when runs without a search are left out, or get the settings that a search would begin with.
    #[test]
    fn settings_of_another_race_have_a_table() {
        let sgd = tuning(TaskChoice::Mlp, choice("sgd"), [3.0, 10.0], 0.5);
        let text = summary(&[test(&sgd, 1, 0.5), test(&sgd, 2, 0.7)]);
        assert!(text.contains("Settings of another race, 2 seeds"), "{text}");
        let row = "| SGD | 0.3 | – | 0.001 | 0.600 ± 0.141 |";
        assert!(text.contains(row), "{text}");
    }

    /// Breaks when a learning rate gets the losses of another, a seed is counted with which not all were run, or one of these runs is taken
    /// for a trial.
    #[test]
    fn other_learning_rates_have_a_table() {
        let sgd = tuning(TaskChoice::Mlp, choice("sgd"), [1.0; 2], 0.5);
        let mut runs = vec![sgd.clone(), test(&sgd, 1, 0.5)];
        for (seed, more) in [(0, 0.0), (1, 0.2)] {
            let losses = [0.4, 0.3, 0.2, 0.3, 0.7];
            for (trial, loss) in sgd.trial.at_rates(seed).zip(losses) {
                let loss = loss + more;
                runs.push(Run {
                    trial,
                    ..run(sgd.trial.optimizer, 0.1, 1, loss)
                });
            }
        }
        let unfinished = sgd.trial.at_rates(2).next().expect("there are five");
        runs.push(Run {
            trial: unfinished,
            ..run(sgd.trial.optimizer, 0.1, 1, 9.0)
        });
        let text = summary(&runs);
        let row = "| SGD | 2 | 0.500 ± 0.141 | 0.400 ± 0.141 | 0.300 ± 0.141 | 0.400 ± 0.141 | 0.800 ± 0.141 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("1 trials an optimizer, 1 seeds"), "{text}");
    }

    /// Breaks when differences are of the means of other seeds, have the other sign, or the sign of what MAC brings depends on the order.
    #[test]
    fn differences_are_paired_by_seed() {
        let of = |name| tuning(TaskChoice::Mlp, choice(name), [1.0; 2], 0.5);
        let (with, without) = (of("mac-adamw"), of("sgd-adamw"));
        let mut runs = vec![with.clone(), without.clone()];
        for (seed, loss) in [(1, 0.5), (2, 0.7), (3, 0.9)] {
            runs.push(test(&without, seed, loss));
            runs.push(test(&with, seed, loss - 0.1));
        }
        // Of no pair, and so in no mean.
        runs.push(test(&with, 4, 100.0));
        let text = summary(&runs);
        let line = "- MAC + AdamW against SGD + AdamW (the first layer by its covariance, where that can be measured): -0.100 ± 0.000 \
                    (3 of 3, p 0.250)";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("| **0.600 ± 0.200** |"), "{text}");
    }

    /// Breaks when losses are in another task's column, or another than the smallest is in bold; or numbers are given of runs that ended
    /// early.
    #[test]
    fn the_overview_has_a_column_for_each_race() {
        let mut runs = Vec::new();
        for (task, with_loss, without_loss) in
            [(TaskChoice::Vit, 0.5, 0.75), (TaskChoice::Lenet, 2.0, 1.0)]
        {
            for (name, loss) in [("mac-adamw", with_loss), ("sgd-adamw", without_loss)] {
                let tuned = tuning(task, choice(name), [1.0; 2], loss);
                runs.extend([tuned.clone(), test(&tuned, 1, loss)]);
            }
        }
        // Only the first task has it.
        let muon = tuning(TaskChoice::Vit, choice("muon"), [1.0; 2], 3.0);
        let mut diverged = test(&muon, 1, 0.0);
        diverged.outcome.loss = None;
        runs.extend([muon, diverged]);

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
        let share = rows[8];
        assert!(
            share.starts_with("| MAC + AdamW against SGD + AdamW (the first"),
            "{share}"
        );
        assert!(
            share.contains("| -0.250 ± 0.000 (1 of 1, p 1.000) | +1.000"),
            "{share}"
        );
        let diverged = "1 of 1 runs diverged | – | – | a run diverged | – | – | – | – |";
        assert!(text.contains(diverged), "{text}");
    }

    /// Breaks when seconds of several machines are compared without a word.
    #[test]
    fn seconds_of_another_machine_are_marked() {
        let of = |name, machine: &str| {
            let tuned = tuning(TaskChoice::Mlp, choice(name), [1.0; 2], 0.5);
            let mut tested = test(&tuned, 1, 0.5);
            tested.outcome.machine = machine.into();
            tested.outcome.seconds = 2.0;
            tested.outcome.state_bytes = 1 << 20;
            [tuned, tested]
        };
        let both = |machine| [of("mac", "this one"), of("sgd", machine)].concat();
        let text = summary(&both("this one"));
        assert!(text.contains("| SGD | 2.0, 1.00 |"), "{text}");
        assert!(
            !text.contains('†') && !text.contains("several machines"),
            "{text}"
        );
        let text = summary(&both("another"));
        assert!(
            text.contains("| MAC | 2.0, 1.00 |") && text.contains("| SGD | 2.0†, 1.00 |"),
            "{text}"
        );
        assert!(
            text.contains("\n- this one: MAC\n- another: SGD\n"),
            "{text}"
        );
    }

    /// No difference has no sign.
    #[test]
    fn equal_losses_do_not_agree_on_a_sign() {
        let of = |name| tuning(TaskChoice::Mlp, choice(name), [1.0; 2], 0.5);
        let (mac, sgd) = (of("mac"), of("sgd"));
        let runs = [
            mac.clone(),
            sgd.clone(),
            test(&mac, 1, 0.5),
            test(&sgd, 1, 0.5),
        ];
        let text = summary(&runs);
        assert!(text.contains("+0.000 ± 0.000 (0 of 1, p 1.000)"), "{text}");
    }
}
