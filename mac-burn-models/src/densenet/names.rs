use crate::pytorch::{next_number, numbered_name, tensor_name};

/// The name in the `state_dict` of timm's and of torchvision's DenseNets of the parameter at a path of a
/// [`DenseNet`](super::DenseNet).
///
/// ```
/// use mac_burn_models::densenet::timm_name;
///
/// let path = "blocks.0.layers.5.conv2.norm.gamma";
/// assert_eq!(timm_name(path), "features.denseblock1.denselayer6.norm2.weight");
/// ```
pub fn timm_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["stem", part, tensor] => {
            format!("features.{}", numbered_name("conv0", part, tensor, "norm"))
        }
        ["blocks", block, "layers", layer, conv, part, tensor] => {
            let (block, layer) = (next_number(block), next_number(layer));
            let tensor = numbered_name(conv, part, tensor, "norm");
            format!("features.denseblock{block}.denselayer{layer}.{tensor}")
        }
        ["transitions", index, _, part, tensor] => {
            let (number, tensor) = (next_number(index), tensor_name(tensor));
            format!("features.transition{number}.{part}.{tensor}")
        }
        // So also in networks that have not four blocks.
        ["norm", tensor] => format!("features.norm5.{}", tensor_name(tensor)),
        ["head", tensor] => format!("classifier.{tensor}"),
        _ => path.to_owned(),
    }
}

/// The name in the `state_dict` of the authors' DenseNets for CIFAR of the parameter at a path of a
/// [`DenseNet`](super::DenseNet).
///
/// ```
/// use mac_burn_models::densenet::authors_name;
///
/// let path = "blocks.0.layers.5.conv2.norm.gamma";
/// assert_eq!(authors_name(path), "dense1.5.bn2.weight");
/// ```
pub fn authors_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["stem", _, tensor] => format!("conv1.{tensor}"),
        ["blocks", block, "layers", layer, conv, part, tensor] => {
            let tensor = numbered_name(conv, part, tensor, "bn");
            format!("dense{}.{layer}.{tensor}", next_number(block))
        }
        ["transitions", index, conv, part, tensor] => {
            let tensor = numbered_name(conv, part, tensor, "bn");
            format!("trans{}.{tensor}", next_number(index))
        }
        ["norm", tensor] => format!("bn.{}", tensor_name(tensor)),
        ["head", tensor] => format!("linear.{tensor}"),
        _ => path.to_owned(),
    }
}
