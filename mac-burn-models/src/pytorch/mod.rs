//! How PyTorch names and lays out the parameters of a module.
//!
//! Each family has functions that give PyTorch's name to the parameter at a path, such as
//! [`vision_transformer::timm_name`](crate::vision_transformer::timm_name); a [`Layout`] follows a pass over a module and applies one.
//!
//! With the feature `import` the crate has `import::load`, which reads weights that PyTorch stored, and with `export`
//! `export::save`, which stores them for it.

#[cfg(any(feature = "import", feature = "export"))]
pub(crate) mod conventions;

#[cfg(any(feature = "import", feature = "export"))]
use burn::module::Module;
use burn::tensor::TensorData;
#[cfg(any(feature = "import", feature = "export"))]
use burn::tensor::backend::Backend;

/// Gives PyTorch's name to the parameter at a path, the names of the fields joined with dots.
pub type Name = fn(&str) -> String;

/// The way from a module to one of its parameters, which tells how PyTorch names and lays out the parameter.
///
/// A [`ModuleVisitor`](burn::module::ModuleVisitor) or [`ModuleMapper`](burn::module::ModuleMapper) keeps one, and
/// hands it what it is told of entering and leaving modules. Linear layers are the only ones whose weight Burn lays out
/// otherwise: `[in, out]`, where PyTorch has `[out, in]`.
///
/// ```
/// use burn::tensor::TensorData;
/// use mac_burn_models::{vision_transformer::timm_name, pytorch::Layout};
///
/// let mut layout = Layout::new(timm_name);
/// layout.enter("head", "Struct:VisionTransformer");
/// layout.enter("weight", "Struct:Linear");
///
/// assert_eq!(layout.pytorch_name(), "head.weight");
/// assert_eq!(layout.pytorch_shape(&[192, 1000]), [1000, 192]);
/// let weight = layout.to_pytorch(TensorData::from([[1, 2, 3], [4, 5, 6]]));
/// assert_eq!(weight, TensorData::from([[1, 4], [2, 5], [3, 6]]));
/// ```
#[derive(Clone, Debug)]
pub struct Layout {
    name: Name,
    /// The names of the fields, and the types that have them.
    path: Vec<(String, String)>,
}

impl Layout {
    /// At the module itself, whose parameters PyTorch names by `name`.
    pub fn new(name: Name) -> Self {
        let path = Vec::new();

        Self { name, path }
    }

    /// For `enter_module`.
    pub fn enter(&mut self, name: &str, container_type: &str) {
        self.path.push((name.to_owned(), container_type.to_owned()));
    }

    /// For `exit_module`.
    pub fn exit(&mut self) {
        self.path.pop();
    }

    /// The path of the parameter that is visited, the names of the fields joined with dots.
    pub fn path(&self) -> String {
        let names: Vec<&str> = self.path.iter().map(|(name, _)| name.as_str()).collect();

        names.join(".")
    }

    /// The name that PyTorch gives to the parameter that is visited.
    pub fn pytorch_name(&self) -> String {
        (self.name)(&self.path())
    }

    /// The shape that a parameter of this shape has in PyTorch.
    pub fn pytorch_shape(&self, shape: &[usize]) -> Vec<usize> {
        match self.is_transposed() {
            true => shape.iter().rev().copied().collect(),
            false => shape.to_vec(),
        }
    }

    /// The values of the parameter that is visited, in PyTorch's layout.
    pub fn to_pytorch(&self, values: TensorData) -> TensorData {
        self.exchanged(values)
    }

    /// Values of the parameter that is visited in PyTorch's layout, in that of the module.
    pub fn to_burn(&self, values: TensorData) -> TensorData {
        self.exchanged(values)
    }

    /// A transpose is its own inverse.
    fn exchanged(&self, values: TensorData) -> TensorData {
        match (self.is_transposed(), values.shape.as_slice()) {
            (true, &[rows, columns]) => transposed(&values, rows, columns),
            _ => values,
        }
    }

    /// PyTorch's linear layers have the outputs first, Burn's the inputs.
    fn is_transposed(&self) -> bool {
        let last = self.path.last();

        last.is_some_and(|(name, of)| name == "weight" && of == "Struct:Linear")
    }
}

/// The transpose of a matrix, whatever the type of its elements.
fn transposed(values: &TensorData, rows: usize, columns: usize) -> TensorData {
    let (bytes, size) = (values.as_bytes(), values.dtype.size());
    let mut output = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            let at = (row * columns + column) * size;
            output.extend_from_slice(&bytes[at..at + size]);
        }
    }

    TensorData::from_bytes_vec(output, [columns, rows], values.dtype)
}

/// PyTorch's name of a tensor of a norm or of another layer.
pub(crate) fn tensor_name(tensor: &str) -> &str {
    match tensor {
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    }
}

/// PyTorch's name of a tensor of a convolution with a norm, which are not one module there but two with the same number:
/// `conv2.norm.gamma`, given as three parts, becomes `bn2.weight` where norms are called `bn`, and `conv2.conv.weight` becomes
/// `conv2.weight`.
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

/// Brings the running statistics of norms up to date, in a module and those that share them.
///
/// A training step leaves its statistics aside, for other threads to add theirs. Burn takes them in when it makes a
/// record, and not when it visits or maps a module; a mapped value would be replaced by them later.
#[cfg(any(feature = "import", feature = "export"))]
pub(crate) fn settle<B: Backend>(module: &impl Module<B>) {
    drop(module.clone().into_record());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when the elements of another type than the test's own are cut or mixed, or a weight of another layer than
    /// a linear one is transposed.
    #[test]
    fn a_transpose_goes_there_and_back() {
        let mut layout = Layout::new(str::to_owned);
        layout.enter("head", "Struct:Model");
        layout.enter("weight", "Struct:Linear");
        let values = TensorData::from([[1.0f64, 2.0, 3.0], [4.0, 5.0, 6.0]]);

        let pytorch = layout.to_pytorch(values.clone());
        assert_eq!(
            pytorch,
            TensorData::from([[1.0f64, 4.0], [2.0, 5.0], [3.0, 6.0]])
        );
        assert_eq!(layout.path(), "head.weight");
        assert_eq!(layout.pytorch_name(), "head.weight");
        assert_eq!(layout.pytorch_shape(&[2, 3]), [3, 2]);
        assert_eq!(layout.to_burn(pytorch), values);

        layout.exit();
        assert_eq!(layout.to_pytorch(values.clone()), values);
    }
}
