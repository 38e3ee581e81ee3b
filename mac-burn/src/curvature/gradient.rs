//! The gradients that a layer's curvature preconditions.

use crate::layer::{Layer, LayerKind, OutputBlock};
use crate::optimizer::gradients::Preparation;
use crate::precision::{as_dtype, at_least_f32};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, DType, Shape, Tensor};

/// The gradients of a layer's parameters, in `f32` or wider.
#[derive(Clone)]
pub(crate) struct LayerGradient<B: Backend> {
    pub(crate) weight: WeightGradient<B>,
    /// None for a layer without a bias, or with one that is not trained.
    pub(crate) bias: Option<Tensor<B, 1>>,
    /// Whether any of it is NaN or infinite, `[1]`, on the device; none while nobody has looked.
    pub(crate) broken: Option<Tensor<B, 1, Bool>>,
    /// The types of the gradients that this was made of.
    pub(super) dtypes: (DType, DType),
    /// The shape of the weight.
    pub(super) shape: Shape,
}

/// The gradient of a weight, in the layout of [`LayerKind::of_gradient`]. Of a linear layer and a two-dimensional convolution that is its own shape:
/// on a backend that fuses, a gradient that is reshaped is no longer part of the kernel that updates the weight.
#[derive(Clone)]
pub(crate) enum WeightGradient<B: Backend> {
    /// `[size_input, size_output]`.
    Matrix(Tensor<B, 2>),
    /// `[channels_out, channels_in / groups, kernel_height, kernel_width]`.
    Kernel(Tensor<B, 4>),
}

impl<B: Backend> LayerGradient<B> {
    /// Of a weight by itself, in `f32` or wider.
    pub(super) fn of_weight(weight: WeightGradient<B>) -> Self {
        let dtype = weight.dtype();
        Self {
            dtypes: (dtype, dtype),
            shape: weight.shape(),
            weight,
            bias: None,
            broken: None,
        }
    }

    /// Takes the gradients of a layer; none if its weight has none.
    pub(crate) fn take(layer: Layer, grads: &mut GradientsParams) -> Option<Self> {
        let (kind, id) = (layer.kind, layer.weight);
        let (weight, shape) = match kind {
            LayerKind::Conv1d { .. } | LayerKind::ConvTranspose1d { .. } => {
                WeightGradient::with_shape(kind, grads.remove::<B, 3>(id)?)
            }
            LayerKind::ConvTranspose2d { .. } => {
                WeightGradient::with_shape(kind, grads.remove::<B, 4>(id)?)
            }
            LayerKind::Conv3d { .. } | LayerKind::ConvTranspose3d { .. } => {
                WeightGradient::with_shape(kind, grads.remove::<B, 5>(id)?)
            }
            LayerKind::Conv2d { .. } => WeightGradient::Kernel(grads.remove(id)?).and_shape(),
            LayerKind::TransposedLinear => {
                WeightGradient::with_shape(kind, grads.remove::<B, 2>(id)?)
            }
            LayerKind::Linear
            | LayerKind::FusedAttention
            | LayerKind::GroupedQueryAttention { .. }
            | LayerKind::Embedding => WeightGradient::Matrix(grads.remove(id)?).and_shape(),
        };
        let device = weight.device();
        let bias: Option<Tensor<B, 1>> = layer.bias.and_then(|bias| grads.remove(bias));
        let bias = bias.map(|bias| bias.to_device(&device));
        let dtype = weight.dtype();
        Some(Self {
            dtypes: (dtype, bias.as_ref().map_or(dtype, Tensor::dtype)),
            weight: match weight {
                WeightGradient::Matrix(weight) => WeightGradient::Matrix(at_least_f32(weight)),
                WeightGradient::Kernel(weight) => WeightGradient::Kernel(at_least_f32(weight)),
            },
            bias: bias.map(at_least_f32),
            broken: None,
            shape,
        })
    }

    /// Puts the gradients back, in the types that they had.
    pub(crate) fn put(self, layer: Layer, grads: &mut GradientsParams) {
        let (weight, bias) = self.dtypes;
        let (kind, id) = (layer.kind, layer.weight);
        match (self.weight, &self.shape[..]) {
            (WeightGradient::Matrix(gradient), [_, _]) => {
                grads.register(id, as_dtype(gradient, weight));
            }
            (WeightGradient::Kernel(gradient), _) if kind == kind.of_gradient() => {
                grads.register(id, as_dtype(gradient, weight));
            }
            (gradient, [a, b]) => {
                let gradient = gradient.into_tensor(kind, [*a, *b]);
                grads.register(id, as_dtype(gradient, weight));
            }
            (gradient, [a, b, c]) => {
                let gradient = gradient.into_tensor(kind, [*a, *b, *c]);
                grads.register(id, as_dtype(gradient, weight));
            }
            (gradient, [a, b, c, d]) => {
                let gradient = gradient.into_tensor(kind, [*a, *b, *c, *d]);
                grads.register(id, as_dtype(gradient, weight));
            }
            (gradient, shape) => {
                let shape: [usize; 5] = std::array::from_fn(|axis| shape[axis]);
                let gradient = gradient.into_tensor(kind, shape);
                grads.register(id, as_dtype(gradient, weight));
            }
        }
        if let Some((id, gradient)) = layer.bias.zip(self.bias) {
            grads.register(id, as_dtype(gradient, bias));
        }
    }

    /// Clips the gradients.
    pub(crate) fn map<A: AutodiffBackend<InnerBackend = B>>(
        &mut self,
        preparation: &Preparation<A>,
    ) {
        match &mut self.weight {
            WeightGradient::Matrix(weight) => replace(weight, |weight| preparation.apply(weight)),
            WeightGradient::Kernel(weight) => replace(weight, |weight| preparation.apply(weight)),
        }
        if let Some(bias) = &mut self.bias {
            replace(bias, |bias| preparation.apply(bias));
        }
    }

    /// The same with another gradient of the weight.
    pub(super) fn with_weight(
        self,
        matrix: impl FnOnce(Tensor<B, 2>) -> Tensor<B, 2>,
        kernel: impl FnOnce(Tensor<B, 4>) -> Tensor<B, 4>,
    ) -> Self {
        Self {
            weight: match self.weight {
                WeightGradient::Matrix(weight) => WeightGradient::Matrix(matrix(weight)),
                WeightGradient::Kernel(weight) => WeightGradient::Kernel(kernel(weight)),
            },
            ..self
        }
    }

    /// The sum of the products with the elements of another gradient of the layer, `[1]`.
    pub(crate) fn dot(&self, other: &Self) -> Tensor<B, 1> {
        let weight = match (&self.weight, &other.weight) {
            (WeightGradient::Matrix(left), WeightGradient::Matrix(right)) => product(left, right),
            (WeightGradient::Kernel(left), WeightGradient::Kernel(right)) => product(left, right),
            _ => unreachable!("both are of one layer"),
        };
        match (&self.bias, &other.bias) {
            (Some(left), Some(right)) => weight + product(left, right),
            _ => weight,
        }
    }

    /// Multiplied by a number on a device, `[1]`.
    pub(crate) fn scaled(self, factor: &Tensor<B, 1>) -> Self {
        let device = self.weight.device();
        let factor = as_dtype(factor.clone().to_device(&device), self.weight.dtype());
        let (for_matrix, for_kernel) = (factor.clone(), factor.clone());
        let bias = self.bias.clone().map(|bias| bias * factor);
        let scaled = self.with_weight(
            |weight| weight * for_matrix.reshape([1, 1]),
            |kernel| kernel * for_kernel.reshape([1, 1, 1, 1]),
        );
        Self { bias, ..scaled }
    }

    pub(crate) fn size_output(&self) -> usize {
        match &self.weight {
            WeightGradient::Matrix(weight) => weight.dims()[1],
            WeightGradient::Kernel(weight) => weight.dims()[0],
        }
    }

    /// This gradient with what a function makes of each block of its outputs, as rows `[groups, outputs, size_input]`, with a last column
    /// for the bias if `augmented`.
    pub(super) fn map_blocks(
        self,
        kind: LayerKind,
        augmented: bool,
        function: impl Fn(OutputBlock, Tensor<B, 3>) -> Tensor<B, 3>,
    ) -> Self {
        let rows = self.to_rows(kind.groups(), augmented);
        let blocks = kind.output_blocks(self.size_output());
        let rows = match blocks[..] {
            [block] => function(block, rows),
            _ => {
                let parts = blocks.into_iter().map(|block| {
                    let rows = rows.clone().narrow(1, block.start, block.outputs);
                    function(block, rows)
                });
                Tensor::cat(parts.collect(), 1)
            }
        };
        self.with_rows(rows, augmented)
    }

    /// The gradient as `[groups, size_output / groups, size_input]`, with a last column for the bias if `augmented`: 0 where
    /// the bias is not trained.
    pub(crate) fn to_rows(&self, groups: usize, augmented: bool) -> Tensor<B, 3> {
        let rows = match &self.weight {
            WeightGradient::Matrix(weight) => weight.clone().transpose().unsqueeze_dim(0),
            WeightGradient::Kernel(weight) => {
                let [out, channels, height, width] = weight.dims();
                let size = channels * height * width;
                weight.clone().reshape([groups, out / groups, size])
            }
        };
        if !augmented {
            return rows;
        }
        let [groups, out, _] = rows.dims();
        let bias = match &self.bias {
            Some(bias) => bias.clone().reshape([groups, out, 1]),
            None => Tensor::zeros([groups, out, 1], (&rows.device(), rows.dtype())),
        };
        Tensor::cat(vec![rows, bias], 2)
    }

    /// This gradient with the values of [`to_rows`](Self::to_rows)'s form.
    pub(crate) fn with_rows(self, rows: Tensor<B, 3>, augmented: bool) -> Self {
        let [groups, out, width] = rows.dims();
        let size = width - usize::from(augmented);
        let bias = self.bias.map(|_| {
            let bias = rows.clone().narrow(2, size, 1);
            bias.reshape([groups * out])
        });
        let weight = rows.narrow(2, 0, size);
        Self {
            weight: match self.weight {
                WeightGradient::Matrix(_) => {
                    WeightGradient::Matrix(weight.squeeze_dim::<2>(0).transpose())
                }
                WeightGradient::Kernel(before) => {
                    WeightGradient::Kernel(weight.reshape(before.dims()))
                }
            },
            bias,
            ..self
        }
    }
}

impl<B: Backend> WeightGradient<B> {
    /// Of a layer of this kind.
    pub(crate) fn of<const D: usize>(kind: LayerKind, weight: Tensor<B, D>) -> Self {
        let shape = weight.dims();
        let (_, size) = kind.means_and_size(&shape);
        let outputs = kind.size_output(&shape);
        match kind.of_gradient() {
            LayerKind::Conv2d { .. } if kind.has_outputs_first() => {
                let last = if D > 2 { shape[D - 1] } else { 1 };
                let rows = size / shape[1] / last;
                Self::Kernel(weight.reshape([outputs, shape[1], rows, last]))
            }
            LayerKind::Conv2d { groups } => {
                let matrices = weight.reshape([groups, size, outputs / groups]);
                Self::Kernel(matrices.swap_dims(1, 2).reshape([outputs, size, 1, 1]))
            }
            _ => Self::Matrix(weight.reshape([size, outputs])),
        }
    }

    /// The inverse of [`of`](Self::of).
    pub(crate) fn into_tensor<const D: usize>(
        self,
        kind: LayerKind,
        shape: [usize; D],
    ) -> Tensor<B, D> {
        match self {
            Self::Matrix(weight) => weight.reshape(shape),
            Self::Kernel(weight) if kind.has_outputs_first() => weight.reshape(shape),
            Self::Kernel(weight) => {
                let [outputs, size, ..] = weight.dims();
                let groups = kind.groups();
                let rows = weight.reshape([groups, outputs / groups, size]);
                rows.swap_dims(1, 2).reshape(shape)
            }
        }
    }

    fn with_shape<const D: usize>(kind: LayerKind, weight: Tensor<B, D>) -> (Self, Shape) {
        let shape = weight.shape();
        (Self::of(kind, weight), shape)
    }

    fn and_shape(self) -> (Self, Shape) {
        let shape = self.shape();
        (self, shape)
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Matrix(weight) => weight.shape(),
            Self::Kernel(weight) => weight.shape(),
        }
    }

    pub(crate) fn device(&self) -> B::Device {
        match self {
            Self::Matrix(weight) => weight.device(),
            Self::Kernel(weight) => weight.device(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Matrix(weight) => weight.dtype(),
            Self::Kernel(weight) => weight.dtype(),
        }
    }
}

fn product<B: Backend, const D: usize>(left: &Tensor<B, D>, right: &Tensor<B, D>) -> Tensor<B, 1> {
    (left.clone() * right.clone()).sum()
}

/// Replaces a tensor by what a function makes of it.
fn replace<B: Backend, const D: usize>(
    tensor: &mut Tensor<B, D>,
    function: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
) {
    let empty = Tensor::empty([0; D], (&tensor.device(), tensor.dtype()));
    *tensor = function(std::mem::replace(tensor, empty));
}
