use burn::module::Module;
use burn::nn::LayerNorm;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

use super::SwinConfig;

/// Makes a token of each patch of an image: a convolution whose stride is its kernel, and a norm.
///
/// Part of a [`Swin`](super::Swin).
#[derive(Module, Debug)]
pub struct SwinPatchEmbedding<B: Backend> {
    /// The linear map of a patch, as a convolution.
    pub projection: MacConv2d<B>,
    /// The norm of each token.
    pub norm: LayerNorm<B>,
}

impl<B: Backend> SwinPatchEmbedding<B> {
    pub(super) fn new(config: &SwinConfig, d_model: usize, device: &B::Device) -> Self {
        let projection = Conv2dConfig::new([config.image_channels, d_model], config.patch_size)
            .with_stride(config.patch_size)
            .init(device);
        Self {
            projection: projection.into(),
            norm: config.norm(d_model).init(device),
        }
    }

    /// The map of tokens.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, image_height, image_width]`
    /// - output: `[batch_size, height, width, d_model]`
    ///
    /// # Panics
    /// If the images have another number of channels than the configuration, or hold no patch.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, height, width] = images.dims();
        let patch = self.projection.kernel_size;
        assert!(
            height >= patch[0] && width >= patch[1],
            "an image must hold a patch, but their sizes are {:?} and {patch:?}",
            [height, width]
        );
        let map = self.projection.forward(images);
        self.norm.forward(map.permute([0, 2, 3, 1]))
    }
}
