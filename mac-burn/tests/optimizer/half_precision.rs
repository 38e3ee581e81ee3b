//! Steps in half precision: computed in `f32`, rounded once.

use crate::support::random;
use burn::optim::SimpleOptimizer;
use burn::tensor::{DType, Tensor};
use burn_flex::Flex;
use mac_burn::{MacConfig, MacOptimizer, MacOptimizerState, WeightDecayForm};

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
