//! The sum of the patches that a convolution's kernel sees.

use super::activation_sums::{ActivationSums, Rows};
use crate::precision::{at_least_f32, full_precision_matmul};
use burn::nn::conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Tensor, TensorData};

/// The sum of the patches that a convolution's kernel sees, over batch and output positions.
///
/// A sum over output positions is linear in the image and separates over its axes, so it is
/// `R S Cᵀ` for each channel of the image `S` summed over the batch: `R[i, y]` is 1 where kernel row
/// `i` meets image row `y` at some output position, `C` is the same for columns, and a third matrix for depth.
/// Nothing is unfolded. The squares of patches are the patches of the squares.
///
/// # Shapes
///
/// - input: `[batch, channels_in, depth, height, width]`
/// - sums: of `[groups, channels_in / groups · kernel_depth · kernel_height · kernel_width]`
///
/// `incidence` keeps the matrices from call to call.
pub(crate) fn patch_sums<B: Backend>(
    input: Tensor<B, 5>,
    geometry: &ConvGeometry,
    incidence: &mut Option<Incidence<B>>,
) -> ActivationSums<B> {
    let [batch, channels, lengths @ ..] = input.dims();
    let axes = geometry.axes(lengths);
    let input = at_least_f32(input);
    let squares = input.clone().square().sum_dim(0);
    let images = Tensor::cat(vec![input.sum_dim(0), squares], 1);

    incidence.take_if(|found| !found.serves(axes, &images));
    let incidence = incidence.get_or_insert_with(|| Incidence::new(axes, &images));
    let patch = incidence.patches(images);

    let size = channels / geometry.groups * axes.iter().map(|axis| axis.kernel).product::<usize>();
    let patch = patch.reshape([2 * geometry.groups, size]);
    let positions: usize = axes.iter().map(Axis::positions).product();
    ActivationSums {
        inputs: patch.clone().narrow(0, 0, geometry.groups),
        squares: patch.narrow(0, geometry.groups, geometry.groups),
        rows: Rows::Counted(batch * positions),
    }
}

/// Images of one, two or three axes as `[batch, channels, depth, height, width]`.
pub(crate) fn volumes<B: Backend, const D: usize>(images: Tensor<B, D>) -> Tensor<B, 5> {
    let shape = volume(images.dims());
    images.reshape(shape)
}

/// The shape of images of one, two or three axes with three.
pub(super) fn volume<const D: usize>(shape: [usize; D]) -> [usize; 5] {
    let mut volume = [1; 5];
    volume[..2].copy_from_slice(&shape[..2]);
    volume[7 - D..].copy_from_slice(&shape[2..]);
    volume
}

/// The geometry of a convolution along depth, height and width. One over fewer axes has kernels of 1 along the first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConvGeometry {
    kernels: [KernelAxis; 3],
    pub(crate) groups: usize,
}

/// The geometry of a convolution along one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
struct KernelAxis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// None for Burn's same padding, which depends on the length.
    padding: Option<(usize, usize)>,
    /// Positions that a transposed convolution adds at the end; 0 otherwise.
    padding_out: usize,
}

impl KernelAxis {
    /// Of an axis that images do not have.
    const NONE: Self = Self {
        kernel: 1,
        stride: 1,
        dilation: 1,
        padding: Some((0, 0)),
        padding_out: 0,
    };
}

impl<B: Backend> From<&Conv1d<B>> for ConvGeometry {
    fn from(layer: &Conv1d<B>) -> Self {
        let kernel = KernelAxis {
            kernel: layer.kernel_size,
            stride: layer.stride,
            dilation: layer.dilation,
            padding: match layer.padding {
                PaddingConfig1d::Valid => Some((0, 0)),
                PaddingConfig1d::Same => None,
                PaddingConfig1d::Explicit(left, right) => Some((left, right)),
            },
            padding_out: 0,
        };
        Self {
            kernels: [KernelAxis::NONE, KernelAxis::NONE, kernel],
            groups: layer.groups,
        }
    }
}

impl<B: Backend> From<&Conv2d<B>> for ConvGeometry {
    fn from(layer: &Conv2d<B>) -> Self {
        let padding = match layer.padding {
            PaddingConfig2d::Valid => [Some((0, 0)); 2],
            PaddingConfig2d::Same => [None; 2],
            PaddingConfig2d::Explicit(top, left, bottom, right) => {
                [Some((top, bottom)), Some((left, right))]
            }
        };
        let kernel = |axis: usize| KernelAxis {
            kernel: layer.kernel_size[axis],
            stride: layer.stride[axis],
            dilation: layer.dilation[axis],
            padding: padding[axis],
            padding_out: 0,
        };
        Self {
            kernels: [KernelAxis::NONE, kernel(0), kernel(1)],
            groups: layer.groups,
        }
    }
}

impl<B: Backend> From<&Conv3d<B>> for ConvGeometry {
    fn from(layer: &Conv3d<B>) -> Self {
        let padding = match layer.padding {
            PaddingConfig3d::Valid => [Some((0, 0)); 3],
            PaddingConfig3d::Same => [None; 3],
            PaddingConfig3d::Explicit(depth, height, width) => {
                [depth, height, width].map(|padding| Some((padding, padding)))
            }
        };
        Self {
            kernels: std::array::from_fn(|axis| KernelAxis {
                kernel: layer.kernel_size[axis],
                stride: layer.stride[axis],
                dilation: layer.dilation[axis],
                padding: padding[axis],
                padding_out: 0,
            }),
            groups: layer.groups,
        }
    }
}

impl<B: Backend> From<&ConvTranspose1d<B>> for ConvGeometry {
    /// The geometry of the convolution that this is the transpose of.
    fn from(layer: &ConvTranspose1d<B>) -> Self {
        let kernel = KernelAxis {
            kernel: layer.kernel_size,
            stride: layer.stride,
            dilation: layer.dilation,
            padding: Some((layer.padding, layer.padding)),
            padding_out: layer.padding_out,
        };
        Self {
            kernels: [KernelAxis::NONE, KernelAxis::NONE, kernel],
            groups: layer.groups,
        }
    }
}

impl<B: Backend> From<&ConvTranspose2d<B>> for ConvGeometry {
    /// The geometry of the convolution that this is the transpose of.
    fn from(layer: &ConvTranspose2d<B>) -> Self {
        let kernel = |axis: usize| KernelAxis {
            kernel: layer.kernel_size[axis],
            stride: layer.stride[axis],
            dilation: layer.dilation[axis],
            padding: Some((layer.padding[axis], layer.padding[axis])),
            padding_out: layer.padding_out[axis],
        };
        Self {
            kernels: [KernelAxis::NONE, kernel(0), kernel(1)],
            groups: layer.groups,
        }
    }
}

impl<B: Backend> From<&ConvTranspose3d<B>> for ConvGeometry {
    /// The geometry of the convolution that this is the transpose of.
    fn from(layer: &ConvTranspose3d<B>) -> Self {
        Self {
            kernels: std::array::from_fn(|axis| KernelAxis {
                kernel: layer.kernel_size[axis],
                stride: layer.stride[axis],
                dilation: layer.dilation[axis],
                padding: Some((layer.padding[axis], layer.padding[axis])),
                padding_out: layer.padding_out[axis],
            }),
            groups: layer.groups,
        }
    }
}

impl ConvGeometry {
    /// Of a convolution over the last axes, with kernels of these lengths.
    pub(super) fn of_options<const N: usize>(kernel: [usize; N], options: &ConvOptions<N>) -> Self {
        Self::over_last_axes::<N>(options.groups, |axis| KernelAxis {
            kernel: kernel[axis],
            stride: options.stride[axis],
            dilation: options.dilation[axis],
            padding: Some((options.padding[axis], options.padding[axis])),
            padding_out: 0,
        })
    }

    /// Of the convolution that this is the transpose of.
    pub(super) fn of_transposed_options<const N: usize>(
        kernel: [usize; N],
        options: &ConvTransposeOptions<N>,
    ) -> Self {
        Self::over_last_axes::<N>(options.groups, |axis| KernelAxis {
            kernel: kernel[axis],
            stride: options.stride[axis],
            dilation: options.dilation[axis],
            padding: Some((options.padding[axis], options.padding[axis])),
            padding_out: options.padding_out[axis],
        })
    }

    fn over_last_axes<const N: usize>(groups: usize, kernel: impl Fn(usize) -> KernelAxis) -> Self {
        let kernels = std::array::from_fn(|axis| match (axis + N).checked_sub(3) {
            Some(axis) => kernel(axis),
            None => KernelAxis::NONE,
        });
        Self { kernels, groups }
    }

    /// The lengths of what the transposed convolution makes of images of these; none where its padding leaves nothing.
    pub(super) fn transposed_lengths(&self, lengths: [usize; 3]) -> Option<[usize; 3]> {
        let mut transposed = [0; 3];
        for (axis, length) in transposed.iter_mut().enumerate() {
            let kernel = &self.kernels[axis];
            let (before, after) = kernel.padding?;
            let span = kernel.dilation * (kernel.kernel - 1) + 1;
            let whole = lengths[axis].checked_sub(1)? * kernel.stride + span + kernel.padding_out;
            *length = whole.checked_sub(before + after)?;
        }
        Some(transposed)
    }

    /// The geometry along the axes of images of these lengths.
    pub(crate) fn axes(&self, lengths: [usize; 3]) -> [Axis; 3] {
        std::array::from_fn(|axis| {
            let (kernel, length) = (&self.kernels[axis], lengths[axis]);
            let same = || same_padding(kernel.kernel, kernel.stride, length);
            Axis {
                length,
                kernel: kernel.kernel,
                stride: kernel.stride,
                padding: kernel.padding.unwrap_or_else(same),
                dilation: kernel.dilation,
            }
        })
    }
}

/// Burn keeps its own form of this rule private; like it, it does not look at dilation.
fn same_padding(kernel: usize, stride: usize, length: usize) -> (usize, usize) {
    let positions = length.div_ceil(stride);
    let needed = positions.saturating_sub(1) * stride + kernel;
    let total = needed.saturating_sub(length);
    (total / 2, total - total / 2)
}

/// The 0-1 matrices of [`patch_sums`] for one size of images, each `[1, kernel, length]`.
#[derive(Debug, Clone)]
pub(crate) struct Incidence<B: Backend> {
    axes: [Axis; 3],
    matrices: [Tensor<B, 3>; 3],
}

impl<B: Backend> Incidence<B> {
    fn new(axes: [Axis; 3], like: &Tensor<B, 5>) -> Self {
        Self {
            axes,
            matrices: axes.map(|axis| axis.incidence(like)),
        }
    }

    /// Whether these are the matrices for such images.
    fn serves(&self, axes: [Axis; 3], images: &Tensor<B, 5>) -> bool {
        let [any, ..] = &self.matrices;
        self.axes == axes && any.dtype() == images.dtype() && any.device() == images.device()
    }

    /// The sum over all positions of the patches of images `[1, channels, depth, height, width]`, `[channels, kernel depth, kernel height ·
    /// kernel width]`.
    fn patches(&self, images: Tensor<B, 5>) -> Tensor<B, 3> {
        let [_, channels, depth, height, width] = images.dims();
        let [along_depth, along_rows, along_columns] = &self.matrices;
        let [_, rows, columns] = self.axes.map(|axis| axis.kernel);
        let images = images.reshape([1, channels * depth * height, width]);
        let patches = full_precision_matmul(images, along_columns.clone().transpose());
        let patches = patches.reshape([channels * depth, height, columns]);
        let patches = match self.axes[1].is_whole() {
            true => patches,
            false => full_precision_matmul(along_rows.clone(), patches),
        };
        let patches = patches.reshape([channels, depth, rows * columns]);
        match self.axes[0].is_whole() {
            true => patches,
            false => full_precision_matmul(along_depth.clone(), patches),
        }
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

    /// Whether its only patch is its only element.
    fn is_whole(&self) -> bool {
        (self.length, self.kernel, self.padding) == (1, 1, (0, 0))
    }

    /// `[1, kernel, length]`: 1 where a kernel element meets an image element at some position.
    fn incidence<B: Backend>(&self, like: &Tensor<B, 5>) -> Tensor<B, 3> {
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
