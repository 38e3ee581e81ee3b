use crate::pytorch::{next_number, numbered_name, tensor_name};

/// The name in the `state_dict` of timm's and of torchvision's ResNets of the parameter at a path of a
/// [`ResNet`](super::ResNet).
///
/// ```
/// use mac_burn_models::resnet::timm_name;
///
/// let path = "stages.0.blocks.2.Bottleneck.conv3.norm.gamma";
/// assert_eq!(timm_name(path), "layer1.2.bn3.weight");
/// let path = "stages.1.blocks.0.Bottleneck.shortcut.projection.conv.weight";
/// assert_eq!(timm_name(path), "layer2.0.downsample.0.weight");
/// ```
pub fn timm_name(path: &str) -> String {
    name(path, "downsample", "fc")
}

/// The name in the `state_dict` of the authors' ResNets for CIFAR of the parameter at a path of a
/// [`ResNet`](super::ResNet).
///
/// ```
/// use mac_burn_models::resnet::authors_name;
///
/// let path = "stages.1.blocks.0.Basic.shortcut.projection.norm.running_mean";
/// assert_eq!(authors_name(path), "layer2.0.shortcut.1.running_mean");
/// assert_eq!(authors_name("head.bias"), "linear.bias");
/// ```
pub fn authors_name(path: &str) -> String {
    name(path, "shortcut", "linear")
}

fn name(path: &str, shortcut: &str, head: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["stem", part, tensor] => numbered_name("conv1", part, tensor, "bn"),
        ["stages", stage, "blocks", block, _, rest @ ..] => {
            let rest = match rest {
                ["shortcut", _, part, tensor] => {
                    let index = usize::from(*part == "norm");
                    format!("{shortcut}.{index}.{}", tensor_name(tensor))
                }
                [layer, part, tensor] => numbered_name(layer, part, tensor, "bn"),
                _ => rest.join("."),
            };
            format!("layer{}.{block}.{rest}", next_number(stage))
        }
        ["head", tensor] => format!("{head}.{tensor}"),
        _ => path.to_owned(),
    }
}
