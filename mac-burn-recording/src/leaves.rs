//! The parameters that operations have seen, by the leaves of the graph that they are.
//!
//! An operation is given tensors, and knows of a parameter no more than its node in the graph. Clones of a module share it; a fork has another, and so has
//! the module after each step. So a leaf that is made from another is linked to it: it stands for the same parameter.

use burn::backend::autodiff::NodeId;
use burn::module::ParamId;
use burn_backend::Shape;
use burn_backend::backend::Backend;
use mac_burn::Recorder;
use mac_burn::recording_backend::is_paused;
use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[cfg(test)]
mod tests;

/// A leaf that requires a gradient, which keeps nothing alive.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    node: NodeId,
    references: Weak<NodeId>,
}

/// A linear map that a parameter is the weight of, as an operation sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    /// `input · weight`.
    Linear,
    /// `input · weightᵀ`.
    TransposedLinear,
    Convolution {
        groups: usize,
    },
    TransposedConvolution {
        groups: usize,
    },
    Embedding,
}

/// The bias of a [`Map`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    None,
    /// The id that stands for it.
    Parameter(ParamId),
    /// One that is not trained, as any number that is added may be: there may be another in each pass.
    Fixed(ParamId),
}

impl Bias {
    pub(crate) fn id(self) -> Option<ParamId> {
        match self {
            Self::None => None,
            Self::Parameter(id) | Self::Fixed(id) => Some(id),
        }
    }

    /// Whether both may be the bias of one map: a parameter may be frozen between two passes.
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Parameter(left), Self::Parameter(right)) => left == right,
            (Self::None, _) | (_, Self::None) => false,
            _ => true,
        }
    }
}

/// A leaf that is known, with its parameter.
struct Known {
    /// The id that stands for the parameter, through forks and steps.
    id: ParamId,
    references: Weak<NodeId>,
    role: Role,
    /// A [`Recorder`] of the backend that asks; none of a parameter that was not seen as a weight, nor forked.
    recorder: Option<Box<dyn Any + Send + Sync>>,
    /// Whether no tensor of the leaf was left when it was last looked for.
    was_gone: bool,
}

/// The use of a parameter.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// No weight, as far as is known.
    Unknown,
    Weight {
        map: Map,
        bias: Bias,
    },
    /// The weight of several maps, which no single recorder stands for.
    Several,
}

/// A tensor that is a leaf in another layout.
struct View {
    references: Weak<NodeId>,
    leaf: Leaf,
    transposed: bool,
}

/// All that is known. It keeps no tensor of a model alive, and is looked through for leaves that are gone whenever as many have been entered as there
/// are.
#[derive(Default)]
struct Leaves {
    known: HashMap<NodeId, Known>,
    views: HashMap<NodeId, View>,
    /// How many leaves and views have been entered since it was looked through.
    entered: usize,
    /// How many had a tensor then. Those that are gone and still known are not among them: they would put off what is to forget them.
    living: usize,
}

/// Fewer are not worth looking through.
const LEAST_ENTERED: usize = 64;

static LEAVES: Mutex<Option<Leaves>> = Mutex::new(None);

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

thread_local! {
    static LINK: Cell<Option<Link>> = const { Cell::new(None) };
    /// The latest leaf whose inner tensor was taken, and its shape.
    static TAKEN: Cell<Option<(Leaf, Shape)>> = const { Cell::new(None) };
}

impl Leaf {
    /// The id that stands for the parameter.
    pub(crate) fn id(&self) -> ParamId {
        id(self.node)
    }

    pub(crate) fn new(references: &Arc<NodeId>) -> Self {
        Self {
            node: **references,
            references: Arc::downgrade(references),
        }
    }

    /// The recorder of the parameter as the weight of this map, with the id that stands for it; none if it is that of another map too.
    pub(crate) fn recorder<R: Backend>(
        &self,
        map: Map,
        bias: Bias,
    ) -> Option<(ParamId, Recorder<R>)> {
        let (recorder, gone) = locked(|leaves| {
            let gone = leaves.forget_gone();
            let known = leaves.known_of(self);
            let role = match known.role {
                Role::Unknown => Role::Weight { map, bias },
                Role::Weight {
                    map: before,
                    bias: with,
                } if before == map && with.is_like(bias) => Role::Weight { map, bias },
                _ => Role::Several,
            };
            if is_paused() {
                // Nothing comes of the use but what `spectrum` may ask for.
                let is_own = !matches!(role, Role::Several);
                let recorder = is_own.then(|| (known.id, known.recorder_or_new::<R>()));
                return (recorder, gone);
            }
            known.role = role;
            let recorder = match known.role {
                Role::Several => {
                    known.recorder = None;
                    None
                }
                _ => Some((known.id, known.recorder_or_new::<R>())),
            };
            (recorder, gone)
        });
        drop(gone);
        recorder
    }

    /// The recorder of the parameter, if there is one; and whether the parameter was seen as the weight of several maps.
    pub(crate) fn seen<R: Backend>(&self) -> (Option<Recorder<R>>, bool) {
        locked(|leaves| match leaves.known.get(&self.node) {
            Some(known) => (known.recorder(), matches!(known.role, Role::Several)),
            None => (None, false),
        })
    }
}

/// The parameter that a tensor is, as it is or in another layout.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    pub(crate) leaf: Leaf,
    /// Whether the last two axes are swapped.
    pub(crate) transposed: bool,
}

/// The id that stands for the parameter with this node.
pub(crate) fn id(node: NodeId) -> ParamId {
    locked(|leaves| leaves.id(node))
}

/// The parameter that a tensor is another layout of, if it is one.
pub(crate) fn viewed(node: NodeId) -> Option<Weight> {
    locked(|leaves| {
        let view = leaves.views.get(&node)?;
        Some(Weight {
            leaf: view.leaf.clone(),
            transposed: view.transposed,
        })
    })
}

/// Enters a tensor that is a parameter in another layout.
pub(crate) fn enter_view(references: &Arc<NodeId>, weight: Weight) {
    let view = View {
        references: Arc::downgrade(references),
        leaf: weight.leaf,
        transposed: weight.transposed,
    };
    let gone = locked(|leaves| {
        leaves.views.insert(**references, view);
        leaves.entered += 1;
        leaves.forget_gone()
    });
    drop(gone);
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
    let moved = || LINK.take().filter(|link| link.node == tensor);
    let from = leaf.or_else(|| Some(moved()?.from));
    note_move(from, detached);
}

/// Notes that the inner tensor of a leaf, or of one that was moved, is taken: this is how a step begins.
pub(crate) fn note_inner(tensor: NodeId, leaf: Option<Leaf>, shape: impl FnOnce() -> Shape) {
    let moved = || LINK.take().filter(|link| link.node == tensor);
    if let Some(leaf) = leaf.or_else(|| Some(moved()?.from)) {
        TAKEN.set(Some((leaf, shape())));
    }
}

/// Notes that a tensor is made of an inner one: that which a step has changed, if it is the next of its shape.
pub(crate) fn note_outer(tensor: NodeId, shape: impl FnOnce() -> Shape) {
    let taken = TAKEN.take().filter(|(_, taken)| *taken == shape());
    LINK.set(taken.map(|(from, _)| Link {
        node: tensor,
        from,
        relation: Relation::Step,
    }));
}

/// Links a new leaf to that which it is made from, if it is from another.
pub(crate) fn link<R: Backend>(references: &Arc<NodeId>) {
    let Some(link) = LINK.take().filter(|link| link.node == **references) else {
        return;
    };
    let from = &link.from;
    let (id, role, recorder) = match link.relation {
        Relation::Step => locked(|leaves| leaves.succeeded::<R>(from)),
        Relation::Fork => {
            let (id, role, recorder) = locked(|leaves| {
                let known = leaves.known_of(from);
                (known.id, known.role, known.recorder_or_new::<R>())
            });
            // Without the lock: it may add sums up.
            (id, role, Some(recorder.clone()))
        }
    };
    let known = Known {
        id,
        references: Arc::downgrade(references),
        role,
        recorder: recorder.map(erased),
        was_gone: false,
    };
    let gone = locked(|leaves| {
        leaves.known.insert(**references, known);
        leaves.entered += 1;
        leaves.forget_gone()
    });
    drop(gone);
}

/// The number of leaves and views that something is known of.
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
            self.entered += 1;
            Known {
                id,
                references: leaf.references.clone(),
                role: Role::Unknown,
                recorder: None,
                was_gone: false,
            }
        })
    }

    /// The parameter's id, role and recorder for the leaf that a step puts in the place of this one.
    fn succeeded<R: Backend>(&mut self, leaf: &Leaf) -> (ParamId, Role, Option<Recorder<R>>) {
        let id = self.id(leaf.node);
        let Some(known) = self.known.get(&leaf.node) else {
            return (id, Role::Unknown, None);
        };
        let role = known.role;
        let recorder = known.recorder::<R>().map(|recorder| recorder.successor());
        // Its sums are of no more use.
        if known.is_gone() {
            self.known.remove(&leaf.node);
        }
        (id, role, recorder)
    }

    /// Takes out what belongs to leaves that were gone the last time too, if much was entered. A leaf that is gone may have a successor in the making.
    fn forget_gone(&mut self) -> (Vec<Known>, Vec<View>) {
        if self.entered < self.living.max(LEAST_ENTERED) {
            return Default::default();
        }
        let known = self.known.extract_if(|_, known| {
            let was_gone = known.was_gone;
            known.was_gone = known.is_gone();
            was_gone && known.was_gone
        });
        let known = known.map(|(_, known)| known).collect();
        let views = self
            .views
            .extract_if(|_, view| view.references.strong_count() == 0);
        let views = views.map(|(_, view)| view).collect();
        let living = self.known.values().filter(|known| !known.was_gone);
        self.living = living.count() + self.views.len();
        self.entered = 0;
        (known, views)
    }
}

impl Known {
    /// Whether there is no tensor of the leaf. The graph refers to its node too, but not beyond the first backward pass through it.
    fn is_gone(&self) -> bool {
        self.references.strong_count() == 0
    }

    /// The recorder, shared.
    fn recorder<R: Backend>(&self) -> Option<Recorder<R>> {
        let recorder: &Recorder<R> = self.recorder.as_ref()?.downcast_ref()?;
        Some(recorder.shared())
    }

    /// The recorder, shared; a new one if there is none, but for a parameter that is used in several ways.
    fn recorder_or_new<R: Backend>(&mut self) -> Recorder<R> {
        if let Some(recorder) = self.recorder() {
            return recorder;
        }
        let new = Recorder::new();
        if !matches!(self.role, Role::Several) {
            self.recorder = Some(erased(new.shared()));
        }
        new
    }
}

fn erased<R: Backend>(recorder: Recorder<R>) -> Box<dyn Any + Send + Sync> {
    Box::new(recorder)
}
