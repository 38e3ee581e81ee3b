use crate::bits::Bits;
use crate::filler::Filler;
use crate::half_layers::{Batches, HalfLayer};
use crate::run::largest_of;
use burn::nn::LinearConfig;
use burn::nn::conv::Conv2dConfig;
use burn::optim::GradientsParams;
use burn::tensor::DType;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::{MacConfig, MacConv2d, MacLinear, MacSelfAttention, SelfAttentionConfig};
use std::collections::BTreeMap;

const STEPS: usize = 10;
/// So little damping that most of a gradient is along the mean input, and goes: what is left shows an error of the mean.
const DAMPING: f64 = 0.1;
const STAT_DECAY: f64 = 0.9;

/// The errors of gradients that were preconditioned in a half-precision type, in units of half an epsilon of the largest
/// element, by layer.
pub(crate) fn roundings<B: AutodiffBackend>(dtype: DType, epsilon: f64) -> BTreeMap<String, Bits> {
    let device = Default::default();
    let linear: MacLinear<B> = LinearConfig::new(48, 16).init(&device).into();
    let conv = Conv2dConfig::new([3, 8], [3, 3]).with_stride([2, 2]);
    let conv: MacConv2d<B> = conv.init(&device).into();
    let attention: MacSelfAttention<B> = SelfAttentionConfig::new(16, 2).init(&device).into();
    let mut found = of_layer(linear, dtype, epsilon);
    found.extend(of_layer(conv, dtype, epsilon));
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
    let mut batches = Batches::new(5, dtype);
    let mut means: BTreeMap<&str, Mean> = BTreeMap::new();
    let mut errors: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..STEPS {
        let (loss, inputs) = layer.loss(&mut batches);
        for (part, input) in inputs {
            means.entry(part).or_default().observe(&input);
        }
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        let before = layer.gradients(&grads);
        let grads = preconditioner.precondition(&layer, grads);
        for ((part, found), (_, before)) in layer.gradients(&grads).iter().zip(&before) {
            let error = error(found, &means[part].precondition(before));
            errors
                .entry(part)
                .or_default()
                .push(error / (epsilon / 2.0));
        }
    }
    let largest =
        |(part, errors): (&str, Vec<f64>)| (part.to_string(), Bits(largest_of(errors.into_iter())));
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
