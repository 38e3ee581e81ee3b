//! A recorded layer is the layer itself to everybody but the optimizer.

use crate::support::{B, Network, filled, gradients, images, values};
use burn::module::{AutodiffModule, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder as _};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_store::ModuleSnapshot;
use mac_burn::{MacConv2d, MacLinear};

#[derive(Module, Debug)]
struct Plain<B: Backend> {
    conv: Conv2d<B>,
    linear: Linear<B>,
}

#[derive(Module, Debug)]
struct Recorded<B: Backend> {
    conv: MacConv2d<B>,
    linear: MacLinear<B>,
}

fn plain() -> Plain<B> {
    let device = Default::default();
    let plain = Plain {
        conv: Conv2dConfig::new([1, 2], [3, 3]).init(&device),
        linear: LinearConfig::new(8, 3).init(&device),
    };
    filled(plain, 1)
}

fn recorded() -> Recorded<B> {
    let Plain { conv, linear } = plain();
    Recorded {
        conv: conv.into(),
        linear: linear.into(),
    }
}

#[test]
fn it_shows_and_counts_as_the_layer() {
    let (plain, recorded) = (plain(), recorded());
    assert_eq!(format!("{}", recorded.conv), format!("{}", plain.conv));
    let text = format!("{recorded}").replace("Recorded", "Plain");
    assert_eq!(text, format!("{plain}"));
    assert_eq!(recorded.num_params(), plain.num_params());
    assert_eq!(recorded.devices(), plain.devices());
}

#[test]
fn records_are_exchanged_both_ways_with_their_ids() {
    let bytes = BinBytesRecorder::<FullPrecisionSettings>::default();
    let source = plain();
    let saved = bytes
        .record(source.clone().into_record(), ())
        .expect("it is saved");
    let record = bytes
        .load(saved.clone(), &Default::default())
        .expect("it is loaded");
    let loaded = recorded().load_record(record);
    assert_eq!(values(&loaded), values(&source));
    assert_eq!(loaded.conv.weight.id, source.conv.weight.id);

    let back = bytes.record(loaded.into_record(), ()).expect("it is saved");
    assert_eq!(back, saved);
}

#[test]
fn stores_see_the_same_tensors_under_the_same_paths() {
    let paths = |snapshots: Vec<burn_store::TensorSnapshot>| -> Vec<(String, Vec<usize>)> {
        let named = snapshots
            .iter()
            .map(|found| (found.full_path(), found.shape.to_vec()));
        named.collect()
    };
    let seen = paths(recorded().collect(None, None, false));
    assert_eq!(seen, paths(plain().collect(None, None, false)));
    assert_eq!(seen[0].0, "conv.weight");
}

#[test]
fn the_forward_pass_is_bitwise_the_same_and_all_gradients_arrive() {
    let (plain, recorded) = (plain(), recorded());
    let input: Tensor<B, 4> = images(0, 2);
    let forward = plain.conv.forward(input.clone());
    let output = recorded.conv.forward(input);
    forward.to_data().assert_eq(&output.to_data(), true);
    let hidden = output.flatten::<2>(1, 3);
    let logits = recorded.linear.forward(hidden.clone());
    plain
        .linear
        .forward(hidden)
        .to_data()
        .assert_eq(&logits.to_data(), true);
    let grads = GradientsParams::from_grads(logits.sum().backward(), &recorded);
    assert_eq!(grads.len(), 4);
}

#[test]
fn validation_and_training_give_modules_that_work() {
    let network = Network::<B>::new(1);
    let valid = network.valid();
    assert_eq!(values(&valid), values(&network));
    let again = valid.train::<B>();
    assert_eq!(gradients(&again, images(0, 3)).len(), 7);
}
