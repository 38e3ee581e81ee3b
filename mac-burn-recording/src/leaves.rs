//! The registry of leaves: what is known of the parameters that operations see.
//!
//! An operation is given tensors, and no ids of parameters: a parameter is the leaf of the graph that its tensor is. Clones of a module share it; a fork has
//! another, and so has the module after each step, which [`links`](crate::links) finds out.

use burn::backend::autodiff::NodeId;
use burn::module::ParamId;
use burn_backend::backend::Backend;
use mac_burn::Recorder;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[cfg(test)]
mod tests;

/// A leaf that requires a gradient. It keeps nothing alive.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    node: NodeId,
    references: Weak<NodeId>,
}

/// The parameter that a tensor is, as it is or in another layout.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    pub(crate) leaf: Leaf,
    /// Whether the parameter has two axes.
    pub(crate) is_matrix: bool,
    /// Whether these are swapped.
    pub(crate) transposed: bool,
}

/// A leaf that is known, with its parameter.
struct Known {
    /// The id that stands for the parameter, through forks and steps.
    id: ParamId,
    leaf: Leaf,
    /// A [`Recorder`] of the backend that asks; none of a parameter that was not seen as a weight, nor forked.
    recorder: Option<Box<dyn Any + Send + Sync>>,
    /// Whether no tensor of the leaf was left at the last sweep.
    was_dropped: bool,
}

/// A tensor that is a parameter in another layout.
struct View {
    references: Weak<NodeId>,
    weight: Weight,
}

/// All leaves and views that are known. Entries hold no tensor of a model alive; they are swept whenever as many were added as were alive at the last sweep.
#[derive(Default)]
struct Leaves {
    known: HashMap<NodeId, Known>,
    views: HashMap<NodeId, View>,
    /// The entries that were added since the last sweep.
    added: usize,
    /// The entries with a tensor at the last sweep. Leaves that were dropped and are still known are not among them: they would put off the sweep that removes them.
    alive: usize,
}

/// Fewer are not worth a sweep.
const LEAST_ADDED: usize = 64;

static LEAVES: Mutex<Option<Leaves>> = Mutex::new(None);

impl Leaf {
    pub(crate) fn new(references: &Arc<NodeId>) -> Self {
        Self {
            node: **references,
            references: Arc::downgrade(references),
        }
    }

    /// The id that stands for the parameter.
    pub(crate) fn id(&self) -> ParamId {
        id(self.node)
    }

    /// Whether there is no tensor of the leaf. The graph refers to its node too, but not beyond the first backward pass through it.
    pub(crate) fn is_dropped(&self) -> bool {
        self.references.strong_count() == 0
    }

    /// The recorder of the parameter, which is made if there is none, with the id that stands for it.
    pub(crate) fn recorder<R: Backend>(&self) -> (ParamId, Recorder<R>) {
        let (found, dropped) = locked(|leaves| {
            let dropped = leaves.sweep();
            let known = leaves.known_of(self);
            ((known.id, known.recorder_or_new()), dropped)
        });
        drop(dropped);
        found
    }

    /// The recorder of the parameter, if there is one.
    pub(crate) fn existing_recorder<R: Backend>(&self) -> Option<Recorder<R>> {
        locked(|leaves| leaves.known.get(&self.node)?.recorder())
    }

    /// The id of the parameter, and its recorder for the leaf that a step puts in the place of this one.
    pub(crate) fn succeeded<R: Backend>(&self) -> (ParamId, Option<Recorder<R>>) {
        let (found, dropped) = locked(|leaves| {
            let id = leaves.id(self.node);
            let Some(known) = leaves.known.get(&self.node) else {
                return ((id, None), None);
            };
            let recorder = known.recorder().map(|recorder| recorder.successor());
            // The sums of one that was dropped are of no more use.
            let is_dropped = known.leaf.is_dropped();
            let dropped = is_dropped.then(|| leaves.known.remove(&self.node));
            ((id, recorder), dropped)
        });
        drop(dropped);
        found
    }
}

/// The id that stands for the parameter with this node.
pub(crate) fn id(node: NodeId) -> ParamId {
    locked(|leaves| leaves.id(node))
}

/// The parameter that a tensor is another layout of, if it is one.
pub(crate) fn viewed(node: NodeId) -> Option<Weight> {
    locked(|leaves| Some(leaves.views.get(&node)?.weight.clone()))
}

/// Enters a tensor that is a parameter in another layout.
pub(crate) fn enter_view(references: &Arc<NodeId>, weight: Weight) {
    let view = View {
        references: Arc::downgrade(references),
        weight,
    };
    let dropped = locked(|leaves| {
        leaves.views.insert(**references, view);
        leaves.added += 1;
        leaves.sweep()
    });
    drop(dropped);
}

/// Enters a leaf as another one of a parameter.
pub(crate) fn enter<R: Backend>(
    references: &Arc<NodeId>,
    id: ParamId,
    recorder: Option<Recorder<R>>,
) {
    let known = Known {
        id,
        leaf: Leaf::new(references),
        recorder: recorder.map(erased),
        was_dropped: false,
    };
    let dropped = locked(|leaves| {
        leaves.known.insert(**references, known);
        leaves.added += 1;
        leaves.sweep()
    });
    drop(dropped);
}

/// The number of leaves and views that are known.
#[cfg(test)]
pub(crate) fn count() -> usize {
    locked(|leaves| leaves.known.len() + leaves.views.len())
}

/// A panic while the lock is held leaves what is known whole: each change is one insertion or removal.
fn locked<T>(function: impl FnOnce(&mut Leaves) -> T) -> T {
    let mut leaves: MutexGuard<'_, Option<Leaves>> =
        LEAVES.lock().unwrap_or_else(PoisonError::into_inner);
    function(leaves.get_or_insert_default())
}

impl Leaves {
    fn id(&self, node: NodeId) -> ParamId {
        let known = self.known.get(&node);
        // Ids of parameters are random, and those of nodes are counted.
        known.map_or(ParamId::from(u64::MAX - node.value), |known| known.id)
    }

    fn known_of(&mut self, leaf: &Leaf) -> &mut Known {
        let id = self.id(leaf.node);
        self.known.entry(leaf.node).or_insert_with(|| {
            self.added += 1;
            Known {
                id,
                leaf: leaf.clone(),
                recorder: None,
                was_dropped: false,
            }
        })
    }

    /// Takes out the views without a tensor, and the leaves that had none at the last sweep either, if much was added: a leaf that is dropped may have a
    /// successor in the making. They are to be dropped without the lock.
    fn sweep(&mut self) -> (Vec<Known>, Vec<View>) {
        if self.added < self.alive.max(LEAST_ADDED) {
            return Default::default();
        }
        let known = self.known.extract_if(|_, known| {
            let was_dropped = known.was_dropped;
            known.was_dropped = known.leaf.is_dropped();
            was_dropped && known.was_dropped
        });
        let known = known.map(|(_, known)| known).collect();
        let views = self
            .views
            .extract_if(|_, view| view.references.strong_count() == 0);
        let views = views.map(|(_, view)| view).collect();
        let alive = self.known.values().filter(|known| !known.was_dropped);
        self.alive = alive.count() + self.views.len();
        self.added = 0;
        (known, views)
    }
}

impl Known {
    /// The recorder, shared.
    fn recorder<R: Backend>(&self) -> Option<Recorder<R>> {
        let recorder: &Recorder<R> = self.recorder.as_ref()?.downcast_ref()?;
        Some(recorder.shared())
    }

    /// The recorder, shared; a new one if there is none.
    fn recorder_or_new<R: Backend>(&mut self) -> Recorder<R> {
        self.recorder().unwrap_or_else(|| {
            let new = Recorder::new();
            self.recorder = Some(erased(new.shared()));
            new
        })
    }
}

fn erased<R: Backend>(recorder: Recorder<R>) -> Box<dyn Any + Send + Sync> {
    Box::new(recorder)
}
