//! Steps of known length, with mean and variance of the inputs, against their formulas.

use crate::support::{filled, random};
use burn::backend::Autodiff;
use burn::nn::LinearConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn_ndarray::NdArray;
use mac_burn::{InputCurvature, MacConfig, MacLinear, StepForm};
use nalgebra::{DMatrix, SVD, SymmetricEigen};

type Inner = NdArray<f64>;
type B = Autodiff<Inner>;

const INPUTS: usize = 4;
const OUTPUTS: usize = 3;
const ROWS: usize = 6;
const LR: f64 = 0.05;
const MOMENTUM: f64 = 0.95;
const DECAY: f64 = 0.8;
const WEIGHT_DECAY: f64 = 0.1;
/// Of each step.
const DAMPING: [f64; 4] = [0.2, 0.2, 0.7, 0.7];

/// Of four steps with numbers near 1, in `f64`.
const ROUNDING: f64 = 1e-12;

/// The moving averages of `x` and of `x²`, and the sum of their weights.
struct Averages {
    inputs: DMatrix<f64>,
    squares: DMatrix<f64>,
    weight: f64,
}

/// The input of step `index`, the last of it constant.
fn input(index: u64) -> Tensor<B, 2> {
    let varying = random([ROWS, INPUTS - 1], index);
    let constant = Tensor::full([ROWS, 1], 0.7, &varying.device());
    Tensor::cat(vec![varying, constant], 1)
}

fn matrix<const D: usize>(tensor: Tensor<Inner, D>, columns: usize) -> DMatrix<f64> {
    let values: Vec<f64> = tensor.into_data().iter().collect();
    DMatrix::from_row_slice(values.len() / columns, columns, &values)
}

impl Averages {
    fn observe(&mut self, rows: &DMatrix<f64>) {
        let weights = DMatrix::from_element(1, rows.nrows(), 1.0 / rows.nrows() as f64);
        let mean = (&weights * rows).transpose();
        let square = (weights * rows.map(|value| value * value)).transpose();
        self.inputs = &self.inputs * DECAY + mean * (1.0 - DECAY);
        self.squares = &self.squares * DECAY + square * (1.0 - DECAY);
        self.weight = self.weight * DECAY + (1.0 - DECAY);
    }

    /// `S = (I + x̃ x̃ᵀ)^-½ d^-½` with `x̃ = d^-½ x̄` and `d = Var x + δ v`, where `v` is the mean variance; and `(1 + δ) v` for an input
    /// that is constant. Another multiple than the program's.
    fn root(&self, damping: f64) -> DMatrix<f64> {
        let mean = &self.inputs / self.weight;
        let mut variance = &self.squares / self.weight - mean.map(|value| value * value);
        variance[INPUTS - 1] = 0.0;
        let level = variance.sum() / (INPUTS - 1) as f64;
        let mut diagonal = variance.map(|value| value + damping * level);
        diagonal[INPUTS - 1] = (1.0 + damping) * level;
        let scale = diagonal.map(|value| 1.0 / value.sqrt());
        let direction = mean.component_mul(&scale);
        let curvature = DMatrix::identity(INPUTS, INPUTS) + &direction * direction.transpose();
        let SymmetricEigen {
            eigenvalues,
            eigenvectors,
        } = curvature.symmetric_eigen();
        let roots = DMatrix::from_diagonal(&eigenvalues.map(|value| 1.0 / value.sqrt()));
        let inverse_root = &eigenvectors * roots * eigenvectors.transpose();
        inverse_root * DMatrix::from_diagonal(&scale.column(0).into_owned())
    }
}

/// Each row with a root mean square of 1.
fn normalized_rows(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let mut normalized = matrix;
    for mut row in normalized.row_iter_mut() {
        let rms = (row.norm_squared() / row.len() as f64).sqrt();
        row /= rms;
    }
    normalized
}

/// Each column with a root mean square of 1.
fn normalized_columns(matrix: DMatrix<f64>) -> DMatrix<f64> {
    normalized_rows(matrix.transpose()).transpose()
}

/// Iterations on singular values, with Muon's coefficients.
fn orthogonalized(matrix: DMatrix<f64>, iterations: usize) -> DMatrix<f64> {
    let norm = matrix.norm();
    let SVD {
        u,
        v_t,
        singular_values,
    } = (matrix / norm).svd(true, true);
    let iterated = singular_values.map(|value| {
        (0..iterations).fold(value, |x, _| {
            3.4445 * x - 4.775 * x.powi(3) + 2.0315 * x.powi(5)
        })
    });
    let (u, v_t) = (u.expect("asked for"), v_t.expect("asked for"));
    u * DMatrix::from_diagonal(&iterated) * v_t
}

/// The form between `S` and `Sᵀ`.
fn middle(form: StepForm, whitened: DMatrix<f64>) -> DMatrix<f64> {
    match form {
        StepForm::RowsAndColumns => normalized_columns(normalized_rows(whitened)),
        StepForm::Orthogonal { iterations } => orthogonalized(whitened, iterations),
        _ => whitened,
    }
}

/// Breaks when the averages, the momentum, the weight decay, the form or the length of the step are others than documented, a changed
/// damping is not the next step's, or the bias is preconditioned.
#[test]
fn steps_with_mean_and_variance_are_those_of_their_formulas() {
    for form in [
        StepForm::Normalized,
        StepForm::RowsAndColumns,
        StepForm::Orthogonal { iterations: 3 },
    ] {
        check_steps(form);
    }
}

fn check_steps(form: StepForm) {
    let layer: MacLinear<B> = LinearConfig::new(INPUTS, OUTPUTS)
        .init(&Default::default())
        .into();
    let mut layer = filled(layer, 1);
    let mut optim = MacConfig::new()
        .with_curvature(InputCurvature::MeanVariance)
        .with_step(form)
        .with_damping(DAMPING[0])
        .with_momentum(MOMENTUM)
        .with_nesterov(true)
        .with_weight_decay(WEIGHT_DECAY)
        .with_stat_decay(DECAY)
        .with_tcov(1)
        .with_tinv(1)
        .init();

    let mut averages = Averages {
        inputs: DMatrix::zeros(INPUTS, 1),
        squares: DMatrix::zeros(INPUTS, 1),
        weight: 0.0,
    };
    let mut weight = matrix(layer.weight.val().inner(), OUTPUTS);
    let bias = |layer: &MacLinear<B>| {
        let bias = layer.bias.as_ref().expect("it has one");
        matrix(bias.val().inner(), OUTPUTS)
    };
    let mut expected_bias = bias(&layer);
    let mut velocities = [weight.clone() * 0.0, expected_bias.clone() * 0.0];
    for (index, damping) in DAMPING.into_iter().enumerate() {
        optim.set_damping(damping).expect("it is in its range");
        let input = input(index as u64);
        let grads = layer.forward(input.clone()).square().mean().backward();
        let of_weight = matrix(
            layer.weight.val().grad(&grads).expect("it has one"),
            OUTPUTS,
        );
        let of_bias = layer.bias.as_ref().expect("it has one").val().grad(&grads);
        let of_bias = matrix(of_bias.expect("it has one"), OUTPUTS);
        let grads = GradientsParams::from_grads(grads, &layer);
        layer = optim.step(LR, layer, grads);

        averages.observe(&matrix(input.inner(), INPUTS));
        let root = averages.root(damping);
        let mut ahead = |place: usize, gradient: DMatrix<f64>| {
            let velocity: &mut DMatrix<f64> = &mut velocities[place];
            *velocity = &*velocity * MOMENTUM + &gradient;
            &*velocity * MOMENTUM + gradient
        };
        let of_weight = root.transpose() * middle(form, &root * ahead(0, of_weight));
        let of_bias = ahead(1, of_bias);
        for (parameter, direction) in [(&mut weight, of_weight), (&mut expected_bias, of_bias)] {
            let rms = (direction.norm_squared() / direction.len() as f64).sqrt();
            *parameter *= 1.0 - LR * WEIGHT_DECAY;
            *parameter -= direction * (LR * 0.2 / rms);
        }
        let difference = matrix(layer.weight.val().inner(), OUTPUTS) - &weight;
        assert!(difference.amax() < ROUNDING, "{form:?}: {difference}");
        let difference = bias(&layer) - &expected_bias;
        assert!(difference.amax() < ROUNDING, "{form:?}: {difference}");
    }
}
