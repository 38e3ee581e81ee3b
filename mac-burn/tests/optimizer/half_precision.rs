//! Steps in half precision: computed in `f32`, rounded once.

use crate::support::random;
use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::LinearConfig;
use burn::optim::{GradientsParams, SimpleOptimizer};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use burn_flex::Flex;
use mac_burn::{EvaConfig, MacConfig, MacLinear, MacOptimizer, MacOptimizerState, WeightDecayForm};

const COUNT: usize = 20_000;
const LR: f64 = 0.1;
/// `1 − η λ` is 1 in either type.
const WEIGHT_DECAY: f64 = 2e-3;
const MOMENTUM: f64 = 0.9;

/// Half-precision types, and the distance of 1 to the next larger number of each.
const TYPES: [(DType, f64); 2] = [(DType::F16, 1.0 / 1024.0), (DType::BF16, 1.0 / 128.0)];

/// The largest error of a step of numbers up to 3 in `f32`, a hundredth of that of rounding a number near 1 to `f16`.
const SINGLE: f64 = 1e-6;

fn host(tensor: &Tensor<Flex, 1>) -> Vec<f64> {
    tensor.to_data().iter().collect()
}

fn rounded_values(seed: u64, dtype: DType) -> Tensor<Flex, 1> {
    random([COUNT], seed).cast(dtype)
}

/// The largest distance from `expected`, as a share of what one rounding to this type may cost there.
fn roundings(found: &[f64], expected: &[f64], epsilon: f64) -> f64 {
    let pairs = found.iter().zip(expected);
    let error = |(found, expected): (&f64, &f64)| {
        // Below this, `f16` has the distances of its subnormal numbers.
        let size = expected.abs().max(1e-4).log2().floor().exp2();
        (found - expected).abs() / (epsilon / 2.0 * size + SINGLE)
    };
    let largest = pairs.map(error).max_by(f64::total_cmp);
    largest.expect("there are values")
}

/// The step in `f64`: value and buffer.
fn expected(config: &MacConfig, value: f64, gradient: f64, velocity: f64) -> (f64, f64) {
    let (mut gradient, mut kept) = (gradient, 1.0);
    match config.weight_decay_form {
        WeightDecayForm::Coupled => gradient += WEIGHT_DECAY * value,
        WeightDecayForm::Decoupled => kept -= LR * WEIGHT_DECAY,
    }
    let velocity = config.momentum * velocity + gradient;
    let step = if config.nesterov {
        gradient + config.momentum * velocity
    } else {
        velocity
    };
    (kept * value - LR * step, velocity)
}

/// Takes three steps of a type and compares each with `f64`'s from the same values.
fn check_steps(config: &MacConfig, (dtype, epsilon): (DType, f64)) {
    let optimizer: MacOptimizer<Flex> = config.optimizer();
    let mut value = rounded_values(1, dtype);
    let mut state: Option<MacOptimizerState<Flex, 1>> = None;
    for seed in 2..5 {
        let gradient = rounded_values(seed, dtype);
        let before = match &state {
            Some(state) => host(&state.velocity),
            None => vec![0.0; COUNT],
        };
        let inputs = host(&value).into_iter().zip(host(&gradient)).zip(before);
        let (values, velocities): (Vec<_>, Vec<_>) = inputs
            .map(|((value, gradient), velocity)| expected(config, value, gradient, velocity))
            .unzip();

        (value, state) = optimizer.step(LR, value, gradient, state);
        let case = format!("{dtype:?}, {config}");
        assert_eq!(value.dtype(), dtype, "{case}");
        let off = roundings(&host(&value), &values, epsilon);
        assert!(off <= 1.0, "{off} roundings: {case}");
        assert_eq!(state.is_some(), config.momentum > 0.0, "{case}");
        if let Some(state) = &state {
            assert_eq!(state.velocity.dtype(), dtype, "{case}");
            let off = roundings(&host(&state.velocity), &velocities, epsilon);
            assert!(off <= 1.0, "{off} roundings of the buffer: {case}");
        }
    }
}

/// Breaks when any part of a step is rounded to half precision before the end.
#[test]
fn a_step_in_half_precision_is_rounded_once() {
    for kind in TYPES {
        for momentum in [0.0, MOMENTUM] {
            for nesterov in [false, true] {
                for form in [WeightDecayForm::Decoupled, WeightDecayForm::Coupled] {
                    let config = MacConfig::new()
                        .with_momentum(momentum)
                        .with_nesterov(nesterov)
                        .with_weight_decay(WEIGHT_DECAY)
                        .with_weight_decay_form(form);
                    check_steps(&config, kind);
                }
            }
        }
    }
}

/// The largest error of the average decay of many numbers, as a share of `η λ`. If each is rounded, the average is
/// off by chance: by a tenth where one number in thirty changes.
const BY_CHANCE: f64 = 0.3;

/// Breaks when `1 − η λ` is rounded to half precision: nothing would decay.
#[test]
fn weight_decay_acts_on_average_where_it_is_less_than_a_rounding() {
    for (dtype, _) in TYPES {
        let value = rounded_values(1, dtype);
        let gradient = rounded_values(2, dtype);
        let step = |weight_decay| {
            let config = MacConfig::new().with_weight_decay(weight_decay);
            let optimizer: MacOptimizer<Flex> = config.optimizer();
            let (value, _) = optimizer.step(LR, value.clone(), gradient.clone(), None);
            host(&value)
        };
        let signs = host(&value).into_iter().map(f64::signum);
        let shrunk = step(0.0).into_iter().zip(step(WEIGHT_DECAY)).zip(signs);
        let shrunk: f64 = shrunk
            .map(|((plain, decayed), sign)| sign * (plain - decayed))
            .sum();
        let size: f64 = host(&value).iter().map(|value| value.abs()).sum();
        let share = shrunk / size / (LR * WEIGHT_DECAY);
        assert!((share - 1.0).abs() <= BY_CHANCE, "{dtype:?}: {share}");
    }
}

struct Cast(DType);

impl<B: Backend> ModuleMapper<B> for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|tensor| tensor.cast(self.0).detach().require_grad())
    }
}

/// Breaks when gradients are rounded before the KL clip scales them, since `1 / ρ` takes them beyond what `f16` holds; or when the sum that
/// the clip is made of is one of half-precision numbers.
#[test]
fn the_kl_clip_scales_gradients_before_they_are_rounded() {
    type B = Autodiff<Flex>;
    const ROWS: usize = 32;
    const SIZE: usize = 64;
    const OUTPUTS: usize = 8;
    const DAMPING: f64 = 1e-5;
    const LIMIT: f64 = 1e-3;
    for (dtype, epsilon) in TYPES {
        let linear = LinearConfig::new(SIZE, OUTPUTS).init::<B>(&Default::default());
        let linear = MacLinear::from(linear).map(&mut Cast(dtype));
        let inputs = random::<B, 2>([ROWS, SIZE], 1).cast(dtype);
        let outputs = random::<B, 2>([ROWS, OUTPUTS], 2).cast(dtype);
        // The augmented gradient before and after, a row for each input and one for the bias.
        let step = |limit| {
            let config = EvaConfig::new()
                .with_damping(DAMPING)
                .with_kl_clip(limit)
                .with_kl_clip_lr(Some(LR));
            let mut preconditioner = config.init_preconditioner::<B>();
            let loss = (linear.forward(inputs.clone()) * outputs.clone()).sum();
            let grads = GradientsParams::from_grads(loss.backward(), &linear);
            let values = |grads: &GradientsParams| -> Vec<f64> {
                let weight = grads.get::<Flex, 2>(linear.weight.id);
                let weight = weight.expect("the weight has a gradient").into_data();
                let bias = linear.bias.as_ref().expect("there is a bias");
                let bias = grads
                    .get::<Flex, 1>(bias.id)
                    .expect("so has the bias")
                    .into_data();
                assert_eq!([weight.dtype, bias.dtype], [dtype, dtype]);
                weight.iter().chain(bias.iter()).collect()
            };
            let before = values(&grads);
            (before, values(&preconditioner.precondition(&linear, grads)))
        };
        if dtype == DType::F16 {
            let (_, found) = step(None);
            assert!(found.iter().any(|value| value.is_infinite()));
        }

        let (before, found) = step(Some(LIMIT));
        let means = |tensor: &Tensor<B, 2>, size: usize| -> Vec<f64> {
            let values: Vec<f64> = tensor.to_data().iter().collect();
            let of_column = |column: usize| values[column..].iter().step_by(size).sum::<f64>();
            (0..size)
                .map(|column| of_column(column) / ROWS as f64)
                .collect()
        };
        let (mut input, output) = (means(&inputs, SIZE), means(&outputs, OUTPUTS));
        input.push(1.0);
        let norm = |vector: &[f64]| vector.iter().map(|value| value * value).sum::<f64>();
        let outer = input
            .iter()
            .flat_map(|input| output.iter().map(move |output| input * output));
        let along: f64 = outer
            .clone()
            .zip(&before)
            .map(|(outer, value)| outer * value)
            .sum();
        let along = along / (norm(&input) * norm(&output) + DAMPING);
        let free = before.iter().zip(outer);
        let free: Vec<f64> = free
            .map(|(value, outer)| (value - along * outer) / DAMPING)
            .collect();
        let sum: f64 = free
            .iter()
            .zip(&before)
            .map(|(after, before)| after * before)
            .sum();
        let factor = (LIMIT / (LR * LR * sum)).sqrt();
        assert!(factor < 1.0);
        let expected: Vec<f64> = free.iter().map(|value| factor * value).collect();
        // One rounding, and the errors of `f32` where that is just between two numbers.
        let off = roundings(&found, &expected, epsilon);
        assert!(off <= 1.02, "{off} roundings: {dtype:?}");
    }
}
