//! The operations in which parameters are seen. They do what [`Autodiff`]'s do; where a parameter is the weight of a linear map, its recorder is given the
//! input and the output.

use crate::backend::{Inner, Recording};
use crate::leaves::{self, Bias, Leaf, Map, Weight};
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
        let (recorder, used_in_several_ways) = match leaf_of::<B, C>(tensor) {
            Some(leaf) => leaf.seen(),
            None => (None, false),
        };
        RecordedParameter {
            id: leaves::id(tensor.node.id),
            recorder,
            used_in_several_ways,
        }
    }

    fn separated(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        // It goes on requiring a gradient, as a leaf that nothing is known of.
        Autodiff::<B, C>::float_detach(tensor)
    }
}

/// A pass of a linear map whose weight is a parameter.
struct Pass<B: Backend, C: CheckpointStrategy> {
    weight: Weight,
    /// The shape of the parameter.
    shape: Shape,
    bias: Bias,
    input: Float<B, C>,
}

impl<B: Backend, C: CheckpointStrategy> Pass<B, C> {
    /// Of an operation with this weight; none if that is no parameter.
    fn of(input: &Float<B, C>, weight: &Float<B, C>, bias: Option<&Float<B, C>>) -> Option<Self> {
        let shape = weight.shape();
        Some(Self::with(input, weight_of::<B, C>(weight)?, shape, bias))
    }

    /// Of an operation with the numbers of a parameter in a tensor of this shape.
    fn with(
        input: &Float<B, C>,
        weight: Weight,
        mut shape: Shape,
        bias: Option<&Float<B, C>>,
    ) -> Self {
        if weight.transposed {
            shape.reverse();
        }
        let bias = bias.map_or(Bias::None, |bias| match weight_of::<B, C>(bias) {
            Some(parameter) => Bias::Parameter(parameter.leaf.id()),
            None if !bias.is_tracked() => Bias::Fixed(leaves::id(bias.node.id)),
            // One that is made of parameters is none itself.
            None => Bias::None,
        });
        Self {
            weight,
            shape,
            bias,
            input: input.clone(),
        }
    }

    /// The recorder of the weight, and what it is to know of it; none if it is the weight of another map too.
    fn recorder(&self, map: Map) -> Option<(RecorderOf<B, C>, SeenWeight)> {
        let (id, recorder) = self.weight.leaf.recorder(map, self.bias)?;
        let weight = SeenWeight {
            id,
            bias: self.bias.id(),
            shape: self.shape.clone(),
        };
        Some((recorder, weight))
    }

    /// Records `input · weight`, or with the parameter transposed.
    fn linear(self, output: Float<B, C>) -> Float<B, C> {
        let transposed = self.weight.transposed;
        let map = match transposed {
            false => Map::Linear,
            true => Map::TransposedLinear,
        };
        let Some((recorder, weight)) = self.recorder(map) else {
            return output;
        };
        let input = self.input;
        macro_rules! record {
            ($($rank:literal)*) => {
                match output.rank() {
                    $($rank => {
                        let input = tensor::<B, C, $rank>(input);
                        let output = tensor::<B, C, $rank>(output);
                        primitive(recorder.record_seen_linear(&weight, transposed, &input, output))
                    })*
                    // A tensor of more axes is no batch of rows.
                    _ => output,
                }
            };
        }
        record!(2 3 4 5 6)
    }

    fn convolution<const N: usize, const D: usize>(
        self,
        options: &ConvOptions<N>,
        output: Float<B, C>,
    ) -> Float<B, C> {
        let groups = options.groups;
        let Some((recorder, weight)) = self.recorder(Map::Convolution { groups }) else {
            return output;
        };
        let (input, output) = (tensor::<B, C, D>(self.input), tensor::<B, C, D>(output));
        primitive(recorder.record_seen_convolution(&weight, options, &input, output))
    }

    fn transposed_convolution<const N: usize, const D: usize>(
        self,
        options: &ConvTransposeOptions<N>,
        output: Float<B, C>,
    ) -> Float<B, C> {
        let groups = options.groups;
        let Some((recorder, weight)) = self.recorder(Map::TransposedConvolution { groups }) else {
            return output;
        };
        let (input, output) = (tensor::<B, C, D>(self.input), tensor::<B, C, D>(output));
        primitive(recorder.record_seen_transposed_convolution(&weight, options, &input, output))
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
            transposed: false,
        }),
        // What is not tracked is no parameter in another layout.
        None if tensor.is_tracked() => leaves::viewed(tensor.node.id),
        None => None,
    }
}

/// The parameter whose numbers a tensor has as a matrix, with axes of 1 before, and the shape of that.
fn matrix_of<B: Backend, C: CheckpointStrategy>(tensor: &Float<B, C>) -> Option<(Weight, Shape)> {
    let weight = weight_of::<B, C>(tensor)?;
    let shape = tensor.shape();
    let (before, matrix) = shape.split_at(shape.rank().checked_sub(2)?);
    let is_matrix = before.iter().all(|length| *length == 1);
    is_matrix.then(|| (weight, Shape::from(matrix)))
}

/// Records a map whose weight is a parameter, if it is.
fn recorded<B: Backend, C: CheckpointStrategy>(
    pass: Option<Pass<B, C>>,
    output: Float<B, C>,
    record: impl FnOnce(Pass<B, C>, Float<B, C>) -> Float<B, C>,
) -> Float<B, C> {
    match pass {
        Some(pass) => record(pass, output),
        None => output,
    }
}

/// Enters a tensor that has a parameter's numbers in another layout.
fn enter_view<B: Backend, C: CheckpointStrategy>(
    weight: Option<(Weight, Shape)>,
    swaps: bool,
    view: Float<B, C>,
) -> Float<B, C> {
    if let Some((weight, _)) = weight {
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
    let pass = Pass::<B, C>::of(&x, &weight, bias.as_ref());
    let output = Autodiff::<B, C>::linear(x, weight, bias);
    recorded(pass, output, Pass::linear)
}

pub(crate) fn embedding<B: Backend, C: CheckpointStrategy>(
    weights: Float<B, C>,
    indices: IntTensor<B>,
) -> Float<B, C> {
    let pass = Pass::<B, C>::of(&weights, &weights, None).filter(|pass| !pass.weight.transposed);
    let tokens = indices.clone();
    let output = Autodiff::<B, C>::embedding(weights, indices);
    recorded(pass, output, |pass, output| {
        let Some((recorder, weight)) = pass.recorder(Map::Embedding) else {
            return output;
        };
        let tokens = Tensor::<Recording<Autodiff<B, C>>, 2, Int>::from_primitive(tokens);
        let output = tensor::<B, C, 3>(output);
        primitive(recorder.record_seen_embedding(&weight, &tokens, output))
    })
}

pub(crate) fn conv1d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvOptions<1>,
) -> Float<B, C> {
    let pass = Pass::<B, C>::of(&x, &weight, bias.as_ref());
    let output = Autodiff::<B, C>::conv1d(x, weight, bias, options.clone());
    recorded(pass, output, |pass, output| {
        pass.convolution::<1, 3>(&options, output)
    })
}

pub(crate) fn conv2d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvOptions<2>,
) -> Float<B, C> {
    let pass = Pass::<B, C>::of(&x, &weight, bias.as_ref());
    let output = Autodiff::<B, C>::conv2d(x, weight, bias, options.clone());
    recorded(pass, output, |pass, output| {
        pass.convolution::<2, 4>(&options, output)
    })
}

pub(crate) fn conv3d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvOptions<3>,
) -> Float<B, C> {
    let pass = Pass::<B, C>::of(&x, &weight, bias.as_ref());
    let output = Autodiff::<B, C>::conv3d(x, weight, bias, options.clone());
    recorded(pass, output, |pass, output| {
        pass.convolution::<3, 5>(&options, output)
    })
}

pub(crate) fn conv_transpose1d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvTransposeOptions<1>,
) -> Float<B, C> {
    let pass = Pass::<B, C>::of(&x, &weight, bias.as_ref());
    let output = Autodiff::<B, C>::conv_transpose1d(x, weight, bias, options.clone());
    recorded(pass, output, |pass, output| {
        pass.transposed_convolution::<1, 3>(&options, output)
    })
}

pub(crate) fn conv_transpose2d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvTransposeOptions<2>,
) -> Float<B, C> {
    let pass = Pass::<B, C>::of(&x, &weight, bias.as_ref());
    let output = Autodiff::<B, C>::conv_transpose2d(x, weight, bias, options.clone());
    recorded(pass, output, |pass, output| {
        pass.transposed_convolution::<2, 4>(&options, output)
    })
}

pub(crate) fn conv_transpose3d<B: Backend, C: CheckpointStrategy>(
    x: Float<B, C>,
    weight: Float<B, C>,
    bias: Option<Float<B, C>>,
    options: ConvTransposeOptions<3>,
) -> Float<B, C> {
    let pass = Pass::<B, C>::of(&x, &weight, bias.as_ref());
    let output = Autodiff::<B, C>::conv_transpose3d(x, weight, bias, options.clone());
    recorded(pass, output, |pass, output| {
        pass.transposed_convolution::<3, 5>(&options, output)
    })
}

/// A product with a parameter, plain or transposed. If the parameter comes first, the columns of the other factor are the inputs.
pub(crate) fn float_matmul<B: Backend, C: CheckpointStrategy>(
    lhs: Float<B, C>,
    rhs: Float<B, C>,
) -> Float<B, C> {
    match (matrix_of::<B, C>(&lhs), matrix_of::<B, C>(&rhs)) {
        (None, Some((weight, shape))) => {
            let pass = Pass::<B, C>::with(&lhs, weight, shape, None);
            pass.linear(Autodiff::<B, C>::float_matmul(lhs, rhs))
        }
        (Some((weight, shape)), None) => {
            let transposed = |tensor: Float<B, C>| Autodiff::<B, C>::float_transpose(tensor);
            let mut pass = Pass::<B, C>::with(&rhs, weight, shape, None);
            pass.weight.transposed = !pass.weight.transposed;
            pass.input = transposed(pass.input);
            let output = transposed(Autodiff::<B, C>::float_matmul(lhs, rhs));
            transposed(pass.linear(output))
        }
        // Without a parameter; or a product of two, which has no inputs.
        _ => Autodiff::<B, C>::float_matmul(lhs, rhs),
    }
}

pub(crate) fn float_transpose<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
) -> Float<B, C> {
    let matrix = matrix_of::<B, C>(&tensor);
    enter_view::<B, C>(matrix, true, Autodiff::<B, C>::float_transpose(tensor))
}

pub(crate) fn float_swap_dims<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    dim1: usize,
    dim2: usize,
) -> Float<B, C> {
    let last = tensor.rank().saturating_sub(1);
    let matrix = matrix_of::<B, C>(&tensor);
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
    let matrix = matrix.filter(|_| swaps.is_some());
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
    let view = Autodiff::<B, C>::float_reshape(tensor, shape);
    enter_view::<B, C>(matrix, false, view)
}

/// With mixed precision a parameter is used in another type.
pub(crate) fn float_cast<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    dtype: FloatDType,
) -> Float<B, C> {
    let weight = weight_of::<B, C>(&tensor).map(|weight| (weight, tensor.shape()));
    let view = Autodiff::<B, C>::float_cast(tensor, dtype);
    enter_view::<B, C>(weight, false, view)
}

pub(crate) fn float_to_device<B: Backend, C: CheckpointStrategy>(
    tensor: Float<B, C>,
    device: &Device<B>,
) -> Float<B, C> {
    let leaf = leaf_of::<B, C>(&tensor);
    let moved = Autodiff::<B, C>::float_to_device(tensor, device);
    leaves::note_move(leaf, moved.node.id);
    moved
}

pub(crate) fn float_detach<B: Backend, C: CheckpointStrategy>(tensor: Float<B, C>) -> Float<B, C> {
    let (node, leaf) = (tensor.node.id, leaf_of::<B, C>(&tensor));
    let detached = Autodiff::<B, C>::float_detach(tensor);
    leaves::note_detachment(node, leaf, detached.node.id);
    if is_leaf::<B, C>(&detached) {
        leaves::link::<Recording<Autodiff<B, C>>>(&detached.rc);
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
        leaves::link::<Recording<Autodiff<B, C>>>(&tensor.rc);
    }
    tensor
}

pub(crate) fn inner<B: Inner, C: CheckpointStrategy>(tensor: Float<B, C>) -> FloatTensor<B> {
    let leaf = leaf_of::<B, C>(&tensor);
    leaves::note_inner(tensor.node.id, leaf, || tensor.shape());
    Autodiff::<B, C>::inner(tensor)
}

pub(crate) fn from_inner<B: Inner, C: CheckpointStrategy>(tensor: FloatTensor<B>) -> Float<B, C> {
    let tensor = Autodiff::<B, C>::from_inner(tensor);
    leaves::note_outer(tensor.node.id, || tensor.shape());
    tensor
}
