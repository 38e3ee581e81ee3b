use crate::digits_run::STEPS;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::{Mac, MacConfig};
use mac_burn_models::LeNet;

/// Steps between two refreshes of the mean in use.
const TINV: usize = 3;

/// The step at which a refresh is missed, if one is.
const MISSED: usize = 15;

/// Something wrong that the comparison must notice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The mean in use is not refreshed once.
    OneMissedRefresh,
    /// The mean in use is never refreshed.
    AllRefreshesMissed,
    /// One layer is preconditioned on the side of its outputs.
    WrongSide,
    /// No layer is preconditioned.
    NoPreconditioner,
    /// The first layer is preconditioned like the others.
    NoInputCovariance,
}

impl Mistake {
    pub(crate) const ALL: [Self; 5] = [
        Self::OneMissedRefresh,
        Self::AllRefreshesMissed,
        Self::WrongSide,
        Self::NoPreconditioner,
        Self::NoInputCovariance,
    ];

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::OneMissedRefresh => "with one missed refresh",
            Self::AllRefreshesMissed => "with all refreshes missed",
            Self::WrongSide => "with one layer on the wrong side",
            Self::NoPreconditioner => "without a preconditioner",
            Self::NoInputCovariance => "without an input covariance",
        }
    }
}

/// The configuration, with the mistake if it is one of configuration.
pub(crate) fn config(mistake: Option<Mistake>) -> MacConfig {
    let config = MacConfig::new()
        .with_weight_decay(1e-2)
        .with_tcov(2)
        .with_tinv(TINV);
    let skip = |layers: &[&str]| layers.iter().map(ToString::to_string).collect();
    match mistake {
        Some(Mistake::AllRefreshesMissed) => config.with_tinv(STEPS),
        Some(Mistake::WrongSide) => config.with_skip_layers(skip(&["fc1"])),
        Some(Mistake::NoPreconditioner) => config.with_skip_layers(skip(&["conv2", "fc*", "head"])),
        _ => config,
    }
}

/// One step, with the mistake if it is one of steps.
pub(crate) fn step<B: AutodiffBackend>(
    index: usize,
    network: LeNet<B>,
    optim: &mut Mac<LeNet<B>, B>,
    grads: GradientsParams,
    mistake: Option<Mistake>,
) -> LeNet<B> {
    let lr = 0.05;
    match mistake {
        Some(Mistake::OneMissedRefresh) if index == MISSED => {
            step_unrefreshed(lr, network, optim, grads)
        }
        Some(Mistake::WrongSide) => {
            let grads = precondition_outputs(&network, optim, grads);
            optim.step(lr, network, grads)
        }
        _ => optim.step(lr, network, grads),
    }
}

/// A step of an optimizer that goes on from the same state and has no refresh due.
fn step_unrefreshed<B: AutodiffBackend>(
    lr: f64,
    network: LeNet<B>,
    optim: &mut Mac<LeNet<B>, B>,
    grads: GradientsParams,
) -> LeNet<B> {
    let mut late = config(Some(Mistake::AllRefreshesMissed))
        .init()
        .load_record(optim.to_record());
    let network = late.step(lr, network, grads);
    *optim = config(None).init().load_record(late.to_record());
    network
}

/// `G − s (G m) mᵀ`, where `m` is the mean of the layer's outputs: what the next layer sees.
fn precondition_outputs<B: AutodiffBackend>(
    network: &LeNet<B>,
    optim: &Mac<LeNet<B>, B>,
    mut grads: GradientsParams,
) -> GradientsParams {
    let preconditioner = optim.preconditioner();
    let (layer, next) = (network.fc1.weight.id, network.fc2.weight.id);
    let Some(mean) = preconditioner.mean_activation(next) else {
        return grads;
    };
    let [_, width] = mean.dims();
    let mean = mean.narrow(1, 0, width - 1);
    let grad: Option<Tensor<B::InnerBackend, 2>> = grads.remove(layer);
    if let Some(grad) = grad {
        let scale = mean
            .clone()
            .square()
            .sum_dim(1)
            .add_scalar(preconditioner.damping());
        let along = grad.clone().matmul(mean.clone().transpose());
        grads.register(layer, grad - along.matmul(mean) / scale);
    }
    grads
}
