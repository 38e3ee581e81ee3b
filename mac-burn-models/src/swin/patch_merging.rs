use burn::module::Module;
use burn::nn::LayerNorm;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacLinear;

use super::SwinConfig;
use super::config::STD;
use super::windows::padded;
use crate::transformer::{by_rows, normal_linear};

/// Makes one token of each 2×2, and so a map of half the height and width: a norm and a linear layer over the four, next
/// to each other.
///
/// A map of odd height or width is filled up with zeros. Part of a [`Swin`](super::Swin).
#[derive(Module, Debug)]
pub struct PatchMerging<B: Backend> {
    /// The norm of the four tokens.
    pub norm: LayerNorm<B>,
    /// The linear layer to the size of the next tokens, without a bias.
    pub reduction: MacLinear<B>,
}

impl<B: Backend> PatchMerging<B> {
    /// `d_model` are the sizes of the tokens that go in and of those that come out.
    pub(super) fn new(config: &SwinConfig, d_model: [usize; 2], device: &B::Device) -> Self {
        let [size_input, size_output] = d_model;
        Self {
            norm: config.norm(4 * size_input).init(device),
            reduction: normal_linear([4 * size_input, size_output], false, STD, device).into(),
        }
    }

    /// Applies the forward pass. Of four tokens the left two come first, in each pair the upper one.
    ///
    /// # Shapes
    /// - map: `[batch_size, height, width, d_input]`
    /// - output: `[batch_size, ⌈height / 2⌉, ⌈width / 2⌉, d_output]`
    pub fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let map = padded(map, [2, 2]);
        let [batch_size, height, width, d_model] = map.dims();
        let (rows, columns) = (height / 2, width / 2);
        let four = map
            .reshape([batch_size, rows, 2, columns, 2, d_model])
            .permute([0, 1, 3, 4, 2, 5])
            .reshape([batch_size, rows, columns, 4 * d_model]);
        by_rows(four, |four| self.reduction.forward(self.norm.forward(four)))
    }
}
