//! Errors of a fixture before a number of it is compared.

use std::path::PathBuf;

use mac_burn_tests::{NoAnswer, files::FileError};

/// A fixture that cannot be read or built, or another network than its own; never a difference in numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParityError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} holds no fixture: no file of it ends in .json", .0.display())]
    NoFixture(PathBuf),
    #[error("the arguments of {callable}: {source}")]
    Arguments {
        callable: String,
        source: serde_json::Error,
    },
    #[error("{callable}: {reason}")]
    Unsupported { callable: String, reason: String },
    #[error("PyTorch's network has `{0}`, and this one has not")]
    Missing(String),
    #[error("this network has `{0}`, and PyTorch's has not")]
    Extra(String),
    #[error("`{name}` has the shape {expected:?} in PyTorch and {found:?} here")]
    Shape {
        name: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    #[error("{what}: {expected} in PyTorch and {found} here")]
    Count {
        what: &'static str,
        expected: usize,
        found: usize,
    },
    #[error(
        "the values of `{name}` sum up to {found}, and to {expected} where the fixture was made"
    )]
    Fill {
        name: String,
        expected: f64,
        found: f64,
    },
    #[error("the input has {0} dimensions, which the network does not take")]
    Input(usize),
    #[error("a panic: {0}")]
    Panic(String),
    /// An error in the process of double precision, in its words.
    #[error("{0}")]
    InDouble(String),
    #[error("the process of double precision: {0}")]
    NoAnswer(#[from] NoAnswer),
}
