use super::hash::Hash;
use crate::inventory::Inventory;
use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use std::fmt::Display;

/// A description of a run that must be the same on all its ranks, compared when they connect: the model, the configuration, and whatever else decides the
/// steps, such as the seed of the order of the data.
///
/// ```
/// use burn::nn::LinearConfig;
/// use mac_burn::replicas::RunDescription;
/// use mac_burn::{MacConfig, MacLinear};
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
/// let model: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// let config = MacConfig::new();
/// let description = RunDescription::new()
///     .with_model(&model)
///     .with("configuration", &config)
///     .with("seed", 7);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunDescription {
    /// Names and values.
    pub(super) entries: Vec<(String, String)>,
}

/// The first thing in which a rank differs from another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) what: String,
    pub(super) found: String,
    pub(super) expected: String,
}

impl RunDescription {
    /// An empty description. The versions of this crate and of its protocol are compared in any case.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the model: of each parameter the path, the shape, the float type, whether it is trained and the kind of its recorded layer, in
    /// the order of the module.
    pub fn with_model<B: AutodiffBackend, M: AutodiffModule<B>>(mut self, module: &M) -> Self {
        let inventory = Inventory::of(module);
        for (index, parameter) in inventory.parameters.iter().enumerate() {
            let mut layers = inventory.layers();
            let kind = layers.find(|layer| layer.weight == parameter.id);
            let kind = kind.map_or("no recorded layer".to_string(), |layer| {
                format!("{:?}", layer.kind)
            });
            let trained = if parameter.trained { "" } else { "not " };
            let value = format!(
                "`{}` {:?} {:?} ({kind}, {trained}trained)",
                parameter.path, parameter.shape, parameter.dtype
            );
            self = self.with(&format!("parameter {index} of the model"), value);
        }
        self
    }

    /// Adds the values of the parameters, as a hash of their bits. Replicas that start from different values stay different: this finds a
    /// seed that was forgotten, or a checkpoint that one rank has not loaded. It reads all parameters.
    pub fn with_parameter_values<B: AutodiffBackend, M: AutodiffModule<B>>(
        self,
        module: &M,
    ) -> Self {
        struct Values(Hash);
        impl<B: AutodiffBackend> ModuleVisitor<B> for Values {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
                for value in param.val().into_data().iter::<f64>() {
                    self.0.add(&value.to_le_bytes());
                }
            }
        }
        let mut values = Values(Hash::new());
        module.visit(&mut values);
        let Values(Hash(hash)) = values;
        self.with("hash of the parameters' values", format!("{hash:016x}"))
    }

    /// Adds a value by its text, such as a configuration. White space does not count.
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let words: Vec<_> = value.split_whitespace().collect();
        self.entries.push((name.to_string(), words.join(" ")));
        self
    }

    /// The first difference from what is expected.
    pub(super) fn difference(&self, expected: &Self) -> Option<Difference> {
        let longest = self.entries.len().max(expected.entries.len());
        (0..longest).find_map(|index| {
            let (found, expected) = (self.entries.get(index), expected.entries.get(index));
            if found == expected {
                return None;
            }
            let (what, _) = expected.or(found)?;
            let value = |entry: Option<&(String, String)>| match entry {
                Some((name, value)) if name == what => value.clone(),
                Some((name, value)) => format!("{name} {value}"),
                None => "missing".to_string(),
            };
            let (found, expected) = shortened(value(found), value(expected));
            Some(Difference {
                what: format!("the {what}"),
                found,
                expected,
            })
        })
    }
}

/// Of two long texts what surrounds the first difference.
fn shortened(left: String, right: String) -> (String, String) {
    const AROUND: usize = 60;
    if left.len().max(right.len()) <= 2 * AROUND {
        return (left, right);
    }
    let mut pairs = left.chars().zip(right.chars());
    let same = pairs
        .position(|(left, right)| left != right)
        .unwrap_or(left.chars().count().min(right.chars().count()));
    let part = |text: &str| {
        let start = same.saturating_sub(AROUND);
        let part: String = text.chars().skip(start).take(2 * AROUND).collect();
        let before = if start > 0 { "…" } else { "" };
        let after = if start + 2 * AROUND < text.chars().count() {
            "…"
        } else {
            ""
        };
        format!("{before}{part}{after}")
    };
    (part(&left), part(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when a difference in the middle of a long text is not in the part that is shown, or a missing entry is none.
    #[test]
    fn the_first_difference_is_shown_with_both_values() {
        let long = |middle: &str| format!("{}{middle}{}", "a".repeat(500), "b".repeat(500));
        let left = RunDescription::new()
            .with("seed", 1)
            .with("configuration", long("X"));
        let right = RunDescription::new()
            .with("seed", 1)
            .with("configuration", long("Y"));
        let found = left.difference(&right).expect("they differ");
        assert_eq!(found.what, "the configuration");
        assert!(found.found.contains("aXb") && found.expected.contains("aYb"));
        assert!(found.found.chars().count() < 130);
        assert_eq!(left.difference(&left), None);
        let less = RunDescription::new().with("seed", 1);
        let found = less.difference(&left).expect("they differ");
        assert_eq!(found.found, "missing");
        assert!(left.difference(&less).is_some());
    }
}
