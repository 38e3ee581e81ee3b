//! Burn's losses, each run forward and backward.

use super::call::{Method, Tested};
use burn::nn::loss::{
    BinaryCrossEntropyLossConfig, CTCLossConfig, CosineEmbeddingLossConfig, CrossEntropyLoss,
    CrossEntropyLossConfig, HuberLossConfig, KLDivLossConfig, LpLossConfig, MseLoss,
    PoissonNllLossConfig, RNNTLossConfig, Reduction, SmoothL1LossConfig,
};

/// Losses by their names.
pub(crate) fn losses<R: Tested>() -> Vec<(&'static str, Method<R>)> {
    vec![
        ("CrossEntropyLoss", |call| {
            let config = CrossEntropyLossConfig::new()
                .with_smoothing(Some(0.1))
                .with_weights(Some(vec![1.0, 2.0, 0.5, 1.5]));
            let loss = call.module(config.init(&call.device()));
            let logits = call.input([6, 4]);
            let targets = call.classes(0..4, [6]);
            call.output(loss.forward(logits, targets));
        }),
        ("CrossEntropyLoss with padding", |call| {
            let loss = call.module(CrossEntropyLoss::new(Some(1), &call.device()));
            let logits = call.input([6, 4]);
            let targets = call.classes(0..4, [6]);
            call.output(loss.forward(logits, targets));
        }),
        ("BinaryCrossEntropyLoss", |call| {
            let loss = call.module(
                BinaryCrossEntropyLossConfig::new()
                    .with_logits(true)
                    .init(&call.device()),
            );
            let logits = call.input([6, 4]);
            let targets = call.classes(0..2, [6, 4]);
            call.output(loss.forward(logits, targets));
        }),
        ("CosineEmbeddingLoss", |call| {
            let loss = CosineEmbeddingLossConfig::new().init();
            let [first, second] = [call.input([6, 4]), call.input([6, 4])];
            let targets = call.classes(0..2, [6]) * 2 - 1;
            call.output(loss.forward(first, second, targets));
        }),
        ("CTCLoss", |call| {
            let loss = CTCLossConfig::new().init();
            let log_probs = call.input_in(-3.0..-0.1, [6, 2, 4]);
            let targets = call.classes(1..4, [2, 2]);
            let input_lengths = call.classes(5..7, [2]);
            let target_lengths = call.classes(1..3, [2]);
            call.output(loss.forward(log_probs, targets, input_lengths, target_lengths));
        }),
        ("RNNTLoss", |call| {
            let loss = RNNTLossConfig::new().init();
            let logits = call.input([2, 5, 3, 4]);
            let targets = call.classes(1..4, [2, 2]);
            let logit_lengths = call.classes(4..6, [2]);
            let target_lengths = call.classes(1..3, [2]);
            call.output(loss.forward(logits, targets, logit_lengths, target_lengths));
        }),
        ("HuberLoss", |call| {
            let [predictions, targets] = [call.input([6, 4]), call.input([6, 4])];
            call.output(HuberLossConfig::new(0.5).init().forward(
                predictions,
                targets,
                Reduction::Mean,
            ));
        }),
        ("KLDivLoss", |call| {
            let [predictions, targets] = [call.input([6, 4]), call.input([6, 4])];
            call.output(KLDivLossConfig::new().with_log_target(true).init().forward(
                predictions,
                targets,
                Reduction::Mean,
            ));
        }),
        ("LpLoss", |call| {
            let [predictions, targets] = [call.input([6, 4]), call.input([6, 4])];
            call.output(LpLossConfig::new(3.0).init().forward(
                predictions,
                targets,
                Reduction::Mean,
            ));
        }),
        ("MseLoss", |call| {
            let [predictions, targets] = [call.input([6, 4]), call.input([6, 4])];
            call.output(MseLoss::new().forward(predictions, targets, Reduction::Mean));
        }),
        ("SmoothL1Loss", |call| {
            let loss = SmoothL1LossConfig::new().init();
            let [predictions, targets] = [call.input([6, 4]), call.input([6, 4])];
            call.output(loss.forward_with_reduction(predictions, targets, Reduction::Sum));
        }),
        ("PoissonNllLoss", |call| {
            let loss = PoissonNllLossConfig::new().with_full(true).init();
            let predictions = call.input([6, 4]);
            let targets = call.input_in(0.5..4.0, [6, 4]);
            call.output(loss.forward(predictions, targets, Reduction::Mean));
        }),
    ]
}
