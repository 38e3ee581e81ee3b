//! A trained network's answers with PyTorch's form of the running variance in place of Burn's.
//!
//! Burn averages the variance of a batch, PyTorch its unbiased estimate, `n/(n − 1)` times as much for `n` values of a channel.
//! Here `n` is 512 at least, on the 2×2 maps of ResNet-20's last stage, a quarter of the least in the recipes of the paper.

use std::io::{Write, stdout};
use std::ops::Range;

use burn::module::{AutodiffModule, RunningState};
use burn::nn::BatchNorm;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::ElementConversion;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use mac_burn::MacConfig;
use mac_burn_examples::backend::{Selected, Training};
use mac_burn_examples::images::{Image, ImageBatch, Images, digits};
use mac_burn_examples::tasks::correct;
use mac_burn_examples::training::Schedule;
use mac_burn_models::ResNetConfig;
use mac_burn_models::resnet::{ResNet, ResidualBlock};

/// Of the authors' recipe for CIFAR.
const BATCH: usize = 128;
const STEPS: usize = 40;
const LR: f64 = 0.1;

/// Of the 296 images. A network that guesses has 30 right, and one whose running statistics are not used has about as many.
const RIGHT: i64 = 280;
/// Of any probability. What is found is 3e-3, mostly by the norms of the last stage, whose outputs shrink by 1/1023. With `n` of
/// half as many values it would be twice as much.
const CHANGE: f64 = 5e-3;

/// Breaks when Burn's norm no longer averages what is within `n/(n − 1)` of PyTorch's, or networks become as sensitive to it
/// as to matter. An image between two classes may be taken for the other one.
#[test]
fn a_trained_network_answers_alike_with_either_form_of_the_running_variance() {
    let digits = digits::load();
    let network = trained(&digits).valid();
    let images = batch::<Selected>(&digits, &digits.valid, 0..296);
    let before = network.forward(images.images.clone());
    let after = unbiased(network).forward(images.images);

    let [right, right_after] = [&before, &after].map(|logits| -> i64 {
        let right = correct(logits.clone(), images.targets.clone());
        right.into_scalar().elem()
    });
    let change = (softmax(after, 1) - softmax(before, 1)).abs().max();
    let change: f64 = change.into_scalar().elem();
    let found = format!(
        "{right} and {right_after} of 296 right; probabilities differ by at most {change:.1e}"
    );
    writeln!(stdout().lock(), "{found}").ok();
    assert!(
        right >= RIGHT && (right_after - right).abs() <= 1,
        "{found}"
    );
    assert!(change > 0.0 && change < CHANGE, "{found}");
}

/// ResNet-20 after some steps of MAC on digits.
fn trained(images: &Images) -> ResNet<Training> {
    let device = Default::default();
    Training::seed(&device, 1);
    let config = ResNetConfig::resnet20(images.shape.classes).with_image_channels(1);
    let mut network = config.init::<Training>(&device);
    let mut optimizer = MacConfig::resnet_cifar().init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let schedule = Schedule {
        lr: LR,
        warmup: 0,
        warmup_start: 0.0,
        steps: STEPS,
        whole_cosine: false,
    };
    for step in 0..STEPS {
        let first = step * BATCH;
        let batch = batch::<Training>(images, &images.train, first..first + BATCH);
        let loss = loss.forward(network.forward(batch.images), batch.targets);
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(schedule.lr(step), network, grads);
    }
    network
}

fn batch<B: Backend>(images: &Images, side: &[Image], places: Range<usize>) -> ImageBatch<B> {
    // Neighbours in the file are by the same writer; a step that has no common divisor with the length visits all images.
    const APART: usize = 677;
    let places = places.map(|place| &side[place * APART % side.len()]);
    images.batch(places, &Default::default())
}

/// The network with the running variances that PyTorch would have kept, but for what is left of those that it began with:
/// `0.9^40`, or 1.5 %.
fn unbiased(mut network: ResNet<Selected>) -> ResNet<Selected> {
    network.stem.norm = network
        .stem
        .norm
        .map(|norm| with_unbiased(norm, digits::SHAPE.size));
    for (index, stage) in network.stages.iter_mut().enumerate() {
        for block in &mut stage.blocks {
            let ResidualBlock::Basic(block) = block else {
                panic!("the blocks of ResNet-20 are basic");
            };
            for conv in [&mut block.conv1, &mut block.conv2] {
                conv.norm = with_unbiased(conv.norm.clone(), digits::SHAPE.size >> index);
            }
        }
    }
    network
}

fn with_unbiased(mut norm: BatchNorm<Selected>, side: usize) -> BatchNorm<Selected> {
    let values = (BATCH * side * side) as f64;
    let variance = norm.running_var.value_sync() * (values / (values - 1.0));
    norm.running_var = RunningState::new(variance);
    norm
}
