//! Files of weights, read and written without the code under test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The tensors of a file by name.
pub(crate) type Tensors = BTreeMap<String, Stored>;

impl Stored {
    /// A tensor of single precision.
    pub(crate) fn single(shape: &[usize], values: &[f32]) -> Self {
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }

    /// A whole number.
    pub(crate) fn count(value: i64) -> Self {
        Self {
            dtype: Dtype::I64,
            shape: Vec::new(),
            bytes: value.to_le_bytes().into(),
        }
    }

    /// The values of a tensor of single precision.
    pub(crate) fn values(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        let (values, _) = self.bytes.as_chunks::<4>();
        values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    }
}

pub(crate) fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).expect("the file is there");
    let file = SafeTensors::deserialize(&bytes).expect("it is a file of safetensors");
    let tensors = file.tensors().into_iter().map(|(name, tensor)| {
        let stored = Stored {
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            bytes: tensor.data().to_vec(),
        };
        (name, stored)
    });

    tensors.collect()
}

pub(crate) fn write(path: &Path, tensors: &Tensors) {
    let views: BTreeMap<&String, TensorView> = tensors
        .iter()
        .map(|(name, stored)| {
            let view = TensorView::new(stored.dtype, stored.shape.clone(), &stored.bytes);
            (name, view.expect("the bytes are those of the shape"))
        })
        .collect();
    safetensors::serialize_to_file(&views, None, path).expect("the folder can be written to");
}
