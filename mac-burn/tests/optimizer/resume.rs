//! A run that is saved, loaded and continued is the run that was never interrupted, bit for bit.

use crate::support::{B, Network, images, through_files, train, values};
use burn::module::{Initializer, Module, Param};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{InputCovariance, Mac, MacConfig, MacError};

/// A layer of a user's own: its recorder knows the weight only once a forward pass has named it.
#[derive(Module, Debug)]
struct Own<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    recorder: mac_burn::Recorder<B>,
}

impl Own<B> {
    fn new() -> Self {
        let weight = Initializer::Ones.init([4, 2], &Default::default());
        let recorder = mac_burn::Recorder::new();
        Self { weight, recorder }
    }

    fn gradients(&self) -> GradientsParams {
        let input = Tensor::<B, 2>::ones([3, 4], &self.weight.device()) * 0.5;
        let output = input.clone().matmul(self.weight.val());
        let output = self
            .recorder
            .record_linear(&self.weight, None, &input, output);
        GradientsParams::from_grads(output.square().sum().backward(), self)
    }
}

/// Recording every third step and refreshing every fourth, so that a resume falls between two
/// recordings, between two refreshes, and on either.
fn config() -> MacConfig {
    MacConfig::new()
        .with_tcov(3)
        .with_tinv(4)
        .with_weight_decay(1e-3)
        .with_no_decay_norms_and_biases(true)
}

fn optimizer(network: &Network<B>) -> Mac<Network<B>, B> {
    let mut covariance = InputCovariance::of(&network.conv);
    (100..103).for_each(|index| covariance.update(images::<B>(index, 4)));
    let optim = config().init().with_input_covariance(&covariance);
    optim.expect("the covariance is regular")
}

#[test]
fn it_is_bit_equal_at_every_step() {
    const STEPS: u64 = 10;
    let start = Network::<B>::new(7);
    let mut optim = optimizer(&start);
    let expected = train(start, &mut optim, 0..STEPS);
    for stop in 0..STEPS {
        let start = Network::<B>::new(7);
        let mut optim = optimizer(&start);
        let network = train(start, &mut optim, 0..stop);
        let (network, mut optim) = through_files(network, optim, config().init());
        let network = train(network, &mut optim, stop..STEPS);
        assert_eq!(
            values(&network),
            values(&expected),
            "resumed at step {stop}"
        );
    }
}

#[test]
fn a_damping_set_between_steps_is_part_of_the_record() {
    let run = |interrupted: bool| {
        let start = Network::<B>::new(7);
        let mut optim = optimizer(&start);
        let mut network = train(start, &mut optim, 0..2);
        optim.set_damping(0.25).expect("it is allowed");
        optim.set_stat_decay(0.5).expect("it is allowed");
        if interrupted {
            (network, optim) = through_files(network, optim, config().init());
        }
        values(&train(network, &mut optim, 2..6))
    };
    assert_eq!(run(true), run(false));
}

/// Breaks when what a record holds replaces what was set after it was loaded.
#[test]
fn what_is_set_before_the_first_resumed_step_holds() {
    let run = |interrupted: bool, changed: bool| {
        let start = Network::<B>::new(7);
        let mut optim = optimizer(&start);
        let mut network = train(start, &mut optim, 0..2);
        if interrupted {
            (network, optim) = through_files(network, optim, config().init());
        }
        if changed {
            let mut covariance = InputCovariance::of(&network.conv);
            covariance.update(images::<B>(200, 6));
            optim.set_damping(0.25).expect("it is allowed");
            optim.set_stat_decay(0.5).expect("it is allowed");
            optim = optim
                .with_input_covariance(&covariance)
                .expect("the covariance is regular");
            assert_eq!(optim.preconditioner().damping(), 0.25);
        }
        values(&train(network, &mut optim, 2..6))
    };
    assert_eq!(run(true, true), run(false, true));
    assert_ne!(run(false, true), run(false, false));
}

#[test]
fn a_record_that_waits_for_its_model_is_saved_unchanged() {
    let start = Network::<B>::new(7);
    let mut optim = optimizer(&start);
    let network = train(start, &mut optim, 0..2);
    let (loaded, waiting) = through_files(network.clone(), optim.clone(), config().init());
    let (loaded, mut waiting) = through_files(loaded, waiting, config().init());
    let expected = values(&train(network, &mut optim, 2..4));
    assert_eq!(values(&train(loaded, &mut waiting, 2..4)), expected);
}

/// Breaks when a record looks for its layers among those that a forward pass has named.
#[test]
fn a_layer_of_the_users_own_is_found_before_its_first_pass() {
    let mut optim = config().init();
    let trained = Own::new();
    let grads = trained.gradients();
    let trained = optim.step(0.1, trained, grads);
    let record = optim.to_record();
    let fresh = Own::new().load_record(trained.clone().into_record());
    let loaded = config().init().try_load_record(record, &fresh);
    let mut loaded = loaded.expect("the weight is the record's");

    let grads = fresh.gradients();
    let fresh = loaded.step(0.1, fresh, grads);
    let grads = trained.gradients();
    let trained = optim.step(0.1, trained, grads);
    assert_eq!(fresh.weight.to_data(), trained.weight.to_data());
}

#[test]
fn the_record_of_another_model_is_refused() {
    let start = Network::<B>::new(7);
    let mut optim = optimizer(&start);
    train(start, &mut optim, 0..2);
    let other = Network::<B>::new(7);
    let refused = config().init().try_load_record(optim.to_record(), &other);
    let error = refused.err().expect("the ids of another model are others");
    assert!(
        matches!(error, MacError::RecordOfAnotherModel { .. }),
        "{error}"
    );

    // A model with momentum only is told apart as well.
    let skip = vec!["**".into()];
    let mut optim = config().with_skip_layers(skip).init::<B, Network<B>>();
    train(Network::<B>::new(7), &mut optim, 0..1);
    let refused = config().init().try_load_record(optim.to_record(), &other);
    assert!(matches!(
        refused.err(),
        Some(MacError::RecordOfAnotherModel { .. })
    ));
}

#[test]
#[should_panic(expected = "the optimizer record belongs to another model")]
fn the_record_of_another_model_panics_at_the_first_step() {
    let mut optim = config().init();
    train(Network::<B>::new(7), &mut optim, 0..1);
    let mut optim = config().init().load_record(optim.to_record());
    train(Network::<B>::new(7), &mut optim, 0..1);
}

/// The error of a record of a short run, changed in its file.
fn refusal(change: impl Fn(&mut serde_json::Value)) -> MacError {
    let mut optim = config().init();
    let network = train(Network::<B>::new(7), &mut optim, 0..1);
    let mut record = optim.to_record();
    let mut json = serde_json::to_value(&record.preconditioner).expect("it is plain data");
    change(&mut json);
    record.preconditioner = serde_json::from_value(json).expect("it is a record");
    let refused = config().init().try_load_record(record, &network);
    refused.err().expect("it is refused")
}

#[test]
fn the_record_of_another_version_is_refused() {
    let error = refusal(|json| {
        json["version"] = 4.into();
        // A version to come may have fields of other names.
        json.as_object_mut()
            .expect("it is an object")
            .remove("curvatures");
    });
    let (found, expected) = (4, 3);
    assert_eq!(error, MacError::RecordVersion { found, expected });
}

#[test]
fn a_damaged_record_is_refused() {
    for field in ["damping", "stat_decay"] {
        let error = refusal(|json| json[field]["current"] = (-1.0).into());
        let named = matches!(error, MacError::InvalidConfig { field: found, .. } if found == field);
        assert!(named, "{error}");
    }
    for field in ["ema", "mean"] {
        let error = refusal(|json| {
            json["curvatures"][0]["MeanActivation"][field]["shape"] = vec![1, 3].into();
        });
        let named = matches!(&error, MacError::RecordOfAnotherModel { problem } if problem.contains("do not fit"));
        assert!(named, "{error}");
    }
}

/// Breaks when a recorder of a user's own that is paused does not hear of the parameters that were loaded.
#[test]
fn a_recorder_of_ones_own_goes_on_after_other_parameters_were_loaded() {
    let mut optim = MacConfig::new().with_tcov(5).with_tinv(5).init();
    let mut own = Own::new();
    for _ in 0..2 {
        let grads = own.gradients();
        own = optim.step(0.1, own, grads);
    }
    own = own.load_record(Own::new().into_record());
    for _ in 0..5 {
        let grads = own.gradients();
        own = optim.step(0.1, own, grads);
    }
    let recorded = optim.preconditioner().activation_ema(own.weight.id);
    assert!(recorded.is_some());
}
