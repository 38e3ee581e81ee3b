use super::activation_sums::ActivationSums;
use crate::layer::Layer;
use burn::tensor::backend::Backend;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The passes of a layer that counted since a step took them, see [`Recorder`](crate::Recorder) for who owns them.
///
/// A recorder refers to its clones, not the other way round: it counts their passes as well until either takes a step.
/// The passes that a clone starts with are shared with the original, so that a step of the clone can mark them.
#[derive(Debug)]
pub(super) struct Passes<B: Backend>(Arc<Mutex<State<B>>>);

#[derive(Debug)]
struct State<B: Backend> {
    /// The passes that the originals had counted when this was cloned.
    inherited: Vec<Arc<Pass<B>>>,
    own: Vec<Arc<Pass<B>>>,
    clones: Vec<CloneState<B>>,
    originals: Vec<Weak<Mutex<State<B>>>>,
    steps: u64,
}

/// The sums of a pass, or of several.
#[derive(Debug)]
struct Pass<B: Backend> {
    layer: Layer,
    sums: ActivationSums<B>,
    /// The originals of a clone whose step has taken this pass.
    taken_from: Mutex<Vec<Weak<Mutex<State<B>>>>>,
}

/// The state of a clone, kept alive for the passes of one that is gone.
#[derive(Debug)]
struct CloneState<B: Backend> {
    state: Arc<Mutex<State<B>>>,
    /// The clone's steps when it was made.
    steps: u64,
}

/// The number of passes that are kept one by one.
const SEPARATE_PASSES: usize = 64;

impl<B: Backend> Passes<B> {
    pub(super) fn new() -> Self {
        Self::of(State {
            inherited: Vec::new(),
            own: Vec::new(),
            clones: Vec::new(),
            originals: Vec::new(),
            steps: 0,
        })
    }

    fn of(state: State<B>) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// The same passes, not a clone with passes of its own.
    pub(super) fn shared(&self) -> Self {
        Self(self.0.clone())
    }

    /// Counts a pass. It is called within backward passes and uses no tensor.
    pub(super) fn count(&self, layer: Layer, sums: ActivationSums<B>) {
        let mut state = lock(&self.0);
        state.own.push(Arc::new(Pass::new(layer, sums)));
        self.forget_taken(&mut state);
    }

    /// The sums that a step takes, with the layer of each: of passes here and of clones. Those that a step of a clone
    /// has taken count only where there are no others.
    pub(super) fn all(&self) -> Vec<(Layer, ActivationSums<B>)> {
        let passes = self.counting(&lock(&self.0));
        let pairs = passes.iter().map(|pass| (pass.layer, pass.sums.clone()));
        pairs.collect()
    }

    /// Forgets the passes and the relation to clones and originals, since a step has taken the sums.
    pub(super) fn end_step(&self) {
        let (inherited, originals) = {
            let mut state = lock(&self.0);
            state.steps += 1;
            state.own.clear();
            state.clones.clear();
            let inherited = std::mem::take(&mut state.inherited);
            (inherited, std::mem::take(&mut state.originals))
        };
        for pass in inherited {
            lock(&pass.taken_from).extend(originals.iter().cloned());
        }
    }

    /// Makes one sum of many passes, so that a recorder that no optimizer asks does not grow. No lock is held while
    /// tensors are added: a backward pass waits for this one and holds those of the graph.
    pub(super) fn add_up(&self) {
        let (inherited, own) = {
            let mut state = lock(&self.0);
            state.absorb_clones_that_are_gone();
            self.forget_taken(&mut state);
            if state.inherited.len() + state.own.len() < SEPARATE_PASSES {
                return;
            }
            let inherited = std::mem::take(&mut state.inherited);
            (inherited, std::mem::take(&mut state.own))
        };
        let (inherited, mut own) = (added_up(inherited), added_up(own));
        let mut state = lock(&self.0);
        own.append(&mut state.own);
        (state.inherited, state.own) = (inherited, own);
    }

    fn counting(&self, state: &State<B>) -> Vec<Arc<Pass<B>>> {
        let mut passes = state.inherited.clone();
        state.visit_own(&mut |pass| passes.push(pass.clone()));
        let is_taken = |pass: &Arc<Pass<B>>| pass.is_taken_from(&self.0);
        if !passes.iter().all(is_taken) {
            passes.retain(|pass| !is_taken(pass));
        }
        passes
    }

    fn forget_taken(&self, state: &mut State<B>) {
        let is_left = |pass: &Arc<Pass<B>>| !pass.is_taken_from(&self.0);
        if state.own.iter().any(is_left) || state.inherited.iter().any(is_left) {
            state.own.retain(is_left);
            state.inherited.retain(is_left);
        }
    }
}

/// A clone starts with the passes of its original, and its own passes count for the original too.
impl<B: Backend> Clone for Passes<B> {
    fn clone(&self) -> Self {
        self.add_up();
        let mut state = lock(&self.0);
        let mut originals = state.originals.clone();
        originals.retain(|original| original.strong_count() > 0);
        originals.push(Arc::downgrade(&self.0));
        let clone = Self::of(State {
            inherited: self.counting(&state),
            own: Vec::new(),
            clones: Vec::new(),
            originals,
            steps: 0,
        });
        state.clones.push(CloneState {
            state: clone.0.clone(),
            steps: 0,
        });
        clone
    }
}

impl<B: Backend> State<B> {
    /// Visits the passes that were counted here and in clones.
    fn visit_own(&self, visit: &mut impl FnMut(&Arc<Pass<B>>)) {
        self.own.iter().for_each(&mut *visit);
        for clone in &self.clones {
            let state = lock(&clone.state);
            if state.steps == clone.steps {
                state.visit_own(visit);
            }
        }
    }

    /// Counts the passes of clones that are gone as its own, and forgets the clones that a step has separated.
    fn absorb_clones_that_are_gone(&mut self) {
        for clone in std::mem::take(&mut self.clones) {
            let mut state = lock(&clone.state);
            if state.steps != clone.steps {
                continue;
            }
            if Arc::strong_count(&clone.state) > 1 {
                drop(state);
                self.clones.push(clone);
            } else {
                state.absorb_clones_that_are_gone();
                self.own.append(&mut state.own);
                self.clones.append(&mut state.clones);
            }
        }
    }
}

impl<B: Backend> Pass<B> {
    fn new(layer: Layer, sums: ActivationSums<B>) -> Self {
        Self {
            layer,
            sums,
            taken_from: Mutex::new(Vec::new()),
        }
    }

    fn is_taken_from(&self, state: &Arc<Mutex<State<B>>>) -> bool {
        let taken_from = lock(&self.taken_from);
        taken_from
            .iter()
            .any(|taken| std::ptr::eq(taken.as_ptr(), Arc::as_ptr(state)))
    }
}

/// One sum of each run of passes that no other recorder shares.
fn added_up<B: Backend>(passes: Vec<Arc<Pass<B>>>) -> Vec<Arc<Pass<B>>> {
    let mut added: Vec<Arc<Pass<B>>> = Vec::new();
    for pass in passes {
        let pass = match Arc::try_unwrap(pass) {
            Ok(pass) => pass,
            Err(shared) => {
                added.push(shared);
                continue;
            }
        };
        let device = pass.sums.inputs.device();
        match added.last_mut().and_then(Arc::get_mut) {
            Some(last) if last.layer == pass.layer && last.sums.inputs.device() == device => {
                last.sums = last.sums.clone().add(pass.sums);
            }
            _ => added.push(Arc::new(pass)),
        }
    }
    added
}

/// A panic while a lock is held leaves values that are whole: each is replaced in one move.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::LayerKind;
    use crate::statistics::Rows;
    use burn::module::ParamId;
    use burn::tensor::Tensor;
    use burn_ndarray::NdArray;

    type Counted = Passes<NdArray>;

    /// Counts a pass of one row.
    fn count(passes: &Counted) {
        let layer = Layer {
            kind: LayerKind::Linear,
            weight: ParamId::from(1),
            bias: None,
        };
        let row = Tensor::<NdArray, 2>::ones([1, 3], &Default::default());
        passes.add_up();
        passes.count(layer, ActivationSums::of_rows(row));
    }

    /// The rows of all passes. Fails if they are kept one by one.
    fn rows(passes: &Counted) -> usize {
        let all = passes.all();
        assert!(
            all.len() <= SEPARATE_PASSES,
            "{} passes are kept",
            all.len()
        );
        all.iter()
            .map(|(_, sums)| match sums.rows {
                Rows::Counted(rows) => rows,
                Rows::Weighed { .. } => unreachable!("rows are counted"),
            })
            .sum()
    }

    const MANY: usize = 300;

    /// Breaks when many passes are not added up, or not all of them are.
    #[test]
    fn many_passes_are_kept_as_few_sums() {
        let passes = Counted::new();
        (0..MANY).for_each(|_| count(&passes));
        assert_eq!(rows(&passes), MANY);
    }

    /// Breaks when passes of clones that are gone pile up, as those of workers do with an optimizer that takes no sums.
    #[test]
    fn passes_of_clones_that_are_gone_are_kept_as_few_sums() {
        let passes = Counted::new();
        for _ in 0..MANY {
            let workers = [passes.clone(), passes.clone()];
            workers.iter().for_each(count);
        }
        assert_eq!(rows(&passes.clone()), 2 * MANY);
        assert_eq!(rows(&passes), 2 * MANY);
    }

    /// Breaks when what a clone started with piles up over generations.
    #[test]
    fn passes_of_generations_are_kept_as_few_sums() {
        let mut passes = Counted::new();
        for _ in 0..MANY {
            passes = passes.clone();
            count(&passes);
        }
        assert_eq!(rows(&passes), MANY);
    }

    /// Breaks when passes are added up across those that a clone's step has taken.
    #[test]
    fn a_step_of_a_clone_takes_its_passes_from_many() {
        let passes = Counted::new();
        (0..SEPARATE_PASSES - 1).for_each(|_| count(&passes));
        let clone = passes.clone();
        (0..MANY).for_each(|_| count(&passes));
        clone.end_step();
        assert_eq!(rows(&passes), MANY);
        assert_eq!(rows(&clone), 0);
    }
}
