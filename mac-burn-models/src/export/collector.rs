use std::borrow::Cow;
use std::rc::Rc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use safetensors::{Dtype, View};

use super::{ExportError, Tensors};
use crate::pytorch::{Layout, Name};

/// Collects the tensors of a module, up to the first that cannot be stored.
pub(super) struct Collector {
    layout: Layout,
    found: Result<Tensors, ExportError>,
}

impl Collector {
    /// The tensors of a module by PyTorch's names.
    pub(super) fn of<B: Backend>(
        module: &impl Module<B>,
        name: Name,
    ) -> Result<Tensors, ExportError> {
        let mut collector = Self {
            layout: Layout::new(name),
            found: Ok(Vec::new()),
        };
        module.visit(&mut collector);

        collector.found
    }
}

impl<B: Backend> ModuleVisitor<B> for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.layout.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.layout.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Ok(found) = &mut self.found else {
            return;
        };
        let name = self.layout.pytorch_name();
        let tensor = param.transform_for_save().val();
        let dtype = tensor.dtype();
        match Exported::new(tensor, &self.layout) {
            Some(tensor) => found.push((name, tensor)),
            None => self.found = Err(ExportError::UnknownType { name, dtype }),
        }
    }
}

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
