//! Parts that the transformers of this crate share.

mod drop_path;
mod gelu;

use burn::module::{Initializer, Module};
use burn::nn::{Dropout, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacLinear;

pub use drop_path::DropPath;
pub use gelu::Gelu;

/// The two linear layers of a transformer's block with a [`Gelu`] between them, applied to each token (A. Vaswani et al.,
/// "Attention Is All You Need", [arXiv:1706.03762](https://arxiv.org/abs/1706.03762), section 3.3).
///
/// From tokens of size d over a hidden size h there are 2dh + h + d parameters, 2dh without biases.
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    /// The layer to the hidden size.
    pub fc1: MacLinear<B>,
    /// The activation between the layers.
    pub gelu: Gelu,
    /// Drops hidden values, in training.
    pub dropout: Dropout,
    /// The layer back to the size of a token.
    pub fc2: MacLinear<B>,
}

impl<B: Backend> FeedForward<B> {
    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - input and output: `[.., d_model]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        by_rows(input, |tokens| {
            let hidden = self.gelu.forward(self.fc1.forward(tokens));
            self.fc2.forward(self.dropout.forward(hidden))
        })
    }
}

/// Applies a function of tokens to a tensor of any rank, with all axes but the last as one.
///
/// Burn 0.21 multiplies a tensor of more axes by a weight once for each index of all but its last two. The gradient of the
/// weight is then the sum of as many products of the weight's size, all of which are in memory: 28 for two maps of 14×14.
///
/// # Shapes
/// - input and output: `[.., size]`, where the sizes may differ
pub(crate) fn by_rows<B: Backend, const D: usize>(
    input: Tensor<B, D>,
    function: impl FnOnce(Tensor<B, 2>) -> Tensor<B, 2>,
) -> Tensor<B, D> {
    let mut shape = input.dims();
    let rows: usize = shape[..D - 1].iter().product();
    let output = function(input.reshape([rows, shape[D - 1]]));
    shape[D - 1] = output.dims()[1];
    output.reshape(shape)
}

/// A linear layer with normal weights and a bias of zeros; Burn's own configuration has one initializer for both.
///
/// `size` is `[size_input, size_output]`.
pub(crate) fn normal_linear<B: Backend>(
    size: [usize; 2],
    bias: bool,
    std: f64,
    device: &B::Device,
) -> Linear<B> {
    let [size_input, size_output] = size;
    let mut linear = LinearConfig::new(size_input, size_output)
        .with_bias(bias)
        .with_initializer(Initializer::Zeros)
        .init(device);
    linear.weight = Initializer::Normal { mean: 0.0, std }.init(size, device);
    linear
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;

    use super::*;
    use crate::testing::TestBackend;

    /// `[a + 10 b + 100 c, b + 2 c]` of each row `[a, b, c]`; the rows count from 0.
    fn changed<const D: usize>(shape: [usize; D]) -> Tensor<TestBackend, D> {
        let device = Default::default();
        let weight = [[1.0, 0.0], [10.0, 1.0], [100.0, 2.0]];
        let weight = Tensor::<TestBackend, 2>::from_data(weight, &device);
        let count = shape.iter().product::<usize>() as i64;
        let input = Tensor::<TestBackend, 1, Int>::arange(0..count, &device);
        by_rows(input.float().reshape(shape), |rows| rows.matmul(weight))
    }

    /// Breaks when rows are put together to another shape, or the last axis keeps its size.
    #[test]
    fn each_row_of_a_tensor_of_any_rank_is_changed() {
        let expected: [f32; 8] = [210., 5., 543., 14., 876., 23., 1209., 32.];
        let map = changed([2, 1, 2, 3]);
        assert_eq!(map.dims(), [2, 1, 2, 2]);
        let found: Vec<f32> = map.into_data().iter().collect();
        assert_eq!(found, expected);
        let found: Vec<f32> = changed([3]).into_data().iter().collect();
        assert_eq!(found, expected[..2]);
    }
}
