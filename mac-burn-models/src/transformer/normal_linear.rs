use burn::module::Initializer;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::backend::Backend;

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
