use crate::digits_run::Filler;
use burn::module::Module;
use burn::nn::LinearConfig;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor, TensorData};
use mac_burn::{MacConfig, MacLinear};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const INPUTS: usize = 48;
const OUTPUTS: usize = 16;
const BATCH: usize = 64;
const BATCHES: usize = 10;
/// So little damping that most of a gradient is along the mean input, and goes: what is left shows an error of the mean.
const DAMPING: f64 = 0.1;
const STAT_DECAY: f64 = 0.9;

/// The error of a linear layer's gradient that was preconditioned in a half-precision type, in units of half an
/// epsilon of its largest element.
///
/// The oracle takes the inputs and the gradient as the backend rounded them and computes in `f64`.
pub(crate) fn roundings<B: AutodiffBackend>(dtype: DType, epsilon: f64) -> f64 {
    let device = Default::default();
    let mut random = StdRng::seed_from_u64(5);
    let layer: MacLinear<B> = LinearConfig::new(INPUTS, OUTPUTS).init(&device).into();
    let layer = layer.map(&mut Filler::new(11, dtype));
    let config = MacConfig::new()
        .with_damping(DAMPING)
        .with_stat_decay(STAT_DECAY)
        .with_tcov(1)
        .with_tinv(1);
    let mut preconditioner = config.init_preconditioner::<B>();
    let mut mean = Mean::default();
    let mut largest: f64 = 0.0;
    for _ in 0..BATCHES {
        let inputs = uniform::<B>([BATCH, INPUTS], 0.0, &mut random, dtype);
        let weights = uniform::<B>([BATCH, OUTPUTS], -1.0, &mut random, dtype);
        mean.observe(&values(inputs.clone().inner()));
        let loss = (layer.forward(inputs) * weights).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        let expected = mean.precondition(&gradient(&layer, &grads));
        let grads = preconditioner.precondition(&layer, grads);
        let found = gradient(&layer, &grads);
        largest = largest.max(error(&found, &expected) / (epsilon / 2.0));
    }
    largest
}

/// Columns of the augmented gradient `[G ; g]`, one for each output.
type Columns = Vec<Vec<f64>>;

fn gradient<B: AutodiffBackend>(layer: &MacLinear<B>, grads: &GradientsParams) -> Columns {
    let weight: Option<Tensor<B::InnerBackend, 2>> = grads.get(layer.weight.id);
    let bias = layer.bias.as_ref().map(|bias| bias.id);
    let bias: Option<Tensor<B::InnerBackend, 1>> = bias.and_then(|id| grads.get(id));
    let weight = values(weight.expect("the weight has a gradient"));
    let bias = values(bias.expect("the bias has a gradient"));
    let column = |output: usize| {
        let rows = (0..INPUTS).map(|input| weight[input * OUTPUTS + output]);
        rows.chain([bias[output]]).collect()
    };
    (0..OUTPUTS).map(column).collect()
}

/// The moving average of `[x̄ ; 1]`, in `f64`.
#[derive(Default)]
struct Mean {
    average: Vec<f64>,
    weight: f64,
}

impl Mean {
    fn observe(&mut self, inputs: &[f64]) {
        self.average.resize(INPUTS, 0.0);
        for (index, average) in self.average.iter_mut().enumerate() {
            let column = inputs.iter().skip(index).step_by(INPUTS);
            let mean = column.sum::<f64>() / BATCH as f64;
            *average = STAT_DECAY * *average + (1.0 - STAT_DECAY) * mean;
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
    difference.fold(0.0, f64::max) / size.fold(0.0, f64::max)
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter().collect()
}

/// Numbers up to 1.
fn uniform<B: Backend>(
    shape: [usize; 2],
    from: f32,
    random: &mut StdRng,
    dtype: DType,
) -> Tensor<B, 2> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| random.random_range(from..1.0)).collect();
    let data = TensorData::new(values, shape);
    Tensor::from_data(data, (&Default::default(), dtype))
}
