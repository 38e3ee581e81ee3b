use super::*;
use burn::tensor::TensorData;
use burn_ndarray::NdArray;
use nalgebra::DMatrix;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

type B = NdArray<f64>;

/// In f64 the rank-one form and the dense inverse differ by rounding only; the smallest change in
/// the formula (the bias left out of the norm, a factor ρ) shows at 1e-2 and more.
const ROUNDING: f64 = 1e-12;

/// The same for the same seed, which a backend's generator is not: tests in other threads draw from
/// it too.
fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<B, D> {
    let mut rng = StdRng::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| rng.random_range(-1.5..2.1));
    let data = TensorData::new(values.collect::<Vec<f64>>(), shape);
    Tensor::from_data(data, &Default::default())
}

fn matrix(tensor: Tensor<B, 2>) -> DMatrix<f64> {
    let [rows, columns] = tensor.dims();
    DMatrix::from_row_iterator(rows, columns, tensor.into_data().iter::<f64>())
}

/// Of backends that do not fuse, and of those that do.
const FORMS: [bool; 2] = [false, true];

fn in_both_forms<T: Copy, const N: usize>(cases: [T; N]) -> impl Iterator<Item = (bool, T)> {
    FORMS
        .into_iter()
        .flat_map(move |form| cases.map(|case| (form, case)))
}

/// `[x̄ ; 1]`, as statistics have it.
fn augmented(means: usize, size: usize, seed: u64) -> Tensor<B, 2> {
    let ones = Tensor::ones([means, 1], &Default::default());
    Tensor::cat(vec![random([means, size], seed), ones], 1)
}

/// `ρ (ρ I + a aᵀ)⁻¹`, dense.
fn dense(a: &DMatrix<f64>, damping: f64) -> DMatrix<f64> {
    let size = a.nrows();
    let matrix = DMatrix::identity(size, size) * damping + a * a.transpose();
    matrix.try_inverse().expect("damping makes it regular") * damping
}

/// The dense form on `[rows, size (+ 1)]`, the output index first.
fn expected(rows: DMatrix<f64>, mean: Tensor<B, 2>, damping: f64) -> DMatrix<f64> {
    let width = rows.ncols();
    let a = matrix(mean.narrow(1, 0, width)).transpose();
    rows * dense(&a, damping)
}

fn assert_equal(left: &DMatrix<f64>, right: &DMatrix<f64>, tolerance: f64) {
    let difference = (left - right).amax();
    assert!(difference <= tolerance, "they differ by {difference:e}");
}

fn linear(
    fuses: bool,
    mean: Tensor<B, 2>,
    damping: f64,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> LayerGradients<B, 2> {
    let made = RankOne::made_for(fuses, mean, damping, bias.is_some(), LayerKind::Linear);
    made.linear(LayerGradients { weight, bias }, false)
}

fn rows_of(gradients: LayerGradients<B, 2>) -> DMatrix<f64> {
    let weight = gradients.weight.transpose();
    matrix(match gradients.bias {
        Some(bias) => Tensor::cat(vec![weight, bias.unsqueeze_dim(1)], 1),
        None => weight,
    })
}

#[test]
fn linear_equals_the_dense_inverse_on_the_input_side() {
    let cases = [(1.0, true), (0.3, true), (7.0, false), (1e-3, false)];
    for (fuses, (damping, bias)) in in_both_forms(cases) {
        let gradients = || LayerGradients {
            weight: random([5, 3], 1),
            bias: bias.then(|| random([3], 2)),
        };
        let mean = augmented(1, 5, 3);
        let LayerGradients { weight, bias } = gradients();
        let found = linear(fuses, mean.clone(), damping, weight, bias);
        let dense = expected(rows_of(gradients()), mean, damping);
        assert_equal(&rows_of(found), &dense, ROUNDING);
    }
}

#[test]
fn conv2d_equals_the_dense_inverse_in_each_group() {
    let cases = [(1, true), (1, false), (2, true), (3, false), (6, true)];
    for (fuses, (groups, bias)) in in_both_forms(cases) {
        let (weight, bias_grad) = (random([6, 2, 3, 2], 4), random::<1>([6], 5));
        let mean = augmented(groups, 12, 6);
        let kind = LayerKind::Conv2d { groups };
        let made = RankOne::made_for(fuses, mean.clone(), 0.7, bias, kind);
        let found = made.conv2d(
            LayerGradients {
                weight: weight.clone(),
                bias: bias.then(|| bias_grad.clone()),
            },
            false,
        );
        let rows = |weight: Tensor<B, 4>, b: Option<Tensor<B, 1>>, group: usize| {
            let channels = 6 / groups;
            let rows = weight.reshape([6, 12]);
            let rows = match b {
                Some(b) => Tensor::cat(vec![rows, b.unsqueeze_dim(1)], 1),
                None => rows,
            };
            matrix(rows.narrow(0, group * channels, channels))
        };
        for group in 0..groups {
            let before = rows(weight.clone(), bias.then(|| bias_grad.clone()), group);
            let after = rows(found.weight.clone(), found.bias.clone(), group);
            let mean = mean.clone().narrow(0, group, 1);
            assert_equal(&after, &expected(before, mean, 0.7), ROUNDING);
        }
    }
}

/// Breaks when a part is preconditioned by another part's mean.
#[test]
fn a_fused_projection_equals_the_dense_inverse_of_each_part() {
    let columns = 2;
    for (fuses, bias) in in_both_forms([true, false]) {
        let (weight, bias_grad) = (random([5, 3 * columns], 13), random::<1>([3 * columns], 14));
        // What a bias sees through a quiet softmax is less than 1.
        let ones = Tensor::from_data([[1.0], [0.75]], &Default::default());
        let mean = Tensor::cat(vec![random([2, 5], 15), ones], 1);
        let kind = LayerKind::FusedAttention;
        let made = RankOne::made_for(fuses, mean.clone(), 0.7, bias, kind);
        let gradients = LayerGradients {
            weight: weight.clone(),
            bias: bias.then(|| bias_grad.clone()),
        };
        let found = made.linear(gradients, false);
        for (part, own) in QKV.into_iter().enumerate() {
            let rows = |weight: &Tensor<B, 2>, bias: Option<&Tensor<B, 1>>| {
                let of_part = |bias: &Tensor<B, 1>| bias.clone().narrow(0, part * columns, columns);
                rows_of(LayerGradients {
                    weight: weight.clone().narrow(1, part * columns, columns),
                    bias: bias.map(of_part),
                })
            };
            let before = rows(&weight, bias.then_some(&bias_grad));
            let after = rows(&found.weight, found.bias.as_ref());
            let mean = mean.clone().narrow(0, own, 1);
            assert_equal(&after, &expected(before, mean, 0.7), ROUNDING);
        }
    }
}

#[test]
fn an_input_that_is_always_zero_leaves_its_gradients_alone() {
    let mean = Tensor::from_data(
        TensorData::from([[0.0, 2.0, 0.0, 1.0]]),
        &Default::default(),
    );
    let weight = random([3, 4], 7);
    let found = linear(false, mean, 1.0, weight.clone(), None);
    // Row 0 and 2 of the gradient change by the smallest mean times u, which is below 1e-11.
    let change = (found.weight - weight).abs().into_data();
    let change: Vec<f64> = change.iter().collect();
    assert!(
        change[..4]
            .iter()
            .chain(&change[8..])
            .all(|change| *change < 1e-11)
    );
    assert!(change[4..8].iter().all(|change| *change > 1e-2));
}

#[test]
fn without_a_statistic_nothing_is_preconditioned() {
    let (weight, bias) = (random([3, 4], 8), random([4], 9));
    let mean = Tensor::zeros([1, 4], &Default::default());
    for fuses in FORMS {
        let (weight, bias) = (weight.clone(), bias.clone());
        let found = linear(fuses, mean.clone(), 1.0, weight.clone(), Some(bias.clone()));
        assert!(found.weight.all_close(weight, Some(0.0), Some(1e-11)));
        let found = found.bias.expect("it has a bias");
        assert!(found.all_close(bias, Some(0.0), Some(0.0)));
    }
}

#[test]
fn the_guard_spreads_one_broken_element_over_the_layer_and_changes_no_good_one() {
    let gradients = || LayerGradients {
        weight: random([3, 4], 10),
        bias: Some(random([4], 12)),
    };
    for fuses in FORMS {
        let mean = augmented(1, 3, 11);
        let made = RankOne::made_for(fuses, mean, 1.0, true, LayerKind::Linear);
        for broken in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let at = Tensor::from_data(TensorData::from([[broken]]), &Default::default());
            let mut gradients = gradients();
            gradients.weight = gradients.weight.slice_assign([1..2, 2..3], at);
            let found = made.clone().linear(gradients, true);
            assert!(found.weight.is_nan().all().into_scalar());
            let bias = found.bias.expect("it has a bias");
            assert!(bias.is_nan().all().into_scalar());
        }
        let (off, on) = (
            made.clone().linear(gradients(), false),
            made.linear(gradients(), true),
        );
        let (off, on) = (off.weight.into_data(), on.weight.into_data());
        off.assert_eq(&on, true);
    }
}

proptest! {
    #[test]
    fn it_is_linear_in_the_gradient(
        fuses: bool,
        seed in 0u64..1000,
        factor in -3.0..3.0f64,
    ) {
        let mean = augmented(1, 6, seed);
        let (left, right) = (random([6, 4], seed + 1), random([6, 4], seed + 2));
        let apply = |weight| linear(fuses, mean.clone(), 0.5, weight, None).weight;
        let together = apply(left.clone() * factor + right.clone());
        let apart = apply(left) * factor + apply(right);
        prop_assert!(together.all_close(apart, Some(0.0), Some(ROUNDING)));
    }

    #[test]
    fn across_the_mean_it_is_the_identity_and_along_it_the_gain(
        fuses: bool,
        seed in 0u64..1000,
        damping in 0.01..20.0f64,
    ) {
        let mean = augmented(1, 6, seed);
        let along = mean.clone().narrow(1, 0, 6).transpose();
        let norm = along.clone().square().sum();
        let gain = damping / (damping + norm.clone().into_scalar());
        let found = linear(fuses, mean.clone(), damping, along.clone(), None).weight;
        prop_assert!(found.all_close(along.clone() * gain, Some(0.0), Some(ROUNDING * 10.0)));

        let other = random([6, 1], seed + 1);
        let share = (other.clone() * along.clone()).sum() / norm;
        let across = other - along * share.unsqueeze();
        let found = linear(fuses, mean, damping, across.clone(), None).weight;
        prop_assert!(found.all_close(across, Some(0.0), Some(ROUNDING * 10.0)));
    }

    #[test]
    fn it_never_lengthens_a_gradient(
        fuses: bool,
        seed in 0u64..1000,
        damping in 0.001..100.0f64,
    ) {
        let weight = random([6, 4], seed + 1);
        let length = |tensor: Tensor<B, 2>| tensor.square().sum().into_scalar();
        let before = length(weight.clone());
        let after = length(linear(fuses, augmented(1, 6, seed), damping, weight, None).weight);
        prop_assert!(after <= before * (1.0 + ROUNDING));
    }
}
