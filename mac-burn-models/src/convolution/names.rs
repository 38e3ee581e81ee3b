//! Parts of names in PyTorch, where a convolution and its norm are not one module but two with the same number.

/// The name of a tensor of a norm or of another layer.
pub(crate) fn tensor_name(tensor: &str) -> &str {
    match tensor {
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    }
}

/// The name of a tensor of a convolution with a norm: `conv2.norm.gamma`, given as three parts, becomes `bn2.weight` where
/// norms are called `bn`, and `conv2.conv.weight` becomes `conv2.weight`.
pub(crate) fn numbered_name(layer: &str, part: &str, tensor: &str, norm: &str) -> String {
    let tensor = tensor_name(tensor);
    match (part, layer.strip_prefix("conv")) {
        ("norm", Some(number)) => format!("{norm}{number}.{tensor}"),
        _ => format!("{layer}.{tensor}"),
    }
}

/// The next number, where PyTorch's names count from 1.
pub(crate) fn next_number(index: &str) -> String {
    let number = index.parse::<usize>();
    number.map_or_else(|_| index.to_owned(), |number| (number + 1).to_string())
}
