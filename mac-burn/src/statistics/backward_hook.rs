//! A function that runs when gradients flow back through a tensor.
//!
//! A layer is written for any `B: Backend`, and a custom operation of Burn's needs to know that `B` is
//! `Autodiff<I, C>`. Where an optimizer is made, `I` is known: it is `B::InnerBackend`. So [`enable`] registers
//! there, by the backend's type, how a hook is attached to its tensors, and [`on_backward`] looks that up.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorPrimitive};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Attaches a hook to a tensor's primitive, whose type is erased.
type Attach = fn(Box<dyn Any>, Hook) -> Box<dyn Any>;

/// The functions that attach a hook to the tensors of a backend, by its type.
static BACKENDS: RwLock<Option<HashMap<TypeId, Attach>>> = RwLock::new(None);

/// Makes [`on_backward`] wait for the backward pass on this backend. Without it, or if the backend is no
/// [`Autodiff`] of its inner backend, the function runs at once.
pub(crate) fn enable<B: AutodiffBackend>() {
    type Primitive<B> = FloatTensor<Autodiff<<B as AutodiffBackend>::InnerBackend>>;
    // The primitives do not depend on the checkpointing strategy.
    if TypeId::of::<FloatTensor<B>>() != TypeId::of::<Primitive<B>>() {
        return;
    }
    let mut backends = BACKENDS.write().unwrap_or_else(PoisonError::into_inner);
    let backends = backends.get_or_insert_default();
    backends.insert(TypeId::of::<B>(), attach::<B::InnerBackend>);
}

/// Returns the tensor, and runs `function` when gradients flow back through what is returned: once for each
/// backward pass, and never if there is none.
///
/// It runs inside the backward pass, which holds locks of Burn's: it must not use tensors of `B`, but may
/// clone, move and drop them.
pub(crate) fn on_backward<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    function: impl Fn() + Send + Sync + 'static,
) -> Tensor<B, D> {
    let backends = BACKENDS.read().unwrap_or_else(PoisonError::into_inner);
    let attach = backends
        .as_ref()
        .and_then(|backends| backends.get(&TypeId::of::<B>()));
    let Some(attach) = attach.copied() else {
        function();
        return tensor;
    };
    drop(backends);
    match tensor.into_primitive() {
        TensorPrimitive::Float(primitive) => {
            let hooked = attach(Box::new(primitive), Hook(Arc::new(function)));
            let primitive: Box<FloatTensor<B>> = hooked
                .downcast()
                .unwrap_or_else(|_| unreachable!("a hook keeps the primitive's type"));
            Tensor::from_primitive(TensorPrimitive::Float(*primitive))
        }
        quantized => {
            function();
            Tensor::from_primitive(quantized)
        }
    }
}

/// The function of [`on_backward`].
#[derive(Clone)]
struct Hook(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// The identity as an operation of the graph: it launches no kernel, forward or backward.
#[derive(Debug)]
struct Identity;

impl<I: Backend> Backward<I, 1> for Identity {
    type State = Hook;

    fn backward(self, ops: Ops<Hook, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        (ops.state.0)();
        unary::<I, _>(ops.parents, ops.node, grads, |grad| grad);
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
