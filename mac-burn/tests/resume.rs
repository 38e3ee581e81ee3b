//! A run that is saved, loaded and continued is the run that was never interrupted, bit for bit.

mod support;

use burn::optim::Optimizer;
use mac_burn::{InputCovariance, Mac, MacConfig, MacError};
use support::{B, Network, images, through_files, train, values};

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

#[test]
fn the_record_of_another_version_is_refused() {
    let mut optim = config().init();
    let network = train(Network::<B>::new(7), &mut optim, 0..1);
    let (preconditioner, decayed, exempt, second) = optim.to_record();
    let mut json = serde_json::to_value(preconditioner).expect("it is plain data");
    json["version"] = 2.into();
    // A version to come may have fields of other names.
    json.as_object_mut()
        .expect("it is an object")
        .remove("layers");
    let record = serde_json::from_value(json).expect("it is a record");
    let refused = config()
        .init()
        .try_load_record((record, decayed, exempt, second), &network);
    let error = refused.err().expect("the version is another");
    assert_eq!(
        error,
        MacError::RecordVersion {
            found: 2,
            expected: 1
        }
    );
}
