//! The state that PyTorch's networks had when the fixtures of the test `parity` were made, as a file of it. The network gives
//! what PyTorch's gave.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use mac_burn_models::import::load;
use mac_burn_models::pytorch::Name;
use mac_burn_models::{DenseNetConfig, ResNetConfig, WideResNetConfig};
use mac_burn_models::{densenet, resnet, wide_resnet};
use serde::Deserialize;
use tempfile::tempdir;

use crate::files::{self, Stored, Tensors};
use crate::networks::Single;
use crate::wave::Wave;

/// The part of a fixture that is needed.
#[derive(Deserialize)]
struct Fixture {
    parameters: Vec<Filled>,
    float_buffers: Vec<Filled>,
    counts: Counts,
    input: Input,
    eval: Evaluation,
    tolerance: Tolerances,
}

#[derive(Deserialize)]
struct Filled {
    name: String,
    shape: Vec<usize>,
    offset: f64,
    amplitude: f64,
    power: i32,
    _sum: f64,
}

#[derive(Deserialize)]
struct Counts {
    int_buffer_tensors: usize,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: [usize; 4],
}

#[derive(Deserialize)]
struct Evaluation {
    logits: Vec<f32>,
}

#[derive(Deserialize)]
struct Tolerances {
    f32: Tolerance,
}

#[derive(Deserialize)]
struct Tolerance {
    logits_abs: f32,
}

impl Fixture {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name);
        let text = fs::read_to_string(path).expect("the fixture is there");

        serde_json::from_str(&text).expect("it has what is needed")
    }

    /// PyTorch's state, with the numbers of batches that its norms have seen.
    fn state(&self) -> Tensors {
        let filled = self.parameters.iter().chain(&self.float_buffers);
        let mut state: Tensors = filled
            .map(|tensor| (tensor.name.clone(), tensor.stored()))
            .collect();
        let norms: Vec<String> = state
            .keys()
            .filter_map(|name| name.strip_suffix("running_mean").map(str::to_owned))
            .collect();
        assert_eq!(norms.len(), self.counts.int_buffer_tensors);
        for norm in norms {
            state.insert(format!("{norm}num_batches_tracked"), Stored::count(0));
        }

        state
    }

    fn images(&self) -> Tensor<Single, 4> {
        let Input { name, shape } = &self.input;
        let values = Wave::of(name).values(shape.iter().product());

        Tensor::from_data(TensorData::new(values, *shape), &Default::default())
    }
}

impl Filled {
    fn stored(&self) -> Stored {
        let wave = Wave::of(&self.name);
        let count: usize = self.shape.iter().product();
        let value = |index| (self.offset + self.amplitude * wave.at(index).powi(self.power)) as f32;

        Stored::single(&self.shape, &(0..count).map(value).collect::<Vec<_>>())
    }
}

/// Asserts that a network with the state of a fixture's gives its logits.
fn assert_like_pytorch<M: Module<Single>>(
    network: M,
    name: Name,
    fixture: &str,
    forward: fn(&M, Tensor<Single, 4>) -> Tensor<Single, 2>,
) {
    let fixture = Fixture::read(fixture);
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("weights.safetensors");
    files::write(&path, &fixture.state());

    let network = load(network, &path, name).expect("the file has this network");

    let found: Vec<f32> = forward(&network, fixture.images())
        .into_data()
        .iter()
        .collect();
    let (expected, allowed) = (&fixture.eval.logits, fixture.tolerance.f32.logits_abs);
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= allowed, "{index}: {found} for {expected}");
    }
}

/// Breaks when a tensor gets the values of another of its shape, running statistics stay as they were made, or the numbers of
/// batches count as weights.
#[test]
fn resnet_20() {
    let network = ResNetConfig::resnet20(10).init(&Default::default());
    let name = resnet::authors_name;
    assert_like_pytorch(network, name, "resnet20_c10.json", |network, images| {
        network.forward(images)
    });
}

/// Breaks like the test of ResNet-20, or when a projection is not a shortcut's.
#[test]
fn resnet_50() {
    let network = ResNetConfig::resnet50().init(&Default::default());
    let name = resnet::timm_name;
    assert_like_pytorch(network, name, "resnet50_in1k.json", |network, images| {
        network.forward(images)
    });
}

/// Breaks like the test of ResNet-50.
#[test]
fn wrn_28_10() {
    let network = WideResNetConfig::wrn_28_10(10).init(&Default::default());
    let name = wide_resnet::authors_name;
    assert_like_pytorch(network, name, "wrn_28_10_c10.json", |network, images| {
        network.forward(images)
    });
}

/// Breaks like the test of ResNet-20.
#[test]
fn densenet_121() {
    let network = DenseNetConfig::densenet121_cifar(10).init(&Default::default());
    let name = densenet::authors_name;
    assert_like_pytorch(network, name, "densenet121_c10.json", |network, images| {
        network.forward(images)
    });
}
