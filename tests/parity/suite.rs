//! Every fixture of a folder, in every precision.

use std::{
    any::Any,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Mutex, PoisonError},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use burn::backend::Autodiff;
use burn_flex::Flex;

use crate::{
    comparison::{Precision, compare},
    counts::Counts,
    differences::{Differences, Quantity},
    double::compare_in_double,
    error::ParityError,
    family::build,
    file::{File, fixture_files},
    fixture::Fixture,
};

/// The backend of both precisions: flex computes in the type that its tensors have.
pub(crate) type Training = Autodiff<Flex>;

/// As many networks at a time as fit into the memory of a small machine.
const MOST_THREADS: usize = 4;

/// A comparison with the fixture of a file on a backend; none if no family covers it.
pub(crate) type Compare = fn(&Path, &Fixture) -> Result<Option<Differences>, ParityError>;

/// The backends by the names that the table gives them.
pub(crate) const BACKENDS: [(&str, Compare); 2] = [
    ("flex f32", |_, fixture| {
        compare_on_flex(fixture, Precision::Single)
    }),
    ("flex f64", |path, _| compare_in_double(path)),
];

/// Compares with a fixture in this process, whose precision has to be this.
pub(crate) fn compare_on_flex(
    fixture: &Fixture,
    precision: Precision,
) -> Result<Option<Differences>, ParityError> {
    let subject = build::<Training>(&fixture.construction(), &Default::default())?;
    let compare = |subject| compare(fixture, subject, precision, None);

    subject.map(compare).transpose()
}

/// The outcome of the fixtures of a folder.
#[derive(Debug, Default)]
pub(crate) struct Suite {
    pub(crate) compared: Vec<Compared>,
    /// How many networks have the size that a list of sizes has.
    pub(crate) counted: usize,
    /// Fixtures whose family is not among those of the test.
    pub(crate) not_covered: Vec<String>,
    /// Networks of a list of sizes whose family is not.
    pub(crate) not_counted: Vec<String>,
    /// Names of files and networks that could not be read or built, or are another network, and why.
    pub(crate) failed: Vec<(String, String)>,
}

/// A fixture on a backend.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) fixture: String,
    pub(crate) backend: &'static str,
    pub(crate) differences: Differences,
    pub(crate) duration: Duration,
}

impl Compared {
    /// The quantities that every network has and that were not compared.
    pub(crate) fn missing(&self) -> Vec<Quantity> {
        let quantities = [
            Quantity::Logits,
            Quantity::Loss,
            Quantity::TrainingLogits,
            Quantity::TrainingLoss,
            Quantity::GradientNorm,
            Quantity::Gradient,
        ];
        let missing = quantities.into_iter();

        missing
            .filter(|quantity| self.differences.worst(*quantity).is_none())
            .collect()
    }
}

impl Suite {
    /// Compares with every fixture of a folder.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read or holds no fixture.
    pub(crate) fn run(folder: &Path) -> Result<Self, ParityError> {
        let files = fixture_files(folder)?;
        // Much of a network's work is on one core.
        let threads = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(MOST_THREADS);
        let queue = Mutex::new(files.iter().enumerate());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let compare_files = || {
            let mut parts = Vec::new();
            while let Some((index, path)) = next() {
                let mut suite = Self::default();
                suite.add_file(path);
                parts.push((index, suite));
            }
            parts
        };
        let mut parts: Vec<(usize, Self)> = thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(compare_files)).collect();
            let finished = running.into_iter().map(ScopedJoinHandle::join);
            finished
                .flat_map(|parts| parts.expect("panics of comparisons are caught"))
                .collect()
        });
        parts.sort_by_key(|(index, _)| *index);
        let mut suite = Self::default();
        for (_, part) in parts {
            suite.append(part);
        }
        Ok(suite)
    }

    fn add_file(&mut self, path: &Path) {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        let name = name.to_string_lossy().into_owned();
        match File::read(path) {
            Ok(File::Fixture(fixture)) => self.compare(path, &fixture),
            Ok(File::Counts(counts)) => self.count(&counts),
            Err(error) => self.failed.push((name, error.to_string())),
        }
    }

    fn append(&mut self, mut other: Self) {
        self.compared.append(&mut other.compared);
        self.counted += other.counted;
        self.not_covered.append(&mut other.not_covered);
        self.not_counted.append(&mut other.not_counted);
        self.failed.append(&mut other.failed);
    }

    /// The comparisons on a backend.
    pub(crate) fn compared_on(&self, backend: &str) -> impl Iterator<Item = &Compared> {
        let compared = self.compared.iter();

        compared.filter(move |compared| compared.backend == backend)
    }

    /// Everything that must not be, in words.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.failed.iter();
        let failed = failed.map(|(name, reason)| format!("{name}: {reason}"));
        let exceeding = self.compared.iter().flat_map(|compared| {
            let (fixture, backend) = (&compared.fixture, compared.backend);
            let exceeding = compared.differences.exceeding();
            exceeding.map(move |(quantity, worst)| {
                format!("{fixture}, {backend}: {}: {worst}", quantity.label())
            })
        });

        failed.chain(exceeding).collect()
    }

    fn compare(&mut self, path: &Path, fixture: &Fixture) {
        for (backend, compare) in BACKENDS {
            let start = Instant::now();
            match caught(|| compare(path, fixture)) {
                Ok(Some(differences)) => self.compared.push(Compared {
                    fixture: fixture.name.clone(),
                    backend,
                    differences,
                    duration: start.elapsed(),
                }),
                Ok(None) => return self.not_covered.push(fixture.name.clone()),
                Err(error) => {
                    let name = format!("{}, {backend}", fixture.name);
                    self.failed.push((name, error.to_string()));
                }
            }
        }
    }

    fn count(&mut self, counts: &Counts) {
        for row in &counts.rows {
            match caught(|| row.check::<Training>()) {
                Ok(true) => self.counted += 1,
                Ok(false) => self.not_counted.push(row.label()),
                Err(error) => self.failed.push((row.label(), error.to_string())),
            }
        }
    }
}

/// The work's result; a panic in it is an error, which ends the comparison with one fixture and not with all.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, ParityError>) -> Result<T, ParityError> {
    let result = catch_unwind(AssertUnwindSafe(work));

    result.unwrap_or_else(|panic| Err(ParityError::Panic(text(panic.as_ref()))))
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());

    text.unwrap_or_else(|| "it says nothing".to_owned())
}
