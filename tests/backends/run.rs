//! The parameters that a run comes to, how far they may be from another backend's, and the random numbers that all runs share.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Element, Tensor, TensorData};
use burn_store::{ModuleSnapshot, TensorSnapshot};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Values by step and name of the parameter: `007.fc1.weight`.
pub(crate) type Parameters = BTreeMap<String, Vec<Bits>>;

/// The parameters that training came to, step by step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) parameters: Parameters,
}

/// A run with a mistake.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MistakenRun {
    /// The run that it would be without.
    pub(crate) case: String,
    pub(crate) what: String,
    /// The parameters after the last step, perhaps with those after others.
    pub(crate) parameters: Parameters,
}

/// The name in [`Parameters`] of a parameter after a step.
pub(crate) fn after_step(step: usize, name: &str) -> String {
    format!("{step:03}.{name}")
}

/// The parameters after the last step.
pub(crate) fn last_step(parameters: &Parameters) -> Parameters {
    let step = |name: &str| name.split('.').next().map(str::to_string);
    let last = parameters.keys().next_back().and_then(|name| step(name));
    let of_step = parameters.iter().filter(|(name, _)| step(name) == last);
    of_step
        .map(|(name, values)| (name.clone(), values.clone()))
        .collect()
}

/// The largest difference of any parameter; infinite where one is missing or not a number.
pub(crate) fn difference(found: Option<&Parameters>, expected: &Parameters) -> f64 {
    let Some(found) = found.filter(|found| found.keys().eq(expected.keys())) else {
        return f64::INFINITY;
    };
    let mut largest: f64 = 0.0;
    for (found, expected) in found.values().zip(expected.values()) {
        if found.len() != expected.len() {
            return f64::INFINITY;
        }
        let pairs = found.iter().zip(expected);
        largest = largest.max(largest_of(
            pairs.map(|(found, expected)| (found.0 - expected.0).abs()),
        ));
    }
    largest
}

/// The largest of these; infinite where one is not a number, which `f64::max` would leave out.
pub(crate) fn largest_of(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |largest, value| match value.is_nan() {
        true => f64::INFINITY,
        false => largest.max(value),
    })
}

/// A number that is written as its bits, since JSON has neither NaN nor infinity.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub(crate) struct Bits(pub(crate) f64);

impl From<u64> for Bits {
    fn from(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

impl From<Bits> for u64 {
    fn from(bits: Bits) -> Self {
        bits.0.to_bits()
    }
}

/// Largest difference of a parameter after any step of a trace. The authors' own `f32` differs from
/// their `f64` by 4e-8 to 8e-7, as do the backends, which sum in other orders; the smallest mistake that
/// the replay of traces makes (`tests/traces/comparison.rs`) moves a parameter by 1.0e-5, 5 times this.
const TRACE: f64 = 2e-6;

/// The same on `NdArray<f32>` for a run whose derivatives it approximates; of traces, see
/// [`Case::takes_reciprocals`](crate::case::Case::takes_reciprocals): 1.2e-5 is measured in `vit` with
/// AVX-512, and AVX2 is six times as coarse. Attention's values by the wrong mean are 4.0e-3 away there.
const APPROXIMATE: f64 = 1e-4;

/// The backend that takes reciprocals by the processor's approximation.
const APPROXIMATES: &str = "ndarray";

/// Largest difference of a parameter after any of 30 steps of the digits network, which are more steps of a
/// larger network than a trace's: less than 1e-6 is measured.
const DIGITS: f64 = 1e-5;

/// Largest difference of a parameter after any of 6 steps of a single layer.
const LAYER: f64 = 1e-5;

/// Largest difference of a parameter after any of 10 steps of attention: 3.0e-7 is measured, and 3.0e-6 where reciprocals are
/// approximated, through which a softmax is differentiated; there [`APPROXIMATE`] is allowed.
const ATTENTION: f64 = 1e-5;

/// The same of steps of known length where reciprocals are approximated: such a step is as long for a small gradient as for a large one,
/// and its error with it. 3.7e-4 is measured; elsewhere [`ATTENTION`] holds, with 4.8e-7.
const KNOWN_LENGTH_APPROXIMATE: f64 = 1e-3;

/// The same of orthogonal steps, whose iterations amplify small singular values: 1.2e-5 is measured.
const ORTHOGONAL: f64 = 1e-4;

/// The same where reciprocals are approximated: 2.3e-3 is measured.
const ORTHOGONAL_APPROXIMATE: f64 = 5e-3;

/// How many tolerances at least a mistake must move a parameter by, on every backend.
const NOTICED: f64 = 100.0;

/// The same of steps of known length, and of Eva's and K-FAC's, where reciprocals are approximated; and of layers in TF32.
const NOTICED_APPROXIMATELY: f64 = 4.0;

/// CUDA in `f32`, which multiplies matrices in TF32.
const CUDA: &str = "cuda";

/// Largest difference of a parameter in TF32, after attention's steps or those of a single layer: 5.6e-4 is measured on flex with factors
/// of products and convolutions rounded to TF32.
const TENSOR_CORES: f64 = 2e-3;

/// The same of orthogonal steps: 2.4e-3.
const ORTHOGONAL_TENSOR_CORES: f64 = 1e-2;

/// The kind of a run, which decides how far backends may differ.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Kind {
    Trace {
        takes_reciprocals: bool,
    },
    Digits,
    Attention,
    /// Attention with Eva or K-FAC, whose steps are shorter and by which padding and values matter less: 2.7e-5 is measured where reciprocals are
    /// approximated.
    BothSides,
    /// Attention with steps of known length that are not orthogonal.
    KnownLength,
    /// Attention with orthogonal steps.
    Orthogonal,
    /// A single layer.
    Layer,
}

impl Kind {
    /// The largest difference of these two backends; none where a run is not judged: TF32 takes traces and the digits network as far from the
    /// oracle, 2.0e-2 and 3.6e-2, as mistakes do.
    pub(crate) fn allowed(self, backends: [&str; 2]) -> Option<f64> {
        let approximate = backends.contains(&APPROXIMATES);
        let tolerance = match self {
            Self::Trace { .. } | Self::Digits if backends.contains(&CUDA) => return None,
            Self::Orthogonal if backends.contains(&CUDA) => ORTHOGONAL_TENSOR_CORES,
            _ if backends.contains(&CUDA) => TENSOR_CORES,
            Self::Digits => DIGITS,
            Self::Layer => LAYER,
            Self::Orthogonal if approximate => ORTHOGONAL_APPROXIMATE,
            Self::Orthogonal => ORTHOGONAL,
            Self::KnownLength if approximate => KNOWN_LENGTH_APPROXIMATE,
            Self::Attention | Self::BothSides if approximate => APPROXIMATE,
            Self::Attention | Self::BothSides | Self::KnownLength => ATTENTION,
            Self::Trace {
                takes_reciprocals: true,
            } if approximate => APPROXIMATE,
            Self::Trace { .. } => TRACE,
        };
        Some(tolerance)
    }

    /// The least that a mistake must move a parameter by on a backend; none where a mistake is not judged: in TF32 only the missing
    /// preconditioner of a single layer is.
    pub(crate) fn noticed(self, backend: &str) -> Option<f64> {
        let tolerances = match self {
            Self::Layer if backend == CUDA => NOTICED_APPROXIMATELY,
            _ if backend == CUDA => return None,
            Self::BothSides | Self::KnownLength | Self::Orthogonal if backend == APPROXIMATES => {
                NOTICED_APPROXIMATELY
            }
            _ => NOTICED,
        };
        Some(tolerances * self.allowed([backend; 2])?)
    }
}

/// The type of floats that a backend is named for.
pub(crate) fn element_dtype<B: Backend>() -> DType {
    B::FloatElem::dtype()
}

/// Adds the parameters of a network as they are after a step.
pub(crate) fn read_parameters<B: Backend, M: Module<B>>(
    step: usize,
    network: &M,
    parameters: &mut Parameters,
) {
    for (path, data) in float_tensors(network) {
        parameters.insert(after_step(step, &path), data.iter().map(Bits).collect());
    }
}

/// The float tensors of a network by their paths.
pub(crate) fn float_tensors<B: Backend, M: Module<B>>(network: &M) -> BTreeMap<String, TensorData> {
    let tensors = network.collect(None, None, false).into_iter();
    let read = |tensor: TensorSnapshot| {
        let data = tensor.to_data().expect("its device is there");
        (tensor.full_path(), data)
    };
    tensors.map(read).collect()
}

/// Fills parameters with values that do not depend on the backend.
pub(crate) struct Filler {
    random: StdRng,
    dtype: DType,
}

impl Filler {
    pub(crate) fn new(seed: u64, dtype: DType) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            dtype,
        }
    }
}

impl<B: Backend> ModuleMapper<B> for Filler {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let dims = tensor.dims();
        // A weight of rank 2 has its inputs first, one of rank 4 has them after its outputs.
        let inputs: usize = match D {
            1 => 64,
            2 => dims[0],
            _ => dims[1..].iter().product(),
        };
        let bound = (3.0 / inputs as f32).sqrt();
        let values = (0..tensor.shape().num_elements())
            .map(|_| self.random.random_range(-bound..bound))
            .collect();
        let data = TensorData::new::<f32, _>(values, tensor.shape());
        let tensor = Tensor::from_data(data, (&tensor.device(), self.dtype)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// Random tensors of a type.
pub(crate) struct RandomBatches {
    random: StdRng,
    dtype: DType,
}

impl RandomBatches {
    pub(crate) fn new(seed: u64, dtype: DType) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            dtype,
        }
    }

    /// Inputs have a mean away from zero.
    pub(crate) fn inputs<B: Backend, const D: usize>(&mut self, shape: [usize; D]) -> Tensor<B, D> {
        self.uniform(0.0, shape)
    }

    /// The sum of outputs with random weights.
    pub(crate) fn loss<B: Backend, const D: usize>(
        &mut self,
        output: Tensor<B, D>,
    ) -> Tensor<B, 1> {
        let weights = self.uniform(-1.0, output.dims());
        (output * weights).sum()
    }

    fn uniform<B: Backend, const D: usize>(
        &mut self,
        from: f32,
        shape: [usize; D],
    ) -> Tensor<B, D> {
        let values =
            (0..shape.iter().product::<usize>()).map(|_| self.random.random_range(from..1.0));
        let data = TensorData::new::<f32, _>(values.collect(), shape);
        Tensor::from_data(data, (&Default::default(), self.dtype))
    }
}
