//! One network twice: with recorded layers, and with Burn's own on the backend that records.

use super::support::{filled, random, values};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use mac_burn::{CurvatureConfig, Mac, MacConfig, MacConv2d, MacLinear, Report};
use mac_burn_recording::Recording;
use std::fmt;
use std::marker::PhantomData;

pub(crate) const LR: f64 = 0.05;

/// A network with its backend, as scenarios see it.
pub(crate) trait Trained {
    type B: AutodiffBackend;
    type Network: AutodiffModule<Self::B>;

    /// The same values each time.
    fn new() -> Self::Network;

    /// `[batch, 1, 3, 3]` to `[batch, 2]`, through the layer `sometimes` or past it.
    fn forward(
        network: &Self::Network,
        images: Tensor<Self::B, 4>,
        past: bool,
    ) -> Tensor<Self::B, 2>;

    fn gradients(network: &Self::Network, images: Tensor<Self::B, 4>) -> GradientsParams {
        Self::gradients_past(network, images, false)
    }

    fn gradients_past(
        network: &Self::Network,
        images: Tensor<Self::B, 4>,
        past: bool,
    ) -> GradientsParams {
        let loss = loss(Self::forward(network, images.clone(), past), images);
        GradientsParams::from_grads(loss.backward(), network)
    }

    fn step(network: Self::Network, optim: &mut Optim<Self>, index: u64) -> Self::Network {
        use burn::optim::Optimizer;
        let grads = Self::gradients(&network, batch(index));
        optim.step(LR, network, grads)
    }
}

pub(crate) type Optim<T> = Mac<<T as Trained>::Network, <T as Trained>::B>;

/// With recorded layers, on the inner backend `I`.
pub(crate) struct Recorded<I>(PhantomData<I>);

/// With Burn's layers, on the backend that records.
pub(crate) struct Plain<I>(PhantomData<I>);

/// With recorded layers, on the backend that records.
pub(crate) struct Both<I>(PhantomData<I>);

macro_rules! network {
    ($name:ident, $conv:ident, $linear:ident) => {
        #[derive(Module, Debug)]
        pub(crate) struct $name<B: Backend> {
            conv: $conv<B>,
            norm: LayerNorm<B>,
            sometimes: $linear<B>,
            hidden: $linear<B>,
            output: $linear<B>,
        }

        impl<B: Backend> $name<B> {
            #[allow(clippy::useless_conversion, reason = "one of the two is recorded")]
            fn new() -> Self {
                let device = Default::default();
                let hidden = LinearConfig::new(8, 6).with_bias(false);
                let network = Self {
                    conv: Conv2dConfig::new([1, 2], [2, 2]).init(&device).into(),
                    norm: LayerNormConfig::new(8).init(&device),
                    sometimes: LinearConfig::new(8, 8).init(&device).into(),
                    hidden: hidden.init(&device).into(),
                    output: LinearConfig::new(6, 2).init(&device).into(),
                };
                filled(network, 1)
            }

            fn forward(&self, images: Tensor<B, 4>, past: bool) -> Tensor<B, 2> {
                let x = relu(self.conv.forward(images)).flatten::<2>(1, 3);
                let x = self.norm.forward(x);
                let x = match past {
                    true => x,
                    false => relu(self.sometimes.forward(x)),
                };
                self.output.forward(relu(self.hidden.forward(x)))
            }
        }
    };
}

network!(RecordedNetwork, MacConv2d, MacLinear);
network!(PlainNetwork, Conv2d, Linear);

macro_rules! trained {
    ($name:ident, $network:ident, $backend:ty) => {
        impl<I: Backend> Trained for $name<I> {
            type B = $backend;
            type Network = $network<$backend>;

            fn new() -> Self::Network {
                $network::new()
            }

            fn forward(
                network: &Self::Network,
                images: Tensor<Self::B, 4>,
                past: bool,
            ) -> Tensor<Self::B, 2> {
                network.forward(images, past)
            }
        }
    };
}

trained!(Recorded, RecordedNetwork, Autodiff<I>);
trained!(Plain, PlainNetwork, Recording<Autodiff<I>>);
trained!(Both, RecordedNetwork, Recording<Autodiff<I>>);

/// A loss that tells the samples apart and adds up over parts of a batch.
pub(crate) fn loss<B: Backend>(output: Tensor<B, 2>, images: Tensor<B, 4>) -> Tensor<B, 1> {
    let target = images.flatten::<2>(1, 3).narrow(1, 3, 2);
    (output - target).square().sum().div_scalar(8.0)
}

/// The batch of a step.
pub(crate) fn batch<B: Backend>(index: u64) -> Tensor<B, 4> {
    random([4, 1, 3, 3], 1000 + index)
}

/// Schedules that differ, so that steps with and without either fall together in all ways, and statistics that are seen.
pub(crate) fn config() -> MacConfig {
    MacConfig::new()
        .with_tcov(3)
        .with_tinv(2)
        .with_damping(0.3)
        .with_stat_decay(0.5)
        .with_weight_decay(1e-3)
}

/// The values of a network, and the report of its optimizer.
#[derive(PartialEq)]
pub(crate) struct Outcome {
    values: Vec<Vec<f64>>,
    report: String,
}

/// All values would be too many to read.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum: f64 = self.values.iter().flatten().sum();
        write!(f, "values that add up to {sum:e}\n{}", self.report)
    }
}

impl Outcome {
    pub(crate) fn new(values: Vec<Vec<f64>>, report: String) -> Self {
        Self { values, report }
    }

    pub(crate) fn into_values(self) -> Self {
        Self::of_values(self.values)
    }

    pub(crate) fn of_values(values: Vec<Vec<f64>>) -> Self {
        Self::new(values, String::new())
    }

    pub(crate) fn of<T: Trained + ?Sized>(network: &T::Network, optim: &Optim<T>) -> Self {
        let report = optim.report(network);
        assert_recorded(&report);
        Self {
            values: values(network),
            report: report.to_string(),
        }
    }
}

/// All weights but those of norms have a statistic; otherwise there is nothing to compare.
fn assert_recorded(report: &Report) {
    let recorded = report.layers.iter().filter(|layer| layer.updates > 0);
    assert!(
        recorded.count() >= 3,
        "hardly anything is recorded:\n{report}"
    );
}

/// The optimizer of a configuration.
pub(crate) fn optimizer<T: Trained + ?Sized>(config: &impl Configured<T>) -> Optim<T> {
    config.optimizer()
}

/// A configuration that makes an optimizer, of whichever curvature.
pub(crate) trait Configured<T: Trained + ?Sized>: CurvatureConfig {
    fn optimizer(&self) -> Optim<T>;
}

macro_rules! configured {
    ($($config:ty),*) => {$(
        impl<T: Trained + ?Sized> Configured<T> for $config {
            fn optimizer(&self) -> Optim<T> {
                self.init()
            }
        }
    )*};
}

configured!(
    MacConfig,
    mac_burn::KfacConfig,
    mac_burn::FoofConfig,
    mac_burn::EvaConfig,
    mac_burn::SmacConfig
);

/// The ids of the parameters whose paths begin with one of these names.
pub(crate) fn ids_of<B: Backend, M: Module<B>>(module: &M, names: &[&str]) -> Vec<ParamId> {
    struct Ids<'a> {
        names: &'a [&'a str],
        path: Vec<String>,
        found: Vec<ParamId>,
    }
    impl<B: Backend> ModuleVisitor<B> for Ids<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            if self.names.contains(&self.path[0].as_str()) {
                self.found.push(param.id);
            }
        }
    }
    let mut ids = Ids {
        names,
        path: Vec::new(),
        found: Vec::new(),
    };
    module.visit(&mut ids);
    ids.found
}
