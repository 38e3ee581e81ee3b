use burn::module::Initializer;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::backend::Backend;

/// A linear layer of size `[inputs, outputs]` whose weight and bias start with these.
pub(crate) fn linear<B: Backend>(
    size: [usize; 2],
    weight: &Initializer,
    bias: &Initializer,
    device: &B::Device,
) -> Linear<B> {
    let [inputs, outputs] = size;
    let fans = (Some(inputs), Some(outputs));
    let mut linear = LinearConfig::new(inputs, outputs).init(device);
    linear.weight = weight.init_with(size, fans.0, fans.1, device);
    linear.bias = Some(bias.init_with([outputs], fans.0, fans.1, device));
    linear
}
