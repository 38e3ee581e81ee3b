//! Layers that record, and what the oracle knows of what they see.

use crate::half_gradient::Columns;
use burn::module::AutodiffModule;
use burn::nn::Linear;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor, TensorData};
use mac_burn::{MacConv2d, MacLinear};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A layer whose parts have each a mean.
pub(crate) trait HalfLayer<B: AutodiffBackend>: AutodiffModule<B> {
    /// The loss of a random batch, and the mean input of each part in it.
    fn loss(&self, batches: &mut Batches) -> (Tensor<B, 1>, Vec<(&'static str, Vec<f64>)>);

    /// The gradient of each part.
    fn gradients(&self, grads: &GradientsParams) -> Vec<(&'static str, Columns)>;
}

/// Random tensors of a type.
pub(crate) struct Batches {
    random: StdRng,
    dtype: DType,
}

impl Batches {
    pub(crate) fn new(seed: u64, dtype: DType) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            dtype,
        }
    }

    /// Inputs have a mean away from zero.
    pub(crate) fn inputs<B: Backend, const D: usize>(&mut self, shape: [usize; D]) -> Tensor<B, D> {
        self.uniform(0.0, shape)
    }

    /// The sum of outputs with random weights.
    pub(crate) fn loss<B: Backend, const D: usize>(
        &mut self,
        output: Tensor<B, D>,
    ) -> Tensor<B, 1> {
        let weights = self.uniform(-1.0, output.dims());
        (output * weights).sum()
    }

    fn uniform<B: Backend, const D: usize>(
        &mut self,
        from: f32,
        shape: [usize; D],
    ) -> Tensor<B, D> {
        let values =
            (0..shape.iter().product::<usize>()).map(|_| self.random.random_range(from..1.0));
        let data = TensorData::new::<f32, _>(values.collect(), shape);
        Tensor::from_data(data, (&Default::default(), self.dtype))
    }
}

impl<B: AutodiffBackend> HalfLayer<B> for MacLinear<B> {
    fn loss(&self, batches: &mut Batches) -> (Tensor<B, 1>, Vec<(&'static str, Vec<f64>)>) {
        let inputs = batches.inputs::<B, 2>([64, self.weight.dims()[0]]);
        let mean = mean_row(&inputs);
        let loss = batches.loss(self.forward(inputs));
        (loss, vec![("linear", mean)])
    }

    fn gradients(&self, grads: &GradientsParams) -> Vec<(&'static str, Columns)> {
        vec![("linear", linear_columns(self, grads))]
    }
}

impl<B: AutodiffBackend> HalfLayer<B> for MacConv2d<B> {
    fn loss(&self, batches: &mut Batches) -> (Tensor<B, 1>, Vec<(&'static str, Vec<f64>)>) {
        let [_, channels, _, _] = self.weight.dims();
        let shape = [16, channels, 9, 9];
        let images = batches.inputs::<B, 4>(shape);
        let patch = mean_patch(&values(&images), shape, self.kernel_size, self.stride);
        let loss = batches.loss(self.forward(images));
        (loss, vec![("convolution", patch)])
    }

    fn gradients(&self, grads: &GradientsParams) -> Vec<(&'static str, Columns)> {
        let weight: Option<Tensor<B::InnerBackend, 4>> = grads.get(self.weight.id);
        let weight = values(&weight.expect("the weight has a gradient"));
        let bias = self.bias.as_ref().and_then(|bias| grads.get(bias.id));
        let bias: Tensor<B::InnerBackend, 1> = bias.expect("the bias has a gradient");
        let bias = values(&bias);
        let rows = weight.chunks(weight.len() / bias.len());
        let rows = rows.zip(bias).map(|(row, bias)| [row, &[bias]].concat());
        vec![("convolution", rows.collect())]
    }
}

/// The mean of all patches that a kernel without padding sees.
fn mean_patch(
    images: &[f64],
    [batch, channels, height, width]: [usize; 4],
    kernel: [usize; 2],
    stride: [usize; 2],
) -> Vec<f64> {
    let positions = [
        (height - kernel[0]) / stride[0] + 1,
        (width - kernel[1]) / stride[1] + 1,
    ];
    let mut patch = Vec::new();
    for channel in 0..channels {
        for [row, column] in pairs(kernel) {
            let seen = (0..batch).flat_map(|image| {
                pairs(positions).map(move |[y, x]| {
                    let line = (image * channels + channel) * height + y * stride[0] + row;
                    images[line * width + x * stride[1] + column]
                })
            });
            let count = batch * positions[0] * positions[1];
            patch.push(seen.sum::<f64>() / count as f64);
        }
    }
    patch
}

fn pairs([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]))
}

/// The mean over all dimensions but the last.
pub(crate) fn mean_row<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f64> {
    let (values, size) = (values(tensor), tensor.dims()[D - 1]);
    let rows = values.len() / size;
    let column = |index| values.iter().skip(index).step_by(size).sum::<f64>();
    (0..size).map(|index| column(index) / rows as f64).collect()
}

pub(crate) fn linear_columns<B: AutodiffBackend>(
    layer: &Linear<B>,
    grads: &GradientsParams,
) -> Columns {
    let weight: Option<Tensor<B::InnerBackend, 2>> = grads.get(layer.weight.id);
    let weight = values(&weight.expect("the weight has a gradient"));
    let bias = layer.bias.as_ref().and_then(|bias| grads.get(bias.id));
    let bias: Tensor<B::InnerBackend, 1> = bias.expect("the bias has a gradient");
    let bias = values(&bias);
    let column = |output: usize| {
        let column = weight.iter().skip(output).step_by(bias.len()).copied();
        column.chain([bias[output]]).collect()
    };
    (0..bias.len()).map(column).collect()
}

pub(crate) fn values<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f64> {
    tensor.to_data().iter().collect()
}
