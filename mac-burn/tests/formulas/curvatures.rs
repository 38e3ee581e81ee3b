//! Gradients preconditioned by MAC, SMAC, FOOF, Eva and K-FAC against dense matrices, on random layers.

use crate::dense_curvatures::{
    Curvature, F64, Matrix, Seen, curvatures, damped, inverse, second_moment,
};
use crate::support::random;
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::conv::Conv2dConfig;
use burn::nn::{LinearConfig, PaddingConfig2d};
use burn::optim::GradientsParams;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, TensorData};
use burn_ndarray::NdArray;
use mac_burn::{
    AttendedValues, EvaConfig, FoofConfig, GradientScale, KfacConfig, MacConfig, MacConv2d,
    MacLinear, MacPreconditioner, Recorder, WeightSharing,
};
use nalgebra::DVector;
use proptest::prelude::*;

type Inner = NdArray<f64>;

/// Of a preconditioned gradient, relative to its largest element. A row or a sample more or less, a transposed factor or the other damping
/// shows at 1e-3.
pub(crate) const ROUNDING: f64 = 1e-9;

fn host<const D: usize>(tensor: &Tensor<F64, D>) -> Vec<f64> {
    tensor.to_data().iter().collect()
}

/// `[samples, rows, size]` by sample, with a 1 in each row if asked for, and without the rows that are padded.
fn samples(tensor: &Tensor<F64, 3>, one: bool, padded: Option<&[Vec<bool>]>) -> Vec<Matrix> {
    let [count, rows, size] = tensor.dims();
    let values = host(tensor);
    let sample = |sample: usize| {
        let kept: Vec<usize> = (0..rows)
            .filter(|row| padded.is_none_or(|padded| !padded[sample][*row]))
            .collect();
        Matrix::from_fn(kept.len(), size + usize::from(one), |row, column| {
            match column < size {
                true => values[(sample * rows + kept[row]) * size + column],
                false => 1.0,
            }
        })
    };
    (0..count).map(sample).collect()
}

/// The gradients of a layer's weight and bias after a step of the preconditioner, `[outputs, inputs (+ 1)]`. It is made before the forward
/// pass, or the recorders would not know what it asks for.
fn preconditioned<M: AutodiffModule<F64>, const D: usize>(
    preconditioner: &mut MacPreconditioner<F64>,
    module: &M,
    weight: &Param<Tensor<F64, D>>,
    bias: Option<&Param<Tensor<F64, 1>>>,
    loss: Tensor<F64, 1>,
) -> Matrix {
    let grads = GradientsParams::from_grads(loss.backward(), module);
    let grads = preconditioner.precondition(module, grads);
    let found = grads.get::<Inner, D>(weight.id).expect("it has a gradient");
    let shape = found.dims();
    let values: Vec<f64> = found.into_data().iter().collect();
    let matrix = match D {
        // `[inputs, outputs]`.
        2 => Matrix::from_row_slice(shape[0], shape[1], &values).transpose(),
        _ => Matrix::from_row_slice(shape[0], values.len() / shape[0], &values),
    };
    match bias {
        None => matrix,
        Some(bias) => {
            let bias = grads.get::<Inner, 1>(bias.id).expect("it has a gradient");
            let bias: Vec<f64> = bias.into_data().iter().collect();
            let columns = matrix.ncols();
            let mut joined = matrix.insert_column(columns, 0.0);
            joined.set_column(columns, &DVector::from_vec(bias));
            joined
        }
    }
}

pub(crate) fn assert_close(found: &Matrix, expected: &Matrix, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let largest = expected.amax();
    let difference = (found - expected).amax();
    assert!(
        difference <= ROUNDING * largest,
        "{what}: {difference:e} of {largest:e}"
    );
}

/// A linear layer with a recorder of its own, whose tokens may be padded.
#[derive(Module, Debug)]
struct Tokens<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Option<Param<Tensor<B, 1>>>,
    recorder: Recorder<B>,
}

impl Tokens<F64> {
    fn new(inputs: usize, outputs: usize, bias: bool) -> Self {
        let device = Default::default();
        let config = LinearConfig::new(inputs, outputs).with_bias(bias);
        let linear = config.init::<F64>(&device);
        Self {
            weight: linear.weight,
            bias: linear.bias,
            recorder: Recorder::new(),
        }
    }
}

fn mask(padded: &[Vec<bool>]) -> Tensor<F64, 2, Bool> {
    let shape = [padded.len(), padded[0].len()];
    let values = padded.iter().flatten().copied().collect();
    Tensor::from_data(
        TensorData::new::<bool, _>(values, shape),
        &Default::default(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Breaks when any of them differs from its formula on a linear layer: by a side, a scale, the bias' 1, or the rows.
    #[test]
    fn a_linear_layer_has_the_formula(
        curvature in curvatures(),
        (batch, tokens, inputs, outputs) in (1..4usize, 1..4usize, 1..6usize, 1..5usize),
        (bias, trains_bias) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let mut preconditioner = curvature.preconditioner();
        let config = LinearConfig::new(inputs, outputs).with_bias(bias);
        let mut layer = config.init::<F64>(&Default::default());
        layer.bias = layer.bias.map(|bias| bias.set_require_grad(trains_bias));
        let layer = MacLinear::from(layer);
        let input = random::<F64, 3>([batch, tokens, inputs], seed);
        let gradient = random::<F64, 3>([batch, tokens, outputs], seed ^ 1);
        let loss = (layer.forward(input.clone()) * gradient.clone()).sum();
        let trained = layer.bias.as_ref().filter(|_| trains_bias);
        let found = preconditioned(&mut preconditioner, &layer, &layer.weight, trained, loss);
        let seen = Seen {
            inputs: samples(&input, bias && trains_bias, None),
            outputs: samples(&gradient, false, None),
            attended: None,
            places: tokens,
            has_fixed_bias: bias && !trains_bias,
        };
        let expected = curvature.applied(seen.gradient(), &seen, false);
        assert_close(&found, &expected, &format!("{curvature:?}"));
    }

    /// Breaks when a bias that is the auxiliary optimizer's is an input of 1 to its weight, or is preconditioned.
    #[test]
    fn a_bias_of_the_auxiliary_optimizer_is_left_as_it_is(
        curvature in curvatures(),
        (batch, inputs, outputs) in (1..4usize, 1..6usize, 1..5usize),
        seed in any::<u64>(),
    ) {
        let mut preconditioner = curvature.clone().with_auxiliary_biases().preconditioner();
        let layer: MacLinear<F64> = LinearConfig::new(inputs, outputs).init(&Default::default()).into();
        let input = random::<F64, 3>([batch, 1, inputs], seed);
        let gradient = random::<F64, 3>([batch, 1, outputs], seed ^ 1);
        let loss = (layer.forward(input.clone()) * gradient.clone()).sum();
        let found = preconditioned(&mut preconditioner, &layer, &layer.weight, layer.bias.as_ref(), loss);
        let seen = |one| Seen {
            inputs: samples(&input, one, None),
            outputs: samples(&gradient, false, None),
            attended: None,
            places: 1,
            has_fixed_bias: false,
        };
        let weight = curvature.applied(seen(false).gradient(), &seen(false), false);
        let bias = seen(true).gradient().column(inputs).into_owned();
        let mut expected = weight.insert_column(inputs, 0.0);
        expected.set_column(inputs, &bias);
        assert_close(&found, &expected, &format!("{curvature:?}"));
    }

    /// Breaks when a padded token counts in a second moment, a mean or their number, or samples and tokens that are one axis of the output
    /// are taken for so many samples.
    #[test]
    fn padded_tokens_do_not_count(
        curvature in curvatures(),
        lengths in prop::collection::vec(1..4usize, 2..4),
        (bias, is_flat) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        const TOKENS: usize = 4;
        let mut preconditioner = curvature.preconditioner();
        let padded: Vec<Vec<bool>> = lengths
            .iter()
            .map(|length| (0..TOKENS).map(|token| token >= *length).collect())
            .collect();
        let layer = Tokens::new(3, 2, bias);
        let input = random::<F64, 3>([lengths.len(), TOKENS, 3], seed);
        let gradient = random::<F64, 3>([lengths.len(), TOKENS, 2], seed ^ 1);
        let output = input.clone().reshape([lengths.len() * TOKENS, 3]).matmul(layer.weight.val());
        let output = match &layer.bias {
            Some(bias) => output + bias.val().unsqueeze_dim(0),
            None => output,
        };
        let (weight, own_bias, mask) = (&layer.weight, layer.bias.as_ref(), mask(&padded));
        let shape = [lengths.len(), TOKENS, 2];
        let output = match is_flat {
            true => {
                let recorded = layer.recorder.record_tokens(weight, own_bias, &input, Some(&mask), output);
                recorded.reshape(shape)
            }
            false => {
                let output = output.reshape(shape);
                layer.recorder.record_tokens(weight, own_bias, &input, Some(&mask), output)
            }
        };
        let loss = (output * gradient.clone()).sum();
        let found = preconditioned(&mut preconditioner, &layer, &layer.weight, layer.bias.as_ref(), loss);
        // The gradient has the padding too, its curvature has not.
        let whole = Seen {
            inputs: samples(&input, bias, None),
            outputs: samples(&gradient, false, None),
            attended: None,
            places: TOKENS,
            has_fixed_bias: false,
        };
        let seen = Seen {
            inputs: samples(&input, bias, Some(&padded)),
            outputs: samples(&gradient, false, Some(&padded)),
            attended: None,
            places: TOKENS,
            has_fixed_bias: false,
        };
        let expected = curvature.applied(whole.gradient(), &seen, false);
        assert_close(&found, &expected, &format!("{curvature:?}"));
    }

    /// Breaks when a convolution's patches, their order, its groups, its dilation or its positions are others.
    #[test]
    fn a_convolution_has_the_formula(
        curvature in curvatures(),
        groups in 1..3usize,
        (kernel, stride, dilation) in ([1..4usize, 1..4usize], [1..3usize, 1..3usize], [1..3usize, 1..3usize]),
        padding in any::<bool>(),
        bias in any::<bool>(),
        seed in any::<u64>(),
    ) {
        const SIDE: usize = 6;
        let mut preconditioner = curvature.preconditioner();
        let (channels, outputs) = (2 * groups, 2 * groups);
        let padding = match padding {
            true => PaddingConfig2d::Explicit(1, 0, 1, 1),
            false => PaddingConfig2d::Valid,
        };
        let config = Conv2dConfig::new([channels, outputs], kernel)
            .with_stride(stride)
            .with_dilation(dilation)
            .with_padding(padding.clone())
            .with_groups(groups)
            .with_bias(bias);
        let layer: MacConv2d<F64> = config.init(&Default::default()).into();
        let input = random::<F64, 4>([2, channels, SIDE, SIDE], seed);
        let output = layer.forward(input.clone());
        let [batch, _, rows, columns] = output.dims();
        let gradient = random::<F64, 4>(output.dims(), seed ^ 1);
        let loss = (output * gradient.clone()).sum();
        let found = preconditioned(&mut preconditioner, &layer, &layer.weight, layer.bias.as_ref(), loss);

        let (top, left) = match padding {
            PaddingConfig2d::Explicit(top, left, ..) => (top, left),
            _ => (0, 0),
        };
        let (pixels, values) = (host(&input), host(&gradient));
        let per_group = channels / groups;
        let positions = rows * columns;
        let mut expected = Vec::new();
        for group in 0..groups {
            let patch = |sample: usize, position: usize, element: usize| {
                let (channel, rest) = (element / (kernel[0] * kernel[1]), element % (kernel[0] * kernel[1]));
                if channel == per_group {
                    return 1.0;
                }
                let y = (position / columns * stride[0] + rest / kernel[1] * dilation[0]).checked_sub(top);
                let x = (position % columns * stride[1] + rest % kernel[1] * dilation[1]).checked_sub(left);
                match (y, x) {
                    (Some(y), Some(x)) if y < SIDE && x < SIDE => {
                        pixels[((sample * channels + group * per_group + channel) * SIDE + y) * SIDE + x]
                    }
                    _ => 0.0,
                }
            };
            let size = per_group * kernel[0] * kernel[1] + usize::from(bias);
            let of_group = outputs / groups;
            let seen = Seen {
                inputs: (0..batch)
                    .map(|sample| Matrix::from_fn(positions, size, |position, element| patch(sample, position, element)))
                    .collect(),
                outputs: (0..batch)
                    .map(|sample| {
                        Matrix::from_fn(positions, of_group, |position, output| {
                            values[(sample * outputs + group * of_group + output) * positions + position]
                        })
                    })
                    .collect(),
                attended: None,
                places: positions,
                has_fixed_bias: false,
            };
            expected.push(curvature.applied(seen.gradient(), &seen, false));
        }
        let size = expected[0].ncols();
        let rows: Vec<_> = expected.iter().flat_map(|group| group.row_iter()).collect();
        let expected = Matrix::from_rows(&rows);
        prop_assert_eq!(expected.ncols(), size);
        assert_close(&found, &expected, &format!("{curvature:?}"));
    }

    /// Breaks when queries, keys and values of one projection share an output factor, values have the curvature of the tokens, or padding
    /// counts in any of them.
    #[test]
    fn a_fused_projection_has_the_formula_of_each_part(
        curvature in curvatures(),
        lengths in prop::option::of([1..4usize, 1..4usize]),
        bias in any::<bool>(),
        seed in any::<u64>(),
    ) {
        const SIZE: usize = 3;
        const TOKENS: usize = 3;
        const HEADS: usize = 2;
        let mut preconditioner = curvature.preconditioner();
        let batch = 2;
        let padded = lengths.map(|lengths| lengths.map(|length| (0..TOKENS).map(|token| token >= length).collect::<Vec<_>>()));
        let padded = padded.as_ref().map(|padded| padded.as_slice());
        let mask = padded.map(mask);
        let layer = Tokens::new(SIZE, 6, bias);
        let input = random::<F64, 3>([batch, TOKENS, SIZE], seed);
        let gradient = random::<F64, 3>([batch, TOKENS, 6], seed ^ 1);
        let scores = random::<F64, 4>([batch, HEADS, TOKENS, TOKENS], seed ^ 2);
        let scores = match &mask {
            Some(keys) => {
                let keys = keys.clone().reshape([batch, 1, 1, TOKENS]);
                scores.mask_fill(keys.expand([batch, HEADS, TOKENS, TOKENS]), f64::NEG_INFINITY)
            }
            None => scores,
        };
        let probabilities = softmax(scores, 3);
        let projected = input.clone().reshape([batch * TOKENS, SIZE]).matmul(layer.weight.val());
        let projected = match &layer.bias {
            Some(bias) => projected + bias.val().unsqueeze_dim(0),
            None => projected,
        };
        let projected = projected.reshape([batch, TOKENS, 6]);
        let (weight, own_bias) = (&layer.weight, layer.bias.as_ref());
        let projected = layer.recorder.record_fused_output(weight, own_bias, 2, mask.as_ref(), projected);
        let attended = AttendedValues {
            queries_padded: mask.as_ref(),
            keys_padded: mask.as_ref(),
            ..AttendedValues::new(&probabilities, &input)
        };
        let projected = layer.recorder.record_fused_attention(weight, own_bias, 2, attended, projected);
        let loss = (projected * gradient.clone()).sum();
        let found = preconditioned(&mut preconditioner, &layer, weight, own_bias, loss);

        // What a query of a head sees of the values.
        let through = probabilities
            .clone()
            .reshape([batch, HEADS * TOKENS, TOKENS])
            .matmul(input.clone());
        let of_queries: Option<Vec<_>> = padded.map(|padded| padded.iter().map(|sample| sample.repeat(HEADS)).collect());
        let through = samples(&through, bias, of_queries.as_deref());
        let tokens_seen = samples(&input, bias, padded);
        let means = mean_through(&probabilities, &input, bias, padded);
        let rows: Vec<_> = (0..3)
            .map(|part| {
                let attended = match (part, &curvature) {
                    (2, Curvature::Foof(_) | Curvature::Kfac(_)) => Some(through.clone()),
                    // By the product of the averages, as MAC has it.
                    (2, Curvature::Eva(_) | Curvature::Smac(_) | Curvature::Mac(_)) => Some(vec![means.clone()]),
                    _ => None,
                };
                let own = gradient.clone().narrow(2, 2 * part, 2);
                let seen = Seen {
                    inputs: tokens_seen.clone(),
                    outputs: samples(&own, false, padded),
                    attended,
                    places: TOKENS,
                    has_fixed_bias: false,
                };
                // The gradient has the padding too.
                let whole = Seen {
                    inputs: samples(&input, bias, None),
                    outputs: samples(&own, false, None),
                    attended: None,
                    places: TOKENS,
                    has_fixed_bias: false,
                };
                curvature.applied(whole.gradient(), &seen, true)
            })
            .collect();
        let rows: Vec<_> = rows.iter().flat_map(|part| part.row_iter()).collect();
        assert_close(&found, &Matrix::from_rows(&rows), &format!("{curvature:?}"));
    }
}

/// One row: at each position the average of its probabilities over heads and queries, and that of its values, multiplied and added up.
/// Without padding.
fn mean_through(
    probabilities: &Tensor<F64, 4>,
    values: &Tensor<F64, 3>,
    one: bool,
    padded: Option<&[Vec<bool>]>,
) -> Matrix {
    let [batch, heads, queries, keys] = probabilities.dims();
    let [_, _, size] = values.dims();
    let (probabilities, values) = (host(probabilities), host(values));
    let is_valid = |sample: usize, token: usize| padded.is_none_or(|padded| !padded[sample][token]);
    let average = |numbers: Vec<f64>| match numbers.len() {
        0 => 0.0,
        count => numbers.iter().sum::<f64>() / count as f64,
    };
    let attention = |key: usize| {
        let rows = (0..batch * heads * queries)
            .filter(|row| is_valid(row / (heads * queries), row % queries));
        average(rows.map(|row| probabilities[row * keys + key]).collect())
    };
    let value = |key: usize, element: usize| {
        let samples = (0..batch).filter(|sample| is_valid(*sample, key));
        let values = samples.map(|sample| values[(sample * keys + key) * size + element]);
        average(values.collect())
    };
    Matrix::from_fn(1, size + usize::from(one), |_, element| {
        let terms = (0..keys).map(|key| match element < size {
            true => attention(key) * value(key, element),
            false => attention(key),
        });
        terms.sum()
    })
}

/// A layer with a batch of inputs and gradients at its outputs.
struct Batch {
    inputs: Tensor<F64, 2>,
    outputs: Tensor<F64, 2>,
}

impl Batch {
    fn step(&self, preconditioner: &mut MacPreconditioner<F64>, layer: &MacLinear<F64>) -> Matrix {
        let loss = (layer.forward(self.inputs.clone()) * self.outputs.clone()).sum();
        preconditioned(
            preconditioner,
            layer,
            &layer.weight,
            layer.bias.as_ref(),
            loss,
        )
    }

    fn seen(&self) -> Seen {
        let rows =
            |tensor: &Tensor<F64, 2>, one| samples(&tensor.clone().unsqueeze_dim(1), one, None);
        Seen {
            inputs: rows(&self.inputs, true),
            outputs: rows(&self.outputs, false),
            attended: None,
            places: 1,
            has_fixed_bias: false,
        }
    }
}

fn layer() -> MacLinear<F64> {
    LinearConfig::new(3, 2).init(&Default::default()).into()
}

fn batch(rows: usize, seed: u64) -> Batch {
    Batch {
        inputs: random([rows, 3], seed),
        outputs: random([rows, 2], seed + 1),
    }
}

/// With one row `A = a aᵀ`, MAC's own. Breaks when FOOF's inverse has another scale than `1 / ρ`, or MAC's mean is not the row.
#[test]
fn foof_with_one_sample_is_mac_divided_by_the_damping() {
    for (seed, damping) in [(1, 0.1), (2, 1.0), (3, 7.0)] {
        let (layer, batch) = (layer(), batch(1, seed));
        let mut foof = FoofConfig::new()
            .with_damping(damping)
            .init_preconditioner();
        let found = batch.step(&mut foof, &layer) * damping;
        let mut mac = MacConfig::new().with_damping(damping).init_preconditioner();
        let expected = batch.step(&mut mac, &layer);
        assert_close(&found, &expected, &format!("damping {damping}"));
    }
}

/// Gradients at the outputs whose second moment is a multiple of the identity, `p I`: K-FAC is FOOF with the damping `π √ρ`, divided by
/// `p + √ρ / π`. Breaks when the factors are on the wrong sides, or either has the other's damping.
#[test]
fn kfac_with_an_output_factor_like_the_identity_is_foof() {
    let damping: f64 = 0.2;
    let layer = layer();
    let mut batch = batch(2, 5);
    batch.outputs = Tensor::from_floats([[3.0, 0.0], [0.0, 3.0]], &Default::default());
    let config = KfacConfig::new().with_damping(damping).with_kl_clip(None);
    let scaled = config.with_gradient_scale(GradientScale::Unscaled);
    let found = batch.step(&mut scaled.init_preconditioner(), &layer);
    let p = 4.5;
    let inputs = second_moment(&batch.seen().inputs, WeightSharing::Expand);
    let pi = (inputs.trace() / 4.0 / p).sqrt();
    let foof = FoofConfig::new().with_damping(pi * damping.sqrt());
    let expected = batch.step(&mut foof.init_preconditioner(), &layer) / (p + damping.sqrt() / pi);
    assert_close(&found, &expected, "p I");
}

/// Two steps. Breaks when the weights of old and new are exchanged, the bias correction is left out or wrong, or the first batch is not
/// taken as it is where it is to be.
#[test]
fn averages_are_of_all_steps() {
    const DECAY: f64 = 0.7;
    let layer = layer();
    let batches = [batch(4, 10), batch(3, 20)];
    let moments = batches.each_ref().map(|batch| {
        let seen = batch.seen();
        let inputs = second_moment(&seen.inputs, WeightSharing::Expand);
        (inputs, second_moment(&seen.outputs, WeightSharing::Expand))
    });
    let gradient = batches[1].seen().gradient();
    let last = |preconditioner: &mut MacPreconditioner<F64>| {
        batches
            .each_ref()
            .map(|batch| batch.step(preconditioner, &layer))[1]
            .clone()
    };

    let foof = FoofConfig::new()
        .with_stat_decay(DECAY)
        .with_tcov(1)
        .with_tinv(1);
    let weights = [DECAY * (1.0 - DECAY), 1.0 - DECAY].map(|weight| weight / (1.0 - DECAY * DECAY));
    let average = &moments[0].0 * weights[0] + &moments[1].0 * weights[1];
    for identity in [false, true] {
        let start = f64::from(u8::from(identity)) * DECAY * DECAY / (1.0 - DECAY * DECAY);
        let expected = &gradient * inverse(damped(average.clone(), 1.0 + start));
        let config = foof.clone().with_identity_start(identity);
        let found = last(&mut config.init_preconditioner());
        assert_close(
            &found,
            &expected,
            &format!("FOOF from the identity: {identity}"),
        );
    }

    let kfac = KfacConfig::new()
        .with_stat_decay(DECAY)
        .with_tcov(1)
        .with_tinv(1)
        .with_gradient_scale(GradientScale::Unscaled)
        .with_kl_clip(None);
    let average = |of: fn(&(Matrix, Matrix)) -> &Matrix| {
        of(&moments[0]) * DECAY + of(&moments[1]) * (1.0 - DECAY)
    };
    let (inputs, outputs) = (
        average(|(inputs, _)| inputs),
        average(|(_, outputs)| outputs),
    );
    let root = kfac.damping.sqrt();
    let pi = (inputs.trace() / 4.0 / (outputs.trace() / 2.0)).sqrt();
    let expected =
        inverse(damped(outputs, root / pi)) * &gradient * inverse(damped(inputs, root * pi));
    assert_close(&last(&mut kfac.init_preconditioner()), &expected, "K-FAC");
}

/// Breaks when the clip has another sum than that over both layers, the learning rate of the wrong place, or scales without need.
#[test]
fn the_kl_clip_scales_all_layers_alike() {
    #[derive(Module, Debug)]
    struct Two<B: Backend> {
        first: MacLinear<B>,
        second: MacLinear<B>,
    }
    let two = Two {
        first: layer(),
        second: layer(),
    };
    let batches = [batch(4, 30), batch(2, 40)];
    let step = |config: EvaConfig| -> [Matrix; 2] {
        let mut preconditioner = config.init_preconditioner();
        let loss = [&two.first, &two.second]
            .into_iter()
            .zip(&batches)
            .map(|(layer, batch)| {
                (layer.forward(batch.inputs.clone()) * batch.outputs.clone()).sum()
            })
            .reduce(|left, right| left + right)
            .expect("there are two");
        let grads = GradientsParams::from_grads(loss.backward(), &two);
        let grads = preconditioner.precondition(&two, grads);
        [&two.first, &two.second].map(|layer| {
            let weight = grads
                .get::<Inner, 2>(layer.weight.id)
                .expect("it has a gradient");
            let bias = layer.bias.as_ref().expect("it has a bias");
            let bias = grads.get::<Inner, 1>(bias.id).expect("it has a gradient");
            let weight: Vec<f64> = weight.transpose().into_data().iter().collect();
            let matrix = Matrix::from_row_slice(2, 3, &weight);
            let bias: Vec<f64> = bias.into_data().iter().collect();
            let mut joined = matrix.insert_column(3, 0.0);
            joined.set_column(3, &DVector::from_vec(bias));
            joined
        })
    };
    let free = step(EvaConfig::new().with_kl_clip(None));
    let sum: f64 = free
        .iter()
        .zip(&batches)
        .map(|(after, batch)| after.dot(&batch.seen().gradient()))
        .sum();
    let lr = 0.3;
    for (limit, is_clipped) in [(1e-3, true), (2.0 * lr * lr * sum, false)] {
        let config = EvaConfig::new()
            .with_kl_clip(Some(limit))
            .with_kl_clip_lr(Some(lr));
        let factor = (limit / (lr * lr * sum)).sqrt().min(1.0);
        assert_eq!(factor < 1.0, is_clipped);
        for (found, free) in step(config).iter().zip(&free) {
            assert_close(found, &(free * factor), &format!("limit {limit}"));
        }
    }
}
