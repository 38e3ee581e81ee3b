//! Embeddings, preconditioned by the frequencies of their tokens.

use crate::support::random;
use burn::backend::Autodiff;
use burn::module::Module;
use burn::nn::EmbeddingConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{BinBytesRecorder, DoublePrecisionSettings, Recorder as _};
use burn::tensor::{Int, Tensor};
use burn_ndarray::NdArray;
use mac_burn::{
    Coverage, EvaConfig, FoofConfig, KfacConfig, MacConfig, MacEmbedding, MacPreconditioner,
    SmacConfig, StepForm,
};

type Inner = NdArray<f64>;
type B = Autodiff<Inner>;

const KNOWN: usize = 5;
const SIZE: usize = 3;
const DAMPING: f64 = 0.05;
/// Of products of numbers near 1 in `f64`; a token more or less shows at 1e-2.
const ROUNDING: f64 = 1e-13;

/// Batches in which some tokens are frequent, and the last is in the second only.
const BATCHES: [[[i64; 4]; 2]; 2] = [[[0, 1, 1, 1], [3, 1, 0, 0]], [[4, 1, 2, 1], [1, 1, 1, 3]]];

fn tokens(batch: usize) -> Tensor<B, 2, Int> {
    Tensor::from_data(BATCHES[batch], &Default::default())
}

fn frequencies(batch: usize) -> [f64; KNOWN] {
    let all = BATCHES[batch].as_flattened();
    std::array::from_fn(|token| {
        let count = all.iter().filter(|found| **found == token as i64).count();
        count as f64 / all.len() as f64
    })
}

fn embedding() -> MacEmbedding<B> {
    let config = EmbeddingConfig::new(KNOWN, SIZE);
    let embedding = config.init(&Default::default());
    crate::support::filled(embedding, 1).into()
}

fn gradients(embedding: &MacEmbedding<B>, batch: usize) -> GradientsParams {
    let output = embedding.forward(tokens(batch));
    let weights = random(output.dims(), batch as u64);
    GradientsParams::from_grads((output * weights).sum().backward(), embedding)
}

fn rows(grads: &GradientsParams, embedding: &MacEmbedding<B>) -> Vec<f64> {
    let gradient = grads.get::<Inner, 2>(embedding.weight.id);
    gradient.expect("a gradient").into_data().iter().collect()
}

/// Each with the damping of embeddings, or without.
fn preconditioners(damping: Option<f64>) -> Vec<MacPreconditioner<B>> {
    vec![
        MacConfig::new()
            .with_embedding_damping(damping)
            .with_tcov(1)
            .with_tinv(1)
            .init_preconditioner(),
        SmacConfig::new()
            .with_embedding_damping(damping)
            .with_tcov(1)
            .with_tinv(1)
            .init_preconditioner(),
        FoofConfig::new()
            .with_embedding_damping(damping)
            .with_tcov(1)
            .with_tinv(1)
            .init_preconditioner(),
        EvaConfig::new()
            .with_embedding_damping(damping)
            .with_kl_clip(None)
            .with_tcov(1)
            .with_tinv(1)
            .init_preconditioner(),
        KfacConfig::new()
            .with_embedding_damping(damping)
            .with_kl_clip(None)
            .with_tcov(1)
            .with_tinv(1)
            .init_preconditioner(),
    ]
}

#[test]
fn a_recorded_embedding_is_its_layer() {
    let recorded = embedding();
    let plain = recorded.clone().into_inner();
    assert_eq!(format!("{recorded}"), format!("{plain}"));
    let _optim = MacConfig::new().init::<B, MacEmbedding<B>>();
    let [expected, found] = [plain.forward(tokens(0)), recorded.forward(tokens(0))];
    assert_eq!(found.to_data(), expected.to_data());
    let [expected, found] = [expected, found].map(|output| {
        let grads = output.square().sum().backward();
        plain.weight.val().grad(&grads).map(Tensor::into_data)
    });
    assert_eq!(found.expect("a gradient"), expected.expect("a gradient"));
    let bytes = BinBytesRecorder::<DoublePrecisionSettings>::default();
    let saved = bytes.record(recorded.clone().into_record(), ());
    let of_plain = bytes.record(plain.into_record(), ());
    assert_eq!(saved.expect("it is saved"), of_plain.expect("it is saved"));
}

/// Breaks when a token is counted in another's place, repeated ones once, or the average is not bias-corrected.
#[test]
fn rows_are_scaled_by_the_frequencies_of_their_tokens() {
    for mut preconditioner in preconditioners(Some(DAMPING)) {
        let embedding = embedding();
        let decay = preconditioner.stat_decay();
        let mut average = [0.0; KNOWN];
        let mut weight = 0.0;
        for batch in 0..2 {
            let grads = gradients(&embedding, batch);
            let before = rows(&grads, &embedding);
            let after = rows(&preconditioner.precondition(&embedding, grads), &embedding);
            weight = weight * decay + 1.0 - decay;
            for (average, new) in average.iter_mut().zip(frequencies(batch)) {
                *average = *average * decay + new * (1.0 - decay);
            }
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                let frequency = average[index / SIZE] / weight;
                let expected = before * DAMPING / (DAMPING + frequency);
                assert!((after - expected).abs() <= ROUNDING, "{after} {expected}");
            }
        }
        let report = preconditioner.report(&embedding);
        assert_eq!(report.layers[0].coverage, Coverage::TokenFrequencies);
        assert_eq!(
            (report.layers[0].updates, report.covered_parameters),
            (2, KNOWN * SIZE)
        );
        assert_eq!(report.layers[0].kind, "Embedding");
    }
}

#[test]
fn without_a_damping_an_embedding_is_left_alone_and_says_so() {
    for mut preconditioner in preconditioners(None) {
        let embedding = embedding();
        let grads = gradients(&embedding, 0);
        let before = rows(&grads, &embedding);
        let after = rows(&preconditioner.precondition(&embedding, grads), &embedding);
        assert_eq!(before, after);
        let report = preconditioner.report(&embedding);
        assert_eq!(report.layers[0].coverage, Coverage::EmbeddingLeftAlone);
        assert_eq!(
            (report.layers[0].updates, report.covered_parameters),
            (0, 0)
        );
    }
}

/// Breaks when a step that preconditions momentum scales rows by the frequencies once and not from both sides.
#[test]
fn a_normalized_step_has_the_frequencies_too() {
    let config = MacConfig::new()
        .with_embedding_damping(Some(DAMPING))
        .with_step(StepForm::Normalized)
        .with_momentum(0.0);
    let mut optim = config.init::<B, MacEmbedding<B>>();
    let mut model = embedding();
    let start: Vec<f64> = model.weight.val().into_data().iter().collect();
    let grads = gradients(&model, 0);
    let raw = rows(&grads, &model);
    model = optim.step(0.1, model, grads);
    let end: Vec<f64> = model.weight.val().into_data().iter().collect();
    let scaled: Vec<f64> = raw
        .iter()
        .enumerate()
        .map(|(index, value)| value * DAMPING / (DAMPING + frequencies(0)[index / SIZE]))
        .collect();
    // A step of a known length, so all of it is one multiple.
    let largest = (0..scaled.len()).max_by(|a, b| scaled[*a].abs().total_cmp(&scaled[*b].abs()));
    let largest = largest.expect("there are rows");
    let multiple = (start[largest] - end[largest]) / scaled[largest];
    assert!(multiple > 0.0);
    for index in 0..scaled.len() {
        let expected = multiple * scaled[index];
        assert!((start[index] - end[index] - expected).abs() <= ROUNDING);
    }
}

/// Breaks when the damping of the other layers is that of embeddings too.
#[test]
fn without_preconditioning_of_other_layers_frequencies_are_in_use_all_the_same() {
    let config = MacConfig::new()
        .with_damping(f64::INFINITY)
        .with_embedding_damping(Some(DAMPING));
    let mut preconditioner = config.init_preconditioner::<B>();
    let embedding = embedding();
    let grads = gradients(&embedding, 0);
    let before = rows(&grads, &embedding);
    let after = rows(&preconditioner.precondition(&embedding, grads), &embedding);
    for (index, (before, after)) in before.iter().zip(after).enumerate() {
        let expected = before * DAMPING / (DAMPING + frequencies(0)[index / SIZE]);
        assert!((after - expected).abs() <= ROUNDING, "{after} {expected}");
    }
}

#[test]
fn a_resumed_run_is_the_same_to_the_bit() {
    let config = || {
        MacConfig::new()
            .with_embedding_damping(Some(DAMPING))
            .with_tcov(1)
            .with_tinv(1)
            .init::<B, MacEmbedding<B>>()
    };
    let step = |optim: &mut mac_burn::Mac<_, B>, model: MacEmbedding<B>, batch| {
        let grads = gradients(&model, batch);
        optim.step(0.1, model, grads)
    };
    let mut optim = config();
    let model = step(&mut optim, embedding(), 0);
    let bytes = BinBytesRecorder::<DoublePrecisionSettings>::default();
    let saved = bytes.record(optim.to_record(), ()).expect("it is saved");
    let record = bytes
        .load(saved, &Default::default())
        .expect("it is loaded");
    let mut resumed = config().load_record(record);
    let through = step(&mut optim, model.clone(), 1);
    let again = step(&mut resumed, model.clone(), 1);
    assert_eq!(through.weight.val().to_data(), again.weight.val().to_data());

    // Without the damping the frequencies of the record are of no use, and no mistake.
    let record = optim.to_record();
    let mut without = MacConfig::new()
        .init::<B, MacEmbedding<B>>()
        .load_record(record);
    step(&mut without, model.clone(), 0);
    assert_eq!(
        without.report(&model).layers[0].coverage,
        Coverage::EmbeddingLeftAlone
    );
}

#[test]
fn a_damping_out_of_range_is_named() {
    for damping in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = KfacConfig::new()
            .with_embedding_damping(Some(damping))
            .validate();
        let text = error.expect_err("it is out of range").to_string();
        assert!(
            text.contains("embedding_damping") && text.contains("1e-30"),
            "{text}"
        );
    }
}
