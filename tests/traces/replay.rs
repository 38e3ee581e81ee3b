//! Runs a case again with this project's optimizer.

use burn::{
    nn::loss::CrossEntropyLossConfig,
    optim::GradientsParams,
    tensor::{ElementConversion, Int, Tensor, backend::AutodiffBackend},
};
use mac_burn::{InputCovariance, MacPreconditioner};

use crate::{
    case::Case,
    comparison::{Comparison, Precision},
    differences::Differences,
    error::TraceError,
    names::Names,
    network::Network,
    sequential::Sequential,
    signal::Signal,
    trace::Trace,
    trainer::Route,
};

/// The differences of a replay from its trace; none where the route cannot express the case.
pub(crate) fn replay<B: AutodiffBackend>(
    case: &Case,
    trace: &Trace,
    route: Route,
) -> Result<Option<Differences>, TraceError> {
    replay_network::<B, Sequential<B>>(case, trace, route)
}

fn replay_network<B: AutodiffBackend, N: Network<B>>(
    case: &Case,
    trace: &Trace,
    route: Route,
) -> Result<Option<Differences>, TraceError> {
    case.check_loss()?;
    let device = B::Device::default();
    let network = N::build(case, &device)?;
    let names = Names::of(&network, case)?;
    let mut network = names.load(network, trace)?;
    let covariance = first_layer_covariance(case, trace, &network)?;
    let Some(mut trainer) = route.trainer(case, &names, covariance.as_ref())? else {
        return Ok(None);
    };

    let mut comparison = Comparison::new(case, trace, Precision::of::<B>(&device));
    if let Some(covariance) = covariance {
        let inverse = covariance.inverse(case.hyper.damping)?;
        comparison.input_covariance(&inverse.iter().collect::<Vec<_>>())?;
    }
    for step in 0..case.steps {
        let loss = loss(&network, trace, step)?;
        comparison.loss(step, loss.clone().into_scalar().elem())?;

        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        comparison.gradients(step, &names.gradients(&network, &gradients))?;

        let preconditioned;
        (network, preconditioned) = trainer.step(case.lr(step), network, gradients);
        if let Some(preconditioned) = preconditioned {
            comparison.preconditioned(step, &preconditioned)?;
        }
        comparison.emas(step, |layer| ema(trainer.preconditioner(), &names, layer))?;
        comparison.parameters(step, &names.parameters(&network))?;
    }

    Ok(Some(comparison.into_differences()))
}

/// The curvature that the first layer has for the whole run, if the case gives it one.
pub(crate) fn first_layer_covariance<B: AutodiffBackend, N: Network<B>>(
    case: &Case,
    trace: &Trace,
    network: &N,
) -> Result<Option<InputCovariance<B>>, TraceError> {
    let Some(layer) = &case.first_layer else {
        return Ok(None);
    };
    let device = B::Device::default();
    let batches: Result<Vec<_>, _> = (0..case.calibration_batches.len())
        .map(|batch| {
            let images = trace.tensor(&format!("calib.{batch:03}.input"))?;
            Signal::from_data(images, &device)
        })
        .collect();

    network.input_covariance(layer, batches?).map(Some)
}

/// The mean cross entropy of a step's batch.
pub(crate) fn loss<B: AutodiffBackend, N: Network<B>>(
    network: &N,
    trace: &Trace,
    step: usize,
) -> Result<Tensor<B, 1>, TraceError> {
    let device = B::Device::default();
    let input = Signal::from_data(trace.tensor(&format!("step.{step:03}.input"))?, &device)?;
    let target = trace.tensor(&format!("step.{step:03}.target"))?;
    let target = Tensor::<B, 1, Int>::from_data(target.convert::<B::IntElem>(), &device);

    Ok(CrossEntropyLossConfig::new()
        .init(&device)
        .forward(network.forward(input), target))
}

/// The raw activation average of a layer, the bias' entry last.
fn ema<B: AutodiffBackend>(
    preconditioner: &MacPreconditioner<B>,
    names: &Names,
    layer: &str,
) -> Option<Vec<f64>> {
    let weight = names.id(&format!("{layer}.weight"))?;
    let average = preconditioner.activation_ema(weight)?;

    Some(average.into_data().iter::<f64>().collect())
}
