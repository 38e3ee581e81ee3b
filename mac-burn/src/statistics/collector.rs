//! This crate's passes over the recorders of a module.
//!
//! Burn's `Module::visit` and `map` hand tensors and names to a visitor or mapper, nothing else. So a recorder
//! that is visited reports itself to a collector, and one that is mapped asks for its replacement; both are
//! thread-locals that are set only while this crate visits or maps. To everybody else a recorder is invisible.

use super::passes::RecordedStatistics;
use super::recorder::Recorder;
use crate::layer::Layer;
use crate::recording_backend::{Separate, separate};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorPrimitive};
use std::any::Any;
use std::cell::{Cell, RefCell};

/// A recorder found in a module, with the layer that it stands for.
///
/// The layer is unknown while a recorder in a user's own layer has recorded nothing.
pub(crate) struct ModuleRecorder<B: Backend> {
    pub(crate) recorder: Recorder<B>,
    pub(crate) layer: Option<Layer>,
    pub(crate) holder: RecorderHolder,
}

/// The holder of a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecorderHolder {
    /// A recorded layer, which knows its parameters.
    RecordedLayer,
    /// A layer of the user's own, whose parameters are known by passes.
    OwnLayer,
    /// A [backend that records](crate::recording_backend); passes know the parameters by ids of the backend's.
    Backend,
}

impl<B: Backend> ModuleRecorder<B> {
    /// The statistics that a step takes.
    pub(crate) fn statistics(&self) -> Vec<RecordedStatistics<B>> {
        let mut all = self.recorder.statistics();
        if let (RecorderHolder::Backend, Some(layer)) = (self.holder, self.layer) {
            for recorded in &mut all {
                recorded.layer = layer;
            }
        }
        all
    }
}

thread_local! {
    static COLLECTED: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
    static REPLACEMENT: Cell<Option<Replacement>> = const { Cell::new(None) };
}

/// Visits `module` with `visitor` and returns the recorders that reported themselves meanwhile.
pub(crate) fn collect<B, M, V>(module: &M, visitor: &mut V) -> Vec<ModuleRecorder<B>>
where
    B: Backend,
    M: Module<B>,
    V: ModuleVisitor<B>,
{
    /// Puts back what was open before, also after a panic in a visitor.
    struct Collection(Option<Vec<Box<dyn Any>>>);
    impl Drop for Collection {
        fn drop(&mut self) {
            COLLECTED.set(self.0.take());
        }
    }
    let _collection = Collection(COLLECTED.replace(Some(Vec::new())));
    module.visit(visitor);
    COLLECTED
        .take()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|found| found.downcast().ok().map(|found| *found))
        .collect()
}

/// Reports a recorder to the open collector; without one, or by a recorder that is off, nothing happens.
pub(crate) fn report<B: Backend>(
    recorder: &Recorder<B>,
    layer: Option<Layer>,
    holder: RecorderHolder,
) {
    if recorder.is_off() {
        return;
    }
    COLLECTED.with_borrow_mut(|open| {
        if let Some(found) = open {
            let recorder = recorder.shared();
            found.push(Box::new(ModuleRecorder {
                recorder,
                layer,
                holder,
            }));
        }
    });
}

/// The fate of the recorders of a module that is mapped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Replacement {
    /// They are switched off for good.
    Off,
    /// Each becomes a recorder that has seen nothing.
    Fresh,
}

impl Replacement {
    /// Replaces the recorders of a module and leaves its parameters as they are.
    pub(crate) fn apply<B: Backend, M: Module<B>>(self, module: M) -> M {
        /// Puts back what was set before, also after a panic in a module's `map`.
        struct Set(Option<Replacement>);
        impl Drop for Set {
            fn drop(&mut self) {
                REPLACEMENT.set(self.0);
            }
        }
        let _set = Set(REPLACEMENT.replace(Some(self)));
        let separation = separate::<B>().filter(|_| matches!(self, Self::Fresh));
        module.map(&mut Parameters { separation })
    }

    /// The replacement of a recorder that is mapped: itself, if this crate does not map.
    pub(crate) fn of<B: Backend>(recorder: Recorder<B>) -> Recorder<B> {
        match REPLACEMENT.get() {
            None => recorder,
            Some(Self::Off) => Recorder::off(),
            Some(Self::Fresh) => recorder.fresh(),
        }
    }
}

/// A mapper that returns parameters as they are, not even initialized; but those whose recorder a backend keeps apart from what they were.
struct Parameters<B: Backend> {
    separation: Option<Separate<B>>,
}

impl<B: Backend> ModuleMapper<B> for Parameters<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(separated) = self.separation else {
            return param;
        };
        param.map(|tensor| match tensor.into_primitive() {
            TensorPrimitive::Float(tensor) => {
                Tensor::from_primitive(TensorPrimitive::Float(separated(tensor)))
            }
            quantized => Tensor::from_primitive(quantized),
        })
    }

    fn map_int<const D: usize>(
        &mut self,
        param: Param<Tensor<B, D, Int>>,
    ) -> Param<Tensor<B, D, Int>> {
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<B, D, Bool>>,
    ) -> Param<Tensor<B, D, Bool>> {
        param
    }
}
