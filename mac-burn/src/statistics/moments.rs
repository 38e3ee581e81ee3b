//! Second moments of what layers see, for those who want to know more than a mean.

use super::activation_sums::untracked;
use super::attention_sums::AttendedValues;
use super::backward_hook::on_backward;
use super::layer_statistics::{Demand, Statistic, Sums, WeightSharing};
use super::output_gradients::GradientRows;
use super::passes::lock;
use super::patches::ConvGeometry;
use super::schedule::without_recording;
use super::second_moments::{SampleRows, attended_rows, patches};
use crate::layer::Layer;
use crate::precision::at_least_f32;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, Mutex};

/// The second moments of the inputs of a weight.
#[derive(Debug, Clone)]
pub(crate) struct Moment<B: Backend> {
    /// The layer.
    pub(crate) layer: Layer,
    /// Whether attention is between the layer's input and what is summed.
    pub(crate) attended: bool,
    /// `Σ a aᵀ`, where `a = [x ; 1]`, `[groups, size + 1, size + 1]`. Of attended inputs `a = [x ; w ; 1]`, with the sum `w` of the
    /// probabilities, which a bias sees.
    pub(crate) sum: Tensor<B, 3>,
    /// The number of rows that were summed.
    pub(crate) rows: usize,
    /// The probabilities of attention summed over batch and heads, `[queries, keys]`; none where it is not attended, or batches
    /// have other numbers of tokens.
    pub(crate) attention: Option<Tensor<B, 2>>,
}

/// The gradients at the outputs of a weight.
pub(crate) type GradientMoments<B> = Vec<(Layer, Sums<B>)>;

/// [`GradientMoments`] that backward passes add to.
pub(super) type Sink<B> = Arc<Mutex<GradientMoments<B>>>;

thread_local! {
    /// A `Vec<Moment<B>>`, while moments are wanted.
    static WANTED: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
    /// A [`Sink<B>`], while moments of gradients are wanted.
    static GRADIENTS: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// The second moments of the gradients at the outputs of all layers with recorders, in the backward passes through forward passes of this
/// thread while `passes` runs. The passes count for no optimizer.
pub(crate) fn gradient_moments_of<B: Backend>(passes: impl FnOnce()) -> GradientMoments<B> {
    /// Puts back what was wanted before, also after a panic in a pass.
    struct Before(Option<Box<dyn Any>>);
    impl Drop for Before {
        fn drop(&mut self) {
            GRADIENTS.set(self.0.take());
        }
    }
    let sink: Sink<B> = Arc::default();
    let _before = Before(GRADIENTS.replace(Some(Box::new(sink.clone()))));
    without_recording(passes);
    let mut found = std::mem::take(&mut *lock(&sink));
    add_up(&mut found);
    found
}

/// Adds the second moment of the gradient at a layer's output when gradients flow back through what is returned, if those of this backend
/// are wanted.
pub(super) fn observe_gradients<B: Backend, const D: usize>(
    layer: Layer,
    output: Tensor<B, D>,
    rows: impl FnOnce(Demand) -> Option<GradientRows<Tensor<B, 2>>>,
) -> Tensor<B, D> {
    let Some(sink) = gradient_sink() else {
        return output;
    };
    let rows = rows(Demand::of(&[GRADIENT_MOMENT]));
    on_backward(output, rows, move |sums| {
        let sums = sums.into_iter().map(|(_, sums)| (layer, sums));
        lock(&sink).extend(sums);
    })
}

/// The statistic of gradients that is summed.
pub(super) const GRADIENT_MOMENT: Statistic = Statistic::OutputMoments(WeightSharing::Expand);

/// Where the moments of gradients are to be added, if those of this backend are wanted.
pub(super) fn gradient_sink<B: Backend>() -> Option<Sink<B>> {
    let sink = GRADIENTS.with_borrow(|wanted| {
        let wanted = wanted.as_ref();
        let sink = wanted.and_then(|wanted| wanted.downcast_ref::<Sink<B>>());
        sink.cloned()
    });
    // Here and not in the backward pass, which holds the lock of the graph; so no more than those of one pass are kept beside the sums.
    if let Some(sink) = &sink {
        add_up(&mut lock(sink));
    }
    sink
}

/// Adds up the sums of each layer on each device.
fn add_up<B: Backend>(all: &mut GradientMoments<B>) {
    let device = |sums: &Sums<B>| Some(sums.parts.first()?.sum.device());
    let mut added = GradientMoments::<B>::new();
    for (layer, sums) in all.drain(..) {
        let same = |(known, of_known): &&mut (Layer, Sums<B>)| {
            *known == layer && device(of_known) == device(&sums)
        };
        match added.iter_mut().find(same) {
            Some((_, known)) => *known = known.clone().add(sums),
            None => added.push((layer, sums)),
        }
    }
    *all = added;
}

/// The moments of all layers with recorders in the forward passes of this thread while `passes` runs. The passes count for no
/// optimizer.
pub(crate) fn moments_of<B: Backend>(passes: impl FnOnce()) -> Vec<Moment<B>> {
    /// Puts back what was wanted before, also after a panic in a pass.
    struct Before(Option<Box<dyn Any>>);
    impl Drop for Before {
        fn drop(&mut self) {
            WANTED.set(self.0.take());
        }
    }
    let _before = Before(WANTED.replace(Some(Box::new(Vec::<Moment<B>>::new()))));
    without_recording(passes);
    let found = WANTED.take();
    let found = found.and_then(|found| found.downcast().ok());
    found.map_or_else(Vec::new, |found| *found)
}

/// Whether moments of this backend are wanted.
pub(super) fn are_wanted<B: Backend>() -> bool {
    WANTED.with_borrow(|wanted| {
        let wanted = wanted.as_ref();
        wanted.is_some_and(|wanted| wanted.is::<Vec<Moment<B>>>())
    })
}

/// Whether moments of gradients of this backend are wanted.
pub(super) fn of_gradients_are_wanted<B: Backend>() -> bool {
    GRADIENTS.with_borrow(|wanted| wanted.as_ref().is_some_and(|wanted| wanted.is::<Sink<B>>()))
}

/// Adds a moment, if those of this backend are wanted.
pub(super) fn observe<B: Backend>(moment: impl FnOnce() -> Moment<B>) {
    if !are_wanted::<B>() {
        return;
    }
    // Outside of the borrow, since a thread that waits for a tensor may run another pass.
    let moment = moment();
    WANTED.with_borrow_mut(|wanted| {
        let known = wanted.as_mut().and_then(|wanted| wanted.downcast_mut());
        if let Some(known) = known
            && moment.rows > 0
        {
            add(known, moment);
        }
    });
}

fn add<B: Backend>(known: &mut Vec<Moment<B>>, new: Moment<B>) {
    let same = |known: &&mut Moment<B>| (known.layer, known.attended) == (new.layer, new.attended);
    let Some(sum) = known.iter_mut().find(same) else {
        known.push(new);
        return;
    };
    sum.sum = sum.sum.clone() + new.sum;
    sum.rows += new.rows;
    sum.attention = match (sum.attention.take(), new.attention) {
        (Some(sum), Some(new)) if sum.dims() == new.dims() => Some(sum + new),
        _ => None,
    };
}

impl<B: Backend> Moment<B> {
    /// Of the rows of an input, `[.., size]`.
    pub(super) fn of_rows<const D: usize>(layer: Layer, input: &Tensor<B, D>) -> Self {
        let rows = SampleRows::of_tokens(untracked(input), None);
        Self::of_chunks(layer, std::iter::once(rows))
    }

    /// Of the values through attention, a row for each sample, head and query; a bias sees the sum of its probabilities. Padding
    /// counts as what it is attended to.
    pub(super) fn of_attended(layer: Layer, attended: &AttendedValues<'_, B>) -> Self {
        let all = AttendedValues::new(attended.probabilities, attended.values);
        let (sum, rows) = moment_with_ones(attended_rows(&all));
        let probabilities = at_least_f32(untracked(attended.probabilities));
        let [batch, heads, queries, keys] = probabilities.dims();
        let attention = probabilities
            .reshape([batch * heads, queries, keys])
            .sum_dim(0)
            .reshape([queries, keys]);
        Self {
            layer,
            attended: true,
            sum,
            rows,
            attention: Some(attention),
        }
    }

    /// Of the patches of images `[batch, channels, depth, height, width]`.
    pub(super) fn of_patches(layer: Layer, input: Tensor<B, 5>, geometry: &ConvGeometry) -> Self {
        Self::of_chunks(layer, patches(input, geometry))
    }

    /// Of rows, of several samples at a time.
    pub(super) fn of_chunks(layer: Layer, chunks: impl Iterator<Item = SampleRows<B>>) -> Self {
        let (sum, rows) = moment_with_ones(chunks);
        Self {
            layer,
            attended: false,
            sum,
            rows,
            attention: None,
        }
    }
}

/// `Σ a aᵀ` with `a = [v ; 1]` over all rows, which all count, `[groups, size + 1, size + 1]`, and their number.
pub(crate) fn moment_with_ones<B: Backend>(
    chunks: impl Iterator<Item = SampleRows<B>>,
) -> (Tensor<B, 3>, usize) {
    let chunks = chunks.map(|rows| {
        let count = rows.samples_and_rows().1;
        let moment = rows.with_ones().second_moment(WeightSharing::Expand);
        (moment.sum, count)
    });
    let sum = chunks.reduce(|(sum, rows), (new, more)| (sum + new, rows + more));
    sum.unwrap_or_else(|| (Tensor::zeros([1, 1, 1], &Default::default()), 0))
}
