//! Where a parameter is in a module, and how PyTorch lays it out.

/// Gives PyTorch's name to the parameter at a path.
pub(crate) type Name = fn(&str) -> String;

/// The way from a module to one of its parameters, kept while visiting.
#[derive(Debug)]
pub(crate) struct Layout {
    name: Name,
    /// The names of the fields, and the types that have them.
    path: Vec<(String, String)>,
}

impl Layout {
    /// At the module itself.
    pub(crate) fn new(name: Name) -> Self {
        let path = Vec::new();

        Self { name, path }
    }

    /// For `enter_module`.
    pub(crate) fn enter(&mut self, name: &str, container_type: &str) {
        self.path.push((name.to_owned(), container_type.to_owned()));
    }

    /// For `exit_module`.
    pub(crate) fn exit(&mut self) {
        self.path.pop();
    }

    /// The name of the parameter that is visited.
    pub(crate) fn pytorch_name(&self) -> String {
        let names: Vec<&str> = self.path.iter().map(|(name, _)| name.as_str()).collect();

        (self.name)(&names.join("."))
    }

    /// The shape that a parameter of this shape has in PyTorch.
    pub(crate) fn pytorch_shape(&self, shape: &[usize]) -> Vec<usize> {
        match self.is_transposed() {
            true => shape.iter().rev().copied().collect(),
            false => shape.to_vec(),
        }
    }

    /// Row-major values of a parameter of this shape, rearranged for PyTorch's layout.
    pub(crate) fn to_pytorch<T: Copy>(&self, shape: &[usize], values: Vec<T>) -> Vec<T> {
        match (self.is_transposed(), shape) {
            (true, &[rows, columns]) => transposed(&values, rows, columns),
            _ => values,
        }
    }

    /// Row-major values in PyTorch's layout, rearranged for a parameter of this shape here.
    pub(crate) fn to_burn<T: Copy>(&self, shape: &[usize], values: Vec<T>) -> Vec<T> {
        match (self.is_transposed(), shape) {
            (true, &[rows, columns]) => transposed(&values, columns, rows),
            _ => values,
        }
    }

    /// PyTorch's linear layers have the outputs first, Burn's the inputs.
    fn is_transposed(&self) -> bool {
        let last = self.path.last();

        last.is_some_and(|(name, of)| name == "weight" && of == "Struct:Linear")
    }
}

/// The transpose of a matrix of this shape.
fn transposed<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut output = Vec::with_capacity(values.len());
    for column in 0..columns {
        for row in 0..rows {
            output.push(values[row * columns + column]);
        }
    }

    output
}

#[test]
fn a_transpose_goes_there_and_back() {
    let mut layout = Layout::new(str::to_owned);
    layout.enter("head", "Struct:Model");
    layout.enter("weight", "Struct:Linear");
    let values = vec![1, 2, 3, 4, 5, 6];

    let pytorch = layout.to_pytorch(&[2, 3], values.clone());
    assert_eq!(pytorch, [1, 4, 2, 5, 3, 6]);
    assert_eq!(layout.pytorch_name(), "head.weight");
    assert_eq!(layout.pytorch_shape(&[2, 3]), [3, 2]);
    assert_eq!(layout.to_burn(&[2, 3], pytorch), values);

    layout.exit();
    assert_eq!(layout.to_pytorch(&[2, 3], values.clone()), values);
}
