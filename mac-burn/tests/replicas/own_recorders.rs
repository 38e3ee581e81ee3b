//! Layers with a recorder of their own, which nobody knows before their first pass, and masks.

use super::network::in_threads;
use super::support::{filled, random, values};
use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::nn::{Initializer, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, TensorData};
use burn_ndarray::NdArray;
use mac_burn::replicas::Replicas;
use mac_burn::{Mac, MacConfig, MacLinear, Recorder};
use std::sync::Arc;
use std::time::Duration;

type B = Autodiff<NdArray<f64>>;

/// A projection of tokens, of which some are padded, with a recorder of its own.
#[derive(Module, Debug)]
struct Tokens<B: Backend> {
    first: MacLinear<B>,
    weight: Param<Tensor<B, 2>>,
    recorder: Recorder<B>,
}

impl<B: Backend> Tokens<B> {
    fn new() -> Self {
        let device = Default::default();
        let tokens = Self {
            first: LinearConfig::new(3, 4).init(&device).into(),
            weight: Initializer::Zeros.init([4, 2], &device),
            recorder: Recorder::new(),
        };
        filled(tokens, 3)
    }

    /// The sum over tokens that are not padded.
    fn loss(&self, tokens: Tensor<B, 3>, padded: Option<&Tensor<B, 2, Bool>>) -> Tensor<B, 1> {
        let hidden = self.first.forward(tokens);
        let output = hidden.clone().matmul(self.weight.val().unsqueeze());
        let recorder = &self.recorder;
        let output = recorder.record_tokens(&self.weight, None, &hidden, padded, output);
        let output = match padded {
            Some(padded) => {
                let mask = padded.clone().bool_not().float().unsqueeze_dim::<3>(2);
                output * mask
            }
            None => output,
        };
        output.square().sum()
    }

    fn loss_without(&self, tokens: Tensor<B, 3>) -> Tensor<B, 1> {
        self.first.forward(tokens).square().sum()
    }
}

type Loss = dyn Fn(&Tokens<B>, u64, usize) -> Tensor<B, 1> + Sync;

fn tokens(step: u64, share: usize) -> Tensor<B, 3> {
    random([2, 3, 3], 100 * step + share as u64)
}

fn optimizer() -> Mac<Tokens<B>, B> {
    let config = MacConfig::new().with_tcov(2).with_tinv(2);
    config.with_damping(0.3).init()
}

/// Replicas that train with the losses of shares, and one training with the sum of all.
fn check(loss: &Loss, steps: u64, is_as_alone: bool) {
    let ranks = 2;
    let all = in_threads(ranks, Duration::from_secs(60), |connection| {
        let replicas = Replicas::new(Arc::new(connection));
        let (mut network, optim) = (Tokens::<B>::new(), optimizer());
        let mut optim = optim.with_replicas(replicas.clone());
        for step in 0..steps {
            let loss = loss(&network, step, replicas.rank(&Default::default()));
            let grads = GradientsParams::from_grads(loss.backward(), &network);
            let grads = replicas
                .reduce_gradients(&network, grads)
                .expect("both are there");
            network = optim
                .try_step(0.01, network, grads)
                .expect("both are there");
        }
        let updates = optim.report(&network).layers.len();
        (values(&network), updates)
    });
    assert_eq!(all[0], all[1]);
    let (mut network, mut optim) = (Tokens::<B>::new(), optimizer());
    for step in 0..steps {
        let both = loss(&network, step, 0) + loss(&network, step, 1);
        let grads = both.div_scalar(2.0).backward();
        let grads = GradientsParams::from_grads(grads, &network);
        network = optim.try_step(0.01, network, grads).expect("it is alone");
    }
    let difference = super::network::relative(&all[0].0, &values(&network));
    println!("difference from one training: {difference:.1e}");
    assert_eq!(difference < 1e-12, is_as_alone, "{difference}");
}

/// Breaks when the counts of a rank without a mask are lost where another has one.
#[test]
fn a_mask_on_one_rank_counts_what_it_leaves() {
    let loss = |network: &Tokens<B>, step: u64, share: usize| {
        let padding = TensorData::from([[false, false, true], [false, true, true]]);
        let padded = Tensor::<B, 2, Bool>::from_data(padding, &Default::default());
        let padded = (share == 1 && step % 3 < 2).then_some(&padded);
        network.loss(tokens(step, share), padded)
    };
    check(&loss, 9, true);
}

/// Breaks when a rank that has not used such a layer yet cannot take part, or ranks that have take statistics of it alone. Until all know it, it is not
/// preconditioned: so this is another training than one with the whole batch.
#[test]
fn a_layer_that_a_rank_does_not_know_waits_until_all_do() {
    let loss = |network: &Tokens<B>, step: u64, share: usize| match step < 3 && share == 1 {
        true => network.loss_without(tokens(step, share)),
        false => network.loss(tokens(step, share), None),
    };
    check(&loss, 9, false);
}

/// Breaks when ranks that have known such a layer are not asked again: with a record of the model its recorder knows nothing, and what one rank sends the
/// other does not expect.
#[test]
fn a_layer_is_asked_about_again_after_a_record_of_the_model() {
    let all = in_threads(2, Duration::from_secs(60), |connection| {
        let rank = connection.rank();
        let replicas = Replicas::new(Arc::new(connection));
        let (mut network, optim) = (Tokens::<B>::new(), optimizer());
        let mut optim = optim.with_replicas(replicas.clone());
        for step in 0..8 {
            if step == 4 {
                let record = network.clone().into_record();
                network = network.load_record(record);
            }
            let loss = match step >= 4 && rank == 1 {
                true => network.loss_without(tokens(step, rank)),
                false => network.loss(tokens(step, rank), None),
            };
            let grads = GradientsParams::from_grads(loss.backward(), &network);
            let grads = replicas.reduce_gradients(&network, grads);
            let grads = grads.expect("both are there");
            let stepped = optim.try_step(0.01, network, grads);
            network = stepped.expect("both are there");
        }
        values(&network)
    });
    assert_eq!(all[0], all[1]);
}
