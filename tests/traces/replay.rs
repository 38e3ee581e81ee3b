//! Runs a case again with this project's optimizer, in each of the two ways in which it is used.

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, Optimizer, adaptor::OptimizerAdaptor},
    tensor::{
        ElementConversion, Int, Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use mac_burn::{InputCovariance, Mac, MacOptimizer, MacPreconditioner};
use serde::{Deserialize, Serialize};

use crate::{
    case::{ArchitectureKind, Case, Trace, TraceError},
    comparison::{Comparison, Differences, Precision},
    layer::Signal,
    network::{NamedValues, Names, Network, Sequential},
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

/// A way to use the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Route {
    /// `Mac`, as a training loop uses it.
    Mac,
    /// `MacPreconditioner` in front of Burn's adaptor of `MacOptimizer`, which shows the
    /// preconditioned gradients. Each parameter group has an adaptor of its own.
    ByHand,
}

/// Takes the steps of a replay.
pub(crate) trait Trainer<B: AutodiffBackend, N: Network<B>> {
    /// The stepped network, and the preconditioned gradients if this route shows them.
    fn step(&mut self, lr: f64, network: N, gradients: GradientsParams)
    -> (N, Option<NamedValues>);

    /// The preconditioner, which has the activation averages.
    fn preconditioner(&self) -> &MacPreconditioner<B>;
}

impl Route {
    /// The name in the table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Mac => "Mac",
            Self::ByHand => "by hand",
        }
    }

    /// A trainer with the case's settings; none where the route cannot express them.
    pub(crate) fn trainer<'a, B: AutodiffBackend, N: Network<B> + 'a>(
        self,
        case: &Case,
        names: &'a Names,
        covariance: Option<&InputCovariance<B>>,
    ) -> Result<Option<Box<dyn Trainer<B, N> + 'a>>, TraceError> {
        let decays = Decays::of(case)?;

        Ok(match self {
            Self::Mac => match Whole::new(case, names, covariance, &decays)? {
                Some(whole) => Some(Box::new(whole)),
                None => None,
            },
            Self::ByHand => Some(Box::new(ByHand::new(case, names, covariance, decays)?)),
        })
    }
}

/// The parameters of a case by their weight decay.
struct Decays(Vec<(f64, Vec<String>)>);

impl Decays {
    fn of(case: &Case) -> Result<Self, TraceError> {
        let mut decays: Vec<(f64, Vec<String>)> = Vec::new();
        for name in case.param_shapes.keys() {
            let decay = case.weight_decay(name)?;
            match decays.iter_mut().find(|(other, _)| *other == decay) {
                Some((_, names)) => names.push(name.clone()),
                None => decays.push((decay, vec![name.clone()])),
            }
        }

        Ok(Self(decays))
    }

    /// The one weight decay and the parameters exempt from it, if that says it all.
    fn one_and_exempt(&self) -> Option<(f64, Vec<String>)> {
        let (zero, decayed): (Vec<_>, Vec<_>) = self.0.iter().partition(|(decay, _)| *decay == 0.0);
        let exempt = zero.into_iter().flat_map(|(_, names)| names.clone());

        match decayed[..] {
            [] => Some((0.0, Vec::new())),
            [(decay, _)] => Some((*decay, exempt.collect())),
            _ => None,
        }
    }
}

/// An optimizer that another may take over from, with its state.
struct Relay<O> {
    current: O,
    /// The other one, and the step that it begins with.
    successor: Option<(usize, O)>,
    step: usize,
}

impl<O> Relay<O> {
    /// The optimizer that a function makes of a weight decay, which there is from a step on.
    fn new(
        decay_from: usize,
        decay: f64,
        make: impl Fn(f64) -> Result<O, TraceError>,
    ) -> Result<Self, TraceError> {
        let (current, successor) = match decay_from {
            0 => (make(decay)?, None),
            from => (make(0.0)?, Some((from, make(decay)?))),
        };

        Ok(Self {
            current,
            successor,
            step: 0,
        })
    }

    fn step<B: AutodiffBackend, N: Network<B>>(
        &mut self,
        lr: f64,
        network: N,
        gradients: GradientsParams,
    ) -> N
    where
        O: Optimizer<N, B>,
    {
        if let Some((_, successor)) = self.successor.take_if(|(from, _)| *from == self.step) {
            self.current = successor.load_record(self.current.to_record());
        }
        self.step += 1;

        self.current.step(lr, network, gradients)
    }
}

/// [`Route::Mac`].
struct Whole<B: AutodiffBackend, N: Network<B>> {
    mac: Relay<Mac<N, B>>,
}

impl<B: AutodiffBackend, N: Network<B>> Whole<B, N> {
    fn new(
        case: &Case,
        names: &Names,
        covariance: Option<&InputCovariance<B>>,
        decays: &Decays,
    ) -> Result<Option<Self>, TraceError> {
        let Some((decay, exempt)) = decays.one_and_exempt() else {
            return Ok(None);
        };
        let exempt = exempt
            .iter()
            .filter_map(|name| names.path(name).map(str::to_owned));
        let exempt: Vec<_> = exempt.collect();
        let optimizer = case.optimizer()?;
        let mac = Relay::new(optimizer.decay_from, decay, |decay| {
            let mac = optimizer.with_weight_decay(decay, &exempt).mac()?;
            Ok(match covariance {
                Some(covariance) => mac.with_input_covariance(covariance)?,
                None => mac,
            })
        })?;

        Ok(Some(Self { mac }))
    }
}

impl<B: AutodiffBackend, N: Network<B>> Trainer<B, N> for Whole<B, N> {
    fn step(
        &mut self,
        lr: f64,
        network: N,
        gradients: GradientsParams,
    ) -> (N, Option<NamedValues>) {
        (self.mac.step(lr, network, gradients), None)
    }

    fn preconditioner(&self) -> &MacPreconditioner<B> {
        self.mac.current.preconditioner()
    }
}

/// [`Route::ByHand`].
struct ByHand<'a, B: AutodiffBackend, N: Network<B>> {
    names: &'a Names,
    preconditioner: MacPreconditioner<B>,
    groups: Vec<Group<B, N>>,
}

/// The parameters of one weight decay, with their optimizer.
struct Group<B: AutodiffBackend, N: Network<B>> {
    parameters: Vec<String>,
    optimizer: Relay<OptimizerAdaptor<MacOptimizer<B::InnerBackend>, N, B>>,
}

impl<'a, B: AutodiffBackend, N: Network<B>> ByHand<'a, B, N> {
    fn new(
        case: &Case,
        names: &'a Names,
        covariance: Option<&InputCovariance<B>>,
        decays: Decays,
    ) -> Result<Self, TraceError> {
        let optimizer = case.optimizer()?;
        let preconditioner = optimizer.preconditioner()?;
        let groups = decays.0.into_iter().map(|(decay, parameters)| {
            let step = |decay| Ok(optimizer.with_weight_decay(decay, &[]).step::<B>().into());

            Ok(Group {
                parameters,
                optimizer: Relay::new(optimizer.decay_from, decay, step)?,
            })
        });

        Ok(Self {
            names,
            preconditioner: match covariance {
                Some(covariance) => preconditioner.with_input_covariance(covariance)?,
                None => preconditioner,
            },
            groups: groups.collect::<Result<_, TraceError>>()?,
        })
    }
}

impl<B: AutodiffBackend, N: Network<B>> Trainer<B, N> for ByHand<'_, B, N> {
    fn step(
        &mut self,
        lr: f64,
        mut network: N,
        gradients: GradientsParams,
    ) -> (N, Option<NamedValues>) {
        let mut gradients = self.preconditioner.precondition(&network, gradients);
        let values = self.names.gradients(&network, &gradients);
        for group in &mut self.groups {
            let mut share = Share {
                names: self.names,
                parameters: &group.parameters,
                from: &mut gradients,
                share: GradientsParams::new(),
            };
            network.valid().visit(&mut share);
            network = group.optimizer.step(lr, network, share.share);
        }

        (network, Some(values))
    }

    fn preconditioner(&self) -> &MacPreconditioner<B> {
        &self.preconditioner
    }
}

/// Takes a group's gradients out of all of them.
struct Share<'a> {
    names: &'a Names,
    parameters: &'a [String],
    from: &'a mut GradientsParams,
    share: GradientsParams,
}

impl<B: Backend> ModuleVisitor<B> for Share<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let name = self.names.pytorch(param.id);
        if !self.parameters.iter().any(|parameter| parameter == name) {
            return;
        }
        if let Some(gradient) = self.from.remove::<B, D>(param.id) {
            self.share.register(param.id, gradient);
        }
    }
}
