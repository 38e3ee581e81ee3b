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

    /// The file or package, and the callable in it. A name of timm's may be followed by that of its weights, as in
    /// `resnet50.a1_in1k`, which is left out.
    pub(crate) fn source(&self) -> (&str, &str) {
        let (source, callable) = self.source.split_once(':').unwrap_or((&self.source, ""));
        let model = callable.split('.').next().unwrap_or(callable);
        match source {
            "timm" => (source, model),
            _ => (source, callable),
        }
    }

    /// Without the arguments that have these values, which are the callable's defaults.
    pub(crate) fn without_defaults(mut self, defaults: &Value) -> Self {
        self.arguments
            .retain(|name, value| defaults.get(name) != Some(value));

        self
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

/// Breaks when the name of weights is a part of the model's, or a file is cut at the dot of its name.
#[test]
fn the_name_of_weights_is_left_out() {
    for (source, expected) in [
        ("timm:resnet50", ("timm", "resnet50")),
        ("timm:resnet50.a1_in1k", ("timm", "resnet50")),
        (
            "models/resnet.py:ResNet18",
            ("models/resnet.py", "ResNet18"),
        ),
        ("model.py:GPT(GPTConfig(..))", ("model.py", "GPT")),
    ] {
        let construction = Construction::new(source, Arguments::new());
        assert_eq!(construction.source(), expected);
    }
}
