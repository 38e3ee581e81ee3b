use super::Options;
use super::ratio::{Ratio, median};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use std::fmt;
use std::time::Duration;

/// Timed repetitions of a visit; the median of them is the visit's time.
const REPETITIONS: usize = 3;

/// Something to be measured.
pub(crate) struct Contender<'a> {
    /// The first cells of its row, the name first.
    pub(crate) cells: Vec<String>,
    /// Does the work once and returns the time it took, without that of preparing it.
    pub(crate) work: Box<dyn FnMut() -> Duration + 'a>,
}

/// The contenders of one case, and their times in milliseconds, a visit each.
pub(crate) struct Comparison<'a> {
    headers: Vec<&'static str>,
    contenders: Vec<Contender<'a>>,
    times: Vec<Vec<f64>>,
    baselines: Vec<usize>,
}

impl<'a> Comparison<'a> {
    /// `headers` name the contenders' cells; `baselines` are what the ratios are to, each as a prefix
    /// of a contender's name.
    pub(crate) fn new(
        headers: &[&'static str],
        contenders: Vec<Contender<'a>>,
        baselines: &[&str],
    ) -> Self {
        let mut comparison = Self {
            headers: headers.to_vec(),
            times: vec![Vec::new(); contenders.len()],
            contenders,
            baselines: Vec::new(),
        };
        comparison.baselines = baselines
            .iter()
            .map(|name| comparison.index(name))
            .collect();
        comparison
    }

    /// Lets the contenders take turns, each round beginning with another one.
    pub(crate) fn run(mut self, options: &Options) -> Self {
        let count = self.contenders.len();
        for round in 0..options.rounds() {
            for turn in 0..count {
                let index = (round + turn) % count;
                let spent = self.times[index].iter().sum::<f64>() * REPETITIONS as f64;
                if spent < options.seconds * 1e3 {
                    let time = visit(&mut self.contenders[index], options.quick());
                    self.times[index].push(time);
                }
            }
        }
        self
    }

    /// A contender's time to that of another.
    pub(crate) fn ratio(&self, contender: &str, baseline: &str) -> Ratio {
        self.ratio_of(self.index(contender), self.index(baseline))
    }

    fn ratio_of(&self, contender: usize, baseline: usize) -> Ratio {
        let rounds = self.times[contender].iter().zip(&self.times[baseline]);
        Ratio::of(rounds.map(|(time, baseline)| time / baseline).collect())
    }

    fn index(&self, name: &str) -> usize {
        self.contenders
            .iter()
            .position(|contender| contender.cells[0].starts_with(name))
            .unwrap_or_else(|| panic!("no contender is named {name}"))
    }
}

fn visit(contender: &mut Contender, quick: bool) -> f64 {
    let mut work = || (contender.work)().as_secs_f64() * 1e3;
    if quick {
        return work();
    }
    work();
    median((0..REPETITIONS).map(|_| work()).collect())
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut headers: Vec<String> = self.headers.iter().map(ToString::to_string).collect();
        headers.extend(["median ms", "fastest ms", "visits"].map(String::from));
        let baselines = self.baselines.iter();
        headers.extend(
            baselines.map(|index| format!("x {} [95 %]", self.contenders[*index].cells[0])),
        );

        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header(headers);
        for (index, contender) in self.contenders.iter().enumerate() {
            let times = &self.times[index];
            let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
            let mut row = contender.cells.clone();
            row.extend([median(times.clone()), fastest].map(|time| format!("{time:.3}")));
            row.push(times.len().to_string());
            let ratios = self.baselines.iter();
            row.extend(ratios.map(|base| self.ratio_of(index, *base).to_string()));
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}
