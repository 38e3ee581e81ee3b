use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

use super::DeitConfig;

/// Makes a token of each patch of an image: a convolution whose stride is its kernel.
///
/// Part of a [`Deit`](super::Deit).
#[derive(Module, Debug)]
pub struct PatchEmbedding<B: Backend> {
    /// The linear map of a patch, as a convolution.
    pub projection: MacConv2d<B>,
}

impl<B: Backend> PatchEmbedding<B> {
    pub(super) fn new(config: &DeitConfig, device: &B::Device) -> Self {
        let patch = [config.patch_size; 2];
        let projection = Conv2dConfig::new([config.image_channels, config.d_model], patch)
            .with_stride(patch)
            .init(device);
        Self {
            projection: projection.into(),
        }
    }

    /// The tokens, in the order of rows of patches.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, patches, d_model]`
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let grid = self.projection.forward(images);
        grid.flatten::<3>(2, 3).swap_dims(1, 2)
    }
}
