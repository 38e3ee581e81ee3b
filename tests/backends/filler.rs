use burn::module::{ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Fills parameters with values that do not depend on the backend.
pub(crate) struct Filler {
    random: StdRng,
    dtype: DType,
}

impl Filler {
    pub(crate) fn new(seed: u64, dtype: DType) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            dtype,
        }
    }
}

impl<B: Backend> ModuleMapper<B> for Filler {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let dims = tensor.dims();
        // A weight of rank 2 has its inputs first, one of rank 4 has them after its outputs.
        let inputs: usize = match D {
            1 => 64,
            2 => dims[0],
            _ => dims[1..].iter().product(),
        };
        let bound = (3.0 / inputs as f32).sqrt();
        let values = (0..tensor.shape().num_elements())
            .map(|_| self.random.random_range(-bound..bound))
            .collect();
        let data = TensorData::new::<f32, _>(values, tensor.shape());
        let tensor = Tensor::from_data(data, (&tensor.device(), self.dtype)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}
