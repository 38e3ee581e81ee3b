//! The operations in which parameters are seen. They do what [`Autodiff`]'s do; where a parameter is the weight of a linear map, its recorder is given the
//! input and the output.

use crate::backend::{Inner, Recording};
use crate::leaves::{self, Leaf, Weight};
use crate::links;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::{Int, Tensor};
use burn_backend::backend::{AutodiffBackend, Backend};
use burn_backend::ops::{ConvOptions, ConvTransposeOptions, FloatTensorOps, ModuleOps};
use burn_backend::tensor::{Device, FloatTensor, IntTensor};
use burn_backend::{FloatDType, Shape, TensorMetadata, TensorPrimitive};
use mac_burn::Recorder;
use mac_burn::recording_backend::{self, RecordedParameter, RecordingBackend, SeenWeight};

/// A float tensor of `Autodiff`, and so of `Recording`.
type Float<B, C> = FloatTensor<Autodiff<B, C>>;

type RecorderOf<B, C> = Recorder<Recording<Autodiff<B, C>>>;

impl<B: Backend, C: CheckpointStrategy> RecordingBackend for Recording<Autodiff<B, C>> {
    type Inner = B;

    fn parameter(tensor: &FloatTensor<Self>) -> RecordedParameter<Self> {
        RecordedParameter {
            id: leaves::id(tensor.node.id),
            recorder: leaf_of::<B, C>(tensor).and_then(|leaf| leaf.existing_recorder()),
        }
    }

    fn separated(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        // It goes on requiring a gradient, as a leaf that nothing is known of.
        Autodiff::<B, C>::float_detach(tensor)
    }
}

/// A parameter as the weight of an operation, with its recorder.
struct Seen<B: Backend, C: CheckpointStrategy> {
    recorder: RecorderOf<B, C>,
    weight: SeenWeight,
    /// Whether the operation has its transpose.
    transposed: bool,
}

impl<B: Backend, C: CheckpointStrategy> Seen<B, C> {
    /// A parameter whose numbers an operation has in a tensor of this shape.
    fn new(parameter: &Weight, mut shape: Shape, bias: Option<&Float<B, C>>) -> Self {
        if parameter.transposed {
            shape.reverse();
        }
        let (id, recorder) = parameter.leaf.recorder();
        let bias = bias.and_then(|bias| match weight_of::<B, C>(bias) {
            Some(parameter) => Some(parameter.leaf.id()),
            // One that is not trained adds to the output as well. One that is computed from parameters is not itself a parameter.
            None => (!bias.is_tracked()).then(|| leaves::id(bias.node.id)),
        });
        Self {
            recorder,
            weight: SeenWeight { id, bias, shape },
            transposed: parameter.transposed,
        }
    }

    /// The weight of an operation that is given it as it is; none if that is no parameter.
    fn of(weight: &Float<B, C>, bias: Option<&Float<B, C>>) -> Option<Self> {
        let parameter = weight_of::<B, C>(weight).filter(|parameter| !parameter.transposed)?;
        Some(Self::new(&parameter, weight.shape(), bias))
    }

    /// Records `input · weight`, or with the parameter transposed.
    fn record_linear(self, input: Float<B, C>, output: Float<B, C>) -> Float<B, C> {
        let Self {
            recorder,
            weight,
            transposed,
        } = self;
        macro_rules! record {
            ($($rank:literal)*) => {
                match output.rank() {
                    $($rank => {
                        let input = tensor::<B, C, $rank>(input);
                        let output = tensor::<B, C, $rank>(output);
                        primitive(recorder.record_seen_linear(&weight, transposed, &input, output))
                    })*
                    // Tensors of more than six axes are not recorded.
                    _ => output,
                }
            };
        }
        record!(2 3 4 5 6)
    }
}

fn tensor<B: Backend, C: CheckpointStrategy, const D: usize>(
    primitive: Float<B, C>,
) -> Tensor<Recording<Autodiff<B, C>>, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn primitive<B: Backend, C: CheckpointStrategy, const D: usize>(
    tensor: Tensor<Recording<Autodiff<B, C>>, D>,
) -> Float<B, C> {
    tensor.into_primitive().tensor()
}

fn is_leaf<B: Backend, C: CheckpointStrategy>(tensor: &Float<B, C>) -> bool {
    Autodiff::<B, C>::float_is_require_grad(tensor)
}

/// The leaf that a tensor is, if it requires a gradient.
fn leaf_of<B: Backend, C: CheckpointStrategy>(tensor: &Float<B, C>) -> Option<Leaf> {
    is_leaf::<B, C>(tensor).then(|| Leaf::new(&tensor.rc))
}

/// The parameter that a tensor is, as it is or in another layout.
fn weight_of<B: Backend, C: CheckpointStrategy>(tensor: &Float<B, C>) -> Option<Weight> {
    match leaf_of::<B, C>(tensor) {
        Some(leaf) => Some(Weight {
            leaf,
            is_matrix: tensor.rank() == 2,
            transposed: false,
        }),
        // An untracked tensor is no parameter in another layout.
        None if tensor.is_tracked() => leaves::viewed(tensor.node.id),
        None => None,
    }
}

/// The parameter of two axes behind a tensor of the shape `[1, .., rows, columns]`, and `[rows, columns]`.
fn matrix_of<B: Backend, C: CheckpointStrategy>(tensor: &Float<B, C>) -> Option<(Weight, Shape)> {
    let weight = weight_of::<B, C>(tensor).filter(|weight| weight.is_matrix)?;
    let shape = tensor.shape();
    let (before, matrix) = shape.split_at(shape.rank().checked_sub(2)?);
    let is_matrix = before.iter().all(|length| *length == 1);
    is_matrix.then(|| (weight, Shape::from(matrix)))
}

/// Enters a tensor that has a parameter's numbers in another layout.
fn enter_view<B: Backend, C: CheckpointStrategy>(
    weight: Option<Weight>,
    swaps: bool,
    view: Float<B, C>,
) -> Float<B, C> {
    if let Some(weight) = weight {
        let transposed = weight.transposed != swaps;
        leaves::enter_view(
            &view.rc,
            Weight {
                transposed,
                ..weight
            },
        );
    }
    view
}

pub(crate) fn linear<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
) -> Float<B, C> {
    let seen = matrix_of::<B, C>(&weight)
        .map(|(parameter, shape)| Seen::<B, C>::new(&parameter, shape, bias.as_ref()));
    let Some(seen) = seen else {
        return Autodiff::<B, C>::linear(x, weight, bias);
    };
    let output = Autodiff::<B, C>::linear(x.clone(), weight, bias);
    seen.record_linear(x, output)
}

pub(crate) fn embedding<B: Backend, C: CheckpointStrategy>(
    weights: Float<B, C>,
    indices: IntTensor<B>,
) -> Float<B, C> {
    let Some(seen) = Seen::<B, C>::of(&weights, None) else {
        return Autodiff::<B, C>::embedding(weights, indices);
    };
    let output = Autodiff::<B, C>::embedding(weights, indices.clone());
    let tokens = Tensor::<Recording<Autodiff<B, C>>, 2, Int>::from_primitive(indices);
    let output = tensor::<B, C, 3>(output);
    primitive(
        seen.recorder
            .record_seen_embedding(&seen.weight, &tokens, output),
    )
}

/// Convolutions over so many axes, with images of so many.
macro_rules! convolutions {
    ($options:ident, $record:ident: $($name:ident $axes:literal $rank:literal,)*) => {
        $(pub(crate) fn $name<B: Backend, C: CheckpointStrategy>(
            x: Float<B, C>,
            weight: Float<B, C>,
            bias: Option<Float<B, C>>,
            options: $options<$axes>,
        ) -> Float<B, C> {
            let Some(seen) = Seen::<B, C>::of(&weight, bias.as_ref()) else {
                return Autodiff::<B, C>::$name(x, weight, bias, options);
            };
            let output = Autodiff::<B, C>::$name(x.clone(), weight, bias, options.clone());
            let (input, output) = (tensor::<B, C, $rank>(x), tensor::<B, C, $rank>(output));
            primitive(seen.recorder.$record(&seen.weight, &options, &input, output))
        })*
    };
}

convolutions!(ConvOptions, record_seen_convolution:
    conv1d 1 3,
    conv2d 2 4,
    conv3d 3 5,
);

convolutions!(ConvTransposeOptions, record_seen_transposed_convolution:
    conv_transpose1d 1 3,
    conv_transpose2d 2 4,
    conv_transpose3d 3 5,
);

/// A product with a parameter, plain or transposed. If the parameter comes first, the columns of the other factor are the inputs.
pub(crate) fn float_matmul<B: Backend, C: CheckpointStrategy>(
    lhs: Float<B, C>,
    rhs: Float<B, C>,
) -> Float<B, C> {
    match (matrix_of::<B, C>(&lhs), matrix_of::<B, C>(&rhs)) {
        (None, Some((parameter, shape))) => {
            let seen = Seen::<B, C>::new(&parameter, shape, None);
            let output = Autodiff::<B, C>::float_matmul(lhs.clone(), rhs);
            seen.record_linear(lhs, output)
        }
        (Some((parameter, shape)), None) => {
            let mut seen = Seen::<B, C>::new(&parameter, shape, None);
            let device = Autodiff::<B, C>::float_device(&rhs);
            if !seen.recorder.wants_pass(&device) {
                return Autodiff::<B, C>::float_matmul(lhs, rhs);
            }
            seen.transposed = !seen.transposed;
            let transposed = |tensor: Float<B, C>| Autodiff::<B, C>::float_transpose(tensor);
            let output = Autodiff::<B, C>::float_matmul(lhs, rhs.clone());
            transposed(seen.record_linear(transposed(rhs), transposed(output)))
        }
        // Without a parameter; or a product of two, which has no inputs.
        _ => Autodiff::<B, C>::float_matmul(lhs, rhs),
    }
}

pub(crate) fn float_transpose<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
) -> Float<B, C> {
    let matrix = matrix_of::<B, C>(&tensor).map(|(weight, _)| weight);
    enter_view::<B, C>(matrix, true, Autodiff::<B, C>::float_transpose(tensor))
}

pub(crate) fn float_swap_dims<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    dim1: usize,
    dim2: usize,
) -> Float<B, C> {
    let last = tensor.rank().saturating_sub(1);
    let matrix = matrix_of::<B, C>(&tensor);
    let matrix = matrix.map(|(weight, _)| weight);
    let matrix = matrix.filter(|_| [dim1.min(dim2) + 1, dim1.max(dim2)] == [last, last]);
    let view = Autodiff::<B, C>::float_swap_dims(tensor, dim1, dim2);
    enter_view::<B, C>(matrix, true, view)
}

pub(crate) fn float_permute<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    axes: &[usize],
) -> Float<B, C> {
    let matrix = matrix_of::<B, C>(&tensor);
    let rank = axes.len();
    // The axes before the last two have a length of 1.
    let swaps = match axes.get(rank.saturating_sub(2)..) {
        Some([left, right]) if *left.min(right) + 2 == rank => Some(left > right),
        _ => None,
    };
    let matrix = matrix.filter(|_| swaps.is_some()).map(|(weight, _)| weight);
    let view = Autodiff::<B, C>::float_permute(tensor, axes);
    enter_view::<B, C>(matrix, swaps.unwrap_or_default(), view)
}

pub(crate) fn float_reshape<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    shape: Shape,
) -> Float<B, C> {
    let matrix = matrix_of::<B, C>(&tensor);
    // With other axes of 1 before it.
    let matrix = matrix.filter(|(_, matrix)| shape.ends_with(matrix));
    let matrix = matrix.map(|(weight, _)| weight);
    let view = Autodiff::<B, C>::float_reshape(tensor, shape);
    enter_view::<B, C>(matrix, false, view)
}

/// With mixed precision a parameter is used in another type.
pub(crate) fn float_cast<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    dtype: FloatDType,
) -> Float<B, C> {
    let weight = weight_of::<B, C>(&tensor);
    let view = Autodiff::<B, C>::float_cast(tensor, dtype);
    enter_view::<B, C>(weight, false, view)
}

pub(crate) fn float_to_device<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    device: &Device<B>,
) -> Float<B, C> {
    let leaf = leaf_of::<B, C>(&tensor);
    let moved = Autodiff::<B, C>::float_to_device(tensor, device);
    links::note_move(leaf, moved.node.id);
    moved
}

pub(crate) fn float_detach<B: Backend, C: CheckpointStrategy>(tensor: Float<B, C>) -> Float<B, C> {
    let (node, leaf) = (tensor.node.id, leaf_of::<B, C>(&tensor));
    let detached = Autodiff::<B, C>::float_detach(tensor);
    links::note_detachment(node, leaf, detached.node.id);
    if is_leaf::<B, C>(&detached) {
        links::link::<Recording<Autodiff<B, C>>>(&detached.rc);
    }
    detached
}

pub(crate) fn float_set_require_grad<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    require_grad: bool,
) -> Float<B, C> {
    let is_new = require_grad && !tensor.is_tracked();
    let tensor = Autodiff::<B, C>::float_set_require_grad(tensor, require_grad);
    if is_new {
        recording_backend::register::<Recording<Autodiff<B, C>>>();
        links::link::<Recording<Autodiff<B, C>>>(&tensor.rc);
    }
    tensor
}

pub(crate) fn backward<B: Inner, C: CheckpointStrategy>(
    tensor: Float<B, C>,
) -> <Autodiff<B, C> as AutodiffBackend>::Gradients {
    links::note_backward();
    Autodiff::<B, C>::backward(tensor)
}

pub(crate) fn inner<B: Inner, C: CheckpointStrategy>(tensor: Float<B, C>) -> FloatTensor<B> {
    let leaf = leaf_of::<B, C>(&tensor);
    links::note_inner(tensor.node.id, leaf, || tensor.shape());
    Autodiff::<B, C>::inner(tensor)
}

pub(crate) fn from_inner<B: Inner, C: CheckpointStrategy>(tensor: FloatTensor<B>) -> Float<B, C> {
    let tensor = Autodiff::<B, C>::from_inner(tensor);
    links::note_outer(tensor.node.id, || tensor.shape());
    tensor
}
