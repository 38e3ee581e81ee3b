use super::*;
use burn::backend::Flex;
use burn::tensor::{DType, TensorData};

type Matrix = nalgebra::DMatrix<f64>;

/// Of products of numbers near 1 in `f64`, a few at a time.
const ROUNDING: f64 = 1e-12;

const SIZE: usize = 5;
const OUTPUTS: usize = 4;

fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<Flex, D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (&Default::default(), DType::F64))
}

/// Numbers in [-1, 1) that differ from each other.
fn numbers(count: usize, seed: usize) -> Vec<f64> {
    let number = |index: usize| ((index * 37 + seed * 101 + 11) % 97) as f64 / 48.5 - 1.0;
    (0..count).map(number).collect()
}

/// Mean and mean square of two groups, the last input of the first group constant, the one before it always 0.
fn moments() -> (Tensor<Flex, 2>, Tensor<Flex, 2>) {
    let mut mean = numbers(2 * SIZE, 1);
    let variance = numbers(2 * SIZE, 2)
        .into_iter()
        .map(|value| 0.1 + value.abs());
    let mut square: Vec<f64> = mean
        .iter()
        .zip(variance)
        .map(|(mean, variance)| mean * mean + variance)
        .collect();
    (mean[SIZE - 1], square[SIZE - 1]) = (3.0, 9.0);
    (mean[SIZE - 2], square[SIZE - 2]) = (0.0, 0.0);
    (tensor(&mean, [2, SIZE]), tensor(&square, [2, SIZE]))
}

fn inverse_root(damping: f64) -> InverseRoot<Flex> {
    let (mean, square) = moments();
    let mean = WhitenedMean::of_variance(&mean, &square, damping);
    InverseRoot::new(LayerKind::Conv2d { groups: 2 }, 2 * OUTPUTS, mean)
}

/// `A = diag(d) + x̄ x̄ᵀ` of a group, by its definition.
fn curvature(group: usize, damping: f64) -> Matrix {
    let (mean, square) = moments();
    let of_group = |tensor: Tensor<Flex, 2>| -> Vec<f64> {
        tensor.narrow(0, group, 1).into_data().iter().collect()
    };
    let (mean, square) = (of_group(mean), of_group(square));
    let variance: Vec<f64> = mean
        .iter()
        .zip(&square)
        .map(|(mean, square)| square - mean * mean)
        .collect();
    let varying: Vec<f64> = variance
        .iter()
        .copied()
        .filter(|value| *value > 0.0)
        .collect();
    let mean_variance = varying.iter().sum::<f64>() / varying.len() as f64;
    let level = (1.0 + damping) * mean_variance;
    let diagonal = variance.iter().map(|variance| match *variance == 0.0 {
        true => 1.0,
        false => (variance + damping * mean_variance) / level,
    });
    let mean = Matrix::from_column_slice(SIZE, 1, &mean) / level.sqrt();
    Matrix::from_diagonal(&nalgebra::DVector::from_iterator(SIZE, diagonal))
        + &mean * mean.transpose()
}

/// A kernel `[2 · OUTPUTS, SIZE, 1, 1]` of two groups.
fn kernel(seed: usize) -> Tensor<Flex, 4> {
    tensor(
        &numbers(2 * OUTPUTS * SIZE, seed),
        [2 * OUTPUTS, SIZE, 1, 1],
    )
}

fn group_of(kernel: &Tensor<Flex, 4>, group: usize) -> Matrix {
    let values: Vec<f64> = kernel.to_data().iter().collect();
    let own = &values[group * OUTPUTS * SIZE..][..OUTPUTS * SIZE];
    // Inputs as rows.
    Matrix::from_row_slice(OUTPUTS, SIZE, own).transpose()
}

fn assert_near(left: &Matrix, right: &Matrix) {
    let difference = (left - right).abs().max();
    assert!(difference < ROUNDING, "{difference}");
}

/// A number that is divided by another and multiplied by it is rounded twice.
fn assert_same_but_rounded<const D: usize>(found: Tensor<Flex, D>, expected: Tensor<Flex, D>) {
    let (found, expected) = (found.into_data(), expected.into_data());
    for (found, expected) in found.iter::<f32>().zip(expected.iter::<f32>()) {
        let allowed = 2.0 * f32::EPSILON * expected.abs();
        assert!((found - expected).abs() <= allowed, "{found} {expected}");
    }
}

/// `A (SᵀS Y) = Y`. Breaks when either half is of another matrix, the groups of a convolution have each other's, or the scale of a
/// constant input is not 1.
#[test]
fn the_product_of_the_roots_is_the_inverse() {
    let weight = kernel(3);
    for damping in [0.1, 2.0] {
        let root = inverse_root(damping);
        let by_both = root.apply_both(weight.clone());
        let [part] = &Matrices::of(root.kind, weight.clone())[..] else {
            panic!("the groups are one tensor");
        };
        let whitened = root.apply(part.clone());
        let by_roots = Matrices::join(vec![root.apply_transposed(whitened)], weight.dims());
        for group in 0..2 {
            let inverse = group_of(&by_both, group);
            assert_near(
                &(curvature(group, damping) * &inverse),
                &group_of(&weight, group),
            );
            assert_near(&inverse, &group_of(&by_roots, group));
        }
    }
}

/// `SᵀS = A⁻¹` would hold for `Q S` with any rotation or reflection `Q` too; of these the root is the positive one.
#[test]
fn the_half_is_that_of_a_positive_root() {
    let root = inverse_root(0.5);
    let identity: Vec<f64> = Matrix::identity(SIZE, SIZE).as_slice().repeat(2);
    let part = Matrices {
        values: tensor(&identity, [2, SIZE, SIZE]),
        input_axis: 2,
        mean: 0,
    };
    let half = root.without_direction(part).values;
    let values: Vec<f64> = half.into_data().iter().collect();
    for values in values.chunks(SIZE * SIZE) {
        let root = Matrix::from_row_slice(SIZE, SIZE, values);
        assert_near(&root, &root.transpose());
        assert!(root.symmetric_eigenvalues().min() > 0.0);
    }
}

/// Breaks when an input that is always 0, or is constant, is amplified.
#[test]
fn a_constant_input_is_not_amplified() {
    let root = inverse_root(1e-6);
    let scale = root.scale.clone().expect("it is of variances");
    let scale: Vec<f64> = scale.into_data().iter().collect();
    assert_eq!(scale[SIZE - 2..SIZE], [1.0, 1.0]);
    // Whatever else is in the gradient.
    let whitened = root.apply_both(kernel(4));
    let zero = group_of(&whitened, 0).row(SIZE - 2).clone_owned();
    let before = group_of(&kernel(4), 0).row(SIZE - 2).clone_owned();
    assert!((zero - before).abs().max() < ROUNDING);
}

/// Breaks when a gradient is taken apart by the direction of inputs that do not vary, of which rounding would be left: in `f32`, with
/// one row to a batch as in online learning, and where nothing was seen.
#[test]
fn without_any_variance_gradients_stay_as_they_are() {
    let single = |values: &[f64], shape| {
        let values = tensor::<2>(values, shape);
        values.cast(DType::F32)
    };
    let mean = single(&numbers(2 * SIZE, 1), [2, SIZE]);
    let zeros = mean.zeros_like();
    let weight = kernel(5).cast(DType::F32);
    for (mean, square) in [(mean.clone(), mean.square()), (zeros.clone(), zeros)] {
        let kind = LayerKind::Conv2d { groups: 2 };
        let mean = WhitenedMean::of_variance(&mean, &square, 0.1);
        assert_eq!(mean.gain(), 1.0);
        let root = InverseRoot::new(kind, 2 * OUTPUTS, mean);
        assert_same_but_rounded(root.apply_both(weight.clone()), weight.clone());
    }
}

/// Breaks when an input that varies little beside its mean is taken for constant, or one for varying whose variance may be the rounding of a
/// sum over thousands of rows.
#[test]
fn an_input_is_constant_below_a_thousandth_of_its_mean_square() {
    for (share, is_constant) in [(0.5e-3, true), (2e-3, false)] {
        let mean = tensor::<2>(&[1.0, 0.0], [1, 2]);
        let square = tensor(&[1.0 / (1.0 - share), 1.0], [1, 2]);
        let mean = WhitenedMean::of_variance(&mean, &square, 1e-9);
        let scale = mean.scale.expect("it is of variances");
        let scale: Vec<f64> = scale.into_data().iter().collect();
        assert_eq!(scale[0] == 1.0, is_constant, "{share}: {scale:?}");
    }
}

/// Breaks when a square overflows or vanishes in `f32`: what matters is the shape of a curvature, not the unit of its inputs.
#[test]
fn the_unit_of_inputs_does_not_matter() {
    let (mean, square) = moments();
    let kind = LayerKind::Conv2d { groups: 2 };
    let weight = kernel(6).cast(DType::F32);
    let precondition = |unit: f64| -> Vec<f64> {
        let mean = mean.clone().mul_scalar(unit).cast(DType::F32);
        let square = square.clone().mul_scalar(unit * unit).cast(DType::F32);
        let mean = WhitenedMean::of_variance(&mean, &square, 0.1);
        let root = InverseRoot::new(kind, 2 * OUTPUTS, mean);
        let found = root.apply_both(weight.clone());
        found.into_data().iter().collect()
    };
    let expected = precondition(1.0);
    for unit in [1e-16, 1e16] {
        for (found, expected) in precondition(unit).iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-5,
                "{unit}: {found} {expected}"
            );
        }
    }
}

/// Breaks when the factor of the direction overflows with a small damping or a large one.
#[test]
fn the_smallest_and_the_largest_damping_are_limits() {
    let mean = tensor::<2>(&numbers(SIZE, 6), [1, SIZE]).cast(DType::F32);
    let weight: Tensor<Flex, 2> = tensor(&numbers(SIZE * OUTPUTS, 7), [SIZE, OUTPUTS]);
    let weight = weight.cast(DType::F32);
    let precondition = |damping| {
        let whitened = WhitenedMean::of_damping(&mean, damping);
        let gain = whitened.gain();
        let root = InverseRoot::new(LayerKind::Linear, OUTPUTS, whitened);
        (root.apply_both(weight.clone()), gain)
    };
    let (kept, gain) = precondition(f64::INFINITY);
    kept.into_data().assert_eq(&weight.to_data(), true);
    assert_eq!(gain, 1.0);
    let (without_mean, gain) = precondition(1e-30);
    assert!(gain < 1e-20, "{gain}");
    let left = mean.matmul(without_mean).abs().max().into_scalar();
    assert!(left < 1e-6, "{left}");
}

/// Without variance in the formula it is MAC's own.
#[test]
fn of_damping_it_is_the_rank_one_preconditioner() {
    let mean = numbers(SIZE, 6);
    let whitened = WhitenedMean::of_damping(&tensor(&mean, [1, SIZE]), 0.3);
    let root = InverseRoot::new(LayerKind::Linear, OUTPUTS, whitened);
    let weight: Tensor<Flex, 2> = tensor(&numbers(SIZE * OUTPUTS, 7), [SIZE, OUTPUTS]);
    let found: Vec<f64> = root.apply_both(weight.clone()).into_data().iter().collect();
    let mean = Matrix::from_column_slice(SIZE, 1, &mean);
    let curvature = Matrix::identity(SIZE, SIZE) + &mean * mean.transpose() / 0.3;
    let values: Vec<f64> = weight.into_data().iter().collect();
    let matrix = |values: &[f64]| Matrix::from_row_slice(SIZE, OUTPUTS, values);
    assert_near(&(curvature * matrix(&found)), &matrix(&values));
}

/// Breaks when a part of a fused projection is scaled or updated by another's mean or variances.
#[test]
fn the_inverse_of_a_fused_projection_is_the_product_of_its_roots() {
    let fused = [
        LayerKind::FusedAttention,
        LayerKind::GroupedQueryAttention { value_columns: 4 },
        LayerKind::GroupedQueryAttention { value_columns: 2 },
        LayerKind::GroupedQueryAttention { value_columns: 5 },
        LayerKind::GroupedQueryAttention { value_columns: 7 },
    ];
    for kind in fused {
        let columns = 12;
        let (mean, square) = moments();
        let mean = WhitenedMean::of_variance(&mean, &square, 0.3);
        let root = InverseRoot::new(kind, columns, mean);
        let weight: Tensor<Flex, 2> = tensor(&numbers(SIZE * columns, 9), [SIZE, columns]);
        let parts = Matrices::of(kind, weight.clone()).into_iter();
        let parts = parts.map(|part| root.apply_transposed(root.apply(part)));
        let by_roots: Tensor<Flex, 2> = Matrices::join(parts.collect(), weight.dims());
        let difference = (root.apply_both(weight) - by_roots).abs().max();
        let difference: f64 = difference.into_data().iter::<f64>().sum();
        assert!(difference < ROUNDING, "{kind:?}: {difference}");
    }
}

/// Breaks when a weight of other axes, or one with its inputs first, is taken in another layout by the whole than by its matrices.
#[test]
fn the_inverse_of_any_convolution_is_the_product_of_its_roots() {
    fn check<const D: usize>(kind: LayerKind, shape: [usize; D]) {
        let (mean, square) = moments();
        let groups = kind.means();
        assert_eq!(kind.means_and_size(&shape), (groups, SIZE));
        let mean = mean.narrow(0, 0, groups);
        let mean = WhitenedMean::of_variance(&mean, &square.narrow(0, 0, groups), 0.3);
        let root = InverseRoot::new(kind, kind.size_output(&shape), mean);
        let weight: Tensor<Flex, D> = tensor(&numbers(shape.iter().product(), 10), shape);
        let parts = Matrices::of(kind, weight.clone()).into_iter();
        let parts = parts.map(|part| root.apply_transposed(root.apply(part)));
        let by_roots: Tensor<Flex, D> = Matrices::join(parts.collect(), shape);
        let by_both = root.apply_both(weight.clone());
        let difference = |other: Tensor<Flex, D>| -> f64 {
            let difference = (by_both.clone() - other).abs().max().into_data();
            difference.iter::<f64>().sum()
        };
        assert!(difference(by_roots) < ROUNDING, "{kind:?}");
        assert!(difference(weight) > 0.1, "{kind:?}");
    }
    for groups in [1, 2] {
        check(LayerKind::Conv1d { groups }, [4, 1, SIZE]);
        check(LayerKind::Conv3d { groups }, [4, 1, 1, SIZE, 1]);
        let inputs = groups * SIZE;
        check(LayerKind::ConvTranspose1d { groups }, [inputs, 3, 2]);
        check(LayerKind::ConvTranspose2d { groups }, [inputs, 3, 2, 1]);
        check(LayerKind::ConvTranspose3d { groups }, [inputs, 3, 1, 2, 2]);
    }
}

/// Breaks when a part of a fused projection has another's columns, or the values' part has the mean of the tokens.
#[test]
fn each_projection_is_a_matrix_with_its_mean() {
    let check = |kind: LayerKind, columns: usize, parts: &[(usize, usize)]| {
        let weight: Tensor<Flex, 2> = tensor(&numbers(SIZE * columns, 8), [SIZE, columns]);
        let found = Matrices::of(kind, weight.clone());
        let shapes: Vec<_> = found
            .iter()
            .map(|part| (part.values.dims()[2], part.mean))
            .collect();
        assert_eq!(shapes, parts);
        assert_eq!(
            Matrices::join(found, weight.dims()).into_data(),
            weight.into_data()
        );
    };
    check(LayerKind::FusedAttention, 12, &[(4, 0), (4, 0), (4, 1)]);
    check(
        LayerKind::GroupedQueryAttention { value_columns: 2 },
        12,
        &[(8, 0), (2, 0), (2, 1)],
    );
    check(LayerKind::Linear, 12, &[(12, 0)]);
}
