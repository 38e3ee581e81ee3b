//! A network that is trained in shares, alone or in replicas.

use super::support::{filled, random, values};
use burn::module::Module;
use burn::nn::LinearConfig;
use burn::nn::conv::Conv2dConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::activation::tanh;
use burn::tensor::backend::{AutodiffBackend, Backend};
use mac_burn::replicas::{GradientReduction, Replicas, TcpAllReduce};
use mac_burn::{CurvatureConfig, Mac, MacConfig, MacConv2d, MacError, MacLinear};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Samples of the whole batch.
pub(crate) const BATCH: usize = 8;
pub(crate) const LR: f64 = 0.03;

/// A convolution in groups, a layer that is used twice, one that some shares leave out, and one without a bias.
#[derive(Module, Debug)]
pub(crate) struct Shared<B: Backend> {
    pub(crate) conv: MacConv2d<B>,
    pub(crate) twice: MacLinear<B>,
    pub(crate) sometimes: MacLinear<B>,
    pub(crate) output: MacLinear<B>,
}

pub(crate) type Optim<B> = Mac<Shared<B>, B>;

impl<B: Backend> Shared<B> {
    pub(crate) fn new() -> Self {
        let device = Default::default();
        let conv = Conv2dConfig::new([2, 4], [2, 2]).with_groups(2);
        let network = Self {
            conv: conv.init(&device).into(),
            twice: LinearConfig::new(16, 16).init(&device).into(),
            sometimes: LinearConfig::new(16, 16).init(&device).into(),
            output: LinearConfig::new(16, 3)
                .with_bias(false)
                .init(&device)
                .into(),
        };
        filled(network, 1)
    }

    /// The mean over a share.
    pub(crate) fn loss(&self, images: Tensor<B, 4>, skips: bool) -> Tensor<B, 1> {
        let target = images.clone().flatten::<2>(1, 3).narrow(1, 4, 3);
        let hidden = tanh(self.conv.forward(images)).flatten::<2>(1, 3);
        let hidden = tanh(self.twice.forward(tanh(self.twice.forward(hidden))));
        let hidden = match skips {
            true => hidden,
            false => tanh(self.sometimes.forward(hidden)),
        };
        (self.output.forward(hidden) - target).square().mean()
    }

    /// The loss of a share of the batch of a step. The layer `sometimes` is left out by one share in some steps, and by all in some.
    pub(crate) fn loss_of(&self, step: u64, share: usize, shares: usize) -> Tensor<B, 1> {
        let size = BATCH / shares;
        let images = random([BATCH, 2, 3, 3], 1000 + step).narrow(0, share * size, size);
        let skips = (step + share as u64).is_multiple_of(3) || step % 7 == 5;
        self.loss(images, skips)
    }
}

pub(crate) fn config() -> MacConfig {
    MacConfig::new()
        .with_tcov(3)
        .with_tinv(4)
        .with_damping(0.3)
        .with_stat_decay(0.6)
        .with_weight_decay(1e-3)
        .with_max_grad_norm(Some(1.0))
}

/// One training with all shares of each batch.
pub(crate) fn train_alone<B: AutodiffBackend>(
    config: &impl CurvatureConfigs<B>,
    shares: usize,
    steps: u64,
) -> Shared<B> {
    let (mut network, mut optim) = (Shared::new(), config.optimizer());
    for step in 0..steps {
        let losses = (0..shares).map(|share| network.loss_of(step, share, shares));
        let loss = losses.reduce(|left, right| left + right).expect("some");
        let grads = loss.div_scalar(shares as f64).backward();
        let grads = GradientsParams::from_grads(grads, &network);
        network = optim.step(LR, network, grads);
    }
    network
}

/// The steps of one rank.
pub(crate) fn train_rank<B: AutodiffBackend>(
    replicas: &Replicas<B::InnerBackend>,
    mut network: Shared<B>,
    optim: &mut Optim<B>,
    steps: Range<u64>,
) -> Result<Shared<B>, MacError> {
    let ranks = replicas.world_size();
    for step in steps {
        let loss = network.loss_of(step, replicas.rank(&Default::default()), ranks);
        let loss = match replicas.reduction() {
            GradientReduction::Mean => loss,
            GradientReduction::Sum => loss.div_scalar(ranks as f64),
        };
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        let grads = replicas.reduce_gradients(&network, grads)?;
        network = optim.try_step(LR, network, grads)?;
    }
    Ok(network)
}

/// A configuration that makes an optimizer, of whichever curvature.
pub(crate) trait CurvatureConfigs<B: AutodiffBackend>: CurvatureConfig + Sync {
    fn optimizer(&self) -> Optim<B>;
}

macro_rules! configs {
    ($($config:ty),*) => {
        $(impl<B: AutodiffBackend> CurvatureConfigs<B> for $config {
            fn optimizer(&self) -> Optim<B> {
                self.init()
            }
        })*
    };
}

configs!(
    MacConfig,
    mac_burn::SmacConfig,
    mac_burn::FoofConfig,
    mac_burn::EvaConfig,
    mac_burn::KfacConfig
);

/// Runs a function of each rank in a thread of its own.
pub(crate) fn in_threads<R: Send>(
    ranks: usize,
    timeout: Duration,
    run: impl Fn(TcpAllReduce) -> R + Sync,
) -> Vec<R> {
    let all = TcpAllReduce::in_process(ranks, timeout).expect("this machine has a loopback");
    thread::scope(|scope| {
        let run = &run;
        let threads = all.into_iter().map(|rank| scope.spawn(move || run(rank)));
        let threads: Vec<_> = threads.collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results
            .map(|result| result.expect("no rank panics"))
            .collect()
    })
}

/// The parameters of each rank after training.
pub(crate) fn train_replicas<B: AutodiffBackend>(
    config: &impl CurvatureConfigs<B>,
    ranks: usize,
    steps: u64,
    reduction: GradientReduction,
    reduces_statistics: bool,
) -> Vec<Vec<Vec<f64>>> {
    in_threads(ranks, Duration::from_secs(60), |connection| {
        let replicas = Replicas::new(Arc::new(connection)).with_reduction(reduction);
        let mut optim = config.optimizer();
        if reduces_statistics {
            optim = optim.with_replicas(replicas.clone());
        }
        let network = train_rank(&replicas, Shared::<B>::new(), &mut optim, 0..steps);
        values(&network.expect("no rank fails"))
    })
}

/// The largest difference of two models, relative to the largest value of each parameter.
pub(crate) fn relative(left: &[Vec<f64>], right: &[Vec<f64>]) -> f64 {
    let of_parameter = |(left, right): (&Vec<f64>, &Vec<f64>)| {
        let largest = right
            .iter()
            .fold(0.0_f64, |most, value| most.max(value.abs()));
        let differences = left.iter().zip(right).map(|(left, right)| left - right);
        differences.fold(0.0_f64, |most, value| most.max(value.abs())) / largest
    };
    left.iter().zip(right).map(of_parameter).fold(0.0, f64::max)
}

/// The largest change of a parameter by training.
pub(crate) fn moved<B: AutodiffBackend>(trained: &[Vec<f64>]) -> f64 {
    let start = Shared::<B>::new();
    relative(trained, &values(&start))
}
