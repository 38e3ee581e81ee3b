use super::*;
use crate::curvature::WhitenedMean;
use burn::backend::Flex;
use burn::tensor::{DType, TensorData};
use nalgebra::DMatrix;

/// Of sums of some ten products of numbers near 1, in `f64`.
const ROUNDING: f64 = 1e-12;

const INPUTS: usize = 5;
const OUTPUTS: usize = 4;
const ORTHOGONAL: StepForm = StepForm::Orthogonal { iterations: 5 };
const NEW_FORMS: [StepForm; 3] = [StepForm::Normalized, StepForm::RowsAndColumns, ORTHOGONAL];

fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<Flex, D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (&Default::default(), DType::F64))
}

/// Numbers in [-1, 1), in no order, so that matrices of them are regular.
fn numbers(count: usize, seed: usize) -> Vec<f64> {
    let mixed = |index: usize| index * index * 13 + index * 37 + seed * 101 + 11;
    let number = |index: usize| (mixed(index) % 97) as f64 / 48.5 - 1.0;
    (0..count).map(number).collect()
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f64> {
    tensor.into_data().iter().collect()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < ROUNDING, "{found} {expected}");
    }
}

/// An inverse root for so many means of `INPUTS` inputs.
fn inverse_root(kind: LayerKind, means: usize) -> InverseRoot<Flex> {
    let mean: Tensor<Flex, 2> = tensor(&numbers(means * INPUTS, 1), [means, INPUTS]);
    let variance = tensor(&numbers(means * INPUTS, 2), mean.dims()).abs() + 0.1;
    let square = mean.clone().square() + variance;
    let outputs = match kind {
        LayerKind::FusedAttention => 3 * OUTPUTS,
        LayerKind::Conv2d { groups } => groups * OUTPUTS,
        _ => OUTPUTS,
    };
    InverseRoot::new(
        kind,
        outputs,
        WhitenedMean::of_variance(&mean, &square, 0.3),
    )
}

/// `S` of the inputs of a linear layer, column by column.
fn dense_root(root: &InverseRoot<Flex>) -> DMatrix<f64> {
    let identity = DMatrix::<f64>::identity(INPUTS, INPUTS);
    let identity: Tensor<Flex, 2> = tensor(identity.as_slice(), [INPUTS, INPUTS]);
    let part = Matrices::of(LayerKind::Linear, identity).remove(0);
    DMatrix::from_row_slice(INPUTS, INPUTS, &values(root.apply(part).values))
}

/// Each row of a matrix, or each column, with a root mean square of 1.
fn normalized_rows(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let mut normalized = matrix.clone();
    for mut row in normalized.row_iter_mut() {
        let rms = (row.norm_squared() / row.len() as f64).sqrt();
        row /= rms;
    }
    normalized
}

/// A step of AdamW's length in the direction of a matrix.
fn of_step_length(direction: DMatrix<f64>) -> Vec<f64> {
    let rms = (direction.norm_squared() / direction.len() as f64).sqrt();
    let step = direction * (ADAMW_RMS / rms);
    step.transpose().as_slice().to_vec()
}

fn weight(seed: usize) -> Tensor<Flex, 2> {
    tensor(&numbers(INPUTS * OUTPUTS, seed), [INPUTS, OUTPUTS])
}

/// By their formulas, with dense matrices. Breaks when a dense_root is on the wrong side of what is between, when rows are taken for
/// columns, or when the length is of another step.
#[test]
fn the_forms_are_those_of_their_formulas() {
    let root = inverse_root(LayerKind::Linear, 1);
    let s = dense_root(&root);
    let momentum = DMatrix::from_row_slice(INPUTS, OUTPUTS, &values(weight(3)));
    let whitened = &s * &momentum;
    let rows = normalized_rows(&whitened);
    let columns = normalized_rows(&rows.transpose()).transpose();
    // The iteration on singular values, which it acts on one by one.
    let decomposition = (&whitened / whitened.norm()).svd(true, true);
    let [a, b, c] = NEWTON_SCHULZ;
    let orthogonal = |iterations| {
        let singular = decomposition
            .singular_values
            .map(|value| (0..iterations).fold(value, |x, _| a * x + b * x.powi(3) + c * x.powi(5)));
        let (u, v) = (decomposition.u.clone(), decomposition.v_t.clone());
        let product = u.expect("asked for") * DMatrix::from_diagonal(&singular);
        product * v.expect("asked for")
    };
    for (form, middle) in [
        (StepForm::Normalized, whitened.clone()),
        (StepForm::RowsAndColumns, columns),
        (ORTHOGONAL, orthogonal(5)),
        (StepForm::Orthogonal { iterations: 2 }, orthogonal(2)),
    ] {
        let expected = of_step_length(s.transpose() * middle);
        let found = form.step(1.0, weight(3), Some(&root));
        assert_near(&values(found), &expected);
    }
}

/// Breaks when a wide matrix, a tall one or a convolution's is turned the wrong way.
#[test]
fn five_iterations_make_singular_values_alike() {
    for shape in [[1, 3, 7], [1, 7, 3], [2, 4, 4]] {
        let [groups, rows, columns] = shape;
        let matrices = tensor(&numbers(groups * rows * columns, 4), shape);
        let found = values(newton_schulz(matrices, 5));
        for group in found.chunks(rows * columns) {
            let singular = DMatrix::from_row_slice(rows, columns, group).singular_values();
            // The range that the coefficients were chosen for.
            let near = |value: &f64| (0.65..1.25).contains(value);
            assert!(singular.iter().all(near), "{singular}");
        }
    }
}

/// Breaks when a neuron or an input whose gradient has stopped takes a step as long as the others', for as long as its momentum is a number.
#[test]
fn rows_and_columns_that_have_stopped_hardly_move() {
    // The first input, and the second neuron.
    let has_stopped = |place: usize| [place < OUTPUTS, place % OUTPUTS == 1];
    let mut momentum = values(weight(3));
    for (place, value) in momentum.iter_mut().enumerate() {
        let [input, neuron] = has_stopped(place).map(|stopped| if stopped { 1e-6 } else { 1.0 });
        *value *= input * neuron;
    }
    let momentum = tensor(&momentum, [INPUTS, OUTPUTS]);
    let mean = tensor(&[0.0; INPUTS], [1, INPUTS]);
    let none = WhitenedMean::of_damping(&mean, 1.0);
    let none = InverseRoot::new(LayerKind::Linear, OUTPUTS, none);
    let step = values(StepForm::RowsAndColumns.step(1.0, momentum, Some(&none)));
    for (place, value) in step.iter().enumerate() {
        let expected = has_stopped(place).contains(&true);
        assert_eq!(value.abs() < 1e-3, expected, "{place}: {value}");
    }
}

/// Breaks when projections or groups share a length or an orthogonal matrix.
#[test]
fn the_parts_of_a_weight_are_stepped_by_themselves() {
    let of_attention = |values: [usize; 3]| -> Tensor<Flex, 2> {
        let parts = values.map(weight);
        Tensor::cat(parts.to_vec(), 1)
    };
    let attention = inverse_root(LayerKind::FusedAttention, 2);
    let of_groups = |values: [usize; 2]| -> Tensor<Flex, 4> {
        let part = |seed| tensor(&numbers(INPUTS * OUTPUTS, seed), [OUTPUTS, INPUTS, 1, 1]);
        Tensor::cat(values.map(part).to_vec(), 0)
    };
    let convolution = inverse_root(LayerKind::Conv2d { groups: 2 }, 2);
    for form in NEW_FORMS {
        let [before, after] = [[5, 6, 7], [5, 8, 7]]
            .map(|seeds| form.step(1.0, of_attention(seeds), Some(&attention)));
        for (start, same) in [(0, true), (OUTPUTS, false), (2 * OUTPUTS, true)] {
            let part = |whole: &Tensor<Flex, 2>| values(whole.clone().narrow(1, start, OUTPUTS));
            assert_eq!(part(&before) == part(&after), same, "{form:?} {start}");
        }
        let [before, after] =
            [[5, 6], [8, 6]].map(|seeds| form.step(1.0, of_groups(seeds), Some(&convolution)));
        for (start, same) in [(0, false), (OUTPUTS, true)] {
            let part = |whole: &Tensor<Flex, 4>| values(whole.clone().narrow(0, start, OUTPUTS));
            assert_eq!(part(&before) == part(&after), same, "{form:?} {start}");
        }
    }
}

/// Breaks when parts of a weight have a length together, or a part that of another's size.
#[test]
fn each_part_has_the_length_of_a_step() {
    let check = |kind: LayerKind, shape: [usize; 2], parts: &[usize]| {
        let [rows, columns] = shape;
        let mean = WhitenedMean::of_damping(&tensor(&numbers(2 * rows, 1), [2, rows]), 0.3);
        let root = InverseRoot::new(kind, columns, mean);
        for form in NEW_FORMS {
            let weight: Tensor<Flex, 2> = tensor(&numbers(rows * columns, 3), shape);
            let step = form.step(1.0, weight, Some(&root));
            let mut start = 0;
            for size in parts {
                let part = values(step.clone().narrow(1, start, *size));
                let squares = part.iter().map(|value| value * value).sum::<f64>();
                let rms = (squares / part.len() as f64).sqrt();
                assert!(
                    (rms - ADAMW_RMS).abs() < ROUNDING,
                    "{kind:?} {form:?}: {rms}"
                );
                start += size;
            }
        }
    };
    check(LayerKind::FusedAttention, [INPUTS, 12], &[4, 4, 4]);
    let grouped = LayerKind::GroupedQueryAttention { value_columns: 2 };
    check(grouped, [INPUTS, 12], &[8, 2, 2]);

    let convolution = inverse_root(LayerKind::Conv2d { groups: 2 }, 2);
    for form in NEW_FORMS {
        let kernel = tensor(
            &numbers(2 * OUTPUTS * INPUTS, 4),
            [2 * OUTPUTS, INPUTS, 1, 1],
        );
        let step = values(form.step(1.0, kernel, Some(&convolution)));
        for group in step.chunks(OUTPUTS * INPUTS) {
            let squares = group.iter().map(|value| value * value).sum::<f64>();
            let rms = (squares / group.len() as f64).sqrt();
            assert!((rms - ADAMW_RMS).abs() < ROUNDING, "{form:?}: {rms}");
        }
    }
}

/// Breaks when a step has a unit of the gradient.
#[test]
fn the_scale_of_a_gradient_does_not_matter() {
    let root = inverse_root(LayerKind::Linear, 1);
    for form in NEW_FORMS {
        for root in [Some(&root), None] {
            let step = values(form.step(1.0, weight(9), root));
            let of_less = form.step(1.0, weight(9).mul_scalar(1e-6), root);
            assert_near(&values(of_less), &step);
            let rms = step.iter().map(|value| value * value).sum::<f64>() / step.len() as f64;
            assert!((rms.sqrt() - ADAMW_RMS).abs() < ROUNDING);
        }
    }
}

#[test]
fn without_a_gradient_there_is_no_step() {
    let root = inverse_root(LayerKind::Linear, 1);
    for form in NEW_FORMS {
        for root in [Some(&root), None] {
            let step = form.step(1.0, weight(9).zeros_like(), root);
            assert_eq!(values(step), vec![0.0; INPUTS * OUTPUTS]);
        }
    }
}

/// At infinite damping nothing is preconditioned: what is left is the form itself.
#[test]
fn without_curvature_a_form_is_itself() {
    let mean = tensor(&numbers(INPUTS, 1), [1, INPUTS]);
    let none = WhitenedMean::of_damping(&mean, f64::INFINITY);
    let none = InverseRoot::new(LayerKind::Linear, OUTPUTS, none);
    let found = StepForm::Normalized.step(1.0, weight(3), Some(&none));
    let alone = StepForm::Normalized.step(1.0, weight(3), None);
    assert_near(&values(found), &values(alone));

    let momentum = DMatrix::from_row_slice(INPUTS, OUTPUTS, &values(weight(3)));
    let rows = normalized_rows(&momentum);
    let columns = normalized_rows(&rows.transpose()).transpose();
    let found = StepForm::RowsAndColumns.step(1.0, weight(3), Some(&none));
    assert_near(&values(found), &of_step_length(columns));
}
