mod found;
mod loading;
mod settings;
mod warnings;

use self::found::Found;
use self::warnings::Warning;
use crate::curvature::Curvature;
use crate::dense::DenseCurvature;
use crate::patterns::PathPatterns;
use crate::preconditioner_record::MacPreconditionerRecord;
use crate::rank_one::{LayerGradients, RankOne};
use crate::record::layer::{LayerKind, LayerParameters};
use crate::survey::Survey;
use crate::{InputCovariance, MacConfig, MacError};
use burn::module::{AutodiffModule, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use std::collections::{HashMap, HashSet};

/// Turns the gradients of a module with recorded layers into preconditioned gradients.
///
/// For each layer with augmented mean input `ā = [x̄ ; 1]` (no 1 without a bias) and gradient `G`,
/// output index first:
///
/// ```text
/// G ← G (I − ā āᵀ / (ρ + ‖ā‖²))
/// ```
///
/// which is `ρ (ρ I + ā āᵀ)⁻¹` on the input side of `G` (paper, section on the preconditioner). `x̄`
/// is a bias-corrected moving average of the means that the layer's recorder saw, refreshed every
/// `tinv` steps. A layer given an [`InputCovariance`] takes `(C + ρ I)⁻¹` instead. All other
/// gradients pass unchanged.
///
/// It keeps `O(size of the input)` numbers a layer and reads nothing back to the host.
///
/// [`Mac`](crate::Mac) is this in front of [`MacOptimizer`](crate::MacOptimizer); it goes in front
/// of any other [`Optimizer`](burn::optim::Optimizer) as well:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
/// use mac_burn::{MacConfig, MacLinear};
/// # use burn::tensor::Tensor;
/// # type B = burn::backend::Autodiff<burn_ndarray::NdArray<f32>>;
/// # let device = Default::default();
/// # let inputs = Tensor::<B, 2>::ones([2, 8], &device);
///
/// let mut model: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// let mut preconditioner = MacConfig::new().init_preconditioner::<B>();
/// let mut adamw = AdamWConfig::new().init();
///
/// let loss = model.forward(inputs).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &model);
/// let grads = preconditioner.precondition(&model, grads);
/// model = adamw.step(1e-3, model, grads);
/// ```
#[derive(Debug, Clone)]
pub struct MacPreconditioner<B: AutodiffBackend> {
    damping: f64,
    stat_decay: f64,
    tcov: u64,
    tinv: u64,
    skip_layers: PathPatterns,
    /// Calls so far.
    step: u64,
    layers: HashMap<ParamId, Curvature<B::InnerBackend>>,
    dense: HashMap<ParamId, DenseCurvature<B::InnerBackend>>,
    /// A record that waits for the module it belongs to.
    loaded: Option<MacPreconditionerRecord>,
    warned: HashSet<Warning>,
}

/// Whose sums a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Devices {
    /// Those of the device that the layer's weight is on.
    Own,
    /// Those of all devices.
    All,
}

impl<B: AutodiffBackend> MacPreconditioner<B> {
    pub(crate) fn new(config: &MacConfig) -> Result<Self, MacError> {
        config.validate()?;
        Ok(Self {
            damping: config.damping,
            stat_decay: config.stat_decay,
            tcov: config.tcov as u64,
            tinv: config.tinv as u64,
            skip_layers: PathPatterns::new("skip_layers", &config.skip_layers)?,
            step: 0,
            layers: HashMap::new(),
            dense: HashMap::new(),
            loaded: None,
            warned: HashSet::new(),
        })
    }

    /// Preconditions a layer by its measured input covariance, in place of its mean activation.
    ///
    /// # Errors
    ///
    /// If the covariance has seen no batch, or cannot be inverted with the present damping.
    pub fn with_input_covariance(
        mut self,
        covariance: &InputCovariance<B>,
    ) -> Result<Self, MacError> {
        let parameters = covariance.parameters();
        let dense = DenseCurvature::new(parameters, covariance.measured()?, self.damping)?;
        if let Some(waiting) = &mut self.loaded {
            waiting.insert_dense(dense.to_record());
        }
        self.dense.insert(parameters.weight, dense);
        Ok(self)
    }

    /// Preconditions the gradients of one step, and takes what the recorders saw since the last.
    ///
    /// Call it once an optimizer step, with the module that made the gradients. It takes the sums of
    /// the device that each layer is on, and tells the recorders there whether the next forward
    /// passes are to be recorded.
    ///
    /// # Panics
    ///
    /// At the first call after [`load_record`](Self::load_record), if the record belongs to another
    /// model.
    pub fn precondition<M: AutodiffModule<B>>(
        &mut self,
        module: &M,
        grads: GradientsParams,
    ) -> GradientsParams {
        self.run(&Survey::of(module), grads, Devices::Own, None)
    }

    /// With `marked`, the guard is on: a gradient of a layer preconditioned by its mean activation is NaN
    /// throughout if anything in the layer's gradients is not finite, and `marked` gets the parameters
    /// that this holds for.
    pub(crate) fn run(
        &mut self,
        survey: &Survey<B>,
        mut grads: GradientsParams,
        devices: Devices,
        mut marked: Option<&mut HashSet<ParamId>>,
    ) -> GradientsParams {
        self.settle(survey)
            .unwrap_or_else(|error| panic!("{error}"));
        self.warn_of_what_has_no_effect(survey);
        for layer in self.find(survey, devices) {
            self.observe(&layer);
            self.schedule(&layer, survey, devices);
            self.apply(&layer, &mut grads, marked.as_deref_mut());
        }
        self.step += 1;
        grads
    }

    /// Whether this layer is preconditioned by its mean activation.
    fn wants(&self, layer: &Found<B>) -> bool {
        !layer.skipped && !self.dense.contains_key(&layer.parameters.weight)
    }

    fn observe(&mut self, layer: &Found<B>) {
        if !self.wants(layer) {
            return;
        }
        let weight = layer.parameters.weight;
        if self.step.is_multiple_of(self.tcov)
            && let Some(sums) = &layer.sums
        {
            self.layers
                .entry(weight)
                .or_insert_with(|| Curvature::new(layer.parameters, sums))
                .observe(sums.clone(), self.stat_decay);
        }
        match self.layers.get_mut(&weight) {
            // A layer that first takes part between two refreshes does not wait for the next.
            Some(curvature)
                if self.step.is_multiple_of(self.tinv) || curvature.mean().is_none() =>
            {
                curvature.refresh();
            }
            Some(_) => {}
            None => self.warn_of_nothing_recorded(layer),
        }
    }

    /// Decides whether the forward passes before the next step record.
    fn schedule(&self, layer: &Found<B>, survey: &Survey<B>, devices: Devices) {
        let active = self.wants(layer) && (self.step + 1).is_multiple_of(self.tcov);
        for recorder in &layer.recorders {
            match (devices, survey.parameter(layer.parameters.weight)) {
                (Devices::Own, Some(weight)) => recorder.set_active(&weight.device, active),
                _ => recorder.set_active_everywhere(active),
            }
        }
    }

    fn apply(
        &mut self,
        layer: &Found<B>,
        grads: &mut GradientsParams,
        marked: Option<&mut HashSet<ParamId>>,
    ) {
        // At infinite damping every preconditioner is the identity, the dense one times 1/ρ too.
        if layer.skipped || self.damping.is_infinite() {
            return;
        }
        let parameters = layer.parameters;
        match parameters.kind {
            LayerKind::Linear | LayerKind::FusedAttention => {
                let forms = (DenseCurvature::linear as _, RankOne::linear as _);
                self.apply_as::<2>(parameters, grads, marked, forms);
            }
            LayerKind::Conv2d { .. } => {
                let forms = (DenseCurvature::conv2d as _, RankOne::conv2d as _);
                self.apply_as::<4>(parameters, grads, marked, forms);
            }
        }
    }

    /// Replaces the gradients of one layer, whose weight has rank `D`.
    fn apply_as<const D: usize>(
        &mut self,
        parameters: LayerParameters,
        grads: &mut GradientsParams,
        marked: Option<&mut HashSet<ParamId>>,
        (dense, rank_one): (
            DenseForm<B::InnerBackend, D>,
            RankOneForm<B::InnerBackend, D>,
        ),
    ) {
        let Some(gradients) = take::<B::InnerBackend, D>(parameters, grads) else {
            return;
        };
        let (damping, weight) = (self.damping, parameters.weight);
        let gradients = if let Some(curvature) = self.dense.get_mut(&weight) {
            dense(curvature, gradients)
        } else if let Some(made) = self
            .layers
            .get_mut(&weight)
            .and_then(|curvature| curvature.preconditioner(damping, gradients.bias.is_some()))
        {
            let made = made.moved_to(&gradients.weight.device());
            let gradients = rank_one(made, gradients, marked.is_some());
            if let Some(marked) = marked {
                marked.insert(weight);
                marked.extend(parameters.bias.filter(|_| gradients.bias.is_some()));
            }
            gradients
        } else {
            gradients
        };
        put(parameters, gradients, grads);
    }
}

type DenseForm<B, const D: usize> =
    fn(&mut DenseCurvature<B>, LayerGradients<B, D>) -> LayerGradients<B, D>;
type RankOneForm<B, const D: usize> =
    fn(RankOne<B>, LayerGradients<B, D>, bool) -> LayerGradients<B, D>;

fn take<B: Backend, const D: usize>(
    parameters: LayerParameters,
    grads: &mut GradientsParams,
) -> Option<LayerGradients<B, D>> {
    let weight = grads.remove::<B, D>(parameters.weight)?;
    let bias = parameters
        .bias
        .and_then(|bias| grads.remove::<B, 1>(bias))
        .map(|bias| bias.to_device(&weight.device()));
    Some(LayerGradients { weight, bias })
}

fn put<B: Backend, const D: usize>(
    parameters: LayerParameters,
    gradients: LayerGradients<B, D>,
    grads: &mut GradientsParams,
) {
    grads.register(parameters.weight, gradients.weight);
    if let Some((id, bias)) = parameters.bias.zip(gradients.bias) {
        grads.register(id, bias);
    }
}
