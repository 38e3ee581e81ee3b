use clap::Parser;
use mac_burn_examples::interval::at_least_one;

/// Rounds if the command line gives none.
const ROUNDS: usize = 20;

/// The selection of the command line.
#[derive(Parser, Debug)]
#[command(about = "Tables of medians and ratios; contenders take turns in one run")]
pub(crate) struct Options {
    /// Rounds in which all contenders take turns [default: 20]
    #[arg(long)]
    rounds: Option<usize>,
    /// Stop visiting a contender that has taken this long in a case
    #[arg(long, default_value_t = 20.0)]
    pub(crate) seconds: f64,
    /// Steps between two synchronizations of a GPU; for benchmarks of steps
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub(crate) in_a_row: usize,
    /// Images in a batch, for the training steps of networks [default: 2 to 32]
    #[arg(long, value_parser = at_least_one())]
    pub(crate) batch: Option<usize>,
    /// Compare the curvatures, MAC's, SMAC's, FOOF's, Eva's and K-FAC's; for benchmarks of steps
    #[arg(long)]
    pub(crate) curvatures: bool,
    /// Only cases whose name contains this; may be repeated
    #[arg(long)]
    case: Vec<String>,
    /// Only backends whose name contains this; may be repeated
    #[arg(long)]
    backend: Vec<String>,
    /// One quick round on small tensors, to see that everything runs
    #[arg(long)]
    test: bool,
    /// Given by `cargo bench`, and not by `cargo test --benches`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Whether to run everything once, instead of measuring.
    pub(crate) fn quick(&self) -> bool {
        self.test || !(self.bench || self.rounds.is_some())
    }

    pub(crate) fn rounds(&self) -> usize {
        match self.rounds {
            _ if self.quick() => 1,
            Some(rounds) => rounds.max(1),
            None => ROUNDS,
        }
    }

    pub(crate) fn wants_case(&self, name: &str) -> bool {
        selects(&self.case, name)
    }

    pub(crate) fn wants_backend(&self, name: &str) -> bool {
        selects(&self.backend, name)
    }
}

fn selects(wanted: &[String], name: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str()))
}
