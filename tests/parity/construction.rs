//! The callable in Python that makes a network, and its arguments.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::ParityError;

/// The arguments that differ from the callable's defaults.
pub(crate) type Arguments = Map<String, Value>;

/// A callable and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Construction {
    source: String,
    /// The text in the brackets after the callable.
    signature: Option<String>,
    arguments: Arguments,
}

/// Arguments of timm's and torchvision's callables that say nothing about a network without their weights: null is every one's
/// default, and so are these values.
fn has_no_effect(name: &str, value: &Value) -> bool {
    let defaults = match name {
        "pretrained" | "features_only" => json!([false]),
        "progress" | "pretrained_strict" => json!([false, true]),
        "checkpoint_path" => json!([""]),
        "weights"
        | "pretrained_cfg"
        | "pretrained_cfg_overlay"
        | "cache_dir"
        | "scriptable"
        | "exportable"
        | "no_jit"
        | "norm_layer"
        | "act_layer"
        | "block_args"
        | "device"
        | "dtype" => json!([null]),
        _ => return false,
    };
    let defaults = defaults.as_array();
    defaults.is_some_and(|defaults| defaults.contains(value))
}

impl Construction {
    /// From `file:callable` or `timm:model`; a callable may be followed by its signature in brackets.
    pub(crate) fn new(source: &str, mut arguments: Arguments) -> Self {
        arguments.retain(|name, value| !has_no_effect(name, value));
        let (name, signature) = match source.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')')),
            None => (source, None),
        };

        Self {
            source: name.to_owned(),
            signature: signature.map(str::to_owned),
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

    /// With the arguments that the signature has, as in `ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)`; those without a name
    /// have these names, in order.
    pub(crate) fn with_signature(mut self, names: &[&str]) -> Result<Self, ParityError> {
        let signature = self.signature.take().unwrap_or_default();
        let mut names = names.iter();
        for argument in split(&signature) {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (Some(name.trim()), value.trim()),
                None => (names.next().copied(), argument),
            };
            let name = name.ok_or_else(|| self.unsupported("has further arguments"))?;
            // What is no number or list is the name of a class.
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            self.arguments.entry(name).or_insert(value);
        }

        Ok(self)
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
        self.refuse(&[(rates.iter().any(|rate| *rate != 0.0), "drops at random")])
    }

    /// Refuses the first of these that is so, each with a reason that says what the network has.
    pub(crate) fn refuse(&self, of_others: &[(bool, &str)]) -> Result<(), ParityError> {
        match of_others.iter().find(|(is_so, _)| *is_so) {
            Some((_, reason)) => Err(self.unsupported(reason)),
            None => Ok(()),
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

/// The arguments of a signature, which commas separate that are in no list.
fn split(signature: &str) -> Vec<&str> {
    let mut depth = 0;
    let arguments = signature.split(|letter| {
        depth += i32::from(matches!(letter, '[' | '(')) - i32::from(matches!(letter, ']' | ')'));
        letter == ',' && depth == 0
    });

    arguments
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect()
}

/// Breaks when a list of a signature is several arguments, or a value without effect is refused, or one with an effect passed
/// over.
#[test]
fn arguments_are_those_of_the_signature_and_of_the_file() {
    let arguments =
        json!({ "pretrained": false, "weights": null, "progress": true, "in_chans": 1 });
    let arguments = serde_json::from_value(arguments).expect("arguments are an object");
    let source = "resnet.py:ResNet(BasicBlock, [2, 1], num_classes=10)";
    let construction = Construction::new(source, arguments);
    let construction = construction.with_signature(&["block", "layers"]);
    let found = construction.expect("all have names").arguments;
    let expected =
        json!({ "block": "BasicBlock", "layers": [2, 1], "num_classes": 10, "in_chans": 1 });
    assert_eq!(Value::Object(found), expected);

    let more = Construction::new("resnet.py:ResNet(BasicBlock, [2], 10)", Arguments::new());
    assert!(more.with_signature(&["block", "layers"]).is_err());
    assert!(!has_no_effect("pretrained", &json!(true)));
    assert!(!has_no_effect("norm_layer", &json!("groupnorm")));
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
