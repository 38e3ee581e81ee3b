//! Backends that record by themselves, so that the layers of a module need no recorders.

use crate::layer::Layer;
use crate::statistics::{Recorder, enable_backward_hook};
use burn::module::{Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorPrimitive};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// A backend that records the inputs of linear maps in its own operations, as `Recording` of the crate `mac-burn-recording` does.
///
/// Optimizers ask it for the recorder of each parameter of a module that they step, once the backend is [registered](register). If a layer holds its own
/// recorder, that one is used: a layer knows more of its weight than an operation does.
pub trait RecordingBackend: Backend {
    /// The backend without `Autodiff`, whose tensors those of this backend are made of.
    type Inner: Backend;

    /// The backend's view of the parameter with this tensor.
    fn parameter(tensor: &FloatTensor<Self>) -> RecordedParameter<Self>;

    /// The values of a parameter as the tensor of another one, whose passes have nothing to do with those of this one.
    fn separated(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// A parameter as a [`RecordingBackend`] sees it.
#[derive(Debug)]
pub struct RecordedParameter<B: Backend> {
    /// The id that stands for the parameter in the passes that were recorded with it: an operation knows no other.
    pub id: ParamId,
    /// The recorder, if the parameter was seen as the weight of a linear map.
    pub recorder: Option<Recorder<B>>,
}

/// [`RecordingBackend::separated`].
pub(crate) type Separate<B> = fn(FloatTensor<B>) -> FloatTensor<B>;

/// The weight of a linear map as an operation sees it: a tensor of a parameter that is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWeight {
    /// The id that stands for the parameter.
    pub id: ParamId,
    /// The id that stands for its bias. One that is not trained is a bias as well.
    pub bias: Option<ParamId>,
    /// The shape of the parameter.
    pub shape: Shape,
}

/// The functions of a [`RecordingBackend`].
struct Functions<B: Backend> {
    parameter: fn(&FloatTensor<B>) -> RecordedParameter<B>,
    separated: Separate<B>,
}

/// The [`Functions`] of backends, by the backend's type: an optimizer knows no more of its backend than that it differentiates.
static BACKENDS: RwLock<Option<HashMap<TypeId, Box<dyn Any + Send + Sync>>>> = RwLock::new(None);

/// Lets optimizers ask this backend for recorders, from now on. A backend calls it before it makes the first; more calls change nothing.
pub fn register<B: RecordingBackend>() {
    if records::<B>() {
        return;
    }
    enable_backward_hook::<B, B::Inner>();
    let functions = Functions::<B> {
        parameter: B::parameter,
        separated: B::separated,
    };
    let mut backends = BACKENDS.write().unwrap_or_else(PoisonError::into_inner);
    let backends = backends.get_or_insert_default();
    backends.insert(TypeId::of::<B>(), Box::new(functions));
}

/// The backend's view of a parameter; none if it does not record.
pub(crate) fn recorded_parameter<B: Backend, const D: usize>(
    param: &Param<Tensor<B, D>>,
) -> Option<RecordedParameter<B>> {
    let parameter = with_functions(|functions: &Functions<B>| functions.parameter)?;
    match param.val().into_primitive() {
        TensorPrimitive::Float(tensor) => Some(parameter(&tensor)),
        TensorPrimitive::QFloat(_) => None,
    }
}

/// Whether a backend records.
pub(crate) fn records<B: Backend>() -> bool {
    with_functions(|_: &Functions<B>| ()).is_some()
}

/// The function that separates a parameter from the passes of another; none if the backend does not record.
pub(crate) fn separate<B: Backend>() -> Option<Separate<B>> {
    with_functions(|functions: &Functions<B>| functions.separated)
}

fn with_functions<B: Backend, R>(function: impl FnOnce(&Functions<B>) -> R) -> Option<R> {
    let backends = BACKENDS.read().unwrap_or_else(PoisonError::into_inner);
    let functions = backends.as_ref()?.get(&TypeId::of::<B>())?;
    functions.downcast_ref().map(function)
}

/// The parameters of a module that stand behind the ids by which a backend's passes know them.
#[derive(Debug, Default)]
pub(crate) struct Aliases(HashMap<ParamId, Vec<Named>>);

/// A parameter and the path of the layer that holds it.
#[derive(Debug)]
struct Named {
    id: ParamId,
    layer_path: String,
}

impl Aliases {
    pub(crate) fn insert(&mut self, alias: ParamId, id: ParamId, layer_path: &str) {
        self.0.entry(alias).or_default().push(Named {
            id,
            layer_path: layer_path.to_string(),
        });
    }

    /// A layer as a pass has it, with the parameters of the module; none if its weight is none of these.
    pub(crate) fn resolved(&self, layer: Layer) -> Option<Layer> {
        let weight = self.0.get(&layer.weight)?.first()?;
        Some(self.resolved_as(layer, weight.id, &weight.layer_path))
    }

    /// A layer as a pass has it, whose weight is known to be this parameter.
    pub(crate) fn resolved_as(&self, layer: Layer, weight: ParamId, layer_path: &str) -> Layer {
        let bias = layer.bias.map(|bias| {
            let known = self.0.get(&bias).map_or(&[][..], Vec::as_slice);
            // A copy of a parameter, such as an average of its values, may be in the module too.
            let beside = known.iter().find(|named| named.layer_path == layer_path);
            // One that is no parameter of the module adds to the output all the same.
            beside.or(known.first()).map_or(bias, |named| named.id)
        });
        Layer {
            weight,
            bias,
            ..layer
        }
    }
}
