//! The record of a MAC with an auxiliary optimizer.

use crate::auxiliary_optimizer::*;
use crate::support::{B, Network, gradients, images, through_files, train, values};
use burn::optim::{AdamW, Optimizer};
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder, Recorder as _};
use mac_burn::{MacError, MacRecord};

type Files = NamedMpkFileRecorder<FullPrecisionSettings>;

/// Breaks when a moment, the step count of AdamW or the factor is not in the record.
#[test]
fn a_resumed_run_is_bit_equal_at_every_step() {
    let start = || {
        let mut optim = both(config(), 0.5);
        optim.set_auxiliary_lr_factor(0.2).expect("it is allowed");
        (Network::<B>::new(7), optim)
    };
    let (network, mut optim) = start();
    let expected = values(&train(network, &mut optim, 0..STEPS));
    for stop in 0..STEPS {
        let (network, mut optim) = start();
        let network = train(network, &mut optim, 0..stop);
        let (network, mut optim) = through_files(network, optim, both(config(), 0.5));
        let found = values(&train(network, &mut optim, stop..STEPS));
        assert_eq!(found, expected, "resumed at step {stop}");
    }
}

/// Writes a record to disk and reads it as that of an optimizer of another type.
fn reread<From, To>(record: From) -> To
where
    From: burn::record::Record<B>,
    To: burn::record::Record<B>,
{
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = folder.path().join("optim");
    let files = Files::new();
    Files::record(&files, record, file.clone()).expect("the optimizer is saved");
    files
        .load(file, &Default::default())
        .expect("it is a record of MAC")
}

type RecordWith = MacRecord<B, AdamW>;
type RecordWithout = MacRecord<B>;

#[test]
fn a_record_with_an_auxiliary_optimizer_is_refused_by_a_mac_without() {
    for steps in [0, 2] {
        let mut optim = both(config(), 0.5);
        let network = train(Network::<B>::new(7), &mut optim, 0..steps);
        let record: RecordWithout = reread::<RecordWith, _>(optim.to_record());
        let refused = config().init().try_load_record(record, &network);
        assert_eq!(refused.err(), Some(MacError::RecordWithAuxiliaryOptimizer));
    }
}

#[test]
fn a_record_without_an_auxiliary_optimizer_is_refused_by_a_mac_with_one() {
    let mut optim = config().init();
    let network = train(Network::<B>::new(7), &mut optim, 0..2);
    let record: RecordWith = reread::<RecordWithout, _>(optim.to_record());
    let refused = both(config(), 0.5).try_load_record(record, &network);
    assert_eq!(
        refused.err(),
        Some(MacError::RecordWithoutAuxiliaryOptimizer)
    );
}

/// Breaks when what was loaded is lost where an auxiliary optimizer is added.
#[test]
fn an_auxiliary_optimizer_may_be_added_to_a_loaded_run() {
    let start = Network::<B>::new(7);
    let still = start.clone();
    let mut mac = config().init();
    let network = train(start, &mut mac, 0..2);
    let loaded = config().init().try_load_record(mac.to_record(), &network);
    let mut both = loaded
        .expect("it is the record of the network")
        .with_auxiliary_optimizer(adamw().init(), 0.5)
        .expect("the factor is allowed");

    let grads = || gradients(&still, images(2, 5));
    let by_mac = values(&mac.step(LR, network.clone(), grads()));
    let by_both = values(&both.step(LR, network.clone(), grads()));
    let by_adamw = values(&adamw().init().step(LR * 0.5, network, grads()));
    assert_eq!(same(&by_both, &by_mac), all_but(&NORM));
    assert_eq!(same(&by_both, &by_adamw), NORM);
}

#[test]
#[should_panic(expected = "the optimizer record has the state of an auxiliary optimizer")]
fn loading_a_record_with_an_auxiliary_optimizer_without_one_panics() {
    let record = reread::<RecordWith, RecordWithout>(both(config(), 0.5).to_record());
    config().init::<B, Network<B>>().load_record(record);
}

#[test]
#[should_panic(expected = "the optimizer record has no state of an auxiliary optimizer")]
fn loading_a_record_without_an_auxiliary_optimizer_into_one_panics() {
    let record = reread::<RecordWithout, RecordWith>(config().init::<B, Network<B>>().to_record());
    both(config(), 0.5).load_record(record);
}

#[test]
fn the_auxiliary_optimizers_record_of_another_model_is_refused() {
    let config = config().with_skip_layers(vec!["**".into()]);
    let mut optim = both(config.clone(), 0.5);
    train(Network::<B>::new(7), &mut optim, 0..1);
    let other = Network::<B>::new(7);
    let refused = both(config, 0.5).try_load_record(optim.to_record(), &other);
    let error = refused.err().expect("the ids of another model are others");
    assert!(
        matches!(&error, MacError::RecordOfAnotherModel { problem } if problem.contains("auxiliary optimizer")),
        "{error}"
    );
}
