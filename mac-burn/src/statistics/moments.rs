//! Second moments of what layers see, for those who want to know more than a mean.

use super::activation_sums::untracked;
use super::attention_sums::AttendedValues;
use super::patches::Conv2dGeometry;
use super::schedule::without_recording;
use crate::layer::Layer;
use crate::precision::at_least_f32;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use std::any::Any;
use std::cell::RefCell;

/// Patches are made for as many images at a time as keep below this many elements.
const PATCH_ELEMENTS: usize = 1 << 24;

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

thread_local! {
    /// A `Vec<Moment<B>>`, while moments are wanted.
    static WANTED: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
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

/// Adds a moment, if those of this backend are wanted.
pub(super) fn observe<B: Backend>(moment: impl FnOnce() -> Moment<B>) {
    let is_wanted = WANTED.with_borrow(|wanted| {
        let wanted = wanted.as_ref();
        wanted.is_some_and(|wanted| wanted.is::<Vec<Moment<B>>>())
    });
    if !is_wanted {
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
        let size = input.dims()[D - 1];
        let rows = input.shape().num_elements() / size.max(1);
        let input = at_least_f32(untracked(input)).reshape([1, rows, size]);
        Self {
            layer,
            attended: false,
            sum: second_moment(with_ones(input)),
            rows,
            attention: None,
        }
    }

    /// Of the values through attention, a row for each sample, head and query; a bias sees the sum of its probabilities. Padding
    /// counts as what it is attended to.
    pub(super) fn of_attended(layer: Layer, attended: &AttendedValues<'_, B>) -> Self {
        let probabilities = at_least_f32(untracked(attended.probabilities));
        let values = at_least_f32(untracked(attended.values));
        let [batch, heads, queries, keys] = probabilities.dims();
        let [_, _, size] = values.dims();
        let rows = batch * heads * queries;
        let inputs = probabilities
            .clone()
            .reshape([batch, heads * queries, keys])
            .matmul(values)
            .reshape([1, rows, size]);
        let weight = probabilities.clone().reshape([1, rows, keys]).sum_dim(2);
        let attention = probabilities
            .reshape([batch * heads, queries, keys])
            .sum_dim(0)
            .reshape([queries, keys]);
        Self {
            layer,
            attended: true,
            sum: second_moment(with_ones(Tensor::cat(vec![inputs, weight], 2))),
            rows,
            attention: Some(attention),
        }
    }

    /// Of the patches of images.
    pub(super) fn of_patches(
        layer: Layer,
        input: &Tensor<B, 4>,
        geometry: &Conv2dGeometry,
    ) -> Self {
        let (sum, rows) = patch_moment(at_least_f32(untracked(input)), geometry);
        Self {
            layer,
            attended: false,
            sum,
            rows,
            attention: None,
        }
    }
}

/// `Σ a aᵀ` over the rows of `[groups, rows, size]`, `[groups, size, size]`.
pub(crate) fn second_moment<B: Backend>(rows: Tensor<B, 3>) -> Tensor<B, 3> {
    rows.clone().swap_dims(1, 2).matmul(rows)
}

/// Rows with a 1 at their end.
pub(crate) fn with_ones<B: Backend>(rows: Tensor<B, 3>) -> Tensor<B, 3> {
    let [groups, count, _] = rows.dims();
    let ones = Tensor::ones([groups, count, 1], (&rows.device(), rows.dtype()));
    Tensor::cat(vec![rows, ones], 2)
}

/// Zeros around an image, which may differ on either side of an axis: Burn's unfold does not take
/// that, and its `pad` makes them in the float type of the device, not of the image.
fn zero_padded<B: Backend>(
    images: Tensor<B, 4>,
    (top, bottom): (usize, usize),
    (left, right): (usize, usize),
) -> Tensor<B, 4> {
    let [batch, channels, height, width] = images.dims();
    let shape = [batch, channels, top + height + bottom, left + width + right];
    let padded = Tensor::zeros(shape, (&images.device(), images.dtype()));
    let inside = [0..batch, 0..channels, top..top + height, left..left + width];
    padded.slice_assign(inside, images)
}

/// `Σ a aᵀ` over the patches of a batch, a few images at a time, `[groups, size + 1, size + 1]`, and the number of patches.
pub(crate) fn patch_moment<B: Backend>(
    images: Tensor<B, 4>,
    geometry: &Conv2dGeometry,
) -> (Tensor<B, 3>, usize) {
    let [batch, channels, height, width] = images.dims();
    let (rows, columns) = (geometry.axis(0, height), geometry.axis(1, width));
    let positions = rows.positions() * columns.positions();
    let size = channels / geometry.groups * rows.kernel * columns.kernel;
    let images_at_once = PATCH_ELEMENTS / (geometry.groups * size * positions).max(1);

    let images = zero_padded(images, rows.padding, columns.padding);
    let options = UnfoldOptions::new(geometry.stride, [0, 0], geometry.dilation);
    let mut sum: Option<Tensor<B, 3>> = None;
    for chunk in images.split(images_at_once.max(1), 0) {
        let count = chunk.dims()[0];
        let patches = unfold4d(chunk, geometry.kernel_size, options.clone())
            .reshape([count, geometry.groups, size, positions])
            .permute([1, 0, 3, 2])
            .reshape([geometry.groups, count * positions, size]);
        let moment = second_moment(with_ones(patches));
        sum = Some(match sum {
            Some(sum) => sum + moment,
            None => moment,
        });
    }
    let sum = sum.unwrap_or_else(|| {
        Tensor::zeros([geometry.groups, size + 1, size + 1], &Default::default())
    });
    (sum, batch * positions)
}
