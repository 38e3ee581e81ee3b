//! The way from a module to its recorders.
//!
//! Burn's `Module::visit` hands tensors and names to a visitor, nothing else. So a recorder
//! reports itself, when it is visited, to a collector that is open only while this crate visits.
//! To every other visitor a recorder is invisible.

use super::Recorder;
use super::layer::LayerParameters;
use burn::module::{Module, ModuleVisitor};
use burn::tensor::backend::Backend;
use std::any::Any;
use std::cell::RefCell;

/// A recorder found in a module, with the parameters it stands for.
///
/// The parameters are unknown while a recorder in a user's own layer has recorded nothing.
pub(crate) struct FoundRecorder<B: Backend> {
    pub(crate) recorder: Recorder<B>,
    pub(crate) parameters: Option<LayerParameters>,
}

thread_local! {
    static OPEN: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// Visits `module` with `visitor` and returns the recorders that reported themselves meanwhile.
pub(crate) fn collect<B, M, V>(module: &M, visitor: &mut V) -> Vec<FoundRecorder<B>>
where
    B: Backend,
    M: Module<B>,
    V: ModuleVisitor<B>,
{
    let collection = Collection::open();
    module.visit(visitor);
    collection
        .close()
        .into_iter()
        .filter_map(|found| found.downcast().ok().map(|found| *found))
        .collect()
}

/// Reports a recorder to the open collector; without one, or by a recorder that is off, nothing happens.
pub(crate) fn report<B: Backend>(recorder: &Recorder<B>, parameters: Option<LayerParameters>) {
    if recorder.is_off() {
        return;
    }
    OPEN.with_borrow_mut(|open| {
        if let Some(found) = open {
            found.push(Box::new(FoundRecorder {
                recorder: recorder.clone(),
                parameters,
            }));
        }
    });
}

/// An open collector. Dropping it closes the collector, so that a panic in a visitor does not
/// leave one open.
struct Collection {
    outer: Option<Vec<Box<dyn Any>>>,
}

impl Collection {
    fn open() -> Self {
        Self {
            outer: OPEN.replace(Some(Vec::new())),
        }
    }

    fn close(self) -> Vec<Box<dyn Any>> {
        OPEN.take().unwrap_or_default()
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        OPEN.set(self.outer.take());
    }
}
