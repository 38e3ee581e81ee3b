//! A function that runs when gradients flow back through a tensor, and may sum up these gradients.
//!
//! A layer is written for any `B: Backend`, and a custom operation of Burn's needs to know that `B` is
//! `Autodiff<I, C>`. Where an optimizer is made, `I` is known: it is `B::InnerBackend`. So [`enable`] registers
//! there, by the backend's type, how a hook is attached to its tensors, and [`on_backward`] looks that up.

use super::layer_statistics::{Part, Statistic, Sums};
use super::output_gradients::GradientRows;
use super::passes::lock;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Attaches a hook to a tensor's primitive, whose type is erased.
type Attach = fn(Box<dyn Any>, Hook) -> Box<dyn Any>;

/// The functions that attach a hook to the tensors of a backend, by its type.
static BACKENDS: RwLock<Option<HashMap<TypeId, Attach>>> = RwLock::new(None);

/// Makes [`on_backward`] wait for the backward pass on this backend. Without it, or if the backend is no
/// [`Autodiff`] of the inner backend `I`, the function runs at once.
pub(crate) fn enable<B: Backend, I: Backend>() {
    // The primitives do not depend on the checkpointing strategy.
    if TypeId::of::<FloatTensor<B>>() != TypeId::of::<FloatTensor<Autodiff<I>>>() {
        return;
    }
    let mut backends = BACKENDS.write().unwrap_or_else(PoisonError::into_inner);
    let backends = backends.get_or_insert_default();
    backends.insert(TypeId::of::<B>(), attach::<I>);
}

/// Sums over the rows of a gradient, by statistic.
pub(super) type GradientSums<B> = Vec<(Statistic, Sums<B>)>;

/// Returns the tensor, and runs `function` when gradients flow back through what is returned: once for each
/// backward pass, and never if there is none. It is given the sums over the gradient's `rows`; none without rows, or if it runs at once.
///
/// It runs inside the backward pass, which holds locks of Burn's: it must not use tensors of `B`, but may
/// clone, move and drop them. The sums are made by the inner backend, which those locks do not concern.
pub(super) fn on_backward<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    rows: Option<GradientRows<Tensor<B, 2>>>,
    function: impl Fn(GradientSums<B>) + Send + Sync + 'static,
) -> Tensor<B, D> {
    hooked(tensor, rows, None, function)
}

/// Whether [`on_backward`] waits for the backward pass on this backend.
pub(super) fn is_enabled<B: Backend>() -> bool {
    attach_of::<B>().is_some()
}

/// The same as [`on_backward`] for a tensor that a loop makes at each step, here that of the first. The sums are over the gradients of all
/// steps, `[samples, steps, size]`.
pub(super) fn on_backward_of_steps<B: Backend>(
    first: Tensor<B, 2>,
    rows: GradientRows<Tensor<B, 2>>,
    gradients: &StepGradients,
    function: impl Fn(GradientSums<B>) + Send + Sync + 'static,
) -> Tensor<B, 2> {
    hooked(first, Some(rows), Some((gradients.clone(), 0)), function)
}

/// Returns the tensor of a step after the first, and gathers the gradient that flows back through it.
pub(super) fn gather_on_backward<B: Backend>(
    tensor: Tensor<B, 2>,
    gradients: &StepGradients,
    step: usize,
) -> Tensor<B, 2> {
    hooked(tensor, None, Some((gradients.clone(), step)), |_| {})
}

fn attach_of<B: Backend>() -> Option<Attach> {
    let backends = BACKENDS.read().unwrap_or_else(PoisonError::into_inner);
    backends.as_ref()?.get(&TypeId::of::<B>()).copied()
}

fn hooked<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    rows: Option<GradientRows<Tensor<B, 2>>>,
    step: Option<(StepGradients, usize)>,
    function: impl Fn(GradientSums<B>) + Send + Sync + 'static,
) -> Tensor<B, D> {
    let Some(attach) = attach_of::<B>() else {
        function(Vec::new());
        return tensor;
    };
    match tensor.into_primitive() {
        TensorPrimitive::Float(primitive) => {
            let hook = Hook {
                rows: rows.map(|rows| Arc::new(rows.map_valid(erased))),
                step,
                function: Arc::new(move |sums: Vec<ErasedSums>| {
                    function(sums.into_iter().map(ErasedSums::restored).collect());
                }),
            };
            restored(attach(Box::new(primitive), hook))
        }
        quantized => {
            function(Vec::new());
            Tensor::from_primitive(quantized)
        }
    }
}

/// The gradients of a tensor that a loop makes at each step, as a backward pass comes to them.
#[derive(Clone)]
pub(super) struct StepGradients(Arc<Mutex<Vec<Option<Erased>>>>);

impl StepGradients {
    pub(super) fn new(steps: usize) -> Self {
        Self(Arc::new(Mutex::new((0..steps).map(|_| None).collect())))
    }

    /// Keeps the gradient of a step. With that of the first, to which all others flow and which so is the last to come, it hands out all of them,
    /// `[samples, steps, size]`, with zeros at steps that none came to, and keeps none.
    fn gathered<I: Backend>(
        &self,
        step: usize,
        gradient: &FloatTensor<I>,
    ) -> Option<FloatTensor<I>> {
        let mut kept = lock(&self.0);
        if step > 0 {
            kept[step] = Some(Box::new(gradient.clone()));
            return None;
        }
        let tensor = |gradient| Tensor::<I, 2>::from_primitive(TensorPrimitive::Float(gradient));
        let first = tensor(gradient.clone());
        let later = kept.iter_mut().skip(1).map(|gradient| {
            let gradient = gradient.take()?;
            let gradient: Option<Box<FloatTensor<I>>> = gradient.downcast().ok();
            gradient.map(|gradient| tensor(*gradient))
        });
        let later: Vec<_> = later
            .map(|gradient| gradient.unwrap_or_else(|| first.zeros_like()))
            .collect();
        let all = [vec![first], later].concat();
        Some(Tensor::stack::<3>(all, 1).into_primitive().tensor())
    }
}

/// The primitive of a tensor, whose type is erased.
type Erased = Box<dyn Any + Send + Sync>;

fn erased<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Erased {
    Box::new(tensor.into_primitive().tensor())
}

/// The tensor of a backend that was registered by the type of its primitives.
fn restored<B: Backend, const D: usize>(primitive: Box<dyn Any>) -> Tensor<B, D> {
    let primitive: Box<FloatTensor<B>> = primitive
        .downcast()
        .unwrap_or_else(|_| unreachable!("a hook keeps the primitive's type"));
    Tensor::from_primitive(TensorPrimitive::Float(*primitive))
}

/// [`Sums`] whose backend is erased.
struct ErasedSums {
    statistic: Statistic,
    /// The sum and the count of each part.
    parts: Vec<[Erased; 2]>,
    samples: usize,
    rows: usize,
}

impl ErasedSums {
    /// As sums of [`Autodiff<I>`], without a graph.
    fn new<I: Backend>((statistic, sums): (Statistic, Sums<I>)) -> Self {
        // With the feature `distributed` not every `Autodiff<I>` is an `AutodiffBackend`, whose function this would be.
        let outside_graph = |tensor: Tensor<I, 3>| -> Erased {
            let primitive = tensor.into_primitive().tensor();
            Box::new(<FloatTensor<Autodiff<I>>>::new(primitive))
        };
        let parts = sums.parts.into_iter();
        Self {
            statistic,
            parts: parts
                .map(|part| [part.sum, part.count].map(outside_graph))
                .collect(),
            samples: sums.samples,
            rows: sums.rows,
        }
    }

    fn restored<B: Backend>(self) -> (Statistic, Sums<B>) {
        let parts = self.parts.into_iter().map(|part| {
            let [sum, count] = part.map(|primitive| restored(primitive));
            Part { sum, count }
        });
        let sums = Sums {
            parts: parts.collect(),
            samples: self.samples,
            rows: self.rows,
        };
        (self.statistic, sums)
    }
}

/// The function of [`on_backward`], and the rows that it is given the sums over.
#[derive(Clone)]
struct Hook {
    rows: Option<Arc<GradientRows<Erased>>>,
    /// The step of a loop whose gradient it sees; none outside of loops.
    step: Option<(StepGradients, usize)>,
    function: Arc<dyn Fn(Vec<ErasedSums>) + Send + Sync>,
}

impl Hook {
    fn run<I: Backend>(&self, gradient: &FloatTensor<I>) {
        let gradient = match &self.step {
            None => gradient.clone(),
            Some((gradients, step)) => match gradients.gathered::<I>(*step, gradient) {
                Some(all) => all,
                None => return,
            },
        };
        let sums = self.rows.as_ref().map_or_else(Vec::new, |rows| {
            let valid = |valid: &Erased| {
                let valid: Option<&FloatTensor<Autodiff<I>>> = valid.downcast_ref();
                let valid = valid.map(|valid| valid.primitive.clone());
                valid.map(|valid| Tensor::from_primitive(TensorPrimitive::Float(valid)))
            };
            let valid = rows.valid.as_ref().and_then(valid);
            let sums = rows.sums::<I>(gradient.clone(), valid);
            sums.into_iter().map(ErasedSums::new).collect()
        });
        (self.function)(sums);
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// The identity as an operation of the graph: it launches no kernel forward, and backward those of the sums only.
#[derive(Debug)]
struct Identity;

impl<I: Backend> Backward<I, 1> for Identity {
    type State = Hook;

    fn backward(self, ops: Ops<Hook, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let hook = ops.state;
        unary::<I, _>(ops.parents, ops.node, grads, |gradient| {
            hook.run::<I>(&gradient);
            gradient
        });
    }
}

fn attach<I: Backend>(primitive: Box<dyn Any>, hook: Hook) -> Box<dyn Any> {
    let tensor: FloatTensor<Autodiff<I>> = *primitive
        .downcast()
        .unwrap_or_else(|_| unreachable!("registered by the primitive's type"));
    let operation = Backward::<I, 1>::prepare::<NoCheckpointing>(Identity, [tensor.node.clone()]);
    Box::new(match operation.compute_bound().stateful() {
        OpsKind::Tracked(operation) => operation.finish(hook, tensor.primitive),
        // No gradient ever flows back through it.
        OpsKind::UnTracked(operation) => operation.finish(tensor.primitive),
    })
}
