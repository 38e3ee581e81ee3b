//! The conditions under which an overparameterized network converges: G. Zhang, J. Martens and R. Grosse, "Fast Convergence of Natural
//! Gradient Descent for Overparameterized Neural Networks", NeurIPS 2019, for two layers of which the first is trained.
//!
//! Training converges if the Jacobian of the outputs, `J`, has full row rank where it begins, `λ_min(J Jᵀ) > 0`, and stays near what
//! it was; the paper bounds how far by `λ_min`, and here it is shown that it moves little. With a preconditioner `P` of the
//! inputs the outputs move by `−η J (I ⊗ P) Jᵀ r`, so the residual falls at the rate of the eigenvalues of `J (I ⊗ P) Jᵀ`. MAC's `P` has
//! the eigenvalues 1 and `ρ / (ρ + ‖ā‖²)`: full rank is kept, and where the inputs share a direction, what it makes large in `J Jᵀ`
//! becomes small.

use crate::support::random;
use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::{Tensor, TensorData};
use burn_ndarray::NdArray;
use mac_burn::{MacConfig, MacLinear};
use nalgebra::{DMatrix, DVector, SymmetricEigen};

type B = Autodiff<NdArray<f64>>;

const SAMPLES: usize = 8;
const INPUTS: usize = 16;
const HIDDEN: usize = 2048;
const DAMPING: f64 = 0.01;
const STEPS: usize = 40;

/// `f(x) = Σ_r s_r max(0, w_r · x) / √m` with signs `s_r` that are fixed.
#[derive(Module, Debug)]
struct Network<B: burn::tensor::backend::Backend> {
    hidden: MacLinear<B>,
}

impl Network<B> {
    fn new() -> Self {
        // Of mean 0: the values of the test's generator have another.
        let weight: Tensor<B, 2> = random([INPUTS, HIDDEN], 3);
        let weight = weight.clone() - weight.mean().unsqueeze();
        let weight = Tensor::<B, 2>::from_inner(weight.inner()).require_grad();
        let weight = Param::from_tensor(weight);
        let hidden = Linear { weight, bias: None };
        Self {
            hidden: hidden.into(),
        }
    }

    fn residuals(&self, inputs: &DMatrix<f64>, targets: &DVector<f64>) -> Tensor<B, 1> {
        let inputs = TensorData::new(inputs.transpose().as_slice().to_vec(), [SAMPLES, INPUTS]);
        let inputs = Tensor::<B, 2>::from_data(inputs, &Default::default());
        let hidden = burn::tensor::activation::relu(self.hidden.forward(inputs));
        let signs = (0..HIDDEN).map(|unit| if unit % 2 == 0 { 1.0 } else { -1.0 });
        let signs = TensorData::new(signs.collect::<Vec<f64>>(), [HIDDEN, 1]);
        let signs = Tensor::<B, 2>::from_data(signs, &Default::default());
        let outputs = hidden.matmul(signs).squeeze_dim::<1>(1) / (HIDDEN as f64).sqrt();
        outputs - Tensor::<B, 1>::from_data(targets.as_slice(), &Default::default())
    }

    /// Whether each hidden unit is on for each sample, `[samples, hidden]`.
    fn active(&self, inputs: &DMatrix<f64>) -> DMatrix<f64> {
        let weight = self
            .hidden
            .weight
            .val()
            .into_data()
            .iter()
            .collect::<Vec<f64>>();
        let weight = DMatrix::from_row_slice(INPUTS, HIDDEN, &weight);
        (inputs * weight).map(|value| if value > 0.0 { 1.0 } else { 0.0 })
    }

    /// `J (I ⊗ P) Jᵀ`, whose element of two samples is the share of units that are on for both, times `xᵢᵀ P xⱼ`.
    fn kernel(&self, inputs: &DMatrix<f64>, preconditioner: &DMatrix<f64>) -> DMatrix<f64> {
        let active = self.active(inputs);
        let shared = &active * active.transpose() / HIDDEN as f64;
        shared.component_mul(&(inputs * preconditioner * inputs.transpose()))
    }
}

/// Samples, in rows, that share a direction, of length 1.
fn inputs() -> DMatrix<f64> {
    let noise = random::<NdArray<f64>, 2>([SAMPLES, INPUTS], 7).into_data();
    let noise = DMatrix::from_row_slice(SAMPLES, INPUTS, &noise.iter().collect::<Vec<f64>>());
    let noise = noise.add_scalar(-noise.mean());
    let mut inputs = (noise * 0.3).add_scalar(1.0);
    for mut row in inputs.row_iter_mut() {
        let norm = row.norm();
        row /= norm;
    }
    inputs
}

fn targets() -> DVector<f64> {
    DVector::from_fn(SAMPLES, |sample, _| (1.7 * sample as f64).sin())
}

/// `I − ā āᵀ / (ρ + ‖ā‖²)`.
fn preconditioner(inputs: &DMatrix<f64>, damping: f64) -> DMatrix<f64> {
    let mean = inputs.row_mean().transpose();
    let identity = DMatrix::identity(INPUTS, INPUTS);
    if damping.is_infinite() {
        return identity;
    }
    identity - &mean * mean.transpose() / (damping + mean.norm_squared())
}

/// The smallest and the largest eigenvalue.
fn extremes(matrix: DMatrix<f64>) -> [f64; 2] {
    let values = SymmetricEigen::new(matrix).eigenvalues;
    [values.min(), values.max()]
}

/// A training at the rate `1 / λ_max`.
struct Course {
    extremes: [f64; 2],
    /// `‖r‖` before each step and after the last.
    residuals: Vec<f64>,
    /// `‖J − J₀‖ / ‖J₀‖` at the end.
    moved: f64,
}

fn train(inputs: &DMatrix<f64>, damping: f64) -> Course {
    let targets = targets();
    let mut network = Network::new();
    let before = network.active(inputs);
    let extremes = extremes(network.kernel(inputs, &preconditioner(inputs, damping)));
    let mut optim = MacConfig::new()
        .with_damping(damping)
        .with_momentum(0.0)
        .with_tcov(1)
        .with_tinv(1)
        .init();
    let mut residuals = Vec::new();
    for step in 0..=STEPS {
        let residual = network.residuals(inputs, &targets);
        let loss = residual.square().sum() * 0.5;
        residuals.push((2.0 * loss.clone().into_scalar()).sqrt());
        if step < STEPS {
            let grads = GradientsParams::from_grads(loss.backward(), &network);
            network = optim.step(1.0 / extremes[1], network, grads);
        }
    }
    // An element of J is an input where the unit is on: what flips is what moves. The inputs have length 1.
    let flipped = (network.active(inputs) - &before).norm();
    Course {
        extremes,
        residuals,
        moved: flipped / before.norm(),
    }
}

/// Breaks when the preconditioner is scaled by a half or by 2, or loses a direction: the residual would not fall by what the eigenvalues
/// of `J (I ⊗ P) Jᵀ` say.
#[test]
fn the_residual_falls_at_the_rate_of_the_preconditioned_kernel() {
    for damping in [f64::INFINITY, DAMPING] {
        let course = train(&inputs(), damping);
        let [least, largest] = course.extremes;
        assert!(least > 0.0, "the Jacobian has full row rank");
        assert!(
            course.moved < 0.35,
            "it stays near what it was: {}",
            course.moved
        );
        // Of the linearized training it is 1 − λ_min / λ_max at most; a tenth of that is for how far the Jacobian moves.
        let bound = 1.0 - 0.9 * least / largest;
        for pair in course.residuals.windows(2) {
            assert!(
                pair[1] <= bound * pair[0],
                "{damping}: {pair:?}, bound {bound}"
            );
        }
    }
}

/// MAC's gain where inputs share a direction: the condition of the kernel is better by more than ten, and so are the residuals
/// after as many steps, each at its own largest rate.
#[test]
fn the_kernel_of_inputs_with_a_mean_is_better_conditioned() {
    let [plain, mac] = [f64::INFINITY, DAMPING].map(|damping| train(&inputs(), damping));
    let condition = |course: &Course| course.extremes[1] / course.extremes[0];
    assert!(
        condition(&mac) < 0.1 * condition(&plain),
        "{} {}",
        condition(&mac),
        condition(&plain)
    );
    let [plain, mac] = [plain, mac].map(|course| course.residuals[STEPS] / course.residuals[0]);
    assert!(mac < 0.1 * plain, "{mac} {plain}");
}

/// The condition is needed: of two samples with the same inputs and other targets, half of the difference is left.
#[test]
fn without_full_row_rank_a_residual_is_left() {
    let mut inputs = inputs();
    let first = inputs.row(0).into_owned();
    inputs.set_row(1, &first);
    let course = train(&inputs, DAMPING);
    assert!(course.extremes[0].abs() < 1e-12, "{:?}", course.extremes);
    let left = (targets()[0] - targets()[1]).abs() / 2.0_f64.sqrt();
    assert!(
        course.residuals[STEPS] > 0.99 * left,
        "{} {left}",
        course.residuals[STEPS]
    );
}
