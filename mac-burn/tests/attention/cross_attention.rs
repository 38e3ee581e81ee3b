//! Cross-attention with heads of keys and values that several heads of queries share.

use crate::attention::*;
use crate::dense_curvatures::{Curvature, Matrix, Seen, curvatures};
use crate::rank_one::{Gradients, expected};
use crate::support::{filled, random, values};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module};
use burn::nn::attention::{CrossAttention, CrossAttentionCache, CrossAttentionConfig};
use burn::nn::{Linear, LinearRecord};
use burn::optim::GradientsParams;
use burn::record::{BinBytesRecorder, DoublePrecisionSettings, Recorder as _};
use burn::tensor::activation::{quiet_softmax, softmax};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, Tensor};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use burn_store::ModuleSnapshot;
use mac_burn::{Coverage, MacConfig, MacCrossAttention};
use proptest::prelude::*;

/// Sums in f64 in another order differ by rounding. A token, head or probability more or less shows at 1e-4.
const ROUNDING: f64 = 1e-12;

/// The same for a dense curvature, relative to the largest element of a preconditioned gradient.
const DENSE_ROUNDING: f64 = 1e-9;

/// Below the change that preconditioning makes in each projection.
const EFFECT: f64 = 1e-3;

/// The size of a context's token, other than that of a query.
const CONTEXT: usize = 6;
const D_HEAD: usize = 3;
const QUERY_HEADS: usize = 4;

/// Heads of keys and values: one for each head of queries, one for two of them, one for all.
const SHARED_HEADS: [usize; 3] = [4, 2, 1];

fn config(shared_heads: usize, quiet: bool) -> CrossAttentionConfig {
    CrossAttentionConfig::new(SIZE, CONTEXT, QUERY_HEADS, shared_heads, D_HEAD)
        .with_dropout(0.0)
        .with_quiet_softmax(quiet)
}

fn plain<B: Backend>(shared_heads: usize, quiet: bool) -> CrossAttention<B> {
    filled(config(shared_heads, quiet).init(&Default::default()), 1)
}

/// Query, key, value and output of a layer, whose fields are private, by its record.
fn projections<B: Backend>(layer: &CrossAttention<B>) -> [Linear<B>; 4] {
    let record = layer.clone().into_record();
    let linear = |record: LinearRecord<B>| Linear {
        weight: record.weight,
        bias: record.bias,
    };
    [record.query, record.key, record.value, record.output].map(linear)
}

fn tokens<B: Backend>(seed: u64) -> [Tensor<B, 3>; 2] {
    [
        random([BATCH, QUERIES, SIZE], seed),
        random([BATCH, KEYS, CONTEXT], seed + 1),
    ]
}

/// All pairs of padded keys and queries that a forward pass is tested with.
fn masks() -> Vec<Masks> {
    let all = Masks::all().into_iter();
    all.filter(|masks| masks.attention.is_none()).collect()
}

fn mask_of<B: Backend>(padded: Option<Padded>, tokens: usize) -> Option<Tensor<B, 2, Bool>> {
    padded.map(|padded| mask_pad([BATCH, tokens], padded))
}

fn forward<B: Backend>(
    layer: &MacCrossAttention<B>,
    [query, context]: [Tensor<B, 3>; 2],
    masks: Masks,
) -> Tensor<B, 3> {
    let mask = mask_of(masks.keys, KEYS);
    match mask_of(masks.queries, QUERIES) {
        Some(padded) => layer.forward_padded(query, context, mask, padded),
        None => layer.forward(query, context, mask),
    }
}

/// The gradients of all parameters of a layer, or of the one that it is made of.
fn gradients<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: &M,
    layer: &CrossAttention<B>,
    output: Tensor<B, 3>,
) -> Vec<(Vec<f64>, Option<Vec<f64>>)> {
    let weights = random(output.dims(), 77);
    let grads = (output.square() * weights).sum().backward();
    let grads = GradientsParams::from_grads(grads, module);
    assert_eq!(grads.len(), 8);
    let of_projections = projections(layer).map(|linear| {
        let Gradients { weight, bias, .. } = Gradients::of(&grads, &linear);
        (weight, bias)
    });
    of_projections.into()
}

fn check_forward_pass<B: AutodiffBackend>() {
    for shared_heads in SHARED_HEADS {
        for quiet in [false, true] {
            let plain = plain::<B>(shared_heads, quiet);
            let recorded: MacCrossAttention<B> = plain.clone().into();
            for (seed, masks) in masks().into_iter().enumerate() {
                let [query, context] = tokens::<B>(10 * seed as u64);
                let mask = mask_of(masks.keys, KEYS);
                let expected = plain.forward(query.clone(), context.clone(), mask);
                let found = forward(&recorded, [query.clone(), context.clone()], masks);
                expected.to_data().assert_eq(&found.to_data(), true);
                let found = gradients(&recorded, &recorded, found);
                assert_eq!(found, gradients(&plain, &plain, expected));

                let (query, context) = (query.inner(), context.inner());
                let mask = mask_of(masks.keys, KEYS);
                let expected = plain.valid().forward(query.clone(), context.clone(), mask);
                let found = forward(&recorded.valid(), [query, context], masks);
                expected.into_data().assert_eq(&found.into_data(), true);
            }
        }
    }
}

/// Breaks when any operation of the forward pass, or its order, is not Burn's; when the projections are not the layer's own parameters; or
/// when the mask of padded queries changes the output.
#[test]
fn the_forward_pass_is_bitwise_the_same() {
    check_forward_pass::<Autodiff<NdArray<f64>>>();
    check_forward_pass::<Autodiff<Flex>>();
}

/// Breaks when a setting is not the layer's. (What dropout drops is compared in `attention_dropout`.)
#[test]
fn settings_are_those_of_the_layer() {
    let [query, context] = tokens::<F64>(5);
    let config = config(2, false).with_min_float(-0.7);
    let plain: CrossAttention<F64> = filled(config.init(&Default::default()), 1);
    let recorded: MacCrossAttention<F64> = plain.clone().into();
    let mask = || mask_of(Some(LENGTHS), KEYS);
    let expected = plain.forward(query.clone(), context.clone(), mask());
    let found = recorded.forward(query, context, mask());
    expected.into_data().assert_eq(&found.into_data(), true);
}

/// Breaks when the recorders, or what was read of the layer, show as a part of it, or the record is not the plain layer's.
#[test]
fn it_shows_counts_and_stores_as_the_layer() {
    let source = plain::<F64>(2, true);
    let recorded: MacCrossAttention<F64> = source.clone().into();
    assert_eq!(recorded.to_string(), source.to_string());
    assert_eq!(recorded.num_params(), source.num_params());
    let paths = |snapshots: Vec<burn_store::TensorSnapshot>| -> Vec<(String, Vec<usize>)> {
        let named = snapshots.iter();
        named
            .map(|found| (found.full_path(), found.shape.to_vec()))
            .collect()
    };
    let found = paths(recorded.collect(None, None, false));
    assert_eq!(found, paths(source.collect(None, None, false)));
    assert_eq!(found[0].0, "query.weight");

    let bytes = BinBytesRecorder::<DoublePrecisionSettings>::default();
    let saved = bytes.record(source.clone().into_record(), ());
    let saved = saved.expect("it is saved");
    let other: MacCrossAttention<F64> = filled(config(2, true).init(&Default::default()), 2).into();
    assert_ne!(values(&other), values(&source));
    let record = bytes.load(saved.clone(), &Default::default());
    let loaded = other.load_record(record.expect("it is loaded"));
    assert_eq!(values(&loaded), values(&source));
    let back = bytes.record(loaded.clone().into_record(), ());
    assert_eq!(back.expect("it is saved"), saved);

    // With the ids of the record, and with what was read before.
    let [query, context] = tokens::<F64>(3);
    backward(loaded.forward(query, context, None));
    let report = observed(&loaded).report(&loaded);
    assert_eq!(report.covered_parameters, report.parameters);
}

/// Breaks when a pass with a cache is another's than Burn's, or is recorded.
#[test]
fn a_pass_with_a_cache_is_the_plain_layers_and_records_nothing() {
    let plain = plain::<F64>(2, false);
    let recorded: MacCrossAttention<F64> = plain.clone().into();
    let [query, context] = tokens::<F64>(3);
    let mut caches = [CrossAttentionCache::new(), CrossAttentionCache::new()];
    let expected = plain.forward_cache(query.clone(), context.clone(), None, &mut caches[0]);
    let found = recorded.forward_cache(query, context, None, &mut caches[1]);
    expected.to_data().assert_eq(&found.to_data(), true);
    backward(found);
    let preconditioner = observed(&recorded);
    for linear in projections(&recorded) {
        assert!(preconditioner.activation_ema(linear.weight.id).is_none());
    }
}

fn means_of_all(layer: &MacCrossAttention<F64>) -> [Vec<f64>; 4] {
    let preconditioner = observed(layer);
    projections(layer).map(|linear| means(&preconditioner, &linear.weight))
}

/// The attention of queries, each head with its own keys and values.
fn oracle(
    [of_query, of_key, of_value, _]: &[Linear<F64>; 4],
    [query, context]: [&Host; 2],
    masks: Masks,
    quiet: bool,
) -> Attention {
    let [_, columns] = of_key.weight.dims();
    let times = QUERY_HEADS * D_HEAD / columns;
    Attention {
        query: query.through(of_query),
        key: context.through(of_key).repeated(D_HEAD, times),
        projected_values: context.through(of_value).repeated(D_HEAD, times),
        values: context.clone(),
        heads: QUERY_HEADS,
        masks,
        attends_padded: false,
        quiet,
    }
}

/// The means of query, key, value and output by the definition.
fn defined_means(
    projections: &[Linear<F64>; 4],
    [query, context]: &[Tensor<F64, 3>; 2],
    masks: Masks,
    quiet: bool,
) -> [Vec<f64>; 4] {
    let (query, context) = (Host::of(query), Host::of(context));
    let oracle = oracle(projections, [&query, &context], masks, quiet);
    [
        query.token_mean(masks.queries),
        context.token_mean(masks.keys),
        oracle.attended_mean(),
        oracle.context().token_mean(masks.queries),
    ]
}

/// Breaks when a projection records another mean than its input's, counts a padded position, weighs heads by how many share their
/// values, or when its gradient is preconditioned by another mean than its own.
#[test]
fn each_projection_has_its_mean_and_is_preconditioned_by_it() {
    let damping = 0.6;
    for shared_heads in SHARED_HEADS {
        for quiet in [false, true] {
            for (seed, masks) in masks().into_iter().enumerate() {
                let layer: MacCrossAttention<F64> = plain(shared_heads, quiet).into();
                let projections = projections(&layer);
                let inputs = tokens::<F64>(10 * seed as u64);
                let output = forward(&layer, inputs.clone(), masks);
                let weights = random(output.dims(), 9);
                let grads = (output.square() * weights).sum().backward();
                let grads = GradientsParams::from_grads(grads, &layer);
                let raw = projections
                    .each_ref()
                    .map(|linear| Gradients::of(&grads, linear));
                let mut preconditioner = MacConfig::new()
                    .with_stat_decay(0.0)
                    .with_damping(damping)
                    .init_preconditioner();
                let grads = preconditioner.precondition(&layer, grads);

                let case = format!("{shared_heads} heads, {masks:?}, quiet: {quiet}");
                let defined = defined_means(&projections, &inputs, masks, quiet);
                for (index, linear) in projections.iter().enumerate() {
                    let case = format!("{}, {case}", ["query", "key", "value", "output"][index]);
                    let mean = means(&preconditioner, &linear.weight);
                    assert_close(&mean, &defined[index], ROUNDING, &case);
                    let found = Gradients::of(&grads, linear);
                    let expected = expected(&raw[index], &mean, damping);
                    assert!(found.difference(&expected) <= ROUNDING, "{case}");
                    assert!(found.difference(&raw[index]) > EFFECT, "{case}");
                }
                let report = preconditioner.report(&layer);
                assert_eq!(report.covered_parameters, report.parameters);
                assert!(
                    report
                        .layers
                        .iter()
                        .all(|row| row.coverage == Coverage::MeanActivation)
                );
            }
        }
    }
}

/// Breaks when any mean looks at a padded token of the context or at a padded query: bitwise, since its weight in all sums is 0.
#[test]
fn what_padded_tokens_hold_changes_nothing() {
    let masks = Masks {
        keys: Some(HOLE),
        queries: Some(LENGTHS),
        attention: None,
    };
    let inputs = tokens::<F64>(5);
    let [query, context] = inputs.clone();
    let others = [replaced(query, LENGTHS, 1e3), replaced(context, HOLE, 1e3)];
    assert_ne!(Host::of(&others[0]).values, Host::of(&inputs[0]).values);
    let found = [inputs, others].map(|inputs| {
        let layer: MacCrossAttention<F64> = plain(2, false).into();
        // Not by all outputs: those of padded queries are not the same.
        backward(forward(&layer, inputs, masks));
        means_of_all(&layer)
    });
    assert_eq!(found[0], found[1]);
}

/// The tokens with others in place of the padded ones.
fn replaced(tokens: Tensor<F64, 3>, padded: Padded, by: f64) -> Tensor<F64, 3> {
    let [batch, count, size] = tokens.dims();
    let mask = mask_pad::<F64>([batch, count], padded).unsqueeze_dim::<3>(2);
    tokens.mask_fill(mask.expand([batch, count, size]), by)
}

/// Breaks when other probabilities are recorded than those that dropout left. With one sample and one head the product of averages is the
/// average of products, so the value projection makes of its mean what the output projection sees on average.
#[test]
fn the_probabilities_are_those_that_dropout_left() {
    let config = CrossAttentionConfig::new(SIZE, CONTEXT, 1, 1, D_HEAD).with_dropout(0.4);
    let layer: MacCrossAttention<F64> = filled(config.init(&Default::default()), 3).into();
    let [query, context] = tokens::<F64>(10).map(|tokens| tokens.narrow(0, 0, 1));
    backward(layer.forward(query, context, None));
    let [_, _, attended, output] = means_of_all(&layer);
    // Scaled by 1 / 0.6 what is left of five probabilities does not add up to 1.
    assert!((attended[CONTEXT] - 1.0).abs() > 1e-6);
    let [_, _, of_value, _] = projections(&layer);
    let weight = Host::of(&of_value.weight.val()).values;
    let bias = Host::of(&of_value.bias.expect("it has a bias").val()).values;
    let through = |column| {
        let rows = weight.chunks(D_HEAD).chain([&bias[..]]);
        rows.zip(&attended)
            .map(|(row, mean)| row[column] * mean)
            .sum::<f64>()
    };
    let expected: Vec<f64> = (0..D_HEAD).map(through).chain([1.0]).collect();
    assert_close(&output, &expected, ROUNDING, "output");
}

/// Burn 0.21 takes a mask of the whole batch only. Breaks when one of a sample is not the mask of all, or one that does not fit is found out by
/// a recorder.
#[test]
fn masks_fit_the_tokens() {
    let layer: MacCrossAttention<F64> = plain(2, false).into();
    let [query, context] = tokens::<F64>(5);
    let pass = |samples| {
        let (keys, queries) = (
            mask_pad([samples, KEYS], END),
            mask_pad([samples, QUERIES], END),
        );
        let output = layer.forward_padded(query.clone(), context.clone(), Some(keys), queries);
        backward(output.clone());
        (output.into_data(), means_of_all(&layer))
    };
    assert_eq!(pass(1), pass(BATCH));

    let wrong = |mask, queries| {
        let (query, context) = (query.clone().inner(), context.clone().inner());
        let pass = || layer.valid().forward_padded(query, context, mask, queries);
        let pass = std::panic::AssertUnwindSafe(|| drop(pass()));
        let payload = std::panic::catch_unwind(pass).expect_err("it panics");
        payload
            .downcast_ref::<String>()
            .expect("it has a text")
            .clone()
    };
    let fitting = mask_pad([BATCH, QUERIES], END);
    let text = wrong(Some(mask_pad([2, KEYS], END)), fitting);
    assert!(text.starts_with("`mask` has the shape [2, 5]"), "{text}");
    let text = wrong(None, mask_pad([BATCH, KEYS], END));
    assert!(
        text.starts_with("`mask_pad_query` has the shape [3, 5]"),
        "{text}"
    );
}

/// The rows of `[samples, rows, size]` that are not padded, by sample, with a 1 in each if asked for.
fn rows(tensor: &Tensor<F64, 3>, padded: Option<Padded>, one: bool) -> Vec<Matrix> {
    let [samples, rows, size] = tensor.dims();
    let values: Vec<f64> = tensor.to_data().iter().collect();
    let of_sample = |sample| {
        let valid = (0..rows).filter(|row| !padded.is_some_and(|padded| padded(sample, *row)));
        let valid: Vec<usize> = valid.collect();
        Matrix::from_fn(valid.len(), size + usize::from(one), |row, column| {
            match column < size {
                true => values[(sample * rows + valid[row]) * size + column],
                false => 1.0,
            }
        })
    };
    (0..samples).map(of_sample).collect()
}

/// `[outputs, inputs + 1]`.
fn matrix(gradients: &Gradients) -> Matrix {
    let bias = gradients.bias.as_ref().expect("it has a bias");
    let inputs = gradients.weight.len() / bias.len();
    Matrix::from_fn(bias.len(), inputs + 1, |output, input| {
        match input < inputs {
            true => gradients.weight[input * bias.len() + output],
            false => bias[output],
        }
    })
}

/// One pass by itself, head by head: the output of each projection, a leaf of the graph, and the probabilities.
struct Heads {
    projected: [Tensor<F64, 3>; 3],
    probabilities: Vec<Tensor<F64, 3>>,
    attended: Tensor<F64, 3>,
    output: Tensor<F64, 3>,
}

impl Heads {
    fn of(
        [of_query, of_key, of_value, of_output]: &[Linear<F64>; 4],
        [query, context]: [Tensor<F64, 3>; 2],
        masks: Masks,
        quiet: bool,
    ) -> Self {
        let leaf = |tensor: Tensor<F64, 3>| tensor.detach().require_grad();
        let projected = [
            leaf(of_query.forward(query)),
            leaf(of_key.forward(context.clone())),
            leaf(of_value.forward(context)),
        ];
        let shared_heads = projected[1].dims()[2] / D_HEAD;
        let mut probabilities = Vec::new();
        let mut outputs = Vec::new();
        for head in 0..QUERY_HEADS {
            let shared = head * shared_heads / QUERY_HEADS;
            let part = |index: usize, head: usize| {
                let tensor = projected[index].clone();
                tensor.narrow(2, head * D_HEAD, D_HEAD)
            };
            let scores = part(0, head).matmul(part(1, shared).swap_dims(1, 2));
            let scores = scores * (D_HEAD as f64).sqrt().recip();
            let scores = match mask_of(masks.keys, KEYS) {
                Some(mask) => {
                    let mask = mask.reshape([BATCH, 1, KEYS]);
                    scores.mask_fill(mask.expand([BATCH, QUERIES, KEYS]), -1e4)
                }
                None => scores,
            };
            let of_head = match quiet {
                true => quiet_softmax(scores, 2),
                false => softmax(scores, 2),
            };
            outputs.push(of_head.clone().matmul(part(2, shared)));
            probabilities.push(of_head.detach());
        }
        let attended = Tensor::cat(outputs, 2);
        let output = leaf(of_output.forward(attended.clone().detach()));
        Self {
            projected,
            probabilities,
            attended,
            output,
        }
    }

    /// The gradients at the outputs of query, key, value and output, for this loss of the output.
    fn gradients(
        &self,
        of_output: &Linear<F64>,
        loss: impl Fn(Tensor<F64, 3>) -> Tensor<F64, 1>,
    ) -> [Tensor<F64, 3>; 4] {
        let grads = loss(of_output.forward(self.attended.clone())).backward();
        let [query, key, value] = self.projected.each_ref().map(|projected| {
            let grad = projected.grad(&grads).expect("it has a gradient");
            Tensor::from_inner(grad)
        });
        let grads = loss(self.output.clone()).backward();
        let output = self.output.grad(&grads).expect("it has a gradient");
        [query, key, value, Tensor::from_inner(output)]
    }

    /// The rows that each query of each head sees of the context, and of its 1, `[batch, heads · queries, CONTEXT + 1]`.
    fn seen_by_values(&self, context: &Tensor<F64, 3>) -> Tensor<F64, 3> {
        let ones = Tensor::ones([BATCH, KEYS, 1], &Default::default());
        let context = Tensor::cat(vec![context.clone(), ones], 2);
        let heads = self.probabilities.iter();
        let heads = heads.map(|of_head| of_head.clone().matmul(context.clone()));
        Tensor::cat(heads.collect(), 1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Breaks when a curvature of a projection has other rows or gradients than its own, when those of a shared head are not the sums over the heads
    /// of queries that share it, or when padding counts.
    #[test]
    fn each_projection_has_the_formula(
        curvature in curvatures(),
        shared_heads in prop::sample::select(&SHARED_HEADS[..]),
        masks in prop::sample::select(masks()),
        quiet in any::<bool>(),
        seed in 0..1000u64,
    ) {
        // Before the pass, or the recorders would not know what it asks for.
        let mut preconditioner = curvature.preconditioner();
        let layer: MacCrossAttention<F64> = plain(shared_heads, quiet).into();
        let projections = projections(&layer);
        let inputs = tokens::<F64>(seed);
        let loss = |output: Tensor<F64, 3>| {
            let weights = random(output.dims(), 9);
            (output.square() * weights).sum()
        };
        let output = forward(&layer, inputs.clone(), masks);
        let grads = GradientsParams::from_grads(loss(output).backward(), &layer);
        let raw = projections.each_ref().map(|linear| Gradients::of(&grads, linear));
        let grads = preconditioner.precondition(&layer, grads);

        let heads = Heads::of(&projections, inputs.clone(), masks, quiet);
        let outputs = heads.gradients(&projections[3], loss);
        let [query, context] = &inputs;
        let padded = [masks.queries, masks.keys, masks.keys, masks.queries];
        let places = [QUERIES, KEYS, KEYS, QUERIES];
        let attended = match &curvature {
            // By the product of the averages, as MAC has it.
            Curvature::Mac(_) | Curvature::Smac(_) | Curvature::Eva(_) => {
                let mean = &defined_means(&projections, &inputs, masks, quiet)[2];
                vec![Matrix::from_row_slice(1, mean.len(), mean)]
            }
            // The queries of each head after those of the other.
            Curvature::Foof(_) | Curvature::Kfac(_) => {
                let all = rows(&heads.seen_by_values(context), None, false);
                let is_padded = |sample, row: usize| {
                    masks.queries.is_some_and(|padded| padded(sample, row % QUERIES))
                };
                all.into_iter().enumerate().map(|(sample, all)| {
                    let kept: Vec<usize> = (0..all.nrows()).filter(|row| !is_padded(sample, *row)).collect();
                    all.select_rows(&kept)
                }).collect()
            }
        };
        let of_inputs = [
            rows(query, masks.queries, true),
            rows(context, masks.keys, true),
            Vec::new(),
            rows(&heads.attended, masks.queries, true),
        ];
        for (index, inputs) in of_inputs.into_iter().enumerate() {
            let seen = Seen {
                inputs,
                outputs: rows(&outputs[index], padded[index], false),
                attended: (index == 2).then(|| attended.clone()),
                places: places[index],
                has_fixed_bias: false,
            };
            let expected = curvature.applied(matrix(&raw[index]), &seen, false);
            let found = matrix(&Gradients::of(&grads, &projections[index]));
            let (difference, largest) = ((&found - &expected).amax(), expected.amax());
            prop_assert!(
                difference <= DENSE_ROUNDING * largest,
                "projection {index}, {shared_heads} heads, {masks:?}, {curvature:?}: {difference:e} of {largest:e}"
            );
        }
    }
}
