//! What makes a network: the callable in Python, and its arguments.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ParityError;

/// The arguments that differ from the callable's defaults.
pub(crate) type Arguments = Map<String, Value>;

/// A callable and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Construction {
    source: String,
    arguments: Arguments,
}

impl Construction {
    /// From `file:callable` or `timm:model`; a callable may be followed by its signature in brackets.
    pub(crate) fn new(source: &str, arguments: Arguments) -> Self {
        let name = source.split('(').next().unwrap_or(source);

        Self {
            source: name.to_owned(),
            arguments,
        }
    }

    /// The file or package, and the callable in it.
    pub(crate) fn source(&self) -> (&str, &str) {
        self.source.split_once(':').unwrap_or((&self.source, ""))
    }

    /// The arguments as a structure with the callable's defaults, which refuses those that it does not know.
    pub(crate) fn arguments<A: DeserializeOwned>(&self) -> Result<A, ParityError> {
        serde_json::from_value(Value::Object(self.arguments.clone())).map_err(|source| {
            ParityError::Arguments {
                source,
                callable: self.source.clone(),
            }
        })
    }

    /// Refuses rates above 0: what is dropped at random cannot be compared.
    pub(crate) fn refuse_dropping(&self, rates: &[f64]) -> Result<(), ParityError> {
        match rates.iter().all(|rate| *rate == 0.0) {
            true => Ok(()),
            false => Err(self.unsupported("drops at random")),
        }
    }

    /// An error for what cannot be compared.
    pub(crate) fn unsupported(&self, reason: &str) -> ParityError {
        ParityError::Unsupported {
            callable: self.source.clone(),
            reason: reason.to_owned(),
        }
    }
}
