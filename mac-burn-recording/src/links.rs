//! Leaves that stand for the parameter of another leaf, since a fork or a step has made one of the other.
//!
//! Burn announces neither of them: a fork moves a tensor to a device and detaches it, and a step takes a leaf's inner tensor and makes a leaf of the changed one. So
//! these operations leave a note for the next of their thread.

use crate::leaves::{self, Leaf};
use burn::backend::autodiff::NodeId;
use burn_backend::Shape;
use burn_backend::backend::Backend;
use std::cell::Cell;
use std::sync::Arc;

/// The way in which a leaf is made from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// By a fork of the module: passes of the fork count for the original too.
    Fork,
    /// By a step: passes before it are the step's.
    Step,
}

/// A tensor that becomes a leaf if a gradient is required of it.
struct Link {
    node: NodeId,
    from: Leaf,
    relation: Relation,
}

/// The inner tensors that were taken since a tensor was made of one: that of a leaf that is stepped, or those of all parameters of a module.
#[derive(Default)]
enum Taken {
    #[default]
    None,
    One(Leaf, Shape),
    /// Inner tensors of several leaves; with the latest, if it came from a leaf.
    Several(Option<(Leaf, Shape)>),
}

thread_local! {
    static LINK: Cell<Option<Link>> = const { Cell::new(None) };
    static TAKEN: Cell<Taken> = const { Cell::new(Taken::None) };
}

/// Notes that a tensor was moved to another device: if it is a leaf, this is how a fork begins.
pub(crate) fn note_move(leaf: Option<Leaf>, moved: NodeId) {
    LINK.set(leaf.map(|from| Link {
        node: moved,
        from,
        relation: Relation::Fork,
    }));
}

/// Notes that a tensor was detached: a fork is, after it was moved. One that stays on its device is a leaf at once.
pub(crate) fn note_detachment(tensor: NodeId, leaf: Option<Leaf>, detached: NodeId) {
    note_move(leaf.or_else(|| moved_to(tensor)), detached);
}

/// Notes that the inner tensor of a leaf, or of one that was moved, is taken: this is how a step begins.
pub(crate) fn note_inner(tensor: NodeId, leaf: Option<Leaf>, shape: impl FnOnce() -> Shape) {
    let leaf = leaf.or_else(|| moved_to(tensor));
    TAKEN.set(match (TAKEN.take(), leaf) {
        (Taken::None, Some(leaf)) => Taken::One(leaf, shape()),
        (Taken::None, None) => Taken::None,
        (_, leaf) => Taken::Several(leaf.map(|leaf| (leaf, shape()))),
    });
}

/// Notes that a tensor is made of an inner one: that which a step has changed, if it has the shape of the one that was taken.
pub(crate) fn note_outer(tensor: NodeId, shape: impl FnOnce() -> Shape) {
    let taken = match TAKEN.take() {
        Taken::None => None,
        Taken::One(leaf, shape) => Some((leaf, shape)),
        // A step consumes the leaf, and a module that `valid` was called on has it still. If a clone has it too, the parameter is not linked and
        // begins anew.
        Taken::Several(latest) => latest.filter(|(leaf, _)| leaf.is_dropped()),
    };
    let from = taken.filter(|(_, taken)| *taken == shape());
    LINK.set(from.map(|(from, _)| Link {
        node: tensor,
        from,
        relation: Relation::Step,
    }));
}

/// Notes a backward pass, which separates steps: inner tensors that were taken before it belong to no later step.
pub(crate) fn note_backward() {
    TAKEN.take();
}

/// Links a new leaf to that which it is made from, if it is from another.
pub(crate) fn link<R: Backend>(references: &Arc<NodeId>) {
    let Some(link) = LINK.take().filter(|link| link.node == **references) else {
        return;
    };
    let (id, recorder) = match link.relation {
        Relation::Step => link.from.succeeded::<R>(),
        Relation::Fork => {
            let (id, recorder) = link.from.recorder::<R>();
            // A clone: it has its own passes, which count for the original too.
            (id, Some(recorder.clone()))
        }
    };
    leaves::enter(references, id, recorder);
}

/// The leaf that a tensor is, moved to another device a moment ago.
fn moved_to(tensor: NodeId) -> Option<Leaf> {
    LINK.take()
        .filter(|link| link.node == tensor)
        .map(|link| link.from)
}
