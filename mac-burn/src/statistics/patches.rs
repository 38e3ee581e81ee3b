//! The sum of the patches that a convolution's kernel sees.

use super::activation_sums::{ActivationSums, Rows};
use crate::precision::at_least_f32;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

/// The sum of the patches that a convolution's kernel sees, over batch and output positions.
///
/// A sum over output positions is linear in the image and separates over its two axes, so it is
/// `R S Cᵀ` for each channel of the image `S` summed over the batch: `R[i, y]` is 1 where kernel row
/// `i` meets image row `y` at some output position, and `C` is the same for columns. Nothing is
/// unfolded. The squares of patches are the patches of the squares.
///
/// # Shapes
///
/// - input: `[batch, channels_in, height, width]`
/// - sums: of `[groups, channels_in / groups · kernel_height · kernel_width]`
///
/// `incidence` keeps `R` and `C` from call to call.
pub(crate) fn patch_sums<B: Backend>(
    input: Tensor<B, 4>,
    geometry: &Conv2dGeometry,
    incidence: &mut Option<Incidence<B>>,
) -> ActivationSums<B> {
    let [batch, channels, height, width] = input.dims();
    let rows = geometry.axis(0, height);
    let columns = geometry.axis(1, width);
    let input = at_least_f32(input);
    let squares = input.clone().square().sum_dim(0);
    let image =
        Tensor::cat(vec![input.sum_dim(0), squares], 1).reshape([2 * channels, height, width]);

    incidence.take_if(|found| !found.serves([rows, columns], &image));
    let incidence = incidence.get_or_insert_with(|| Incidence::new([rows, columns], &image));
    let patch = image
        .reshape([1, 2 * channels * height, width])
        .matmul(incidence.columns.clone().transpose())
        .reshape([2 * channels, height, columns.kernel]);
    let rows_seen = incidence.rows.clone();
    let patch = rows_seen
        .expand([2 * channels, rows.kernel, height])
        .matmul(patch);

    let size = channels / geometry.groups * rows.kernel * columns.kernel;
    let patch = patch.reshape([2 * geometry.groups, size]);
    ActivationSums {
        inputs: patch.clone().narrow(0, 0, geometry.groups),
        squares: patch.narrow(0, geometry.groups, geometry.groups),
        rows: Rows::Counted(batch * rows.positions() * columns.positions()),
    }
}

/// The geometry of a two-dimensional convolution, as Burn's `Conv2d` has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conv2dGeometry {
    pub(crate) kernel_size: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: PaddingConfig2d,
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

impl<B: Backend> From<&Conv2d<B>> for Conv2dGeometry {
    fn from(layer: &Conv2d<B>) -> Self {
        Self {
            kernel_size: layer.kernel_size,
            stride: layer.stride,
            padding: layer.padding.clone(),
            dilation: layer.dilation,
            groups: layer.groups,
        }
    }
}

impl Conv2dGeometry {
    /// The geometry along rows (0) or columns (1) of an image of that length.
    pub(crate) fn axis(&self, axis: usize, length: usize) -> Axis {
        let (kernel, stride) = (self.kernel_size[axis], self.stride[axis]);
        let padding = match (&self.padding, axis) {
            (PaddingConfig2d::Valid, _) => (0, 0),
            (PaddingConfig2d::Same, _) => same_padding(kernel, stride, length),
            (PaddingConfig2d::Explicit(top, _, bottom, _), 0) => (*top, *bottom),
            (PaddingConfig2d::Explicit(_, left, _, right), _) => (*left, *right),
        };
        Axis {
            length,
            kernel,
            stride,
            padding,
            dilation: self.dilation[axis],
        }
    }
}

/// Burn keeps its own form of this rule private; like it, it does not look at dilation.
fn same_padding(kernel: usize, stride: usize, length: usize) -> (usize, usize) {
    let positions = length.div_ceil(stride);
    let needed = positions.saturating_sub(1) * stride + kernel;
    let total = needed.saturating_sub(length);
    (total / 2, total - total / 2)
}

/// The 0-1 matrices `R` and `C` of [`patch_sums`] for one size of images, each `[1, kernel, length]`.
#[derive(Debug, Clone)]
pub(crate) struct Incidence<B: Backend> {
    axes: [Axis; 2],
    rows: Tensor<B, 3>,
    columns: Tensor<B, 3>,
}

impl<B: Backend> Incidence<B> {
    fn new(axes: [Axis; 2], like: &Tensor<B, 3>) -> Self {
        let [rows, columns] = axes.map(|axis| axis.incidence(like));
        Self {
            axes,
            rows,
            columns,
        }
    }

    /// Whether these are the matrices for such images.
    fn serves(&self, axes: [Axis; 2], image: &Tensor<B, 3>) -> bool {
        self.axes == axes
            && self.rows.dtype() == image.dtype()
            && self.rows.device() == image.device()
    }
}

/// One axis of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) length: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: (usize, usize),
    pub(crate) dilation: usize,
}

impl Axis {
    /// Output positions along this axis.
    pub(crate) fn positions(&self) -> usize {
        let padded = self.length + self.padding.0 + self.padding.1;
        let span = self.dilation * (self.kernel - 1) + 1;
        padded.saturating_sub(span) / self.stride + 1
    }

    /// `[1, kernel, length]`: 1 where a kernel element meets an image element at some position.
    fn incidence<B: Backend>(&self, like: &Tensor<B, 3>) -> Tensor<B, 3> {
        let mut met = vec![0f32; self.kernel * self.length];
        for element in 0..self.kernel {
            for position in 0..self.positions() {
                let padded = position * self.stride + element * self.dilation;
                if let Some(index) = padded.checked_sub(self.padding.0)
                    && index < self.length
                {
                    met[element * self.length + index] = 1.0;
                }
            }
        }
        let data = TensorData::new(met, [1, self.kernel, self.length]);
        Tensor::from_data(data, (&like.device(), like.dtype()))
    }
}
