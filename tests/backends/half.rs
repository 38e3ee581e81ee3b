//! Half precision: the digits network trained in it, and layers preconditioned in it, each against an oracle in `f64`.

use crate::digits_run::{STEPS, train};
use crate::run::{Bits, Filler, RandomBatches, float_tensors, largest_of};
use burn::module::AutodiffModule;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::softmax;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use mac_burn::{
    Coverage, Mac, MacConfig, MacConv2d, MacLinear, MacSelfAttention, SelfAttentionConfig,
};
use mac_burn_models::LeNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The digits network trained in half precision, and layers preconditioned in it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HalfRun {
    pub(crate) first_loss: Bits,
    pub(crate) last_loss: Bits,
    /// The types of the parameters after training.
    pub(crate) parameters: BTreeMap<String, String>,
    /// The types of the statistics after training, of every layer that has some.
    pub(crate) statistics: BTreeMap<String, String>,
    /// The largest errors of preconditioned gradients, in units of half an epsilon of the largest element, by layer.
    pub(crate) roundings: BTreeMap<String, Bits>,
}

/// Half-precision types, and the distance of 1 to the next larger number of each.
const TYPES: [(DType, f64); 2] = [(DType::F16, 1.0 / 1024.0), (DType::BF16, 1.0 / 128.0)];

/// The distance of 1 to the next larger number of `f32`.
const EPSILON_SINGLE: f64 = f32::EPSILON as f64;

/// The errors of gradients that were preconditioned in `f32`, in units of half an epsilon, by layer.
pub(crate) fn single_roundings<B: AutodiffBackend>() -> BTreeMap<String, Bits> {
    roundings::<B>(DType::F32, EPSILON_SINGLE)
}

/// Trains in each type that the backend and its device compute in.
pub(crate) fn half_runs<B: AutodiffBackend>() -> Vec<(String, Option<HalfRun>)> {
    let runs = TYPES.map(|(dtype, epsilon)| {
        let supported = B::supports_dtype(&Default::default(), dtype);
        let run = supported.then(|| half_run::<B>(dtype, epsilon));
        (format!("{dtype:?}"), run)
    });
    runs.into()
}

fn half_run<B: AutodiffBackend>(dtype: DType, epsilon: f64) -> HalfRun {
    let (network, optim, losses) = train::<B>(dtype, None, |_, _| {});
    let tensors = float_tensors(&network).into_iter();
    let dtypes = tensors.map(|(path, data)| (path, format!("{:?}", data.dtype)));
    HalfRun {
        first_loss: Bits(losses[0]),
        last_loss: Bits(losses[STEPS - 3..].iter().sum::<f64>() / 3.0),
        parameters: dtypes.collect(),
        statistics: statistics(&network, &optim),
        roundings: roundings::<B>(dtype, epsilon),
    }
}

/// The types of the moving averages and of the means in use. The first layer's covariance is kept in `f64`, on the host.
fn statistics<B: AutodiffBackend>(
    network: &LeNet<B>,
    optim: &Mac<LeNet<B>, B>,
) -> BTreeMap<String, String> {
    let layers = [
        ("conv2", network.conv2.weight.id),
        ("fc1", network.fc1.weight.id),
        ("fc2", network.fc2.weight.id),
        ("head", network.head.weight.id),
    ];
    let covered = optim.report(network).layers;
    let covered = covered
        .iter()
        .filter(|layer| layer.coverage == Coverage::MeanActivation)
        .map(|layer| layer.path.as_str());
    assert!(covered.eq(layers.map(|(name, _)| name)));
    let preconditioner = optim.preconditioner();
    let types = layers.into_iter().flat_map(|(name, id)| {
        let kept = [
            ("average", preconditioner.activation_ema(id)),
            ("mean in use", preconditioner.mean_activation(id)),
        ];
        kept.map(|(what, kept)| {
            let dtype = kept.map_or("none".into(), |kept| format!("{:?}", kept.dtype()));
            (format!("{name} {what}"), dtype)
        })
    });
    types.collect()
}

impl fmt::Display for HalfRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first_loss.0, self.last_loss.0);
        write!(f, "loss {first:.3} to {last:.3} in {STEPS} steps; ")?;
        write!(f, "preconditioned gradients off by, in roundings:")?;
        for (layer, off) in &self.roundings {
            write!(f, " {layer} {:.2}", off.0)?;
        }
        Ok(())
    }
}

const RECORDED_STEPS: usize = 10;
/// So little damping that most of a gradient is along the mean input, and goes: what is left shows an error of the mean.
const DAMPING: f64 = 0.1;
const STAT_DECAY: f64 = 0.9;

/// The errors of gradients that were preconditioned in a half-precision type, in units of half an epsilon of the largest
/// element, by layer.
pub(crate) fn roundings<B: AutodiffBackend>(dtype: DType, epsilon: f64) -> BTreeMap<String, Bits> {
    let device = Default::default();
    let linear: MacLinear<B> = LinearConfig::new(48, 16).init(&device).into();
    let conv = |channels, groups| -> MacConv2d<B> {
        let conv = Conv2dConfig::new(channels, [3, 3]).with_stride([2, 2]);
        conv.with_groups(groups).init(&device).into()
    };
    let attention: MacSelfAttention<B> = SelfAttentionConfig::new(16, 2).init(&device).into();
    let mut found = of_layer(linear, dtype, epsilon);
    found.extend(of_layer(conv([3, 8], 1), dtype, epsilon));
    found.extend(of_layer(conv([6, 8], 2), dtype, epsilon));
    found.extend(of_layer(conv([3, 3], 3), dtype, epsilon));
    found.extend(of_layer(attention, dtype, epsilon));
    found
}

/// The oracle takes inputs and gradients as the backend rounded them and computes in `f64`.
fn of_layer<B: AutodiffBackend, L: HalfLayer<B>>(
    layer: L,
    dtype: DType,
    epsilon: f64,
) -> BTreeMap<String, Bits> {
    let layer = layer.map(&mut Filler::new(11, dtype));
    let config = MacConfig::new()
        .with_damping(DAMPING)
        .with_stat_decay(STAT_DECAY)
        .with_tcov(1)
        .with_tinv(1);
    let mut preconditioner = config.init_preconditioner::<B>();
    let mut batches = RandomBatches::new(5, dtype);
    let mut means: BTreeMap<String, Mean> = BTreeMap::new();
    let mut errors: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..RECORDED_STEPS {
        let (loss, inputs) = layer.loss(&mut batches);
        for (part, input) in inputs {
            means.entry(part).or_default().observe(&input);
        }
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        let before = layer.gradients(&grads);
        let grads = preconditioner.precondition(&layer, grads);
        for ((part, found), (_, before)) in layer.gradients(&grads).into_iter().zip(&before) {
            let error = error(&found, &means[&part].precondition(before));
            errors
                .entry(part)
                .or_default()
                .push(error / (epsilon / 2.0));
        }
    }
    let largest = |(part, errors): (String, Vec<f64>)| (part, Bits(largest_of(errors.into_iter())));
    errors.into_iter().map(largest).collect()
}

/// The augmented gradient `[G ; g]` of a part of a layer, one column for each output.
pub(crate) type Columns = Vec<Vec<f64>>;

/// The moving average of `[x̄ ; 1]`, in `f64`.
#[derive(Default)]
struct Mean {
    average: Vec<f64>,
    weight: f64,
}

impl Mean {
    fn observe(&mut self, input: &[f64]) {
        self.average.resize(input.len(), 0.0);
        for (average, input) in self.average.iter_mut().zip(input) {
            *average = STAT_DECAY * *average + (1.0 - STAT_DECAY) * input;
        }
        self.weight = STAT_DECAY * self.weight + (1.0 - STAT_DECAY);
    }

    /// `g − a (a · g) / (ρ + ‖a‖²)` of each column `g`.
    fn precondition(&self, gradient: &Columns) -> Columns {
        let mean = self.average.iter().map(|average| average / self.weight);
        let mean: Vec<f64> = mean.chain([1.0]).collect();
        let scale = 1.0 / (DAMPING + dot(&mean, &mean));
        let column = |column: &Vec<f64>| {
            let along = scale * dot(&mean, column);
            let pairs = column.iter().zip(&mean);
            pairs.map(|(value, mean)| value - along * mean).collect()
        };
        gradient.iter().map(column).collect()
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}

/// The largest difference, as a share of the largest element.
fn error(found: &Columns, expected: &Columns) -> f64 {
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    let difference = pairs.map(|(found, expected)| (found - expected).abs());
    let size = expected.iter().flatten().map(|value| value.abs());
    largest_of(difference) / largest_of(size)
}

/// A layer whose parts have each a mean.
pub(crate) trait HalfLayer<B: AutodiffBackend>: AutodiffModule<B> {
    /// The loss of a random batch, and the mean input of each part in it.
    fn loss(&self, batches: &mut RandomBatches) -> (Tensor<B, 1>, Vec<(String, Vec<f64>)>);

    /// The gradient of each part.
    fn gradients(&self, grads: &GradientsParams) -> Vec<(String, Columns)>;
}

impl<B: AutodiffBackend> HalfLayer<B> for MacLinear<B> {
    fn loss(&self, batches: &mut RandomBatches) -> (Tensor<B, 1>, Vec<(String, Vec<f64>)>) {
        let inputs = batches.inputs::<B, 2>([64, self.weight.dims()[0]]);
        let mean = mean_row(&inputs);
        let loss = batches.loss(self.forward(inputs));
        (loss, vec![("linear".into(), mean)])
    }

    fn gradients(&self, grads: &GradientsParams) -> Vec<(String, Columns)> {
        vec![("linear".into(), linear_columns(self, grads))]
    }
}

/// A convolution's groups.
fn groups<B: Backend>(conv: &MacConv2d<B>) -> impl Iterator<Item = String> {
    let count = conv.groups;
    (1..=count).map(move |group| format!("convolution {group}/{count}"))
}

impl<B: AutodiffBackend> HalfLayer<B> for MacConv2d<B> {
    fn loss(&self, batches: &mut RandomBatches) -> (Tensor<B, 1>, Vec<(String, Vec<f64>)>) {
        let [_, of_group, _, _] = self.weight.dims();
        let images = batches.inputs::<B, 4>([16, of_group * self.groups, 9, 9]);
        let means = groups(self).enumerate().map(|(group, name)| {
            let images = images.clone().narrow(1, group * of_group, of_group);
            let shape = images.dims();
            let patch = mean_patch(&values(&images), shape, self.kernel_size, self.stride);
            (name, patch)
        });
        let means = means.collect();
        (batches.loss(self.forward(images)), means)
    }

    fn gradients(&self, grads: &GradientsParams) -> Vec<(String, Columns)> {
        let weight: Option<Tensor<B::InnerBackend, 4>> = grads.get(self.weight.id);
        let weight = values(&weight.expect("the weight has a gradient"));
        let bias = self.bias.as_ref().and_then(|bias| grads.get(bias.id));
        let bias: Tensor<B::InnerBackend, 1> = bias.expect("the bias has a gradient");
        let bias = values(&bias);
        let rows = weight.chunks(weight.len() / bias.len());
        let rows: Columns = rows
            .zip(&bias)
            .map(|(row, bias)| [row, &[*bias]].concat())
            .collect();
        let of_groups = rows.chunks(rows.len() / self.groups).map(<[_]>::to_vec);
        groups(self).zip(of_groups).collect()
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

/// The projections of attention.
fn projections() -> impl Iterator<Item = String> {
    ["queries", "keys", "values", "output"]
        .map(String::from)
        .into_iter()
}

impl<B: AutodiffBackend> HalfLayer<B> for MacSelfAttention<B> {
    fn loss(&self, batches: &mut RandomBatches) -> (Tensor<B, 1>, Vec<(String, Vec<f64>)>) {
        let tokens = batches.inputs::<B, 3>([8, 12, self.output.weight.dims()[0]]);
        let (probabilities, context) = attend(self, tokens.clone());
        let mean = mean_row(&tokens);
        let means = [
            mean.clone(),
            mean,
            attended_mean(&probabilities, &tokens),
            mean_row(&context),
        ];
        let means = projections().zip(means).collect();
        (batches.loss(self.forward(tokens, None)), means)
    }

    fn gradients(&self, grads: &GradientsParams) -> Vec<(String, Columns)> {
        let fused = linear_columns(&self.qkv, grads);
        let parts = fused.chunks(fused.len() / 3).map(<[_]>::to_vec);
        let parts = parts.chain([linear_columns(&self.output, grads)]);
        projections().zip(parts).collect()
    }
}

/// Probabilities, `[batch, heads, queries, keys]`, and the input of the output projection, by the layer's operations, so
/// that they round as its own do.
fn attend<B: AutodiffBackend>(
    layer: &MacSelfAttention<B>,
    tokens: Tensor<B, 3>,
) -> (Tensor<B, 4>, Tensor<B, 3>) {
    let [batch, count, size] = tokens.dims();
    let d_head = size / layer.n_heads;
    let all = layer.qkv.forward(tokens);
    let [query, key, value] = [0, 1, 2].map(|part| {
        all.clone()
            .narrow(2, part * size, size)
            .reshape([batch, count, layer.n_heads, d_head])
            .swap_dims(1, 2)
    });
    let scale = (d_head as f64).sqrt().recip();
    let probabilities = softmax(query.matmul(key.transpose()).mul_scalar(scale), 3);
    let context = probabilities.clone().matmul(value).swap_dims(1, 2);
    (probabilities, context.flatten(2, 3))
}

/// `Σ_n ᾱ_n X̄_n`: the probabilities averaged over batch, heads and queries, the tokens over the batch.
fn attended_mean<B: AutodiffBackend>(
    probabilities: &Tensor<B, 4>,
    tokens: &Tensor<B, 3>,
) -> Vec<f64> {
    let [batch, count, size] = tokens.dims();
    let attention = mean_row(probabilities);
    let tokens = values(tokens);
    let at = |token: usize, index: usize| {
        let of_batch = tokens.iter().skip(token * size + index);
        of_batch.step_by(count * size).sum::<f64>() / batch as f64
    };
    let element = |index| {
        (0..count)
            .map(|token| attention[token] * at(token, index))
            .sum()
    };
    (0..size).map(element).collect()
}
