//! A training that is saved and resumed.

use crate::dense_curvatures::F64;
use crate::support::{filled, random, values};
use burn::module::{AutodiffModule, Module};
use burn::nn::GruConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{BinBytesRecorder, DoublePrecisionSettings, Record, Recorder as _};
use burn::tensor::Tensor;
use mac_burn::{KfacConfig, Mac, MacConfig, MacGru};

const LR: f64 = 0.05;

fn new(seed: u64) -> MacGru<F64> {
    let config = GruConfig::new(3, 4, true);
    filled(config.init(&Default::default()), seed).into()
}

fn optimizer(is_kfac: bool) -> Mac<MacGru<F64>, F64> {
    let mac = MacConfig::new().with_tcov(2).with_tinv(3);
    match is_kfac {
        false => mac.init(),
        true => KfacConfig::new().with_settings_of(&mac).init(),
    }
}

fn train(
    mut layer: MacGru<F64>,
    optim: &mut Mac<MacGru<F64>, F64>,
    steps: std::ops::Range<u64>,
) -> MacGru<F64> {
    for step in steps {
        let output = layer.forward(random([2, 5, 3], step), None);
        let target: Tensor<F64, 3> = random([2, 5, 4], 100 + step);
        let loss = (output - target).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        layer = optim.step(LR, layer, grads);
    }
    layer
}

fn through_bytes<R: Record<F64>>(record: R) -> R {
    let bytes = BinBytesRecorder::<DoublePrecisionSettings>::default();
    let saved = bytes.record(record, ()).expect("it is saved");
    bytes
        .load(saved, &Default::default())
        .expect("it is loaded")
}

/// Breaks when a layer or a curvature of it does not come back whole, at a step with statistics or without.
#[test]
fn a_resumed_training_is_bitwise_the_same() {
    for is_kfac in [false, true] {
        for saved_at in [1, 2, 3, 4] {
            let mut optim = optimizer(is_kfac);
            let straight = train(new(1), &mut optim, 0..6);
            let mut optim = optimizer(is_kfac);
            let layer = train(new(1), &mut optim, 0..saved_at);
            let (layer, state) = (
                through_bytes(layer.into_record()),
                through_bytes(optim.to_record()),
            );
            let mut optim = optimizer(is_kfac).load_record(state);
            let layer = new(2).load_record(layer);
            let resumed = train(layer, &mut optim, saved_at..6);
            assert_eq!(values(&resumed.valid()), values(&straight), "at {saved_at}");
        }
    }
}
