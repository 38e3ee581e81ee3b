//! Means and damping of any magnitude, in `f32`.

use super::*;

/// Inputs of the layers whose magnitudes are far apart.
const SIZE: usize = 6;
/// Their outputs.
const OUTPUTS: usize = 4;

/// Roundings in `f32` between the formula and its value, each of half an epsilon at most: one a term of the two sums over
/// `SIZE + 1` inputs, and about fourteen of the other operations. Relative to the terms that are added, since what is left of
/// a gradient along the mean may be less by any factor. The smallest change in the formula shows at 1e-2 of them and more.
const ROUNDINGS_IN_F32: f64 = (2 * (SIZE + 1) + 14) as f64 / 2.0 * f32::EPSILON as f64;

fn power_of_ten(exponent: f64) -> f64 {
    f64::from(10.0f64.powf(exponent) as f32)
}

/// Between 1e-30 and 1e30.
fn magnitude() -> impl Strategy<Value = f64> {
    (-30.0..=30.0f64).prop_map(power_of_ten)
}

/// Means with elements of either sign between 1e-30 and 1e30, and zeros.
fn mean() -> impl Strategy<Value = Vec<f64>> {
    // So many powers of ten are its elements apart at most. Updates in place are for less than 12.
    let apart = prop_oneof![Just(1.0), Just(12.0), Just(60.0)];
    let largest = -30.0..=30.0f64;
    let zeros = prop_oneof![Just(0.0), Just(0.3)];
    (largest, apart, zeros).prop_flat_map(|(largest, apart, zeros)| {
        let element = (0.0..=1.0f64, any::<bool>(), prop::bool::weighted(zeros));
        let element = element.prop_map(move |(below, negative, zero)| {
            let magnitude = power_of_ten((largest - below * apart).max(-30.0));
            match (zero, negative) {
                (true, _) => 0.0,
                (false, true) => -magnitude,
                (false, false) => magnitude,
            }
        });
        prop::collection::vec(element, SIZE)
    })
}

/// The largest difference from the formula's value as a part of the tolerance, in a layer with one mean `[x̄ ; 1]`.
///
/// The formula is `g − (s u) a` with `s = 1 / (ρ + ‖a‖²)` and `u = g · a`. It is computed in `f64`, where squares of 1e±30 are
/// far from both ends of the range; so is each product of three of these numbers, since `s u` is taken before it is multiplied.
fn difference_in_f32(
    form: Form,
    case: Case,
    inputs: &[f64],
    damping: f64,
    gradient: impl Fn() -> LayerGradient<B>,
) -> f64 {
    let mean = Augmented {
        inputs: tensor(inputs.to_vec(), [1, SIZE], DType::F32),
        one: tensor(vec![1.0], [1, 1], DType::F32),
    };
    let found = rows(&case.precondition(form, &mean, damping, gradient()));
    let before = rows(&gradient());

    let mean: Vec<f64> = inputs
        .iter()
        .copied()
        .chain(case.bias.then_some(1.0))
        .collect();
    let norm = damping + mean.iter().map(|value| value * value).sum::<f64>();
    let mut largest = 0.0f64;
    for (row, found) in before.row_iter().zip(found.row_iter()) {
        let products: Vec<f64> = row.iter().zip(&mean).map(|(g, a)| g * a).collect();
        let along = products.iter().sum::<f64>() / norm;
        let terms_along = products.iter().map(|product| product.abs()).sum::<f64>() / norm;
        for ((g, a), found) in row.iter().zip(&mean).zip(found.iter()) {
            let terms = g.abs() + terms_along * a.abs();
            let difference = (found - (g - along * a)).abs() / terms / ROUNDINGS_IN_F32;
            // `max` passes over NaN.
            if difference.is_nan() {
                return difference;
            }
            largest = largest.max(difference);
        }
    }
    largest
}

/// A layer with `SIZE` inputs and `OUTPUTS` outputs.
fn wide_range_case(convolution: bool, bias: bool) -> Case {
    match convolution {
        true => case(
            LayerKind::Conv2d { groups: 1 },
            &[OUTPUTS, 1, 2, SIZE / 2],
            bias,
        ),
        false => case(LayerKind::Linear, &[SIZE, OUTPUTS], bias),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Breaks when a square of `x̄` or a reciprocal leaves the range of `f32`, or has a floor that keeps it inside.
    #[test]
    fn the_whole_range_of_damping_and_means_has_the_value_of_the_formula(
        form in form(),
        convolution: bool,
        bias: bool,
        inputs in mean(),
        damping in magnitude(),
        seed in 0u64..1000,
        gradients in -20.0..=20.0f64,
    ) {
        let case = wide_range_case(convolution, bias);
        let random = |elements, seed| {
            let values = random(elements, seed).into_iter();
            values.map(|value| value * power_of_ten(gradients)).collect()
        };
        let gradient = || {
            let (weight, bias) = (random(SIZE * OUTPUTS, seed), random(OUTPUTS, seed + 1));
            case.gradient_of(DType::F32, weight, bias)
        };
        let difference = difference_in_f32(form, case, &inputs, damping, gradient);
        prop_assert!(difference <= 1.0, "{difference} times the tolerance");
    }
}

/// The edges of the range, which random magnitudes do not meet.
#[test]
fn the_edges_of_the_range_have_the_value_of_the_formula() {
    let edges = [0.0, 1e-30, 1e-19, 1.0, 1e19, 1e30].map(|value| f64::from(value as f32));
    for form in FORMS {
        for (convolution, bias) in [(false, false), (false, true), (true, false), (true, true)] {
            let case = wide_range_case(convolution, bias);
            for damping in [1e-30, 1e-15, 1.0, 1e15, 1e30] {
                for first in edges {
                    for second in edges {
                        for third in [0.0, first] {
                            let inputs = [first, -second, third, second, first, -third];
                            let gradient = || case.gradient(DType::F32, 1);
                            let difference =
                                difference_in_f32(form, case, &inputs, damping, gradient);
                            assert!(
                                difference <= 1.0,
                                "{form:?}, {case:?}, damping {damping:e}, x̄ {inputs:?}: \
                                 {difference} times the tolerance"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Breaks when the square of a mean is infinite: its reciprocal of 0 would precondition nothing.
#[test]
fn a_large_mean_in_f32_is_preconditioned() {
    for form in FORMS {
        for large in [1e19, 1e30] {
            let inputs = tensor(vec![large, 0.0], [1, 2], DType::F32);
            let weight = tensor(vec![2.0, -3.0, 0.5, 7.0], [2, 2], DType::F32);
            let found = matrix(preconditioned(form, inputs, 1.0, weight));
            // Along the mean the gain is 1 / (1 + x̄²), which is below 1e-37.
            assert!(found.row(0).amax() <= 1e-6, "{form:?}, {large:e}: {found}");
            assert_eq!(found.row(1).iter().copied().collect::<Vec<_>>(), [0.5, 7.0]);
        }
    }
}
