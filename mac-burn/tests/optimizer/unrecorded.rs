//! A network without its recorders is the plain network.

use crate::support::{B, Network, gradients, images, train, values};
use burn::module::{AutodiffModule, Module};
use burn::optim::{Optimizer, SgdConfig};
use mac_burn::{MacConfig, unrecorded};

#[test]
fn parameters_and_their_ids_stay() {
    let network = Network::<B>::new(3);
    let (weight, before) = (network.hidden.weight.id, values(&network));
    let plain = unrecorded(network);
    assert_eq!(values(&plain), before);
    assert_eq!(plain.hidden.weight.id, weight);
}

/// Breaks when a recorder is left, or comes back by way of `valid`, a record or a clone.
#[test]
fn no_optimizer_finds_a_recorder_again() {
    let plain = unrecorded(Network::<B>::new(3));
    let record = Network::<B>::new(4).into_record();
    let ways = [
        plain.clone(),
        Network::from_inner(plain.valid()),
        plain.clone().load_record(record),
        plain,
    ];
    for network in ways {
        let mut mac = MacConfig::new().init();
        let network = train(network, &mut mac, 0..2);
        let report = mac.report(&network);
        assert_eq!(report.covered_parameters, 0, "{report}");
    }
}

#[test]
fn another_network_keeps_its_recorders() {
    let network = Network::<B>::new(3);
    unrecorded(Network::<B>::new(3));
    let mut mac = MacConfig::new().init();
    let network = train(network, &mut mac, 0..2);
    assert_ne!(mac.report(&network).covered_parameters, 0);
}

/// Breaks when the forward or the backward pass of a layer depends on its recorder.
#[test]
fn it_computes_the_same() {
    let step = |network: Network<B>| {
        let grads = gradients(&network, images(0, 5));
        let mut sgd = SgdConfig::new().init();
        values(&sgd.step(0.1, network, grads))
    };
    assert_eq!(step(unrecorded(Network::new(3))), step(Network::new(3)));
}
