//! A recorded layer is the layer itself to everybody but the optimizer.

use crate::support::{B, Network, filled, gradients, images, random, values};
use burn::module::{AutodiffModule, Module};
use burn::nn::conv::{
    Conv1dConfig, Conv2d, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig,
};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder as _};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_store::ModuleSnapshot;
use mac_burn::{
    MacConfig, MacConv1d, MacConv2d, MacConv3d, MacConvTranspose1d, MacConvTranspose2d,
    MacConvTranspose3d, MacLinear,
};

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

/// A convolution of a configuration, plain and recorded: one record, `Display`, output and gradient, the same bits.
macro_rules! is_its_layer {
    ($mac:ident, $rank:literal, $config:expr) => {{
        let plain = filled($config.init::<B>(&Default::default()), 1);
        let recorded: $mac<B> = plain.clone().into();
        assert_eq!(format!("{recorded}"), format!("{plain}"));
        assert_eq!(recorded.num_params(), plain.num_params());
        let mut shape = [2, 4, 5, 4, 6];
        shape[$rank - 1] = 7;
        let shape: [usize; $rank] = std::array::from_fn(|axis| shape[axis]);
        let input: Tensor<B, $rank> = random(shape, 3);
        let optim = MacConfig::new().init::<B, $mac<B>>();
        let outputs = [plain.forward(input.clone()), recorded.forward(input)];
        let [expected, found] = outputs.clone().map(Tensor::into_data);
        found.assert_eq(&expected, true);
        let [expected, found] = outputs.map(|output| {
            let grads = output.square().sum().backward();
            plain.weight.val().grad(&grads).map(Tensor::into_data)
        });
        assert_eq!(found.expect("a gradient"), expected.expect("a gradient"));
        drop(optim);
        let bytes = BinBytesRecorder::<FullPrecisionSettings>::default();
        let saved = bytes.record(plain.clone().into_record(), ());
        let saved = saved.expect("it is saved");
        assert_eq!(
            bytes
                .record(recorded.clone().into_record(), ())
                .ok()
                .as_ref(),
            Some(&saved)
        );
        let record = bytes
            .load(saved, &Default::default())
            .expect("it is loaded");
        let loaded = $mac::<B>::from($config.init::<B>(&Default::default())).load_record(record);
        assert_eq!(values(&loaded), values(&plain));
    }};
}

#[test]
fn convolutions_over_any_axes_are_their_layers() {
    let groups = 2;
    is_its_layer!(MacConv1d, 3, Conv1dConfig::new(4, 6, 3).with_groups(groups));
    is_its_layer!(
        MacConv3d,
        5,
        Conv3dConfig::new([4, 6], [1, 2, 3]).with_groups(groups)
    );
    is_its_layer!(
        MacConvTranspose1d,
        3,
        ConvTranspose1dConfig::new([4, 6], 3).with_groups(groups)
    );
    is_its_layer!(
        MacConvTranspose2d,
        4,
        ConvTranspose2dConfig::new([4, 6], [2, 3]).with_stride([2, 1])
    );
    is_its_layer!(
        MacConvTranspose3d,
        5,
        ConvTranspose3dConfig::new([4, 6], [1, 2, 3]).with_padding_out([1, 0, 0])
    );
}

#[test]
fn validation_and_training_give_modules_that_work() {
    let network = Network::<B>::new(1);
    let valid = network.valid();
    assert_eq!(values(&valid), values(&network));
    let again = valid.train::<B>();
    assert_eq!(gradients(&again, images(0, 3)).len(), 7);
}
