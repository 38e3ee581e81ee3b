//! Replays all cases of a folder, on several backends and by both routes, and shows them as a table.

use std::{fmt, path::Path};

use burn::backend::Autodiff;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};

use crate::{
    case::{Case, Trace, TraceError, case_folders, not_covered},
    comparison::{Differences, Quantity},
    replay::{Route, replay},
};

/// A backend by the name that the table gives it, and the replay on it.
pub(crate) type Backend = (
    &'static str,
    fn(&Case, &Trace, Route) -> Result<Option<Differences>, TraceError>,
);

/// The backends of single precision.
pub(crate) const SINGLE: &[Backend] = &[
    ("flex f32", replay::<Autodiff<Flex>>),
    ("ndarray f32", replay_without_reciprocals),
];

/// The backends of double precision.
pub(crate) const DOUBLE: &[Backend] = &[("ndarray f64", replay::<Autodiff<NdArray<f64>>>)];

/// The replay on `NdArray<f32>` of a case that it does not approximate: in `vit` its gradients are
/// 2.7e-5 from the trace, ten times what is allowed.
fn replay_without_reciprocals(
    case: &Case,
    trace: &Trace,
    route: Route,
) -> Result<Option<Differences>, TraceError> {
    if case.takes_reciprocals() {
        return Ok(None);
    }

    replay::<Autodiff<NdArray<f32>>>(case, trace, route)
}

/// The outcome of the cases of a folder.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Suite {
    /// How many cases the replays are of.
    pub(crate) replayed: usize,
    pub(crate) replays: Vec<Replay>,
    pub(crate) not_covered: Vec<Unreplayed>,
    pub(crate) failed: Vec<Unreplayed>,
}

/// One case on one backend by one route.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Replay {
    pub(crate) case: String,
    pub(crate) backend: String,
    pub(crate) route: Route,
    /// None where the route cannot express the case.
    pub(crate) differences: Option<Differences>,
}

/// A case without replays: one that this project does not mean to reproduce, or one that could not
/// be read or built.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unreplayed {
    pub(crate) case: String,
    pub(crate) reason: String,
}

impl Suite {
    /// Replays every case of a folder: each subfolder that has a `case.json`.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read or holds no case.
    pub(crate) fn run(folder: &Path, backends: &[Backend]) -> Result<Self, TraceError> {
        let mut suite = Self::default();
        for case in case_folders(folder)? {
            suite.add(&case, backends);
        }

        Ok(suite)
    }

    /// Takes in what became of another folder's cases.
    pub(crate) fn join_cases(&mut self, other: Self) {
        self.replayed += other.replayed;
        self.replays.extend(other.replays);
        self.not_covered.extend(other.not_covered);
        self.failed.extend(other.failed);
    }

    /// Takes in what became of the same cases on other backends.
    pub(crate) fn join_backends(&mut self, other: Self) {
        self.replays.extend(other.replays);
        self.replays.sort_by(|a, b| a.case.cmp(&b.case));
        for failed in other.failed {
            if !self.failed.contains(&failed) {
                self.failed.push(failed);
            }
        }
    }

    /// Everything that must not be, in words.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self
            .failed
            .iter()
            .map(|failed| format!("{}: {}", failed.case, failed.reason));
        let differences = self.replays.iter().flat_map(|replay| {
            let exceeding = replay.differences.iter().flat_map(Differences::exceeding);
            exceeding.map(|(quantity, worst)| {
                let (case, backend) = (&replay.case, &replay.backend);
                let (route, quantity) = (replay.route.label(), quantity.label());
                format!("{case}, {backend}, {route}: {quantity}: {worst}")
            })
        });

        failed.chain(differences).collect()
    }

    /// Adds the case of a folder, whatever becomes of it.
    fn add(&mut self, folder: &Path, backends: &[Backend]) {
        let case = folder.file_name().map_or_else(
            || folder.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        match replays(folder, &case, backends) {
            Ok(Ok(replays)) => {
                self.replayed += 1;
                self.replays.extend(replays);
            }
            Ok(Err(reason)) => self.not_covered.push(Unreplayed { case, reason }),
            Err(error) => self.failed.push(Unreplayed {
                case,
                reason: error.to_string(),
            }),
        }
    }
}

/// The replays of a case, or why it is not covered.
fn replays(
    folder: &Path,
    name: &str,
    backends: &[Backend],
) -> Result<Result<Vec<Replay>, String>, TraceError> {
    let case = Case::read(folder)?;
    if let Some(reason) = not_covered(&case)? {
        return Ok(Err(reason));
    }
    let trace = Trace::read(folder)?;
    let mut replays = Vec::new();
    for (backend, replay) in backends {
        for route in [Route::Mac, Route::ByHand] {
            replays.push(Replay {
                case: name.to_owned(),
                backend: (*backend).to_owned(),
                route,
                differences: replay(&case, &trace, route)?,
            });
        }
    }

    Ok(Ok(replays))
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantities = Quantity::ALL.map(|quantity| quantity.label().to_owned());
        let mut header = vec!["case".to_owned(), "backend".to_owned(), "route".to_owned()];
        header.extend(quantities);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(header);
        for replay in &self.replays {
            table.add_row(row(replay));
        }

        writeln!(f, "largest difference from the trace / what is allowed")?;
        writeln!(f, "{table}")?;
        if self.replays.iter().any(|r| r.differences.is_none()) {
            writeln!(f, "n/a: `Mac` has one weight decay and exemptions from it")?;
            writeln!(
                f,
                "n/a: ndarray f32 approximates the derivatives of divisions and logarithms"
            )?;
        }
        for case in &self.not_covered {
            writeln!(f, "not covered: {}: {}", case.case, case.reason)?;
        }
        for failed in &self.failed {
            writeln!(f, "FAILED: {}: {}", failed.case, failed.reason)?;
        }
        write!(
            f,
            "{} cases replayed, {} not covered, {} failed",
            self.replayed,
            self.not_covered.len(),
            self.failed.len()
        )
    }
}

fn row(replay: &Replay) -> Vec<String> {
    let cells = match &replay.differences {
        None => Quantity::ALL.map(|_| "n/a".to_owned()),
        Some(differences) => differences.cells(Quantity::ALL),
    };
    let mut row = vec![
        replay.case.clone(),
        replay.backend.clone(),
        replay.route.label().to_owned(),
    ];
    row.extend(cells);

    row
}
