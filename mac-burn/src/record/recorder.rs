use super::layer::LayerParameters;
use super::statistics::{Conv2dGeometry, Incidence, patch_sums, token_sums, untracked};
use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sums of one layer's inputs since an optimizer step last took them.
///
/// A recorder keeps one matrix a device: for each mean of the layer (one for a `Linear`, one a group
/// for a `Conv2d`, two for the fused projection of attention) the sum of its augmented inputs `[x ; 1]`
/// and their count. Adding two such matrices merges micro-batches, repeated calls and devices, and
/// dividing by the count gives the mean. That is exact but for the value projection of attention, see
/// [`MacMultiHeadAttention`](crate::MacMultiHeadAttention).
/// Sums are kept in the input's float type, but at least in `f32`; they hold no graph.
///
/// It records when the backend differentiates, the weight is trained and the optimizer's schedule
/// (`tcov`) wants the pass; the first pass is always recorded. Clones and forks share their sums,
/// since Burn's multi-device training forks a model in its workers and steps the original.
///
/// [`MacLinear`](crate::MacLinear) and [`MacConv2d`](crate::MacConv2d) hold a recorder already. A
/// layer of your own holds one as a field and calls it in its forward pass:
///
/// ```
/// use burn::module::{Initializer, Module, Param};
/// use burn::tensor::{Tensor, backend::Backend};
/// use mac_burn::Recorder;
///
/// /// A linear layer whose output is scaled.
/// #[derive(Module, Debug)]
/// struct ScaledLinear<B: Backend> {
///     weight: Param<Tensor<B, 2>>,
///     scale: f64,
///     recorder: Recorder<B>,
/// }
///
/// impl<B: Backend> ScaledLinear<B> {
///     fn new(size: usize, device: &B::Device) -> Self {
///         let weight = Initializer::Normal { mean: 0.0, std: 0.1 };
///         Self {
///             weight: weight.init([size, size], device),
///             scale: 0.5,
///             recorder: Recorder::new(),
///         }
///     }
///
///     fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
///         self.recorder.record_linear(&self.weight, None, &input);
///         input.matmul(self.weight.val()).mul_scalar(self.scale)
///     }
/// }
/// # use burn::backend::Autodiff;
/// # use burn::optim::{GradientsParams, Optimizer};
/// # type B = Autodiff<burn_ndarray::NdArray<f32>>;
/// # let device = Default::default();
/// # let layer = ScaledLinear::<B>::new(3, &device);
/// # let mut optim = mac_burn::MacConfig::new().init::<B, ScaledLinear<B>>();
/// # let grads = layer.forward(Tensor::ones([2, 3], &device)).sum().backward();
/// # let grads = GradientsParams::from_grads(grads, &layer);
/// # let layer = optim.step(0.1, layer, grads);
/// # let report = optim.report(&layer);
/// # assert_eq!((report.layers[0].path.as_str(), report.layers[0].updates), ("weight", 1));
/// ```
#[derive(Clone)]
pub struct Recorder<B: Backend> {
    /// None in a recorder that is [off](crate::unrecorded).
    state: Option<Arc<Mutex<State<B>>>>,
}

struct State<B: Backend> {
    parameters: Option<LayerParameters>,
    active: bool,
    devices: Vec<DeviceSums<B>>,
}

struct DeviceSums<B: Backend> {
    device: B::Device,
    active: bool,
    sums: Option<Tensor<B, 2>>,
    /// What a convolution's sums are made with.
    incidence: Option<Incidence<B>>,
}

impl<B: Backend> Default for Recorder<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Backend> Recorder<B> {
    /// A recorder that has seen nothing and records the next forward pass.
    pub fn new() -> Self {
        let state = State {
            parameters: None,
            active: true,
            devices: Vec::new(),
        };
        Self {
            state: Some(Arc::new(Mutex::new(state))),
        }
    }

    /// A recorder that never records and reports itself to nobody.
    pub(super) fn off() -> Self {
        Self { state: None }
    }

    pub(super) fn is_off(&self) -> bool {
        self.state.is_none()
    }

    /// Records the input of a linear map `input · weight (+ bias)`.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_input, size_output]`
    /// - input: `[.., size_input]`; the mean is over all leading dimensions
    ///
    /// # Panics
    ///
    /// If it has recorded inputs of another size on this device since the last step.
    pub fn record_linear<const D: usize>(
        &self,
        weight: &Param<Tensor<B, 2>>,
        bias: Option<&Param<Tensor<B, 1>>>,
        input: &Tensor<B, D>,
    ) {
        if self.wants(&input.device()) && weight.is_require_grad() {
            let sums = token_sums(untracked(input));
            self.add(LayerParameters::linear_of(weight, bias), sums);
        }
    }

    /// Records the input of a two-dimensional convolution with the parameters of `layer`.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, height, width]`; the mean is over the batch and the output
    ///   positions of the patches that the kernel sees
    ///
    /// # Panics
    ///
    /// If the input has another number of channels than the layer takes.
    pub fn record_conv2d(&self, layer: &Conv2d<B>, input: &Tensor<B, 4>) {
        if self.wants(&input.device()) && layer.weight.is_require_grad() {
            let geometry = Conv2dGeometry::from(layer);
            let device = input.device();
            // Taken out, so that devices do not wait for each other's sums.
            let kept = |mut state: MutexGuard<'_, State<B>>| state.on(&device).incidence.take();
            let mut incidence = self.state().and_then(kept);
            let sums = patch_sums(untracked(input), &geometry, &mut incidence);
            if let Some(mut state) = self.state() {
                state.on(&device).incidence = incidence;
            }
            self.add(LayerParameters::conv2d(layer), sums);
        }
    }

    /// Takes the sums of one device, leaving none there.
    pub(crate) fn take(&self, device: &B::Device) -> Option<Tensor<B, 2>> {
        let mut state = self.state()?;
        let mut devices = state.devices.iter_mut();
        devices.find(|found| found.device == *device)?.sums.take()
    }

    /// Takes the sums of all devices, merged on `device`, leaving none.
    pub(crate) fn take_all(&self, device: &B::Device) -> Option<Tensor<B, 2>> {
        self.state()?
            .devices
            .iter_mut()
            .filter_map(|found| found.sums.take())
            .map(|sums| sums.to_device(device))
            .reduce(Tensor::add)
    }

    /// Decides whether the next forward passes on `device` record.
    pub(crate) fn set_active(&self, device: &B::Device, active: bool) {
        if let Some(mut state) = self.state() {
            state.on(device).active = active;
        }
    }

    /// Decides whether the next forward passes record, on all devices.
    pub(crate) fn set_active_everywhere(&self, active: bool) {
        if let Some(mut state) = self.state() {
            state.active = active;
            state
                .devices
                .iter_mut()
                .for_each(|found| found.active = active);
        }
    }

    /// Whether a forward pass on this device is to be recorded.
    pub(crate) fn wants(&self, device: &B::Device) -> bool {
        !self.is_off()
            && B::ad_enabled(device)
            && self.state().is_some_and(|state| {
                let mut devices = state.devices.iter();
                devices
                    .find(|found| found.device == *device)
                    .map_or(state.active, |found| found.active)
            })
    }

    pub(super) fn add(&self, parameters: LayerParameters, sums: Tensor<B, 2>) {
        let Some(mut state) = self.state() else {
            return;
        };
        state.parameters = Some(parameters);
        let slot = state.on(&sums.device());
        slot.sums = Some(match slot.sums.take() {
            Some(earlier) => earlier + sums,
            None => sums,
        });
    }

    /// The layer that it stands for, as far as it is known.
    pub(super) fn parameters(&self) -> Option<LayerParameters> {
        self.state().and_then(|state| state.parameters)
    }

    fn state(&self) -> Option<MutexGuard<'_, State<B>>> {
        // A panic while the lock is held leaves sums that are whole: each is replaced in one move.
        let state = self.state.as_ref()?;
        Some(state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<B: Backend> State<B> {
    fn on(&mut self, device: &B::Device) -> &mut DeviceSums<B> {
        let known = self
            .devices
            .iter()
            .position(|found| found.device == *device);
        let index = known.unwrap_or_else(|| {
            self.devices.push(DeviceSums {
                device: device.clone(),
                active: self.active,
                sums: None,
                incidence: None,
            });
            self.devices.len() - 1
        });
        &mut self.devices[index]
    }
}

impl<B: Backend> fmt::Debug for Recorder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(state) = self.state() else {
            return f.write_str("Recorder(off)");
        };
        f.debug_struct("Recorder")
            .field("parameters", &state.parameters)
            .field("devices", &state.devices.len())
            .finish()
    }
}
