//! Values of Burn's whose type names their backend: the same value, as one of a backend with the same primitives.

use burn_backend::TensorPrimitive;
use burn_backend::backend::Backend;
use burn_backend::ops::{
    DeformConv2dBackward, MaxPool1dBackward, MaxPool1dWithIndices, MaxPool2dBackward,
    MaxPool2dWithIndices, TransactionPrimitive,
};
use burn_backend::tensor::quantization::QuantizationParametersPrimitive;
use burn_backend::tensor::{BoolTensor, FloatTensor, IntTensor, QuantizedTensor};

/// A value that is a `T` but for the backend in its type.
pub(crate) trait Renamed<T> {
    fn renamed(self) -> T;
}

/// A backend whose tensors are those of `B`.
pub(crate) trait SameTensors<B: Backend>:
    Backend<
        FloatTensorPrimitive = FloatTensor<B>,
        IntTensorPrimitive = IntTensor<B>,
        BoolTensorPrimitive = BoolTensor<B>,
        QuantizedTensorPrimitive = QuantizedTensor<B>,
    >
{
}

impl<A, B> SameTensors<B> for A
where
    B: Backend,
    A: Backend<
            FloatTensorPrimitive = FloatTensor<B>,
            IntTensorPrimitive = IntTensor<B>,
            BoolTensorPrimitive = BoolTensor<B>,
            QuantizedTensorPrimitive = QuantizedTensor<B>,
        >,
{
}

impl<A: Backend, B: SameTensors<A>> Renamed<TensorPrimitive<B>> for TensorPrimitive<A> {
    fn renamed(self) -> TensorPrimitive<B> {
        match self {
            Self::Float(tensor) => TensorPrimitive::Float(tensor),
            Self::QFloat(tensor) => TensorPrimitive::QFloat(tensor),
        }
    }
}

impl<A: Backend, B: SameTensors<A>> Renamed<QuantizationParametersPrimitive<B>>
    for QuantizationParametersPrimitive<A>
{
    fn renamed(self) -> QuantizationParametersPrimitive<B> {
        let Self { scales } = self;
        QuantizationParametersPrimitive { scales }
    }
}

impl<A: Backend, B: SameTensors<A>> Renamed<TransactionPrimitive<B>> for TransactionPrimitive<A> {
    /// Without the order among the kinds, which is private and which Burn takes out before it executes a transaction.
    fn renamed(self) -> TransactionPrimitive<B> {
        TransactionPrimitive::new(
            self.read_floats,
            self.read_qfloats,
            self.read_ints,
            self.read_bools,
        )
    }
}

impl<A: Backend, B: SameTensors<A>> Renamed<DeformConv2dBackward<B>> for DeformConv2dBackward<A> {
    fn renamed(self) -> DeformConv2dBackward<B> {
        let Self {
            x_grad,
            offset_grad,
            weight_grad,
            mask_grad,
            bias_grad,
        } = self;
        DeformConv2dBackward {
            x_grad,
            offset_grad,
            weight_grad,
            mask_grad,
            bias_grad,
        }
    }
}

impl<A: Backend, B: SameTensors<A>> Renamed<MaxPool1dWithIndices<B>> for MaxPool1dWithIndices<A> {
    fn renamed(self) -> MaxPool1dWithIndices<B> {
        let Self { output, indices } = self;
        MaxPool1dWithIndices { output, indices }
    }
}

impl<A: Backend, B: SameTensors<A>> Renamed<MaxPool2dWithIndices<B>> for MaxPool2dWithIndices<A> {
    fn renamed(self) -> MaxPool2dWithIndices<B> {
        let Self { output, indices } = self;
        MaxPool2dWithIndices { output, indices }
    }
}

impl<A: Backend, B: SameTensors<A>> Renamed<MaxPool1dBackward<B>> for MaxPool1dBackward<A> {
    fn renamed(self) -> MaxPool1dBackward<B> {
        let Self { x_grad } = self;
        MaxPool1dBackward { x_grad }
    }
}

impl<A: Backend, B: SameTensors<A>> Renamed<MaxPool2dBackward<B>> for MaxPool2dBackward<A> {
    fn renamed(self) -> MaxPool2dBackward<B> {
        let Self { x_grad } = self;
        MaxPool2dBackward { x_grad }
    }
}
