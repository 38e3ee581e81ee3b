//! The spectra of the gradients at layers' outputs, against gradients that are chosen or made without recorders.

use crate::support::{Network, filled, images, random};
use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::Conv2dConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, DType, Int, Tensor};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn::spectrum::{DAMPING, LayerOutputSpectrum, OutputPart, OutputSpectrum};
use mac_burn::{
    MacConfig, MacConv2d, MacLinear, MacSelfAttention, Recorder, SelfAttention,
    SelfAttentionConfig, unrecorded,
};
use nalgebra::DMatrix;

type B = Autodiff<NdArray<f64>>;

/// Of eigenvalues and cosines that are computed in `f64`.
const ROUNDING: f64 = 1e-9;

fn assert_near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < ROUNDING * expected.abs().max(1.0),
        "{found}, not {expected}"
    );
}

fn assert_cosine(layer: &LayerOutputSpectrum, damping: f64, expected: f64) {
    assert_near(layer.cosine(damping).expect("it has a gradient"), expected);
}

/// A linear layer whose outputs' gradients are chosen: those of `Σ g · y`.
fn linear(outputs: usize, bias: bool) -> MacLinear<B> {
    let config = LinearConfig::new(1, outputs).with_bias(bias);
    config.init(&Default::default()).into()
}

/// Of rows of one input each and the gradients at their outputs, all in one pass.
fn spectrum_of_rows<const R: usize, const O: usize>(
    bias: bool,
    inputs: [f64; R],
    gradients: [[f64; O]; R],
) -> LayerOutputSpectrum {
    let device = Default::default();
    let layer = linear(O, bias);
    let mut spectrum = OutputSpectrum::of(&layer, |layer| {
        let input = Tensor::<B, 1>::from_floats(inputs, &device).reshape([R, 1]);
        let loss = layer.forward(input) * Tensor::<B, 2>::from_floats(gradients, &device);
        GradientsParams::from_grads(loss.sum().backward(), layer)
    });
    assert_eq!(spectrum.layers.len(), 1, "{spectrum}");
    spectrum.layers.remove(0)
}

/// `P` is `diag(4, 1)` and `G` is `(8, −2)`, or with a bias `(8, 4)` and `(−2, 0)`. Breaks when a bias is not a part of the gradient, or
/// `P` is the covariance, or multiplies and does not divide.
#[test]
fn two_outputs_are_as_computed_by_hand() {
    let layer = spectrum_of_rows(false, [1.0, 3.0], [[2.0, 1.0], [2.0, -1.0]]);
    assert_eq!((layer.size, layer.rows, layer.rank()), (2, 2, 2));
    assert_eq!(layer.part, OutputPart::All);
    assert_near(layer.eigenvalues[0], 4.0);
    assert_near(layer.eigenvalues[1], 1.0);
    assert_near(layer.condition(), 4.0);
    assert_near(layer.condition_of_range(), 4.0);
    let squares = layer.gradient_squares.as_ref().expect("it has a gradient");
    assert_near(squares[0], 64.0);
    assert_near(squares[1], 4.0);
    // P⁻¹G = (2, −2).
    assert_cosine(&layer, 0.0, 20.0 / (8.0_f64 * 68.0).sqrt());
    // The mean eigenvalue is 5/2: (P + I/2)⁻¹G = (16/9, −4/3).
    let length = (256.0_f64 / 81.0 + 16.0 / 9.0).sqrt();
    assert_cosine(
        &layer,
        0.2,
        (128.0 / 9.0 + 8.0 / 3.0) / (length * 68.0_f64.sqrt()),
    );
    assert_near(layer.cosine(1e12).expect("it has a gradient"), 1.0);

    let layer = spectrum_of_rows(true, [1.0, 3.0], [[2.0, 1.0], [2.0, -1.0]]);
    // P⁻¹G = (2, 1), (−2, 0).
    assert_cosine(&layer, 0.0, 24.0 / (9.0_f64 * 84.0).sqrt());
}

/// Breaks when backward passes replace each other.
#[test]
fn passes_add_up() {
    let device = Default::default();
    let layer = linear(2, true);
    let spectrum = OutputSpectrum::of(&layer, |layer| {
        let mut sum = GradientsAccumulator::new();
        let first = layer.forward(Tensor::<B, 2>::from_floats([[1.0]], &device))
            * Tensor::from_floats([[2.0, 1.0]], &device);
        let second = layer.forward(Tensor::<B, 3>::from_floats([[[3.0]]], &device))
            * Tensor::from_floats([[[2.0, -1.0]]], &device);
        for loss in [first.sum(), second.sum()] {
            let grads = GradientsParams::from_grads(loss.backward(), layer);
            sum.accumulate(layer, grads);
        }
        sum.grads()
    });
    let expected = spectrum_of_rows(true, [1.0, 3.0], [[2.0, 1.0], [2.0, -1.0]]);
    assert_eq!(spectrum.layers, [expected]);
}

/// Breaks when a batch without rows is a layer that was seen, or takes the rows of others away.
#[test]
fn a_batch_without_rows_is_not_seen() {
    let layer: Linear<Autodiff<Flex>> = LinearConfig::new(1, 2).init(&Default::default());
    let layer: MacLinear<Autodiff<Flex>> = layer.into();
    for batches in [[0, 0], [0, 3], [3, 0]] {
        let spectrum = OutputSpectrum::of(&layer, |layer| {
            let mut sum = GradientsAccumulator::new();
            for rows in batches {
                let loss = layer
                    .forward(random::<Autodiff<Flex>, 2>([rows, 1], 1))
                    .sum();
                let grads = GradientsParams::from_grads(loss.backward(), layer);
                sum.accumulate(layer, grads);
            }
            sum.grads()
        });
        let rows: Vec<usize> = spectrum.layers.iter().map(|layer| layer.rows).collect();
        assert_eq!(rows, if batches == [0, 0] { vec![] } else { vec![3] });
    }
}

/// One row `(3, 4)` spans one of two outputs. Breaks when rounding is taken for an eigenvalue, or a `P` that is not regular has no cosine.
#[test]
fn fewer_rows_than_outputs_are_singular() {
    let layer = spectrum_of_rows(true, [2.0], [[3.0, 4.0]]);
    assert_near(layer.eigenvalues[0], 25.0);
    assert_eq!((layer.eigenvalues[1], layer.rank()), (0.0, 1));
    assert_eq!(layer.condition(), f64::INFINITY);
    assert_eq!(layer.condition_of_range(), 1.0);
    assert_cosine(&layer, 0.0, 1.0);
}

/// `P⁺G` is `(1/2, 0)` for the gradient `(2, 3)`. Breaks when a part of the gradient that `P` has not seen is left out of its length.
#[test]
fn a_gradient_of_another_pass_counts_whole() {
    let device = Default::default();
    let layer = linear(2, false);
    let pass = |layer: &MacLinear<B>, gradient: [[f64; 2]; 1]| {
        let output = layer.forward(Tensor::<B, 2>::ones([1, 1], &device));
        let loss = (output * Tensor::from_floats(gradient, &device)).sum();
        GradientsParams::from_grads(loss.backward(), layer)
    };
    let other = pass(&layer, [[2.0, 3.0]]);
    let spectrum = OutputSpectrum::of(&layer, |layer| {
        pass(layer, [[2.0, 0.0]]);
        other
    });
    let layer = &spectrum.layers[0];
    assert_eq!(layer.rows, 1);
    assert_cosine(layer, 0.0, 2.0 / 13.0_f64.sqrt());
}

/// Breaks when a gradient that is no number keeps the search for eigenvalues from ending, or is hidden.
#[test]
fn gradients_that_are_no_numbers_are_shown() {
    let layer = spectrum_of_rows(true, [1.0, 1.0], [[f64::NAN, 1.0], [1.0, 0.0]]);
    assert!(layer.eigenvalues.iter().all(|value| value.is_nan()));
    assert!(layer.condition().is_nan());
    assert!(layer.cosine(0.0).expect("it has a gradient").is_nan());
}

/// Breaks when numbers are made of nothing.
#[test]
fn gradients_of_zero_have_no_direction() {
    let layer = spectrum_of_rows(true, [1.0, 2.0], [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!(layer.eigenvalues, [0.0, 0.0]);
    assert_eq!(layer.rank(), 0);
    assert!(layer.condition().is_nan() && layer.condition_of_range().is_nan());
    assert_eq!((layer.cosine(0.0), layer.cosine(DAMPING)), (None, None));
}

struct Cast(DType);

impl<B: Backend> ModuleMapper<B> for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|tensor| tensor.cast(self.0).detach().require_grad())
    }
}

/// Of the output layer of a classifier with ten classes.
fn classifier<B: AutodiffBackend>(dtype: DType) -> LayerOutputSpectrum {
    let device = Default::default();
    let layer: Linear<B> = LinearConfig::new(8, 10).init(&device);
    let layer: MacLinear<B> = filled(layer, 3).into();
    let layer = layer.map(&mut Cast(dtype));
    let input = random::<B, 2>([200, 8], 4).cast(dtype);
    let labels: Vec<i64> = (0..200).map(|row| row * row % 10).collect();
    let labels = Tensor::<B, 1, Int>::from_ints(&labels[..], &device).reshape([200, 1]);
    let mut spectrum = OutputSpectrum::of(&layer, |layer| {
        let probabilities = log_softmax(layer.forward(input), 1);
        let loss = probabilities.gather(1, labels).mean().neg();
        GradientsParams::from_grads(loss.backward(), layer)
    });
    spectrum.layers.remove(0)
}

/// The gradients of a row add up to 0. Breaks when the rounding of gradients and their sums is taken for an eigenvalue, or small
/// eigenvalues for rounding.
#[test]
fn a_softmax_classifier_has_an_eigenvalue_of_zero() {
    let exact = classifier::<B>(DType::F64);
    let limit = exact.cosine(1e-10).expect("it has a gradient");
    let single = classifier::<Autodiff<NdArray<f32>>>(DType::F32);
    let half = [DType::F32, DType::F16, DType::BF16].map(classifier::<Autodiff<Flex>>);
    for layer in [&exact, &single].into_iter().chain(&half) {
        assert_eq!((layer.rank(), layer.eigenvalues[9]), (9, 0.0));
        assert_eq!(layer.condition(), f64::INFINITY);
        // Inverted, the rounding would be most of the step.
        let cosine = layer.cosine(0.0).expect("it has a gradient");
        assert!((cosine - limit).abs() < 1e-2, "{cosine}, not {limit}");
    }
    let cosine = exact.cosine(0.0).expect("it has a gradient");
    assert!((cosine - limit).abs() < 1e-6, "{cosine}, not {limit}");
    assert!(limit < 0.95, "{limit}");
}

/// A matrix with a row for each row.
fn matrix<B: Backend>(rows: Tensor<B, 2>) -> DMatrix<f64> {
    let [count, size] = rows.dims();
    let values: Vec<f64> = rows.into_data().iter().collect();
    DMatrix::from_row_slice(count, size, &values)
}

/// Compares a layer with its output gradients, a row each, and its gradient, output index first, by dense matrices.
fn assert_is_of(layer: &LayerOutputSpectrum, outputs: &DMatrix<f64>, gradient: &DMatrix<f64>) {
    let (rows, size) = outputs.shape();
    assert_eq!((layer.rows, layer.size), (rows, size));
    let moment = outputs.tr_mul(outputs) / rows as f64;
    let mut eigenvalues: Vec<f64> = moment
        .clone()
        .symmetric_eigenvalues()
        .iter()
        .copied()
        .collect();
    eigenvalues.sort_by(|left, right| right.total_cmp(left));
    for (found, expected) in layer.eigenvalues.iter().zip(&eigenvalues) {
        // Relative to the largest.
        assert_near(found / eigenvalues[0], expected / eigenvalues[0]);
    }
    for damping in [DAMPING, 0.3] {
        let damped =
            &moment + DMatrix::identity(size, size) * (damping * moment.trace() / size as f64);
        let step = damped.lu().solve(gradient).expect("it is regular");
        let cosine = step.dot(gradient) / (step.norm() * gradient.norm());
        assert_cosine(layer, damping, cosine);
    }
    let squares = layer.gradient_squares.as_ref().expect("it has a gradient");
    assert_near(squares.iter().sum::<f64>() / gradient.norm_squared(), 1.0);
}

/// Breaks when rows are others than positions, groups are mixed up, or kernels are laid out otherwise than channels.
#[test]
fn the_groups_of_a_convolution_are_those_of_its_channels() {
    let config = Conv2dConfig::new([4, 6], [3, 2])
        .with_stride([2, 1])
        .with_groups(2);
    let conv: MacConv2d<B> = config.init(&Default::default()).into();
    let (images, gradients) = (
        random::<B, 4>([3, 4, 7, 6], 5),
        random::<B, 4>([3, 6, 3, 5], 6),
    );
    let mut found = None;
    let spectrum = OutputSpectrum::of(&conv, |conv| {
        let loss = (conv.forward(images) * gradients.clone()).sum();
        let grads = loss.backward();
        let weight = conv.weight.grad(&grads).expect("it is trained");
        let bias = conv.bias.as_ref().and_then(|bias| bias.grad(&grads));
        let bias = bias.expect("it is trained").reshape([6, 1]);
        found = Some(Tensor::cat(vec![weight.reshape([6, 2 * 3 * 2]), bias], 1));
        GradientsParams::from_grads(grads, conv)
    });
    let found = found.expect("the pass ran");
    let parts: Vec<_> = spectrum.layers.iter().map(|layer| layer.part).collect();
    assert_eq!(parts, [OutputPart::Group(0), OutputPart::Group(1)]);
    for (group, layer) in spectrum.layers.iter().enumerate() {
        let channels = gradients.clone().narrow(1, 3 * group, 3);
        let rows = channels.permute([0, 2, 3, 1]).reshape([3 * 3 * 5, 3]);
        let own = found.clone().narrow(0, 3 * group, 3);
        assert_is_of(layer, &matrix(rows), &matrix(own));
    }
}

/// The tokens of a projection of attention, and the gradients at its outputs, a row for each token.
struct Projection {
    inputs: DMatrix<f64>,
    outputs: DMatrix<f64>,
}

/// Three projections and that of the output, without recorders and with a projection each for queries, keys and values.
fn projections(
    layer: &SelfAttention<B>,
    tokens: &Tensor<B, 3>,
    padded: &Tensor<B, 2, Bool>,
    target: &Tensor<B, 3>,
) -> [Projection; 4] {
    let ([batch, count, _], size) = (tokens.dims(), layer.output.weight.dims()[0]);
    let all = layer.qkv.forward(tokens.clone());
    // Leaves of the graph, so that their gradients are kept.
    let leaves = [0, 1, 2].map(|part| {
        let projected = all.clone().narrow(2, part * size, size);
        projected.detach().require_grad()
    });
    let [query, key, value] = leaves.clone().map(|projected| {
        projected
            .reshape([batch, count, layer.n_heads, size / layer.n_heads])
            .swap_dims(1, 2)
    });
    let scale = ((size / layer.n_heads) as f64).sqrt().recip();
    let scores = query.matmul(key.transpose()).mul_scalar(scale);
    let mask = padded.clone().reshape([batch, 1, 1, count]);
    let weights = softmax(scores.mask_fill(mask, -1e4), 3);
    let context = weights.matmul(value).swap_dims(1, 2);
    let context = context.reshape([batch, count, size]);
    let distance = layer.output.forward(context.clone()) - target.clone();
    let grads = distance.clone().square().sum().backward();
    let rows = |values: Tensor<NdArray<f64>, 3>| {
        let [_, _, width] = values.dims();
        matrix(values.reshape([batch * count, width]))
    };
    let [query, key, value] = leaves.map(|leaf| Projection {
        inputs: rows(tokens.clone().inner()),
        outputs: rows(leaf.grad(&grads).expect("it is a leaf")),
    });
    let output = Projection {
        inputs: rows(context.inner()),
        outputs: rows(distance.inner() * 2.0),
    };
    [query, key, value, output]
}

/// Breaks when the blocks of a fused projection are mixed up or are one, padded tokens are rows, or are left out of the gradient, which
/// their queries are a part of here.
#[test]
fn a_fused_projection_is_three() {
    let device = Default::default();
    let layer: SelfAttention<B> = SelfAttentionConfig::new(4, 2).init(&device);
    let layer = filled(layer, 2);
    let (tokens, target) = (random::<B, 3>([3, 5, 4], 8), random::<B, 3>([3, 5, 4], 9));
    let is_padded = |token: usize| matches!(token, 4 | 8 | 9);
    let padded: [[bool; 5]; 3] =
        [0, 1, 2].map(|sample| std::array::from_fn(|position| is_padded(5 * sample + position)));
    let padded = Tensor::<B, 2, Bool>::from_data(padded, &device);
    let expected = projections(&layer, &tokens, &padded, &target);

    let attention: MacSelfAttention<B> = layer.into();
    let spectrum = OutputSpectrum::of(&attention, |attention| {
        let output = attention.forward(tokens, Some(padded));
        let grads = (output - target).square().sum().backward();
        GradientsParams::from_grads(grads, attention)
    });
    let parts: Vec<_> = spectrum
        .layers
        .iter()
        .map(|layer| (&*layer.path, layer.part))
        .collect();
    let all = [
        ("qkv", OutputPart::Queries),
        ("qkv", OutputPart::Keys),
        ("qkv", OutputPart::Values),
        ("output", OutputPart::All),
    ];
    assert_eq!(parts, all);
    for (layer, Projection { inputs, outputs }) in spectrum.layers.iter().zip(&expected) {
        let columns = inputs.ncols();
        let gradient = outputs.tr_mul(&inputs.clone().insert_column(columns, 1.0));
        let counted: Vec<usize> = (0..outputs.nrows())
            .filter(|row| !is_padded(*row))
            .collect();
        assert_is_of(layer, &outputs.select_rows(&counted), &gradient);
    }
}

/// Breaks when keys are not told from queries where there are fewer of them.
#[test]
fn shared_keys_and_values_are_blocks_of_their_own_size() {
    let layer: Linear<B> = LinearConfig::new(3, 10).init(&Default::default());
    let recorder = Recorder::new();
    let tokens: Tensor<B, 3> = random([2, 4, 3], 1);
    let spectrum = OutputSpectrum::of(&layer, |layer| {
        let output = layer.forward(tokens);
        let (weight, bias) = (&layer.weight, layer.bias.as_ref());
        let output = recorder.record_fused_output(weight, bias, 2, None, output);
        GradientsParams::from_grads(output.square().sum().backward(), layer)
    });
    let found: Vec<_> = spectrum
        .layers
        .iter()
        .map(|layer| (layer.part, layer.size))
        .collect();
    let expected = [
        (OutputPart::Queries, 6),
        (OutputPart::Keys, 2),
        (OutputPart::Values, 2),
    ];
    assert_eq!(found, expected);
}

/// Breaks when a layer without a gradient of its own is left out, one that none reaches is not, or the order is that of the passes.
#[test]
fn layers_are_those_that_gradients_reach() {
    let network = Network::<B>::new(1);
    let paths = |spectrum: &OutputSpectrum| -> Vec<(String, bool)> {
        let layers = spectrum.layers.iter();
        layers
            .map(|layer| (layer.path.clone(), layer.cosine(DAMPING).is_some()))
            .collect()
    };
    let spectrum = OutputSpectrum::of(&network, |network| {
        let loss = network.forward(images(1, 5)).square().sum();
        let mut grads = GradientsParams::from_grads(loss.backward(), network);
        grads.remove::<NdArray<f64>, 2>(network.hidden.weight.id);
        grads
    });
    let all = [("conv", true), ("hidden", false), ("output", true)];
    assert_eq!(
        paths(&spectrum),
        all.map(|(path, has)| (path.to_string(), has))
    );
    assert_eq!(spectrum.layers[1].rows, 5);
    assert!(
        spectrum
            .to_string()
            .lines()
            .all(|line| !line.contains("NaN"))
    );

    let spectrum = OutputSpectrum::of(&network, |network| {
        network.forward(images(1, 5));
        let loss = network.output.forward(random([4, 6], 2)).square().sum();
        GradientsParams::from_grads(loss.backward(), network)
    });
    assert_eq!(paths(&spectrum), [("output".to_string(), true)]);
}

/// Breaks when a measurement counts for an optimizer, or is not of a network whose recorders are off.
#[test]
fn recorders_do_not_notice() {
    let attention = |recorded: bool| {
        let config = SelfAttentionConfig::new(4, 2);
        let layer: SelfAttention<B> = config.init(&Default::default());
        let layer: MacSelfAttention<B> = filled(layer, 2).into();
        if recorded { layer } else { unrecorded(layer) }
    };
    let pass = |layer: &MacSelfAttention<B>, seed| {
        let loss = layer.forward(random([2, 3, 4], seed), None).square().sum();
        GradientsParams::from_grads(loss.backward(), layer)
    };
    let measured = |recorded: bool, measures: bool| {
        let mut layer = attention(recorded);
        let mut optim = MacConfig::new().init();
        let grads = pass(&layer, 8);
        let mut spectrum = None;
        if measures {
            spectrum = Some(OutputSpectrum::of(&layer, |layer| pass(layer, 9)));
        }
        layer = optim.step(0.1, layer, grads);
        let means = optim.report(&layer).layers.into_iter();
        let means = means.map(|layer| layer.mean_norm_squared);
        (spectrum, means.collect::<Vec<_>>())
    };
    let (spectrum, means) = measured(true, true);
    let (_, expected) = measured(true, false);
    assert_eq!(means, expected);
    assert!(means.iter().all(Option::is_some));
    let (of_unrecorded, _) = measured(false, true);
    assert_eq!(of_unrecorded, spectrum);
}

/// Breaks when a pass outside of the measurement, or through one of its forward passes after it, is a part of it.
#[test]
fn passes_outside_are_not_measured() {
    let device = Default::default();
    let layer = linear(2, false);
    let forward = |layer: &MacLinear<B>| layer.forward(Tensor::<B, 2>::ones([1, 1], &device));
    let before = forward(&layer);
    let mut kept = None;
    let spectrum = OutputSpectrum::of(&layer, |layer| {
        kept = Some(forward(layer));
        let loss = before.sum();
        GradientsParams::from_grads(loss.backward(), layer)
    });
    kept.expect("the pass ran").sum().backward();
    assert_eq!(spectrum.layers, []);
}

#[test]
fn the_table_has_a_line_for_each_layer() {
    let layer = spectrum_of_rows(true, [2.0], [[3.0, 4.0]]);
    let spectrum = OutputSpectrum {
        layers: vec![layer],
    };
    let text = spectrum.to_string();
    assert_eq!(text.lines().count(), 2, "{text}");
    let cells = text.lines().last().map(|line| line.split_whitespace());
    let cells: Vec<_> = cells.expect("there is one").collect();
    assert_eq!(
        cells,
        ["weight", "all", "2", "1", "inf", "1.0e0", "1.000", "1.000"]
    );
}
