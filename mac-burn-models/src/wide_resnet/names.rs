use crate::convolution::{next_number, tensor_name};

/// The name in the `state_dict` of the authors' `WideResNet` of the parameter at a path of a
/// [`WideResNet`](super::WideResNet).
///
/// ```
/// use mac_burn_models::wide_resnet::authors_name;
///
/// let path = "groups.1.blocks.0.norm2.running_var";
/// assert_eq!(authors_name(path), "block2.layer.0.bn2.running_var");
/// let path = "groups.0.blocks.0.shortcut.weight";
/// assert_eq!(authors_name(path), "block1.layer.0.convShortcut.weight");
/// ```
pub fn authors_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["stem", tensor] => format!("conv1.{tensor}"),
        ["groups", group, "blocks", block, layer, tensor] => {
            let layer = match *layer {
                "norm1" => "bn1",
                "norm2" => "bn2",
                "shortcut" => "convShortcut",
                other => other,
            };
            let (group, tensor) = (next_number(group), tensor_name(tensor));
            format!("block{group}.layer.{block}.{layer}.{tensor}")
        }
        ["norm", tensor] => format!("bn1.{}", tensor_name(tensor)),
        ["head", tensor] => format!("fc.{tensor}"),
        _ => path.to_owned(),
    }
}
