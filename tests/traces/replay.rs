//! Runs a case again with this project's optimizer.

use burn::{
    nn::loss::CrossEntropyLossConfig,
    optim::GradientsParams,
    tensor::{ElementConversion, Int, Tensor, backend::AutodiffBackend},
};
use mac_burn::{InputCovariance, MacPreconditioner};

use crate::{
    case::{ArchitectureKind, Case},
    comparison::{Comparison, Precision},
    differences::Differences,
    error::TraceError,
    names::Names,
    network::Network,
    sequential::Sequential,
    signal::Signal,
    trace::Trace,
    trainer::Route,
    vision_transformer::VisionTransformer,
};

/// The differences of a replay from its trace; none where the route cannot express the case.
pub(crate) fn replay<B: AutodiffBackend>(
    case: &Case,
    trace: &Trace,
    route: Route,
) -> Result<Option<Differences>, TraceError> {
    match case.architecture.known()? {
        ArchitectureKind::Sequential => replay_network::<B, Sequential<B>>(case, trace, route),
        ArchitectureKind::VisionTransformer => {
            replay_network::<B, VisionTransformer<B>>(case, trace, route)
        }
    }
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
        comparison.attention(step, || {
            let input = trace.tensor(&format!("step.{step:03}.input"))?;
            let input = Signal::from_data(input, &device)?;
            Ok(network.averaged_attention(input))
        })?;
        let loss = loss(&network, trace, step)?;
        comparison.loss(step, loss.clone().into_scalar().elem())?;

        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        comparison.gradients(step, &names.gradients(&network, &gradients))?;

        let preconditioned;
        (network, preconditioned) = trainer.step(case.lr(step), network, gradients);
        if let Some(preconditioned) = preconditioned {
            comparison.preconditioned(step, &preconditioned)?;
        }
        comparison.emas(step, |layer| emas(trainer.preconditioner(), &names, layer))?;
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
    let mut covariance = network.input_covariance(layer)?;
    for batch in 0..case.calibration_batches.len() {
        let inputs = trace.tensor(&format!("calib.{batch:03}.input"))?;
        match Signal::from_data(inputs, &device)? {
            Signal::Rows(inputs) => covariance.update(inputs),
            Signal::Sequences(inputs) => covariance.update(inputs),
            Signal::Images(inputs) => covariance.update(inputs),
        }
    }

    Ok(Some(covariance))
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

/// The raw activation averages of a layer, one for each of its means, the bias' entry last.
fn emas<B: AutodiffBackend>(
    preconditioner: &MacPreconditioner<B>,
    names: &Names,
    layer: &str,
) -> Option<Vec<Vec<f64>>> {
    let weight = names.id(&format!("{layer}.weight"))?;
    let averages = preconditioner.activation_ema(weight)?;
    let [_, size] = averages.dims();
    let values: Vec<_> = averages.into_data().iter::<f64>().collect();

    Some(values.chunks(size).map(<[f64]>::to_vec).collect())
}
