use std::borrow::Cow;
use std::rc::Rc;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use safetensors::{Dtype, View};

use crate::pytorch::Layout;

/// A tensor in PyTorch's layout, whose values are read when they are written.
#[derive(Clone)]
pub(super) struct Exported {
    dtype: Dtype,
    shape: Vec<usize>,
    values: Rc<dyn Fn() -> TensorData>,
}

impl Exported {
    /// The tensor of the parameter that a layout is at; none if safetensors does not know its type.
    pub(super) fn new<B: Backend, const D: usize>(
        tensor: Tensor<B, D>,
        layout: &Layout,
    ) -> Option<Self> {
        let (dtype, stored) = match tensor.dtype() {
            DType::F64 => (Dtype::F64, DType::F64),
            // What is computed in less precision is kept in this one.
            DType::F32 | DType::Flex32 => (Dtype::F32, DType::F32),
            DType::F16 => (Dtype::F16, DType::F16),
            DType::BF16 => (Dtype::BF16, DType::BF16),
            _ => return None,
        };
        let shape = layout.pytorch_shape(&tensor.dims());
        let layout = layout.clone();
        let values = move || layout.to_pytorch(tensor.to_data().convert_dtype(stored));

        Some(Self {
            dtype,
            shape,
            values: Rc::new(values),
        })
    }
}

impl View for Exported {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (self.values)().as_bytes().to_vec().into()
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}
