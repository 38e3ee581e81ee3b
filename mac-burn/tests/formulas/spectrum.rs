use crate::support::{filled, random};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::conv::Conv2dConfig;
use burn::nn::{LinearConfig, PaddingConfig2d};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn_ndarray::NdArray;
use mac_burn::spectrum::{InputPart, LayerSpectrum, Spectrum};
use mac_burn::{
    InputCovariance, MacConfig, MacConv2d, MacLinear, MacSelfAttention, SelfAttention,
    SelfAttentionConfig, unrecorded,
};

type B = Autodiff<NdArray<f64>>;

/// Of eigenvalues that are computed in `f64`.
const ROUNDING: f64 = 1e-9;

fn assert_near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < ROUNDING * expected.abs().max(1.0),
        "{found}, not {expected}"
    );
}

fn linear(bias: bool) -> MacLinear<B> {
    LinearConfig::new(2, 3)
        .with_bias(bias)
        .init(&Default::default())
        .into()
}

/// Of the rows `(3, 0)` and `(1, 0)`, in two passes.
fn spectrum_of_two_rows(layer: &MacLinear<B>) -> LayerSpectrum {
    let device = Default::default();
    let spectrum = Spectrum::of(layer, |layer| {
        layer.forward(Tensor::<B, 2>::from_floats([[3.0, 0.0]], &device));
        layer.forward(Tensor::<B, 3>::from_floats([[[1.0, 0.0]]], &device));
    });
    let [layer] = &spectrum.layers[..] else {
        panic!("there is one layer: {spectrum}");
    };
    layer.clone()
}

/// `E[x xᵀ] = diag(5, 0)` and the mean is `(2, 0)`. Breaks when the mean is squared before it is averaged, or the covariance is taken
/// for the second moment.
#[test]
fn without_a_bias_the_moment_is_that_of_the_inputs() {
    let layer = spectrum_of_two_rows(&linear(false));
    assert_eq!((layer.size, layer.rows, layer.part), (2, 2, InputPart::All));
    assert_near(layer.eigenvalues[0], 5.0);
    assert_near(layer.eigenvalues[1], 0.0);
    assert_near(layer.alignment, 1.0);
    assert_near(layer.mean_share, 4.0 / 5.0);
    assert_near(layer.first_share(), 1.0);
    assert_eq!(layer.gap(), f64::INFINITY);
    assert_eq!(layer.attention_share, None);
}

/// With the 1 it is `[[5, 2], [2, 1]]` and zeros, whose eigenvalues are `3 ± 2√2`, the first with the vector `(2 + 2√2, 2)`; the mean
/// is `(2, 0, 1)`.
#[test]
fn with_a_bias_the_moment_has_the_one() {
    let layer = spectrum_of_two_rows(&linear(true));
    let root = 2.0 * 2.0_f64.sqrt();
    assert_eq!(layer.size, 3);
    assert_near(layer.eigenvalues[0], 3.0 + root);
    assert_near(layer.eigenvalues[1], 3.0 - root);
    assert_near(layer.gap(), (3.0 + root) / (3.0 - root));
    assert_near(layer.mean_share, 5.0 / 6.0);
    let vector = [2.0 + root, 2.0];
    let along = 2.0 * vector[0] + vector[1];
    let cosine = along * along / (5.0 * (vector[0] * vector[0] + vector[1] * vector[1]));
    assert_near(layer.alignment, cosine);
    assert!(cosine < 0.999);
}

/// Breaks when patches, groups or padding are others than those of the first layer's covariance: the trace of `(C + ρ I)⁻¹` is
/// `Σ 1 / (λ + ρ)`.
#[test]
fn the_eigenvalues_of_a_convolution_are_those_of_its_input_covariance() {
    let images = random([3, 4, 7, 6], 5);
    let config = Conv2dConfig::new([4, 6], [3, 2])
        .with_stride([2, 1])
        .with_groups(2);
    let conv: MacConv2d<B> = config.init(&Default::default()).into();
    let spectrum = Spectrum::of(&conv, |conv| {
        conv.forward(images.clone());
    });
    let parts: Vec<_> = spectrum.layers.iter().map(|layer| layer.part).collect();
    assert_eq!(parts, [InputPart::Group(0), InputPart::Group(1)]);

    let mut covariance = InputCovariance::of(&conv);
    covariance.update(images);
    for damping in [0.5, 2.0] {
        let inverse = covariance.inverse(damping).expect("it is regular");
        let size = 2 * 3 * 2 + 1;
        let values: Vec<f64> = inverse.iter().collect();
        for (layer, inverse) in spectrum.layers.iter().zip(values.chunks(size * size)) {
            assert_eq!(layer.size, size);
            let trace: f64 = inverse.iter().step_by(size + 1).sum();
            let found = layer
                .eigenvalues
                .iter()
                .map(|value| 1.0 / (value + damping))
                .sum();
            assert_near(found, trace);
        }
    }
}

/// The share of the mean in the report of a preconditioner that has seen what the recorder of a layer holds.
fn reported_share<M: AutodiffModule<B>>(layer: &M, grads: GradientsParams) -> f64 {
    let mut preconditioner = MacConfig::new().init_preconditioner();
    preconditioner.precondition(layer, grads);
    let report = preconditioner.report(layer);
    report.layers[0].mean_share.expect("it recorded")
}

/// Breaks when squares are summed over other rows or patches than inputs, or without the 1 of a bias.
#[test]
fn the_reports_share_of_the_mean_is_that_of_the_spectrum() {
    for bias in [false, true] {
        let layer = linear(bias);
        let rows: Tensor<B, 3> = random([4, 3, 2], 6);
        let loss = layer.forward(rows.clone()).sum();
        let share = reported_share(&layer, GradientsParams::from_grads(loss.backward(), &layer));
        let spectrum = Spectrum::of(&layer, |layer| {
            layer.forward(rows.clone());
        });
        assert_near(share, spectrum.layers[0].mean_share);

        let images = random([3, 4, 7, 6], 5);
        let config = Conv2dConfig::new([4, 6], [3, 2])
            .with_stride([2, 1])
            .with_padding(PaddingConfig2d::Explicit(1, 0, 2, 1))
            .with_groups(2)
            .with_bias(bias);
        let conv: MacConv2d<B> = config.init(&Default::default()).into();
        let loss = conv.forward(images.clone()).sum();
        let share = reported_share(&conv, GradientsParams::from_grads(loss.backward(), &conv));
        let spectrum = Spectrum::of(&conv, |conv| {
            conv.forward(images.clone());
        });
        let traces: Vec<f64> = spectrum
            .layers
            .iter()
            .map(|group| group.eigenvalues.iter().sum())
            .collect();
        let groups = spectrum.layers.iter().zip(&traces);
        let means: f64 = groups.map(|(group, trace)| group.mean_share * trace).sum();
        assert_near(share, means / traces.iter().sum::<f64>());
    }
}

/// Of `(3, 0)` and then `(1, 0)`, with a decay of 1/2: these have the weights 1/3 and 2/3. Breaks when squares are averaged
/// otherwise than inputs.
#[test]
fn the_reports_share_is_of_moving_averages() {
    for (bias, expected) in [(false, 25.0 / 33.0), (true, 34.0 / 42.0)] {
        let mut layer = linear(bias);
        let config = MacConfig::new().with_stat_decay(0.5).with_tcov(1);
        let mut optim = config.init();
        for first in [3.0, 1.0] {
            let row = Tensor::<B, 2>::from_floats([[first, 0.0]], &Default::default());
            let grads = layer.forward(row).sum().backward();
            let grads = GradientsParams::from_grads(grads, &layer);
            layer = optim.step(0.1, layer, grads);
        }
        let share = optim.report(&layer).layers[0].mean_share;
        assert_near(share.expect("it recorded"), expected);
    }
}

fn causal_attention() -> MacSelfAttention<B> {
    let config = SelfAttentionConfig::new(4, 2).with_causal(true);
    let attention: SelfAttention<B> = config.init(&Default::default());
    let mut attention = filled(attention, 2);
    // With a weight of 0 all keys are the bias, so that a query attends to all tokens before it alike.
    let weight = attention.qkv.weight.val().inner().zeros_like();
    let weight = Tensor::<B, 2>::from_inner(weight).require_grad();
    attention.qkv.weight = Param::initialized(attention.qkv.weight.id, weight);
    attention.into()
}

/// Three queries attend to `(1, 0, 0)`, `(1/2, 1/2, 0)` and `(1/3, 1/3, 1/3)`. Breaks when the mean is over the keys, or the second
/// moment of attended inputs is that of the inputs or of their averages over the heads and samples.
#[test]
fn attended_inputs_and_the_share_of_the_mean_query_are_those_of_the_probabilities() {
    let attention = causal_attention();
    let tokens: Tensor<B, 3> = random([2, 3, 4], 8);
    let spectrum = Spectrum::of(&attention, |attention| {
        attention.forward(tokens.clone(), None);
    });
    let parts: Vec<_> = spectrum
        .layers
        .iter()
        .map(|layer| (&*layer.path, layer.part))
        .collect();
    let expected = [
        ("qkv", InputPart::All),
        ("qkv", InputPart::Attended),
        ("output", InputPart::All),
    ];
    assert_eq!(parts, expected);

    let [inputs, attended, _] = &spectrum.layers[..] else {
        panic!("there are three");
    };
    assert_eq!((inputs.rows, attended.rows), (2 * 3, 2 * 2 * 3));
    let mean = [11.0 / 18.0, 5.0 / 18.0, 2.0 / 18.0];
    let square: f64 = mean.iter().map(|value: &f64| value * value).sum();
    let share = attended.attention_share.expect("there is one batch");
    assert_near(share, 3.0 * square / (1.0 + 0.5 + 1.0 / 3.0));

    let values: Vec<f64> = tokens.into_data().iter().collect();
    let row = |batch: usize, token: usize| &values[(batch * 3 + token) * 4..][..4];
    let mut trace = 0.0;
    for batch in 0..2 {
        for query in 0..3 {
            for channel in 0..4 {
                let seen = (0..=query).map(|key| row(batch, key)[channel]);
                trace += (seen.sum::<f64>() / (query + 1) as f64).powi(2) / 6.0;
            }
        }
    }
    let bias = f64::from(u8::from(attention.qkv.bias.is_some()));
    assert_near(attended.eigenvalues.iter().sum(), trace + bias);
}

/// Breaks when batches of other lengths are added up.
#[test]
fn batches_of_other_lengths_have_no_share_of_attention() {
    let spectrum = Spectrum::of(&causal_attention(), |attention| {
        attention.forward(random([2, 3, 4], 8), None);
        attention.forward(random([1, 2, 4], 9), None);
    });
    assert_eq!(spectrum.layers[1].attention_share, None);
    assert_eq!(spectrum.layers[1].rows, 12 + 4);
}

/// Breaks when a measurement counts for an optimizer, or is not of a network whose recorders are off.
#[test]
fn recorders_do_not_notice() {
    let measured = |recorded: bool, measures: bool| {
        let layer = causal_attention();
        let mut layer = if recorded { layer } else { unrecorded(layer) };
        let mut optim = MacConfig::new().init();
        let loss = layer.forward(random([2, 3, 4], 8), None).square().sum();
        let mut layers = Vec::new();
        if measures {
            layers = Spectrum::of(&layer, |layer| {
                layer.forward(random([2, 3, 4], 9), None);
            })
            .layers;
        }
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        layer = optim.step(0.1, layer, grads);
        let means: Vec<_> = optim.report(&layer).layers;
        let means = means.into_iter().map(|layer| layer.mean_norm_squared);
        (layers, means.collect::<Vec<_>>())
    };
    let (spectrum, means) = measured(true, true);
    let (_, expected) = measured(true, false);
    assert_eq!(means, expected);
    assert!(means.iter().all(Option::is_some));
    let (of_unrecorded, _) = measured(false, true);
    assert_eq!(of_unrecorded.len(), 3);
    assert_near(of_unrecorded[0].eigenvalues[0], spectrum[0].eigenvalues[0]);
}

/// Breaks when a network without gradients has no recorders that are asked, or its layers are not found by their parameters.
#[test]
fn a_network_that_does_not_train_is_measured_too() {
    let layer = linear(true);
    let rows =
        || Tensor::<NdArray<f64>, 2>::from_floats([[3.0, 0.0], [1.0, 0.0]], &Default::default());
    let spectrum = Spectrum::of(&layer.valid(), |layer| {
        layer.forward(rows());
    });
    let expected = spectrum_of_two_rows(&layer);
    assert_eq!(spectrum.layers.len(), 1);
    assert_near(spectrum.layers[0].eigenvalues[0], expected.eigenvalues[0]);
}

#[test]
fn the_table_has_a_line_for_each_layer() {
    let layer = linear(false);
    let spectrum = Spectrum::of(&layer, |layer| {
        layer.forward(Tensor::<B, 2>::from_floats(
            [[3.0, 1.0]],
            &Default::default(),
        ));
    });
    let text = spectrum.to_string();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("λ₁ / λ₂"), "{text}");
    assert_eq!(layer.num_params(), 6);
}
