//! Replicas of a model of plain layers, on the backend that records.

#[path = "../../mac-burn/tests/support/mod.rs"]
mod support;

use burn::backend::Autodiff;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::activation::tanh;
use burn::tensor::backend::Backend;
use burn_ndarray::NdArray;
use mac_burn::replicas::{Replicas, TcpAllReduce};
use mac_burn::{Mac, MacConfig};
use mac_burn_recording::Recording;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::{difference, filled, random, values};

type R = Recording<Autodiff<NdArray<f64>>>;

const RANKS: usize = 2;
const STEPS: u64 = 12;

#[derive(Module, Debug)]
struct Network<B: Backend> {
    hidden: Linear<B>,
    sometimes: Linear<B>,
    output: Linear<B>,
}

impl<B: Backend> Network<B> {
    fn new() -> Self {
        let device = Default::default();
        let network = Self {
            hidden: LinearConfig::new(4, 5).init(&device),
            sometimes: LinearConfig::new(5, 5).init(&device),
            output: LinearConfig::new(5, 2).init(&device),
        };
        filled(network, 1)
    }

    /// The mean loss over a share of a step's batch. The layer `sometimes` is first used in the third step, and then left out by either share in some.
    fn loss(&self, step: u64, share: usize) -> Tensor<B, 1> {
        let input = random::<B, 2>([8, 4], 100 + step).narrow(0, 4 * share, 4);
        let hidden = tanh(self.hidden.forward(input));
        let leaves_out = step > 2 && (step + share as u64).is_multiple_of(3);
        let hidden = match step >= 2 && !leaves_out {
            true => tanh(self.sometimes.forward(hidden)),
            false => hidden,
        };
        self.output.forward(hidden).square().mean()
    }
}

fn optimizer() -> Mac<Network<R>, R> {
    MacConfig::new()
        .with_tcov(2)
        .with_tinv(3)
        .with_damping(0.3)
        .init()
}

/// Breaks when ranks have other numbers of recorders, as one has seen what another has not; or when their statistics are not summed.
#[test]
fn replicas_take_the_steps_of_the_whole_batch() {
    let (mut alone, mut optim) = (Network::<R>::new(), optimizer());
    for step in 0..STEPS {
        let loss = (alone.loss(step, 0) + alone.loss(step, 1)).div_scalar(2.0);
        let grads = GradientsParams::from_grads(loss.backward(), &alone);
        alone = optim.step(0.1, alone, grads);
    }
    let expected = values(&alone);
    let all =
        TcpAllReduce::in_process(RANKS, Duration::from_secs(60)).expect("there is a loopback");
    let found: Vec<_> = thread::scope(|scope| {
        let ranks = all.into_iter().map(|connection| {
            scope.spawn(move || {
                let replicas = Replicas::new(Arc::new(connection));
                let mut optim = optimizer().with_replicas(replicas.clone());
                let mut network = Network::<R>::new();
                for step in 0..STEPS {
                    let loss = network.loss(step, replicas.rank(&Default::default()));
                    let grads = GradientsParams::from_grads(loss.backward(), &network);
                    let grads = replicas
                        .reduce_gradients(&network, grads)
                        .expect("no rank fails");
                    network = optim.step(0.1, network, grads);
                }
                values(&network)
            })
        });
        let ranks: Vec<_> = ranks.collect();
        let ranks = ranks.into_iter().map(|rank| rank.join());
        ranks.map(|rank| rank.expect("no rank panics")).collect()
    });
    assert_eq!(found[0], found[1]);
    let moved = difference(&values(&Network::<R>::new()), &expected);
    let differs = difference(&found[0], &expected);
    assert!(moved > 0.05, "nothing was learnt: {moved}");
    assert!(differs < 1e-12, "differs by {differs:e}");
}

/// Breaks when the statistics of a weight are summed over ranks that use it in different maps, and the replicas drift apart.
#[test]
fn ranks_with_different_maps_of_a_weight_are_an_error() {
    let all =
        TcpAllReduce::in_process(RANKS, Duration::from_secs(60)).expect("there is a loopback");
    thread::scope(|scope| {
        let ranks = all.into_iter().map(|connection| {
            scope.spawn(move || {
                let replicas = Replicas::new(Arc::new(connection));
                let mut optim = MacConfig::new().init().with_replicas(replicas.clone());
                let layer = LinearConfig::new(4, 4).with_bias(false);
                let layer: Linear<R> = filled(layer.init(&Default::default()), 1);
                let weight = match replicas.rank(&Default::default()) {
                    0 => layer.weight.val(),
                    _ => layer.weight.val().transpose(),
                };
                let loss = random::<R, 2>([3, 4], 1).matmul(weight).square().mean();
                let grads = GradientsParams::from_grads(loss.backward(), &layer);
                optim.try_step(0.1, layer, grads).is_err()
            })
        });
        let ranks: Vec<_> = ranks.collect();
        for rank in ranks {
            assert!(rank.join().expect("no rank panics"), "a rank took the step");
        }
    });
}
