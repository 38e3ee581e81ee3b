//! What the state of a network is called in PyTorch.

/// The name in torchvision's and timm's `state_dict` of the parameter at a path of a [`ResNet`](super::ResNet).
///
/// The two agree. A path is as Burn's `ModuleVisitor` and records have it, joined with dots; one that is not of a ResNet
/// stays as it is. Running statistics have names too; the number of batches that PyTorch counts has none in Burn.
///
/// # Example
/// ```
/// use mac_burn_models::resnet::timm_name;
///
/// let name = timm_name("stages.1.blocks.0.Bottleneck.shortcut.projection.norm.gamma");
/// assert_eq!(name, "layer2.0.downsample.1.weight");
/// assert_eq!(timm_name("head.weight"), "fc.weight");
/// ```
pub fn timm_name(path: &str) -> String {
    Names {
        shortcut: "downsample",
        head: "fc",
    }
    .name(path)
}

/// The same in the `state_dict` of the definitions for CIFAR that MAC's authors use.
///
/// # Example
/// ```
/// use mac_burn_models::resnet::authors_name;
///
/// let name = authors_name("stages.1.blocks.0.Basic.shortcut.projection.conv.weight");
/// assert_eq!(name, "layer2.0.shortcut.0.weight");
/// assert_eq!(authors_name("head.weight"), "linear.weight");
/// ```
pub fn authors_name(path: &str) -> String {
    Names {
        shortcut: "shortcut",
        head: "linear",
    }
    .name(path)
}

/// The names that differ between definitions.
struct Names {
    shortcut: &'static str,
    head: &'static str,
}

impl Names {
    fn name(&self, path: &str) -> String {
        let parts: Vec<&str> = path.split('.').collect();
        let name = match *parts.as_slice() {
            ["stem", ref layer @ ..] => self.in_block(layer),
            ["stages", stage, "blocks", block, _kind, ref layer @ ..] => from_one("layer", stage)
                .zip(self.in_block(layer))
                .map(|(stage, layer)| format!("{stage}.{block}.{layer}")),
            ["head", parameter] => Some(format!("{}.{parameter}", self.head)),
            _ => None,
        };
        name.unwrap_or_else(|| path.to_owned())
    }

    /// Of a parameter of a stem or a block.
    fn in_block(&self, path: &[&str]) -> Option<String> {
        let (layer, index, parameter) = match *path {
            ["shortcut", "projection", "conv", parameter] => (self.shortcut, ".0", parameter),
            ["shortcut", "projection", "norm", parameter] => (self.shortcut, ".1", parameter),
            [layer, "conv", parameter] => (layer, "", parameter),
            [layer, "norm", parameter] => {
                return Some(of_norm(layer.strip_prefix("conv")?, parameter));
            }
            _ => return None,
        };
        Some(format!("{layer}{index}.{}", parameter_name(parameter)))
    }
}

/// Of a parameter of the norm of this number.
pub(crate) fn of_norm(number: &str, parameter: &str) -> String {
    format!("bn{number}.{}", parameter_name(parameter))
}

/// A prefix and an index, which PyTorch's names of stages count from 1 and paths from 0.
pub(crate) fn from_one(prefix: &str, index: &str) -> Option<String> {
    let index: usize = index.parse().ok()?;
    Some(format!("{prefix}{}", index + 1))
}

/// Norms have a scale and a shift in Burn, and a weight and a bias in PyTorch.
pub(crate) fn parameter_name(parameter: &str) -> &str {
    match parameter {
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    }
}
