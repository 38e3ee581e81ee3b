use burn::module::Initializer;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::MacConv2d;

/// A convolution without a bias; `channels` is `[channels_in, channels_out]`, and the kernel is odd and padded by half of it,
/// so that the stride alone changes the size.
pub(crate) fn conv<B: Backend>(
    channels: [usize; 2],
    kernel_size: usize,
    stride: usize,
    initializer: &Initializer,
    device: &B::Device,
) -> MacConv2d<B> {
    let padding = kernel_size / 2;
    Conv2dConfig::new(channels, [kernel_size; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(
            padding, padding, padding, padding,
        ))
        .with_bias(false)
        .with_initializer(initializer.clone())
        .init(device)
        .into()
}

/// The mean over all positions of `[batch_size, channels, height, width]`.
pub(crate) fn mean_over_positions<B: Backend>(features: Tensor<B, 4>) -> Tensor<B, 2> {
    features.flatten::<3>(2, 3).mean_dim(2).flatten(1, 2)
}
