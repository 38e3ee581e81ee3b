//! A model of another crate, whose layers nobody can convert, in Burn's learner on the backend that records.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use foreign_resnet::{ResNet18, ResNet18Config};
use mac_burn::{Coverage, MacRecord, UncoveredReason};
use mac_burn_examples::backend::Training;
use mac_burn_examples::images::{ImageBatch, digits};
use mac_burn_recording::Recording;

use crate::{config, end_alike, interrupted, launch_with, load, temporary};

type B = Recording<Training>;

/// The model of another crate, with the steps that the learner asks for.
#[derive(Module, Debug)]
struct Classifier<B: Backend> {
    network: ResNet18<B>,
}

impl<B: Backend> Classifier<B> {
    fn classify(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        let logits = self.network.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(logits.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, logits, batch.targets)
    }
}

impl<B: AutodiffBackend> TrainStep for Classifier<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> TrainOutput<ClassificationOutput<B>> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<B: Backend> InferenceStep for Classifier<B> {
    type Input = ImageBatch<B>;
    type Output = ClassificationOutput<B>;

    fn step(&self, batch: ImageBatch<B>) -> ClassificationOutput<B> {
        self.classify(batch)
    }
}

fn model() -> Classifier<B> {
    let config = ResNet18Config::new()
        .with_channels(4)
        .with_image_channels(digits::SHAPE.channels)
        .with_num_classes(digits::SHAPE.classes);
    Classifier {
        network: config.init(&Default::default()),
    }
}

/// Breaks when passes of the model that the learner runs are not those of the model that it steps, or a checkpoint lacks what they left: all
/// convolutions and the head are preconditioned, and a run that is resumed ends with the parameters of one that was never interrupted.
#[test]
fn a_model_of_another_crate_is_covered_and_resumed() {
    let whole = temporary();
    launch_with(whole.path(), false, model(), config().init());
    let resumed = interrupted(&whole);

    launch_with(resumed.path(), true, model(), config().init());

    assert!(end_alike(&resumed, &whole));
    let model = model().load_record(load::<B, _>(whole.path(), "model"));
    let record: MacRecord<B> = load::<B, _>(whole.path(), "optim");
    let report = record.report(&config(), &model);
    let report = report.expect("it is the record of the model");
    assert_eq!(report.layers.len(), 21, "{report}");
    for layer in &report.layers {
        assert_eq!(layer.coverage, Coverage::MeanActivation, "{report}");
        // At steps 1, 4 and 7.
        assert_eq!(layer.updates, 3, "{report}");
    }
    for parameter in &report.uncovered {
        assert_eq!(parameter.reason, UncoveredReason::Norm, "{report}");
    }
}
