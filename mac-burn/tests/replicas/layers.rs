//! Layers whose statistics have shapes of their own: embeddings, recurrent layers and convolutions, transposed and not.

use super::network::{in_threads, relative};
use super::support::{filled, random, values};
use burn::backend::Autodiff;
use burn::module::Module;
use burn::nn::conv::{Conv1dConfig, ConvTranspose1dConfig};
use burn::nn::{EmbeddingConfig, GruConfig, LinearConfig};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use burn_ndarray::NdArray;
use mac_burn::replicas::Replicas;
use mac_burn::{
    KfacConfig, Mac, MacConfig, MacConv1d, MacConvTranspose1d, MacEmbedding, MacGru, MacLinear,
    SmacConfig,
};
use std::sync::Arc;
use std::time::Duration;

type B = Autodiff<NdArray<f64>>;

const RANKS: usize = 2;
const STEPS: u64 = 6;
const SHARE: i64 = 3;
const LENGTH: i64 = 5;
const TOKENS: i64 = 7;
const LR: f64 = 0.05;

#[derive(Module, Debug)]
struct Network<B: Backend> {
    embedding: MacEmbedding<B>,
    wider: MacConvTranspose1d<B>,
    conv: MacConv1d<B>,
    gru: MacGru<B>,
    output: MacLinear<B>,
}

impl Network<B> {
    fn new() -> Self {
        let device = Default::default();
        let wider = ConvTranspose1dConfig::new([4, 6], 3).with_groups(2);
        let network = Self {
            embedding: EmbeddingConfig::new(TOKENS as usize, 4)
                .init(&device)
                .into(),
            wider: wider.init(&device).into(),
            conv: Conv1dConfig::new(6, 4, 2).init(&device).into(),
            gru: GruConfig::new(4, 3, true).init(&device).into(),
            output: LinearConfig::new(3, 2).init(&device).into(),
        };
        filled(network, 5)
    }

    /// The loss of a share of the batch of a step.
    fn loss(&self, step: u64, share: usize) -> Tensor<B, 1> {
        let start = 1 + 17 * step as i64 + SHARE * LENGTH * share as i64;
        let tokens =
            Tensor::<B, 1, Int>::arange(start..start + SHARE * LENGTH, &Default::default());
        let tokens = (tokens.clone() * tokens).remainder_scalar(TOKENS);
        let tokens = tokens.reshape([SHARE as usize, LENGTH as usize]);
        let x = self.embedding.forward(tokens).swap_dims(1, 2);
        let x = self.conv.forward(self.wider.forward(x)).swap_dims(1, 2);
        let output = self.output.forward(self.gru.forward(x, None));
        let target = random(output.dims(), 100 * step + share as u64);
        (output - target).square().mean()
    }
}

type Optim = Mac<Network<B>, B>;

fn alone(mut optim: Optim) -> Vec<Vec<f64>> {
    let mut network = Network::new();
    for step in 0..STEPS {
        let losses = (0..RANKS).map(|share| network.loss(step, share));
        let loss = losses.reduce(|left, right| left + right).expect("some");
        let grads = loss.div_scalar(RANKS as f64).backward();
        let grads = GradientsParams::from_grads(grads, &network);
        network = optim.step(LR, network, grads);
    }
    values(&network)
}

fn in_replicas(optim: impl Fn() -> Optim + Sync) -> Vec<Vec<Vec<f64>>> {
    in_threads(RANKS, Duration::from_secs(60), |connection| {
        let rank = connection.rank();
        let replicas = Replicas::new(Arc::new(connection));
        let mut optim = optim().with_replicas(replicas.clone());
        let mut network = Network::new();
        for step in 0..STEPS {
            let grads = network.loss(step, rank).backward();
            let grads = GradientsParams::from_grads(grads, &network);
            let grads = replicas
                .reduce_gradients(&network, grads)
                .expect("all are there");
            network = optim.try_step(LR, network, grads).expect("all are there");
        }
        values(&network)
    })
}

fn assert_as_alone(name: &str, optim: impl Fn() -> Optim + Sync) {
    let expected = alone(optim());
    let found = in_replicas(optim);
    assert_eq!(found[0], found[1], "{name}");
    let difference = relative(&found[0], &expected);
    let moved = relative(&expected, &values(&Network::new()));
    println!("{name}: {difference:.1e} of the whole batch, moved {moved:.2}");
    assert!(difference <= 1e-12, "{name}: {difference}");
    assert!(moved > 0.05, "{name}: {moved}");
}

/// Breaks when the statistics of a layer are looked for in another shape than its recorder makes them, or an embedding's are those of the
/// optimizer's curvature.
#[test]
fn replicas_of_any_layers_take_the_steps_of_the_whole_batch() {
    let mac = MacConfig::new()
        .with_tcov(2)
        .with_tinv(3)
        .with_embedding_damping(Some(0.2));
    let smac = SmacConfig::new().with_settings_of(&mac);
    let kfac = KfacConfig::new()
        .with_settings_of(&mac)
        .with_kl_clip(Some(0.01));
    assert_as_alone("MAC", || mac.init());
    assert_as_alone("SMAC", || smac.init());
    assert_as_alone("K-FAC", || kfac.init());
}
