mod range;

use super::*;
use burn::tensor::{DType, TensorData};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use nalgebra::DMatrix;
use proptest::prelude::*;
use proptest::sample::select;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// In `f64` unless a tensor is made of another type: the default of a device is one for the process.
type B = NdArray<f64>;

/// In f64 the rank-one form and the dense inverse differ by rounding only; the smallest change in
/// the formula (the bias left out of the norm, a factor ρ) shows at 1e-2 and more.
const ROUNDING: f64 = 1e-12;

/// All of them, on a backend on the processor, which alone prepares for updates in place.
const FORMS: [Form; 4] = [
    Form::Fused,
    Form::FusedSums,
    Form::OutOfPlace,
    Form::InPlace,
];

fn form() -> impl Strategy<Value = Form> {
    select(FORMS.to_vec())
}

/// A layer with a weight of this shape.
#[derive(Debug, Clone, Copy)]
struct Case {
    kind: LayerKind,
    weight: &'static [usize],
    bias: bool,
}

const fn case(kind: LayerKind, weight: &'static [usize], bias: bool) -> Case {
    Case { kind, weight, bias }
}

const LINEAR: Case = case(LayerKind::Linear, &[5, 3], true);
const CONV: Case = case(LayerKind::Conv2d { groups: 1 }, &[6, 2, 3, 2], true);
const GROUPED_CONV: Case = case(LayerKind::Conv2d { groups: 3 }, &[6, 2, 3, 2], true);
const FUSED_ATTENTION: Case = case(LayerKind::FusedAttention, &[5, 6], true);
/// Six columns of queries, two of keys and two of values.
const GROUPED_QUERIES: Case = {
    let kind = LayerKind::GroupedQueryAttention { value_columns: 2 };
    case(kind, &[5, 10], true)
};
const CASES: [Case; 5] = [LINEAR, CONV, GROUPED_CONV, FUSED_ATTENTION, GROUPED_QUERIES];

/// Every form with every case, with a bias and without.
fn all_cases(cases: &[Case]) -> impl Iterator<Item = (Form, Case)> {
    FORMS.into_iter().flat_map(move |form| {
        let with_and_without = |case: &Case| [true, false].map(|bias| Case { bias, ..*case });
        let cases = cases.iter().flat_map(with_and_without);
        cases.map(move |case| (form, case))
    })
}

impl Case {
    /// A gradient of such a layer.
    fn gradient(self, dtype: DType, seed: u64) -> LayerGradient<B> {
        let weight = random(self.weight.iter().product(), seed);
        let bias = random(self.kind.size_output(self.weight), seed + 100);
        self.gradient_of(dtype, weight, bias)
    }

    fn gradient_of(self, dtype: DType, weight: Vec<f64>, bias: Vec<f64>) -> LayerGradient<B> {
        let weight = match *self.weight {
            [rows, columns] => WeightGradient::Matrix(tensor(weight, [rows, columns], dtype)),
            [a, b, c, d] => WeightGradient::Kernel(tensor(weight, [a, b, c, d], dtype)),
            _ => unreachable!("a weight has two axes or four"),
        };
        LayerGradient {
            bias: self.bias.then(|| tensor(bias.clone(), [bias.len()], dtype)),
            ..LayerGradient::of_weight(weight)
        }
    }

    /// A mean of such a layer's inputs; a bias sees less than 1 through attention with dropout.
    fn mean(self, dtype: DType, seed: u64) -> Augmented<B> {
        let (means, size) = self.kind.means_and_size(self.weight);
        let ones = match self.kind.value_columns(0) {
            Some(_) => vec![1.0, 0.75],
            None => vec![1.0; means],
        };
        Augmented {
            inputs: tensor(random(means * size, seed), [means, size], dtype),
            one: tensor(ones, [means, 1], dtype),
        }
    }

    fn rank_one(self, mean: &Augmented<B>, damping: f64) -> RankOne<B> {
        let size_output = self.kind.size_output(self.weight);
        RankOne::new(mean, damping, self.bias, self.kind, size_output)
    }

    fn precondition(
        self,
        form: Form,
        mean: &Augmented<B>,
        damping: f64,
        gradient: LayerGradient<B>,
    ) -> LayerGradient<B> {
        self.rank_one(mean, damping).apply_in(form, gradient, false)
    }

    /// The mean of the layer that an output has.
    fn mean_of_output(self, output: usize) -> usize {
        let outputs = self.kind.size_output(self.weight);
        match self.kind {
            LayerKind::FusedAttention => usize::from(output >= outputs / 3 * 2),
            LayerKind::GroupedQueryAttention { value_columns } => {
                usize::from(output >= outputs - value_columns)
            }
            kind => output / (outputs / kind.groups()),
        }
    }

    /// The gradient's rows, each times the dense `ρ (ρ I + ā āᵀ)⁻¹` of its output's mean.
    fn expected(self, rows: &DMatrix<f64>, mean: &Augmented<B>, damping: f64) -> DMatrix<f64> {
        let (inputs, one) = (matrix(mean.inputs.clone()), matrix(mean.one.clone()));
        let mut expected = rows.clone();
        for (output, mut row) in expected.row_iter_mut().enumerate() {
            let mean = self.mean_of_output(output);
            let one = self.bias.then(|| one[(mean, 0)]);
            let mean: Vec<f64> = inputs.row(mean).iter().copied().chain(one).collect();
            let size = mean.len();
            let mean = DMatrix::from_vec(size, 1, mean);
            let damped = DMatrix::identity(size, size) * damping + &mean * mean.transpose();
            let inverse = damped.try_inverse().expect("damping makes it regular");
            let preconditioned = rows.row(output) * inverse * damping;
            row.copy_from(&preconditioned);
        }
        expected
    }

    fn assert_equals_the_dense_inverse(self, form: Form, damping: f64) {
        let mean = self.mean(DType::F64, 3);
        let gradient = || self.gradient(DType::F64, 1);
        let found = rows(&self.precondition(form, &mean, damping, gradient()));
        let expected = self.expected(&rows(&gradient()), &mean, damping);
        let difference = (found - expected).amax();
        assert!(
            difference <= ROUNDING,
            "{form:?}, {self:?}, damping {damping}: they differ by {difference:e}"
        );
    }
}

/// The same for the same seed, which a backend's generator is not: tests in other threads draw from it too.
fn random(elements: usize, seed: u64) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..elements).map(|_| rng.random_range(-1.5..2.1)).collect()
}

fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D], dtype: DType) -> Tensor<B, D> {
    let data = TensorData::new(values, shape).convert_dtype(dtype);
    Tensor::from_data(data, (&Default::default(), dtype))
}

fn matrix(tensor: Tensor<B, 2>) -> DMatrix<f64> {
    let [rows, columns] = tensor.dims();
    DMatrix::from_row_iterator(rows, columns, tensor.into_data().iter::<f64>())
}

/// A gradient as `[size_output, size_input (+ 1)]`, the output index first.
fn rows(gradient: &LayerGradient<B>) -> DMatrix<f64> {
    let weight = match &gradient.weight {
        WeightGradient::Matrix(weight) => weight.clone().transpose(),
        WeightGradient::Kernel(weight) => {
            let [out, channels, height, width] = weight.dims();
            weight.clone().reshape([out, channels * height * width])
        }
    };
    matrix(match &gradient.bias {
        Some(bias) => Tensor::cat(vec![weight, bias.clone().unsqueeze_dim(1)], 1),
        None => weight,
    })
}

/// The bits of a gradient's elements; those of `f32` are wide enough to tell all values apart.
fn bits(rows: &DMatrix<f64>) -> Vec<u64> {
    rows.iter().map(|value| value.to_bits()).collect()
}

/// A gradient of a linear layer with one mean and no bias, `[size, outputs]`.
fn preconditioned(
    form: Form,
    inputs: Tensor<B, 2>,
    damping: f64,
    weight: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let [_, outputs] = weight.dims();
    let mean = Augmented {
        one: inputs.clone().narrow(1, 0, 1).ones_like(),
        inputs,
    };
    let gradient = LayerGradient::of_weight(WeightGradient::Matrix(weight));
    let rank_one = RankOne::new(&mean, damping, false, LayerKind::Linear, outputs);
    match rank_one.apply_in(form, gradient, false).weight {
        WeightGradient::Matrix(weight) => weight,
        WeightGradient::Kernel(_) => unreachable!("a matrix stays one"),
    }
}

/// Breaks when a backend on a processor is not seen as one: it would copy the gradient.
#[test]
fn processors_update_gradients_in_place() {
    let found = [Form::of::<NdArray<f32>>(), Form::of::<Flex>()];
    assert_eq!(found, [Form::InPlace; 2]);
    assert_eq!(Form::of::<()>(), Form::OutOfPlace);
}

/// Breaks when a backend that fuses is not seen as one, or CUDA's products in TF32 are not.
#[test]
fn backends_that_fuse_update_gradients_in_the_weights_kernel() {
    struct Fusion<B>(B);
    struct CudaRuntime;
    assert_eq!(Form::of::<Fusion<()>>(), Form::Fused);
    assert_eq!(Form::of::<Fusion<CudaRuntime>>(), Form::FusedSums);
    assert_eq!(Form::of::<CudaRuntime>(), Form::OutOfPlace);
}

/// Breaks when the tests of this form see another, or when a gradient is divided by what is almost 0.
#[test]
fn updates_in_place_divide_by_nothing_that_is_almost_zero() {
    for (case, dtype) in CASES
        .iter()
        .flat_map(|case| [(case, DType::F32), (case, DType::F64)])
    {
        let mean = case.mean(dtype, 3);
        let in_place = |inputs: Tensor<B, 2>| {
            let one = mean.one.clone();
            let rank_one = case.rank_one(&Augmented { inputs, one }, 1.0);
            rank_one.in_place.expect("it is prepared")
        };
        assert!(in_place(mean.inputs.clone()).added.is_none(), "{case:?}");
        for almost_zero in [0.0, -0.0, 1e-31, -1e-32] {
            let almost_zero = tensor(vec![almost_zero], [1, 1], dtype);
            let inputs = mean.inputs.clone().slice_assign([0..1, 1..2], almost_zero);
            let prepared = in_place(inputs);
            assert!(prepared.added.is_some(), "{case:?}");
            let largest = 1.0 / smallest_divisor(dtype);
            for factor in prepared.reciprocal.into_data().iter::<f64>() {
                assert!(factor.abs() <= largest, "{case:?}: {factor:e}");
            }
        }
    }
}

/// Breaks when a number is added that an element takes to almost 0, or when the update depends on what is added.
#[test]
fn another_number_is_added_where_an_element_is_its_negative() {
    let smallest = smallest_divisor(DType::F64);
    for blocked in 1..=ADDED.len() {
        let blocking = ADDED[..blocked].iter().map(|added| -added * smallest);
        let inputs: Vec<f64> = [1.0, 1e-35].into_iter().chain(blocking).collect();
        let size = inputs.len();
        let inputs = tensor(inputs, [1, size], DType::F64);
        let prepared = InPlace::new(&inputs, LayerKind::Linear, 12);
        let added = prepared.map(|prepared| prepared.added.expect("an element is 0") / smallest);
        assert_eq!(added, ADDED.get(blocked).copied());

        // As the gradient of a linear layer is, as small as its input; but that of an input of 0, which was another once.
        let rows = inputs.clone().transpose();
        let rows = rows.clone().mask_fill(rows.equal_elem(0.0), 1.0);
        let weight = rows * tensor(random(12, 1), [1, 12], DType::F64);
        let apply = |form| matrix(preconditioned(form, inputs.clone(), 0.5, weight.clone()));
        let (expected, found) = (apply(Form::OutOfPlace), apply(Form::InPlace));
        for (input, mean) in inputs.clone().into_data().iter::<f64>().enumerate() {
            let tolerance = if mean == 0.0 { 0.0 } else { 1e-8 };
            for (expected, found) in expected.row(input).iter().zip(found.row(input).iter()) {
                assert!(
                    (expected - found).abs() <= tolerance * expected.abs(),
                    "{blocked} blocked: {found:e} in place of {expected:e}"
                );
            }
        }
    }
}

/// Breaks when the bias is left out of the norm or of the product, or a factor ρ is.
#[test]
fn linear_equals_the_dense_inverse_on_the_input_side() {
    for (form, case) in all_cases(&[LINEAR]) {
        for damping in [1.0, 0.3, 7.0, 1e-3] {
            case.assert_equals_the_dense_inverse(form, damping);
        }
    }
}

/// Breaks when a group is preconditioned by another group's mean.
#[test]
fn conv2d_equals_the_dense_inverse_in_each_group() {
    let with_groups = |groups| Case {
        kind: LayerKind::Conv2d { groups },
        ..CONV
    };
    for (form, case) in all_cases(&[1, 2, 3, 6].map(with_groups)) {
        case.assert_equals_the_dense_inverse(form, 0.7);
    }
}

/// Breaks when a part is preconditioned by another part's mean.
#[test]
fn a_fused_projection_equals_the_dense_inverse_of_each_part() {
    for (form, case) in all_cases(&[FUSED_ATTENTION]) {
        case.assert_equals_the_dense_inverse(form, 0.7);
    }
}

/// Breaks when the values of grouped queries are taken for a third of the columns.
#[test]
fn unequal_value_columns_equal_the_dense_inverse_of_each_part() {
    let with_values = |value_columns| Case {
        kind: LayerKind::GroupedQueryAttention { value_columns },
        ..GROUPED_QUERIES
    };
    for (form, case) in all_cases(&[1, 2, 7, 10].map(with_values)) {
        case.assert_equals_the_dense_inverse(form, 0.7);
    }
}

/// Breaks when a reciprocal or a square has a floor: gradients of constant zeros would walk off, step by step.
#[test]
fn the_gradient_of_an_input_that_is_always_zero_stays_exactly_as_it_is() {
    for dtype in [DType::F32, DType::F64] {
        for (form, case) in all_cases(&CASES) {
            // Random where the mean is 0, and 0 there, as with inputs that are always 0, beside other large elements.
            check_zeros(form, case, dtype, None);
            check_zeros(form, case, dtype, Some(1e6));
        }
    }
}

fn check_zeros(form: Form, case: Case, dtype: DType, scale: Option<f64>) {
    let mut mean = case.mean(dtype, 3);
    let [means, size] = mean.inputs.dims();
    let is_zero = |mean: usize, input: usize| (mean + input).is_multiple_of(2);
    let mask = (0..means * size).map(|at| f64::from(!is_zero(at / size, at % size)));
    mean.inputs = mean.inputs * tensor(mask.collect(), [means, size], dtype);

    let gradient = || {
        let gradient = case.gradient(dtype, 1);
        let Some(scale) = scale else { return gradient };
        let rows = gradient.to_rows(case.kind.groups(), case.bias);
        let (outputs, width) = (
            case.kind.size_output(case.weight),
            size + usize::from(case.bias),
        );
        let factor = |at| {
            let (output, input) = (at / width, at % width);
            let zero = input < size && is_zero(case.mean_of_output(output), input);
            if zero { 0.0 } else { scale }
        };
        let factors = (0..outputs * width).map(factor).collect();
        let factors = tensor(factors, rows.dims(), dtype);
        gradient.with_rows(rows * factors, case.bias)
    };
    let before = rows(&gradient());
    let after = rows(&case.precondition(form, &mean, 1.0, gradient()));
    for output in 0..before.nrows() {
        let own = case.mean_of_output(output);
        for input in 0..size {
            let at = (output, input);
            let context = format!("{form:?}, {case:?}, {dtype:?}, {scale:?}, {at:?}");
            if is_zero(own, input) {
                let (after, before) = (after[at].abs(), before[at].abs());
                assert_eq!(after.to_bits(), before.to_bits(), "{context}");
            } else {
                assert!((after[at] - before[at]).abs() > 1e-4, "{context}");
            }
        }
    }
}

/// Breaks when a mean of zeros is divided by its magnitude, or anything is added to a zero.
#[test]
fn without_a_statistic_nothing_is_preconditioned() {
    for dtype in [DType::F32, DType::F64] {
        for (form, case) in all_cases(&CASES) {
            let mean = case.mean(dtype, 3);
            let mean = Augmented {
                inputs: mean.inputs.zeros_like(),
                one: mean.one.zeros_like(),
            };
            for damping in [1e-30, 1.0, 1e30] {
                let gradient = || case.gradient(dtype, 1);
                let found = case.precondition(form, &mean, damping, gradient());
                let found = bits(&rows(&found));
                assert_eq!(found, bits(&rows(&gradient())), "{form:?}, {case:?}");
            }
        }
    }
}

/// Breaks when a broken element of the weight or of the bias does not reach the number that is looked at.
#[test]
fn the_guard_sees_one_broken_element_and_changes_no_good_one() {
    let is_broken = |gradient: &LayerGradient<B>| {
        let broken = gradient.broken.clone().expect("it was looked at");
        broken.into_data().iter::<bool>().collect::<Vec<_>>()
    };
    for (form, case) in all_cases(&CASES) {
        let rank_one = case.rank_one(&case.mean(DType::F64, 11), 1.0);
        let weight: Vec<f64> = random(case.weight.iter().product(), 10);
        let bias = random(case.kind.size_output(case.weight), 12);
        let gradient = |weight: &[f64], bias: &[f64]| {
            case.gradient_of(DType::F64, weight.to_vec(), bias.to_vec())
        };
        for broken in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for at in 0..weight.len() {
                let mut weight = weight.clone();
                weight[at] = broken;
                let found = rank_one.apply_in(form, gradient(&weight, &bias), true);
                assert_eq!(is_broken(&found), [true], "{form:?}, {case:?}, weight {at}");
            }
            for at in (0..bias.len()).take_while(|_| case.bias) {
                let mut bias = bias.clone();
                bias[at] = broken;
                let found = rank_one.apply_in(form, gradient(&weight, &bias), true);
                assert_eq!(is_broken(&found), [true], "{form:?}, {case:?}, bias {at}");
            }
        }
        let off = rank_one.apply_in(form, gradient(&weight, &bias), false);
        assert!(off.broken.is_none());
        let on = rank_one.apply_in(form, gradient(&weight, &bias), true);
        assert_eq!(is_broken(&on), [false]);
        assert_eq!(bits(&rows(&off)), bits(&rows(&on)));
    }
}

/// Breaks when what was found before gradients were clipped is forgotten: clipping by value makes a number of an infinity.
#[test]
fn what_was_found_broken_stays_broken() {
    for (form, case) in all_cases(&CASES) {
        let rank_one = case.rank_one(&case.mean(DType::F64, 11), 1.0);
        let mut gradient = case.gradient(DType::F64, 10);
        gradient.broken = Some(Tensor::from_data([true], &Default::default()));
        let found = rank_one.apply_in(form, gradient, true).broken;
        let found = found.expect("it was known");
        assert!(found.into_data().iter::<bool>().all(|broken| broken));
    }
}

proptest! {
    /// Breaks when anything is added to a gradient that does not depend on it.
    #[test]
    fn it_is_linear_in_the_gradient(
        form in form(),
        seed in 0u64..1000,
        factor in -3.0..3.0f64,
    ) {
        let weight = |seed| tensor(random(24, seed), [6, 4], DType::F64);
        let inputs = tensor(random(6, seed), [1, 6], DType::F64);
        let (left, right) = (weight(seed + 1), weight(seed + 2));
        let apply = |weight| preconditioned(form, inputs.clone(), 0.5, weight);
        let together = apply(left.clone() * factor + right.clone());
        let apart = apply(left) * factor + apply(right);
        prop_assert!(together.all_close(apart, Some(0.0), Some(ROUNDING)));
    }

    /// Breaks when a gradient is scaled as a whole, or another direction than the mean's is.
    #[test]
    fn across_the_mean_it_is_the_identity_and_along_it_the_gain(
        form in form(),
        seed in 0u64..1000,
        damping in 0.01..20.0f64,
    ) {
        let inputs = tensor(random(6, seed), [1, 6], DType::F64);
        let along = inputs.clone().transpose();
        let norm = along.clone().square().sum();
        let gain = damping / (damping + norm.clone().into_scalar());
        let found = preconditioned(form, inputs.clone(), damping, along.clone());
        prop_assert!(found.all_close(along.clone() * gain, Some(0.0), Some(ROUNDING * 10.0)));

        let other = tensor(random(6, seed + 1), [6, 1], DType::F64);
        let share = (other.clone() * along.clone()).sum() / norm;
        let across = other - along * share.unsqueeze();
        let found = preconditioned(form, inputs, damping, across.clone());
        prop_assert!(found.all_close(across, Some(0.0), Some(ROUNDING * 10.0)));
    }

    /// Breaks when more than twice a gradient's part along the mean is taken from it.
    #[test]
    fn it_never_lengthens_a_gradient(
        form in form(),
        seed in 0u64..1000,
        damping in 0.001..100.0f64,
    ) {
        let weight = tensor(random(24, seed + 1), [6, 4], DType::F64);
        let inputs = tensor(random(6, seed), [1, 6], DType::F64);
        let length = |tensor: Tensor<B, 2>| tensor.square().sum().into_scalar();
        let before = length(weight.clone());
        let after = length(preconditioned(form, inputs, damping, weight));
        prop_assert!(after <= before * (1.0 + ROUNDING));
    }
}
