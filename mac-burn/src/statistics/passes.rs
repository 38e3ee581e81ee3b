use super::layer_statistics::LayerStatistics;
use crate::layer::Layer;
use burn::tensor::backend::Backend;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The passes of a layer that counted since a step took them, see [`Recorder`](crate::Recorder) for who owns them.
///
/// A recorder refers to its clones: it counts their passes as well until either takes a step. The passes that a clone
/// starts with are shared with the original, so that a step of the clone can mark them.
#[derive(Debug)]
pub(super) struct Passes<B: Backend>(Arc<Mutex<State<B>>>);

/// Statistics that a step takes from a recorder.
#[derive(Debug)]
pub(crate) struct RecordedStatistics<B: Backend> {
    pub(crate) layer: Layer,
    pub(crate) statistics: LayerStatistics<B>,
    /// Whether a clone ran the passes, which may stand for another layer by now.
    pub(crate) of_clone: bool,
}

#[derive(Debug)]
struct State<B: Backend> {
    /// In the order in which they counted here, or by maps once they are added up.
    passes: Vec<Entry<B>>,
    clones: Vec<CloneState<B>>,
    /// From the first to the one that this is a clone of.
    originals: Vec<Weak<Mutex<State<B>>>>,
    steps: u64,
}

/// A pass as one recorder has it.
#[derive(Debug)]
struct Entry<B: Backend> {
    pass: Arc<Pass<B>>,
    /// The first recorder of this one and its originals that had it.
    from: Weak<Mutex<State<B>>>,
    /// Whether a clone of `from` ran it, and not `from` itself.
    of_clone: bool,
}

/// The statistics of a pass, or of several.
#[derive(Debug)]
struct Pass<B: Backend> {
    layer: Layer,
    statistics: LayerStatistics<B>,
    steps: Mutex<Steps<B>>,
}

/// The recorders that a pass is taken from by the steps of others.
#[derive(Debug)]
struct Steps<B: Backend> {
    /// The recorders that count it no longer: it came to them from a clone, which has taken a step, or a clone of which has.
    gone_from: Vec<Weak<Mutex<State<B>>>>,
    /// The recorders that had it when they were cloned, and whose clone has taken a step: as they may take one with the same
    /// gradients, they count it where there are no other passes.
    taken_from: Vec<Weak<Mutex<State<B>>>>,
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

/// The same of passes whose statistics are matrices.
const SEPARATE_MATRICES: usize = 2;

/// The number of passes above which those that clones share are added up too.
const SHARED_PASSES: usize = 4 * SEPARATE_PASSES;

impl<B: Backend> Passes<B> {
    pub(super) fn new() -> Self {
        Self::with(Vec::new(), Vec::new())
    }

    fn with(passes: Vec<Entry<B>>, originals: Vec<Weak<Mutex<State<B>>>>) -> Self {
        Self(Arc::new(Mutex::new(State {
            passes,
            clones: Vec::new(),
            originals,
            steps: 0,
        })))
    }

    /// The same passes, not a clone with passes of its own.
    pub(super) fn shared(&self) -> Self {
        Self(self.0.clone())
    }

    /// Counts a pass. It is called within backward passes and uses no tensor.
    pub(super) fn count(&self, layer: Layer, statistics: LayerStatistics<B>) {
        let mut state = lock(&self.0);
        state.passes.push(Entry {
            pass: Arc::new(Pass::new(layer, statistics)),
            from: Arc::downgrade(&self.0),
            of_clone: false,
        });
        self.forget_taken(&mut state.passes);
    }

    /// The statistics that a step takes, of passes here and of clones.
    pub(super) fn all(&self) -> Vec<RecordedStatistics<B>> {
        let passes = self.counting(&lock(&self.0));
        let sums = passes.into_iter().map(|entry| RecordedStatistics {
            layer: entry.pass.layer,
            statistics: entry.pass.statistics.clone(),
            of_clone: entry.of_clone,
        });
        sums.collect()
    }

    /// The layers of those passes.
    pub(super) fn layers(&self) -> Vec<Layer> {
        let passes = self.counting(&lock(&self.0));
        passes.iter().map(|entry| entry.pass.layer).collect()
    }

    /// Forgets the passes and the relation to clones and originals, since a step has taken the sums.
    pub(super) fn end_step(&self) {
        let (passes, originals) = {
            let mut state = lock(&self.0);
            let passes = self.counting(&state);
            state.steps += 1;
            state.passes.clear();
            state.clones.clear();
            (passes, std::mem::take(&mut state.originals))
        };
        for Entry { pass, from, .. } in passes {
            // One that this recorder ran itself is gone from all of them.
            let from = originals.iter().position(|known| known.ptr_eq(&from));
            let (above, having) = originals.split_at(from.unwrap_or(originals.len()));
            let mut steps = lock(&pass.steps);
            enter(&mut steps.gone_from, above);
            enter(&mut steps.taken_from, having);
        }
        // An original that nobody uses would keep this state for good, and with it that of each clone.
        for original in originals.iter().filter_map(Weak::upgrade) {
            let clones = &mut lock(&original).clones;
            clones.retain(|clone| !Arc::ptr_eq(&clone.state, &self.0));
        }
    }

    /// Makes one sum of many passes, so that a recorder that no optimizer asks does not grow. No lock is held while
    /// tensors are added: a backward pass waits for this one and holds those of the graph.
    pub(super) fn add_up(&self) {
        let before = {
            let mut state = lock(&self.0);
            state.absorb_clones_that_are_gone(&Arc::downgrade(&self.0));
            self.forget_taken(&mut state.passes);
            let mut passes = state.passes.iter();
            let limit = match passes.any(|entry| entry.pass.statistics.holds_matrices()) {
                true => SEPARATE_MATRICES,
                false => SEPARATE_PASSES,
            };
            if state.passes.len() < limit {
                return;
            }
            state.passes.clone()
        };
        let after = self.added_up(&before);
        let passes = &mut lock(&self.0).passes;
        // Unless a step has taken them meanwhile, or another thread has added them up.
        let unchanged = passes.len() >= before.len()
            && (passes.iter().zip(&before)).all(|(now, then)| Arc::ptr_eq(&now.pass, &then.pass));
        if unchanged {
            passes.splice(..before.len(), after);
        }
    }

    /// The passes that a step takes. Those that a step of a clone has taken count only where there are no others.
    fn counting(&self, state: &State<B>) -> Vec<Entry<B>> {
        let mut passes = state.passes.clone();
        state.visit_clones(&mut |pass| {
            passes.push(Entry {
                pass: pass.clone(),
                from: Arc::downgrade(&self.0),
                of_clone: true,
            });
        });
        self.forget_taken(&mut passes);
        passes
    }

    fn forget_taken(&self, passes: &mut Vec<Entry<B>>) {
        passes.retain(|entry| !contains(&lock(&entry.pass.steps).gone_from, &entry.from));
        let this = Arc::downgrade(&self.0);
        let is_left = |entry: &Entry<B>| !contains(&lock(&entry.pass.steps).taken_from, &this);
        if passes.iter().any(is_left) {
            passes.retain(is_left);
        }
    }

    /// One sum of each run of passes that no other recorder shares, or of all if there are very many.
    fn added_up(&self, passes: &[Entry<B>]) -> Vec<Entry<B>> {
        let this = Arc::downgrade(&self.0);
        let mut passes = passes.to_vec();
        // A backend that records may see one weight in several maps, by turns, and with a bias that is another tensor in each pass.
        let mut layers = Vec::<Layer>::new();
        for entry in &passes {
            if !layers.contains(&entry.pass.layer) {
                layers.push(entry.pass.layer);
            }
        }
        let is_one = |left: &Layer, right: &Layer| match layers.len() < SEPARATE_PASSES {
            true => left == right,
            false => left.is_same_map(right),
        };
        passes.sort_by_cached_key(|entry| {
            let layer = &entry.pass.layer;
            layers.iter().position(|known| is_one(known, layer))
        });
        // The recorder has each once, the caller, and this function.
        let is_shared =
            |entry: &Entry<B>| passes.len() < SHARED_PASSES && Arc::strong_count(&entry.pass) > 3;
        let is_alike = |left: &Entry<B>, right: &Entry<B>| {
            left.of_clone == right.of_clone
                && left.from.ptr_eq(&this) == right.from.ptr_eq(&this)
                && is_one(&left.pass.layer, &right.pass.layer)
                && left.pass.statistics.device() == right.pass.statistics.device()
        };
        let runs = passes
            .chunk_by(|left, right| is_alike(left, right) && !is_shared(left) && !is_shared(right));
        let added = runs.map(|run| {
            let all = run.iter().map(|entry| entry.pass.statistics.clone());
            match (run, all.reduce(LayerStatistics::add)) {
                ([first, _, ..], Some(all)) => Entry {
                    pass: Arc::new(Pass::new(first.pass.layer, all)),
                    ..first.clone()
                },
                _ => run[0].clone(),
            }
        });
        added.collect()
    }
}

/// A clone starts with the passes of its original, and its own passes count for the original too.
impl<B: Backend> Clone for Passes<B> {
    fn clone(&self) -> Self {
        self.add_up();
        // Clones of clones that are gone would be a chain that grows with each.
        let originals = lock(&self.0).originals.clone();
        for original in &originals {
            if let Some(state) = original.upgrade() {
                lock(&state).absorb_clones_that_are_gone(original);
            }
        }
        let mut state = lock(&self.0);
        let passes = self.counting(&state);
        let mut originals = std::mem::take(&mut state.originals);
        originals.retain(|original| {
            original.strong_count() > 0 || passes.iter().any(|pass| pass.from.ptr_eq(original))
        });
        state.originals.clone_from(&originals);
        originals.push(Arc::downgrade(&self.0));
        let clone = Self::with(passes, originals);
        state.clones.push(CloneState {
            state: clone.0.clone(),
            steps: 0,
        });
        clone
    }
}

impl<B: Backend> State<B> {
    /// Visits the passes that clones and their clones have run.
    fn visit_clones(&self, visit: &mut impl FnMut(&Arc<Pass<B>>)) {
        for clone in &self.clones {
            let state = lock(&clone.state);
            if state.steps == clone.steps {
                let own = state
                    .passes
                    .iter()
                    .filter(|entry| entry.is_of(&clone.state));
                own.for_each(|entry| visit(&entry.pass));
                state.visit_clones(visit);
            }
        }
    }

    /// Counts the passes of clones that are gone as those of `this`, whose state it is, and forgets the clones that a
    /// step has separated.
    fn absorb_clones_that_are_gone(&mut self, this: &Weak<Mutex<Self>>) {
        for clone in std::mem::take(&mut self.clones) {
            let mut state = lock(&clone.state);
            if state.steps != clone.steps {
                continue;
            }
            if Arc::strong_count(&clone.state) > 1 {
                drop(state);
                self.clones.push(clone);
            } else {
                state.absorb_clones_that_are_gone(&Arc::downgrade(&clone.state));
                let own = state
                    .passes
                    .iter()
                    .filter(|entry| entry.is_of(&clone.state));
                self.passes.extend(own.map(|entry| Entry {
                    pass: entry.pass.clone(),
                    from: this.clone(),
                    of_clone: false,
                }));
                self.clones.append(&mut state.clones);
            }
        }
    }
}

impl<B: Backend> Entry<B> {
    /// Whether the recorder with this state ran it, or a clone of it that is gone.
    fn is_of(&self, state: &Arc<Mutex<State<B>>>) -> bool {
        !self.of_clone && std::ptr::eq(self.from.as_ptr(), Arc::as_ptr(state))
    }
}

impl<B: Backend> Clone for Entry<B> {
    fn clone(&self) -> Self {
        Self {
            pass: self.pass.clone(),
            from: self.from.clone(),
            of_clone: self.of_clone,
        }
    }
}

impl<B: Backend> Pass<B> {
    fn new(layer: Layer, statistics: LayerStatistics<B>) -> Self {
        Self {
            layer,
            statistics,
            steps: Mutex::new(Steps {
                gone_from: Vec::new(),
                taken_from: Vec::new(),
            }),
        }
    }
}

fn contains<T>(known: &[Weak<T>], which: &Weak<T>) -> bool {
    known.iter().any(|known| known.ptr_eq(which))
}

fn enter<T>(known: &mut Vec<Weak<T>>, new: &[Weak<T>]) {
    for new in new {
        if !contains(known, new) {
            known.push(new.clone());
        }
    }
}

/// A panic while a lock is held leaves values that are whole: each is replaced in one move.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::LayerKind;
    use crate::statistics::{ActivationSums, Rows};
    use burn::module::ParamId;
    use burn::tensor::Tensor;
    use burn_flex::Flex;

    type Counted = Passes<Flex>;

    /// Counts a pass of one row.
    fn count(passes: &Counted) {
        let layer = Layer {
            kind: LayerKind::Linear,
            weight: ParamId::from(1),
            bias: None,
        };
        let row = Tensor::<Flex, 2>::ones([1, 3], &Default::default());
        let mut statistics = LayerStatistics::none();
        statistics.activations = Some(ActivationSums::of_rows(row));
        passes.add_up();
        passes.count(layer, statistics);
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
            .map(|recorded| match recorded.statistics.activations {
                Some(ActivationSums {
                    rows: Rows::Counted(rows),
                    ..
                }) => rows,
                _ => unreachable!("rows are counted"),
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

    /// Breaks when a pass that a clone has run, and taken a step with, counts in another clone.
    #[test]
    fn a_clones_step_takes_its_passes_from_clones_that_were_made_before_it() {
        let passes = Counted::new();
        let first = passes.clone();
        count(&first);
        let second = passes.clone();
        let kept = first.clone();
        assert_eq!((rows(&second), rows(&kept)), (1, 1));
        first.end_step();
        assert_eq!((rows(&second), rows(&passes)), (0, 0));
        // A clone of the one that ran it goes back to before the step.
        assert_eq!(rows(&kept), 1);
    }

    /// Breaks when a pass that a clone has run stays in its original after a step of a clone of the clone.
    #[test]
    fn a_step_of_a_clones_clone_takes_its_passes_from_the_original() {
        for runs_in_worker in [false, true] {
            let passes = Counted::new();
            let network = passes.clone();
            let worker = network.clone();
            count(if runs_in_worker { &worker } else { &network });
            let second = passes.clone();
            let stepped = network.clone();
            assert_eq!([&passes, &second, &network].map(rows), [1, 1, 1]);
            stepped.end_step();
            // The one that was cloned may take a step with the same gradients.
            assert_eq!([&passes, &second, &network].map(rows), [0, 0, 1]);
            drop((network, worker));
            assert_eq!([&passes, &passes.clone()].map(rows), [0, 0]);
        }
    }

    /// Breaks when a step of an original leaves the pass of its clone in other clones.
    #[test]
    fn a_step_of_an_original_takes_the_passes_of_its_clones() {
        let passes = Counted::new();
        let network = passes.clone();
        let worker = network.clone();
        count(&worker);
        let second = passes.clone();
        network.end_step();
        assert_eq!([&passes, &second, &network].map(rows), [0, 0, 0]);
    }

    /// The states that are alive behind an original: its own, and all that it refers to.
    fn states(state: &Mutex<State<Flex>>) -> usize {
        let clones = &lock(state).clones;
        1 + clones
            .iter()
            .map(|clone| states(&clone.state))
            .sum::<usize>()
    }

    /// Breaks when an original that is kept and not used keeps the state of every clone of its clones.
    #[test]
    fn an_original_that_is_kept_does_not_keep_its_clones() {
        for steps in [true, false] {
            let passes = Counted::new();
            let mut latest = passes.clone();
            for _ in 0..MANY {
                count(&latest);
                let clone = latest.clone();
                if steps {
                    clone.end_step();
                }
                latest = clone;
            }
            let alive = states(&passes.0);
            assert!(alive <= 4, "{alive} states, with steps: {steps}");
            // Without steps those too that are gone, and that a pass which is kept by itself came from.
            let most = if steps { 4 } else { SEPARATE_PASSES };
            assert!(lock(&latest.0).originals.len() <= most);
        }
    }

    /// Breaks when passes are kept one by one as long as a clone has them too.
    #[test]
    fn passes_that_a_clone_shares_do_not_grow_without_bound() {
        let online = Counted::new();
        let mut target = online.clone();
        for _ in 0..4 * MANY {
            count(&online);
            target = online.clone();
        }
        let kept = lock(&online.0).passes.len();
        assert!(kept <= SHARED_PASSES, "{kept} passes");
        assert_eq!(online.all().len(), kept);
        drop(target);
    }
}
