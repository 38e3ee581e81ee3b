//! The two ways in which the optimizer is used, behind one interface.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::{GradientsParams, Optimizer, adaptor::OptimizerAdaptor},
    tensor::{
        Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use mac_burn::{InputCovariance, Mac, MacOptimizer, MacPreconditioner};
use serde::{Deserialize, Serialize};

use crate::{
    case::Case,
    error::TraceError,
    names::{NamedValues, Names},
    network::Network,
};

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

    /// Where the activation averages are.
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

/// [`Route::Mac`].
struct Whole<B: AutodiffBackend, N: Network<B>> {
    mac: Mac<N, B>,
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
        let mac = case
            .config()?
            .with_weight_decay(decay)
            .with_no_decay(exempt.collect())
            .try_init()?;

        Ok(Some(Self {
            mac: match covariance {
                Some(covariance) => mac.with_input_covariance(covariance)?,
                None => mac,
            },
        }))
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
        self.mac.preconditioner()
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
    optimizer: OptimizerAdaptor<MacOptimizer<B::InnerBackend>, N, B>,
}

impl<'a, B: AutodiffBackend, N: Network<B>> ByHand<'a, B, N> {
    fn new(
        case: &Case,
        names: &'a Names,
        covariance: Option<&InputCovariance<B>>,
        decays: Decays,
    ) -> Result<Self, TraceError> {
        let config = case.config()?;
        let preconditioner = config.try_init_preconditioner()?;
        let groups = decays.0.into_iter().map(|(decay, parameters)| Group {
            parameters,
            optimizer: config.clone().with_weight_decay(decay).optimizer().into(),
        });

        Ok(Self {
            names,
            preconditioner: match covariance {
                Some(covariance) => preconditioner.with_input_covariance(covariance)?,
                None => preconditioner,
            },
            groups: groups.collect(),
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
