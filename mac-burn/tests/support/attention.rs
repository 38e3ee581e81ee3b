//! Attention and its statistics by their definitions, in loops over `f64` on the host, and the masks and
//! helpers that the tests of attention share.

use super::support::{filled, random};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::nn::Linear;
use burn::nn::attention::{MultiHeadAttention, MultiHeadAttentionConfig};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, Tensor, TensorData};
use burn_ndarray::NdArray;
use mac_burn::{
    AttentionInput, MacConfig, MacMultiHeadAttention, MacPreconditioner, MacSelfAttention,
    SelfAttentionConfig,
};

pub type F64 = Autodiff<NdArray<f64>>;

/// Whether a position of a sample is padded.
pub type Padded = fn(usize, usize) -> bool;

/// Whether in a sample a query does not attend to a key.
pub type Masked = fn(usize, usize, usize) -> bool;

// With heads of 4, whose square root is the same in `f32`, where Burn takes it.
pub const BATCH: usize = 3;
pub const QUERIES: usize = 4;
pub const KEYS: usize = 5;
pub const SIZE: usize = 8;
pub const HEADS: usize = 2;

/// Samples of different lengths.
pub const LENGTHS: Padded = |sample, position| position + sample > 4;

/// Samples of one length.
pub const END: Padded = |_, position| position > 2;

/// Samples of different lengths, and one position that no sample has.
pub const HOLE: Padded = |sample, position| position == 2 || position + sample > 4;

/// A token attends to itself and to those before it.
pub const CAUSAL: Masked = |_, query, key| key > query;

/// Another mask for each sample.
pub const STRIPES: Masked = |sample, query, key| (sample + query + key).is_multiple_of(3);

pub fn mask_pad<B: Backend>([batch, tokens]: [usize; 2], padded: Padded) -> Tensor<B, 2, Bool> {
    let values = (0..batch * tokens).map(|index| padded(index / tokens, index % tokens));
    let data = TensorData::new(values.collect::<Vec<bool>>(), [batch, tokens]);
    Tensor::from_data(data, &Default::default())
}

pub fn mask_attn<B: Backend>(shape: [usize; 3], masked: Masked) -> Tensor<B, 3, Bool> {
    let [_, queries, keys] = shape;
    let values = (0..shape.iter().product()).map(|index| {
        let (row, key) = (index / keys, index % keys);
        masked(row / queries, row % queries, key)
    });
    let data = TensorData::new(values.collect::<Vec<bool>>(), shape);
    Tensor::from_data(data, &Default::default())
}

/// The masks of a forward pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks {
    pub keys: Option<Padded>,
    pub queries: Option<Padded>,
    pub attention: Option<Masked>,
}

impl Masks {
    /// All that a forward pass is tested with.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for keys in [None, Some(LENGTHS), Some(HOLE)] {
            for queries in [None, Some(LENGTHS)] {
                all.extend([None, Some(CAUSAL), Some(STRIPES)].map(|attention| Self {
                    keys,
                    queries,
                    attention,
                }));
            }
        }
        all
    }

    pub fn applied<B: Backend>(
        &self,
        mut input: AttentionInput<B>,
        queries: usize,
    ) -> AttentionInput<B> {
        if let Some(padded) = self.keys {
            input = input.mask_pad(mask_pad([BATCH, KEYS], padded));
        }
        if let Some(padded) = self.queries {
            input = input.mask_pad_query(mask_pad([BATCH, queries], padded));
        }
        if let Some(masked) = self.attention {
            input = input.mask_attn(mask_attn([BATCH, queries, KEYS], masked));
        }
        input
    }
}

/// Query, key and value of a cross-attention.
pub fn inputs<B: Backend>(seed: u64) -> [Tensor<B, 3>; 3] {
    [
        random([BATCH, QUERIES, SIZE], seed),
        random([BATCH, KEYS, SIZE], seed + 1),
        random([BATCH, KEYS, SIZE], seed + 2),
    ]
}

/// Far below any score where `masked`, and 0 elsewhere, `[samples, 1, tokens, tokens]`.
pub fn score_bias<B: Backend>(samples: usize, masked: Masked) -> Tensor<B, 4> {
    let mask = mask_attn::<B>([samples, KEYS, KEYS], masked);
    let bias = Tensor::zeros([samples, KEYS, KEYS], &Default::default());
    bias.mask_fill(mask, -1e4).unsqueeze_dim(1)
}

/// Lets gradients flow back through an output, so that the passes that made it count.
pub fn backward<B: AutodiffBackend, const D: usize>(output: Tensor<B, D>) {
    drop(output.sum().backward());
}

/// Gradients of ones for all trained parameters: a step takes what was recorded of layers that have a gradient.
pub fn ones<B: AutodiffBackend, M: AutodiffModule<B>>(module: &M) -> GradientsParams {
    struct Ones(GradientsParams);
    impl<B: AutodiffBackend> ModuleVisitor<B> for Ones {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let value = param.val();
            if value.is_require_grad() {
                self.0.register(param.id, value.inner().ones_like());
            }
        }
    }
    let mut ones = Ones(GradientsParams::new());
    module.visit(&mut ones);
    ones.0
}

/// A preconditioner that has seen what the recorders of `module` hold, and believes only that.
pub fn observed<B: AutodiffBackend, M: AutodiffModule<B>>(module: &M) -> MacPreconditioner<B> {
    let config = MacConfig::new()
        .with_stat_decay(0.0)
        .with_tcov(1)
        .with_tinv(1);
    let mut preconditioner = config.init_preconditioner();
    preconditioner.precondition(module, ones(module));
    preconditioner
}

/// The means that a layer recorded, `[means, size + 1]`.
pub fn means<B: AutodiffBackend>(
    preconditioner: &MacPreconditioner<B>,
    weight: &Param<Tensor<B, 2>>,
) -> Vec<f64> {
    let ema = preconditioner.activation_ema(weight.id);
    ema.expect("the layer recorded")
        .into_data()
        .iter()
        .collect()
}

/// A layer that makes 0 of everything.
pub fn zeroed<B: Backend>(mut layer: Linear<B>) -> Linear<B> {
    layer.weight = layer
        .weight
        .map(|weight| weight.zeros_like().require_grad());
    let bias = |bias: Param<Tensor<B, 1>>| bias.map(|bias| bias.zeros_like().require_grad());
    layer.bias = layer.bias.map(bias);
    layer
}

pub fn assert_close(left: &[f64], right: &[f64], tolerance: f64, case: &str) {
    assert_eq!(left.len(), right.len(), "{case}");
    for (left, right) in left.iter().zip(right) {
        let difference = (left - right).abs();
        assert!(difference <= tolerance, "{case}: {left} is not {right}");
    }
}

/// A tensor on the host.
#[derive(Clone)]
pub struct Host {
    shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Host {
    pub fn of<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Self {
        Self {
            shape: tensor.dims().to_vec(),
            values: tensor.to_data().iter().collect(),
        }
    }

    fn at<const D: usize>(&self, index: [usize; D]) -> f64 {
        let flat = index
            .iter()
            .zip(&self.shape)
            .fold(0, |flat, (i, n)| flat * n + i);
        self.values[flat]
    }

    /// The output of a linear layer for these tokens.
    pub fn through<B: Backend>(&self, layer: &Linear<B>) -> Self {
        let weight = Self::of(&layer.weight.val());
        let bias = layer.bias.as_ref().map(|bias| Self::of(&bias.val()));
        let (size, size_output) = (weight.shape[0], weight.shape[1]);
        let mut values = Vec::new();
        for token in self.values.chunks(size) {
            for output in 0..size_output {
                let start = bias.as_ref().map_or(0.0, |bias| bias.values[output]);
                let sum = (0..size).map(|input| token[input] * weight.at([input, output]));
                values.push(start + sum.sum::<f64>());
            }
        }
        let shape = vec![self.shape[0], self.shape[1], size_output];
        Self { shape, values }
    }

    /// Heads of this many columns, each so many times in a row.
    pub fn repeated(&self, width: usize, times: usize) -> Self {
        let heads = self.values.chunks(width);
        let mut shape = self.shape.clone();
        shape[2] *= times;
        Self {
            values: heads.flat_map(|head| head.repeat(times)).collect(),
            shape,
        }
    }

    /// `[x̄ ; 1]` over the tokens that are not padded.
    pub fn token_mean(&self, padded: Option<Padded>) -> Vec<f64> {
        let (batch, tokens, size) = (self.shape[0], self.shape[1], self.shape[2]);
        let valid = valid_positions(batch, tokens, padded);
        let mean = |column| {
            let sum: f64 = valid.iter().map(|(b, n)| self.at([*b, *n, column])).sum();
            sum / valid.len() as f64
        };
        (0..size).map(mean).chain([1.0]).collect()
    }
}

fn valid_positions(batch: usize, tokens: usize, padded: Option<Padded>) -> Vec<(usize, usize)> {
    let all = (0..batch).flat_map(|sample| (0..tokens).map(move |position| (sample, position)));
    all.filter(|(sample, position)| !padded.is_some_and(|padded| padded(*sample, *position)))
        .collect()
}

/// An attention's queries and keys after their projections, its values before and after, and how they
/// are attended to.
pub struct Attention {
    pub query: Host,
    pub key: Host,
    pub values: Host,
    pub projected_values: Host,
    pub heads: usize,
    pub masks: Masks,
    /// Whether padded keys are attended to all the same.
    pub attends_padded: bool,
    pub quiet: bool,
}

impl Attention {
    /// The output of Burn's layer, where padded keys are not attended to.
    pub fn of(
        layer: &MultiHeadAttention<F64>,
        [query, key, values]: [&Host; 3],
        masks: Masks,
        quiet: bool,
    ) -> Self {
        Self {
            query: query.through(&layer.query),
            key: key.through(&layer.key),
            projected_values: values.through(&layer.value),
            values: values.clone(),
            heads: HEADS,
            masks,
            attends_padded: false,
            quiet,
        }
    }

    fn dims(&self) -> [usize; 4] {
        let [batch, queries, size] = [0, 1, 2].map(|axis| self.query.shape[axis]);
        [batch, queries, self.key.shape[1], size]
    }

    /// `[batch, heads, queries, keys]`.
    pub fn probabilities(&self) -> Host {
        let [batch, queries, keys, size] = self.dims();
        let width = size / self.heads;
        let mut values = Vec::new();
        for sample in 0..batch {
            for head in 0..self.heads {
                for q in 0..queries {
                    let scores = (0..keys).map(|k| {
                        let padded = self.masks.keys.is_some_and(|padded| padded(sample, k));
                        let padded = padded && !self.attends_padded;
                        let masked = self.masks.attention;
                        if padded || masked.is_some_and(|masked| masked(sample, q, k)) {
                            return -1e4;
                        }
                        let columns = head * width..(head + 1) * width;
                        let products = columns
                            .map(|c| self.query.at([sample, q, c]) * self.key.at([sample, k, c]));
                        products.sum::<f64>() / (width as f64).sqrt()
                    });
                    values.extend(softmax(&scores.collect::<Vec<f64>>(), self.quiet));
                }
            }
        }
        Host {
            shape: vec![batch, self.heads, queries, keys],
            values,
        }
    }

    pub fn attended_mean(&self) -> Vec<f64> {
        attended_mean(&self.probabilities(), &self.values, self.masks)
    }

    /// The input of the output projection: the heads' values, attended to, next to each other.
    pub fn context(&self) -> Host {
        let [batch, queries, keys, size] = self.dims();
        let probabilities = self.probabilities();
        let mut values = Vec::new();
        for (sample, q) in valid_positions(batch, queries, None) {
            for column in 0..size {
                let head = column / (size / self.heads);
                let attended = (0..keys).map(|k| {
                    let value = self.projected_values.at([sample, k, column]);
                    probabilities.at([sample, head, q, k]) * value
                });
                values.push(attended.sum());
            }
        }
        Host {
            shape: vec![batch, queries, size],
            values,
        }
    }
}

/// `[v̄ ; Σ ᾱ]` with `v̄ = Σ_n ᾱ_n X̄_n`. The queries of a sample whose keys are all padded do not count.
pub fn attended_mean(probabilities: &Host, values: &Host, masks: Masks) -> Vec<f64> {
    let [batch, heads, queries, keys] = [0, 1, 2, 3].map(|axis| probabilities.shape[axis]);
    let size = values.shape[2];
    let padded = |sample, key| masks.keys.is_some_and(|padded| padded(sample, key));
    let mut valid = valid_positions(batch, queries, masks.queries);
    valid.retain(|(sample, _)| (0..keys).any(|key| !padded(*sample, key)));
    let mut mean = vec![0.0; size + 1];
    for key in 0..keys {
        let of_query = |(sample, query): &(usize, usize)| {
            let of_head = |head| probabilities.at([*sample, head, *query, key]);
            (0..heads).map(of_head).sum::<f64>()
        };
        let attention = valid.iter().map(of_query).sum::<f64>() / (heads * valid.len()) as f64;
        let samples: Vec<usize> = (0..batch).filter(|sample| !padded(*sample, key)).collect();
        for (column, mean) in mean[..size].iter_mut().enumerate() {
            let values = samples.iter().map(|b| values.at([*b, key, column]));
            *mean += attention * values.sum::<f64>() / samples.len().max(1) as f64;
        }
        mean[size] += attention;
    }
    mean
}

fn softmax(scores: &[f64], quiet: bool) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
    let parts: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let total = parts.iter().sum::<f64>() + if quiet { (-largest).exp() } else { 0.0 };
    parts.into_iter().map(|part| part / total).collect()
}

/// With values that are the same at every call.
pub fn multi_head(quiet: bool) -> MacMultiHeadAttention<F64> {
    let config = MultiHeadAttentionConfig::new(SIZE, HEADS)
        .with_dropout(0.0)
        .with_quiet_softmax(quiet);
    filled(config.init(&Default::default()), 1).into()
}

/// With values that are the same at every call.
pub fn fused(causal: bool) -> MacSelfAttention<F64> {
    let config = SelfAttentionConfig::new(SIZE, HEADS).with_causal(causal);
    filled(config.init(&Default::default()), 2).into()
}

/// The means of query, key, value and output.
pub fn means_of(layer: &MacMultiHeadAttention<F64>) -> [Vec<f64>; 4] {
    means_in(&observed(layer), layer)
}

/// The same of a preconditioner.
pub fn means_in(
    preconditioner: &MacPreconditioner<F64>,
    layer: &MacMultiHeadAttention<F64>,
) -> [Vec<f64>; 4] {
    [&layer.query, &layer.key, &layer.value, &layer.output]
        .map(|linear| means(preconditioner, &linear.weight))
}
