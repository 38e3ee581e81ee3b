//! A call of a method: arguments of its own, and its results and gradients as data.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor};
use burn_backend::backend::{AutodiffBackend, Backend};
use burn_backend::ops::{
    BoolTensorOps, FloatTensorOps, IntTensorOps, QTensorOps, TransactionPrimitiveData,
};
use burn_backend::quantization::{QuantScheme, QuantStore, QuantValue};
use burn_backend::tensor::{BoolTensor, Device, FloatTensor, IntTensor, QuantizedTensor};
use burn_backend::{
    DType, ExecutionError, FloatDType, QTensorPrimitive, Shape, TensorData, TensorMetadata,
    TensorPrimitive, try_read_sync,
};
use mac_burn_recording::Recording;
use std::any::Any;
use std::cell::Cell;
use std::fmt::{Debug, Formatter, Result as Formatted};
use std::iter;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, Once, PoisonError};

/// A backend that is compared with another.
pub(crate) trait Tested: AutodiffBackend<Device: Default> {
    fn is_tracked(tensor: &FloatTensor<Self>) -> bool;
}

impl<B, C> Tested for Autodiff<B, C>
where
    B: Backend<Device: Default>,
    C: CheckpointStrategy,
{
    fn is_tracked(tensor: &FloatTensor<Self>) -> bool {
        tensor.is_tracked()
    }
}

impl<B, C> Tested for Recording<Autodiff<B, C>>
where
    B: Backend<Device: Default>,
    C: CheckpointStrategy,
{
    fn is_tracked(tensor: &FloatTensor<Self>) -> bool {
        tensor.is_tracked()
    }
}

/// The outcome of a call.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Returned(Vec<Piece>),
    /// With this text.
    Panicked(String),
}

impl Outcome {
    /// The parts of it that another has not got.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let (Self::Returned(these), Self::Returned(others)) = (self, other) else {
            return format!("{self:?} instead of {other:?}");
        };
        let padded = others.iter().map(Some).chain(iter::repeat(None));
        let different: Vec<_> = these
            .iter()
            .zip(padded)
            .enumerate()
            .filter(|(_, (this, other))| Some(*this) != *other)
            .map(|(index, (this, other))| format!("at {index} {this:?} instead of {other:?}"))
            .collect();
        format!(
            "{} parts instead of {}, {}",
            these.len(),
            others.len(),
            different.join(", ")
        )
    }
}

/// A part of a result, or a gradient.
#[derive(PartialEq)]
pub(crate) enum Piece {
    /// Its bytes, since a NaN does not equal itself.
    Data {
        of: &'static str,
        dtype: DType,
        shape: Shape,
        bytes: Vec<u8>,
    },
    Text(String),
}

impl Debug for Piece {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Formatted {
        match self {
            Self::Data {
                of,
                dtype,
                shape,
                bytes,
            } => {
                let hash = bytes.iter().fold(0u32, |hash, byte| {
                    hash.wrapping_mul(31).wrapping_add((*byte).into())
                });
                write!(formatter, "{of} {dtype:?} {:?} #{hash:x}", shape.as_slice())
            }
            Self::Text(text) => write!(formatter, "{text:?}"),
        }
    }
}

impl Piece {
    fn new(of: &'static str, data: TensorData) -> Self {
        Self::Data {
            of,
            dtype: data.dtype,
            bytes: data.as_bytes().to_vec(),
            shape: data.shape,
        }
    }
}

/// Calls a method with arguments of the call, and gives it the results.
pub(crate) type Method<R> = fn(&mut Call<R>);

/// Of a process, as the generator of random tensors is.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Calls a method, and then backward from its results to its arguments.
pub(crate) fn outcome<R: Tested>(method: Method<R>) -> Outcome {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let returned = caught(|| {
        let mut call = Call::new();
        R::InnerBackend::seed(&call.device, 1);
        method(&mut call);
        call.backward();
        call.pieces
    });
    match returned {
        Ok(pieces) => Outcome::Returned(pieces),
        Err(payload) => Outcome::Panicked(text(payload)),
    }
}

/// The value that a function returns, or its panic, which is not printed.
fn caught<T>(function: impl FnOnce() -> T) -> std::thread::Result<T> {
    thread_local! {
        static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                print(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let returned = catch_unwind(AssertUnwindSafe(function));
    IS_QUIET.set(false);
    returned
}

fn text(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast::<String>().map(|text| *text);
    text.or_else(|payload| payload.downcast::<&str>().map(|text| text.to_string()))
        .unwrap_or_else(|_| "no text".to_owned())
}

/// The value of a future that need not wait.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    try_read_sync(future).expect("a backend of processors reads at once")
}

/// Arguments for one call of a method of `R`, and what came of it.
pub(crate) struct Call<R: Tested> {
    device: Device<R>,
    /// How many arguments there are so far: each has values of its own.
    arguments: usize,
    /// Arguments that have a gradient.
    leaves: Vec<FloatTensor<R>>,
    /// Results that have a graph.
    tracked: Vec<FloatTensor<R>>,
    pieces: Vec<Piece>,
}

type Inner<R> = <R as AutodiffBackend>::InnerBackend;

/// Arguments. They come from the inner backend, whose methods are not those that are compared.
impl<R: Tested> Call<R> {
    fn new() -> Self {
        Self {
            device: Device::<R>::default(),
            arguments: 0,
            leaves: vec![],
            tracked: vec![],
            pieces: vec![],
        }
    }

    pub(crate) fn device(&self) -> Device<R> {
        self.device.clone()
    }

    /// Numbers between 0 and 1, in no order, multiples of 1/32 so that some are equal.
    fn fractions(&mut self, shape: &Shape) -> impl Iterator<Item = f32> {
        const GOLDEN_RATIO: f32 = 0.618_034;
        const LEVELS: f32 = 16.0;
        self.arguments += 1;
        let (start, step) = (7 * self.arguments, 2 * self.arguments - 1);
        (0..shape.num_elements()).map(move |index| {
            let fraction = ((start + index * step) as f32 * GOLDEN_RATIO).fract();
            ((fraction * LEVELS).floor() + 0.5) / LEVELS
        })
    }

    fn float_data_in(&mut self, range: Range<f32>, shape: Shape) -> TensorData {
        let fractions = self.fractions(&shape);
        let values = fractions.map(|fraction| range.start + (range.end - range.start) * fraction);
        TensorData::new(values.collect(), shape)
    }

    fn int_data_in(&mut self, range: Range<i64>, shape: Shape) -> TensorData {
        let length = (range.end - range.start) as f32;
        let fractions = self.fractions(&shape);
        let values = fractions.map(|fraction| range.start + (length * fraction) as i64);
        TensorData::new(values.collect(), shape)
    }

    /// Both signs, and no 0.
    pub(crate) fn float_data<const D: usize>(&mut self, shape: [usize; D]) -> TensorData {
        self.float_data_in(-2.0..2.0, shape.into())
    }

    pub(crate) fn int_data<const D: usize>(&mut self, shape: [usize; D]) -> TensorData {
        self.int_data_in(-4..5, shape.into())
    }

    pub(crate) fn bool_data<const D: usize>(&mut self, shape: [usize; D]) -> TensorData {
        let shape = Shape::from(shape);
        let values = self.fractions(&shape).map(|fraction| fraction > 0.6);
        TensorData::new(values.collect(), shape)
    }

    pub(crate) fn quantized_data<const D: usize>(&mut self, shape: [usize; D]) -> TensorData {
        let tensor = self.inner_quantized(shape);
        ready(Inner::<R>::q_into_data(tensor)).expect("a tensor is read")
    }

    pub(crate) fn inner_float<const D: usize>(
        &mut self,
        shape: [usize; D],
    ) -> FloatTensor<Inner<R>> {
        let data = self.float_data(shape);
        Inner::<R>::float_from_data(data, &self.device)
    }

    pub(crate) fn inner_int<const D: usize>(&mut self, shape: [usize; D]) -> IntTensor<Inner<R>> {
        let data = self.int_data(shape);
        Inner::<R>::int_from_data(data, &self.device)
    }

    pub(crate) fn inner_bool<const D: usize>(&mut self, shape: [usize; D]) -> BoolTensor<Inner<R>> {
        let data = self.bool_data(shape);
        Inner::<R>::bool_from_data(data, &self.device)
    }

    pub(crate) fn inner_quantized<const D: usize>(
        &mut self,
        shape: [usize; D],
    ) -> QuantizedTensor<Inner<R>> {
        let tensor = self.inner_float(shape);
        Inner::<R>::quantize_dynamic(tensor, &self.scheme())
    }

    pub(crate) fn scheme(&self) -> QuantScheme {
        <QuantizedTensor<R> as QTensorPrimitive>::default_scheme()
            .with_value(QuantValue::Q8S)
            .with_store(QuantStore::Native)
    }

    /// A tensor that requires a gradient.
    fn leaf(&mut self, data: TensorData) -> FloatTensor<R> {
        let tensor = R::from_inner(Inner::<R>::float_from_data(data, &self.device));
        let tensor = R::float_set_require_grad(tensor, true);
        self.leaves.push(tensor.clone());
        tensor
    }

    pub(crate) fn float<const D: usize>(&mut self, shape: [usize; D]) -> FloatTensor<R> {
        let data = self.float_data(shape);
        self.leaf(data)
    }

    pub(crate) fn float_in<const D: usize>(
        &mut self,
        range: Range<f32>,
        shape: [usize; D],
    ) -> FloatTensor<R> {
        let data = self.float_data_in(range, shape.into());
        self.leaf(data)
    }

    pub(crate) fn float_with_zeros<const D: usize>(&mut self, shape: [usize; D]) -> FloatTensor<R> {
        self.float_with(shape, |value| if value < 0.5 { 0.0 } else { value })
    }

    /// With NaN and both infinities.
    pub(crate) fn not_finite<const D: usize>(&mut self, shape: [usize; D]) -> FloatTensor<R> {
        self.float_with(shape, |value| match value {
            ..-1.0 => f32::NEG_INFINITY,
            -1.0..0.0 => f32::NAN,
            1.0.. => f32::INFINITY,
            _ => value,
        })
    }

    fn float_with<const D: usize>(
        &mut self,
        shape: [usize; D],
        change: impl Fn(f32) -> f32,
    ) -> FloatTensor<R> {
        let data = self.float_data(shape);
        let values = data.iter::<f32>().map(change).collect();
        self.leaf(TensorData::new(values, shape))
    }

    pub(crate) fn int<const D: usize>(&mut self, shape: [usize; D]) -> IntTensor<R> {
        R::int_from_inner(self.inner_int(shape))
    }

    pub(crate) fn int_in<const D: usize>(
        &mut self,
        range: Range<i64>,
        shape: [usize; D],
    ) -> IntTensor<R> {
        let data = self.int_data_in(range, shape.into());
        R::int_from_inner(Inner::<R>::int_from_data(data, &self.device))
    }

    pub(crate) fn bool<const D: usize>(&mut self, shape: [usize; D]) -> BoolTensor<R> {
        R::bool_from_inner(self.inner_bool(shape))
    }

    pub(crate) fn quantized<const D: usize>(&mut self, shape: [usize; D]) -> QuantizedTensor<R> {
        R::q_from_inner(self.inner_quantized(shape))
    }

    /// A tensor, and the gradients of the sum of its squares.
    pub(crate) fn backward_of_square<const D: usize>(
        &mut self,
        shape: [usize; D],
    ) -> (FloatTensor<R>, R::Gradients) {
        let input = self.float(shape);
        let square = R::float_mul(input.clone(), input.clone());
        (input, R::backward(R::float_sum(square)))
    }
}

/// The inputs and outputs of Burn's layers.
impl<R: Tested> Call<R> {
    pub(crate) fn input<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<R, D> {
        Tensor::from_primitive(TensorPrimitive::Float(self.float(shape)))
    }

    pub(crate) fn input_in<const D: usize>(
        &mut self,
        range: Range<f32>,
        shape: [usize; D],
    ) -> Tensor<R, D> {
        Tensor::from_primitive(TensorPrimitive::Float(self.float_in(range, shape)))
    }

    /// Of the device's own type, which some of Burn's losses take for granted.
    pub(crate) fn classes<const D: usize>(
        &mut self,
        range: Range<i64>,
        shape: [usize; D],
    ) -> Tensor<R, D, Int> {
        let data = self.int_data_in(range, shape.into());
        Tensor::from_data(data, &self.device)
    }

    pub(crate) fn mask<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<R, D, Bool> {
        Tensor::from_primitive(self.bool(shape))
    }

    /// A module, whose parameters have gradients as inputs do.
    pub(crate) fn module<M: Module<R>>(&mut self, module: M) -> M {
        module.visit(&mut Parameters(&mut self.leaves));
        module
    }

    pub(crate) fn output<const D: usize>(&mut self, output: Tensor<R, D>) {
        self.float_result(output.into_primitive().tensor());
    }
}

/// Adds each parameter that it visits.
struct Parameters<'a, R: Tested>(&'a mut Vec<FloatTensor<R>>);

impl<R: Tested> ModuleVisitor<R> for Parameters<'_, R> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<R, D>>) {
        if parameter.val().is_require_grad() {
            self.0.push(parameter.val().into_primitive().tensor());
        }
    }
}

/// Results.
impl<R: Tested> Call<R> {
    pub(crate) fn value(&mut self, value: impl Debug) {
        self.pieces.push(Piece::Text(format!("{value:?}")));
    }

    pub(crate) fn data_result(&mut self, data: TensorData) {
        self.pieces.push(Piece::new("data", data));
    }

    pub(crate) fn future_data_result(
        &mut self,
        data: impl Future<Output = Result<TensorData, ExecutionError>>,
    ) {
        self.data_result(ready(data).expect("a tensor is read"));
    }

    pub(crate) fn transaction_result(
        &mut self,
        data: impl Future<Output = Result<TransactionPrimitiveData, ExecutionError>>,
    ) {
        let data = ready(data).expect("a transaction is read");
        let kinds = [
            ("floats", data.read_floats),
            ("quantized", data.read_qfloats),
            ("ints", data.read_ints),
            ("bools", data.read_bools),
        ];
        for (kind, data) in kinds {
            let pieces = data.into_iter().map(|data| Piece::new(kind, data));
            self.pieces.extend(pieces);
        }
    }

    pub(crate) fn float_result(&mut self, tensor: FloatTensor<R>) {
        let is_tracked = R::is_tracked(&tensor);
        self.value((is_tracked, R::float_is_require_grad(&tensor)));
        if is_tracked {
            self.tracked.push(tensor.clone());
        }
        self.inner_float_result(R::inner(tensor));
    }

    pub(crate) fn int_result(&mut self, tensor: IntTensor<R>) {
        self.inner_int_result(R::int_inner(tensor));
    }

    pub(crate) fn bool_result(&mut self, tensor: BoolTensor<R>) {
        self.inner_bool_result(R::bool_inner(tensor));
    }

    pub(crate) fn quantized_result(&mut self, tensor: QuantizedTensor<R>) {
        self.inner_quantized_result(R::q_inner(tensor));
    }

    pub(crate) fn primitive_result(&mut self, tensor: TensorPrimitive<R>) {
        match tensor {
            TensorPrimitive::Float(tensor) => self.float_result(tensor),
            TensorPrimitive::QFloat(tensor) => self.quantized_result(tensor),
        }
    }

    pub(crate) fn optional_result(&mut self, tensor: Option<FloatTensor<R>>) {
        match tensor {
            Some(tensor) => self.float_result(tensor),
            None => self.value("none"),
        }
    }

    pub(crate) fn gradient_result(&mut self, gradient: Option<FloatTensor<Inner<R>>>) {
        match gradient {
            Some(gradient) => {
                let data = ready(Inner::<R>::float_into_data(gradient));
                let data = data.expect("a gradient is read");
                self.pieces.push(Piece::new("gradient", data));
            }
            None => self.value("no gradient"),
        }
    }

    pub(crate) fn inner_float_result(&mut self, tensor: FloatTensor<Inner<R>>) {
        self.future_data_result(Inner::<R>::float_into_data(tensor));
    }

    pub(crate) fn inner_int_result(&mut self, tensor: IntTensor<Inner<R>>) {
        self.future_data_result(Inner::<R>::int_into_data(tensor));
    }

    pub(crate) fn inner_bool_result(&mut self, tensor: BoolTensor<Inner<R>>) {
        self.future_data_result(Inner::<R>::bool_into_data(tensor));
    }

    pub(crate) fn inner_quantized_result(&mut self, tensor: QuantizedTensor<Inner<R>>) {
        self.future_data_result(Inner::<R>::q_into_data(tensor));
    }

    /// Adds the gradients of the arguments, of a weighted sum of what the results are: a plain one would not see where a gradient comes from.
    fn backward(&mut self) {
        let sums = std::mem::take(&mut self.tracked).into_iter().map(|tensor| {
            let weights = Self::ramp(&tensor, &self.device);
            let sum = R::float_sum(R::float_mul(tensor, weights));
            R::float_cast(sum, FloatDType::F32)
        });
        if let Some(sum) = sums.reduce(R::float_add) {
            let gradients = R::backward(sum);
            for leaf in std::mem::take(&mut self.leaves) {
                self.gradient_result(R::grad(&leaf, &gradients));
            }
        }
    }

    /// The numbers from 1 in steps of 1/8, as a tensor like another.
    fn ramp(like: &FloatTensor<R>, device: &Device<R>) -> FloatTensor<R> {
        let shape = like.shape();
        let values = (0..shape.num_elements()).map(|index| 1.0 + index as f32 / 8.0);
        let data = TensorData::new(values.collect(), shape);
        R::from_inner(Inner::<R>::float_from_data(
            data.convert_dtype(like.dtype()),
            device,
        ))
    }
}
