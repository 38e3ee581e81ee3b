use self::sealed::LayerRecorders;
use crate::layer::Layer;
use crate::statistics::Recorder;
use crate::statistics::collector::{self, RecorderHolder, Replacement};
use burn::module::{
    AutodiffModule, Content, Devices, DisplaySettings, HasAutodiffModule, Module, ModuleDisplay,
    ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::nn::conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
use burn::nn::{Embedding, Linear};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::Device;
use burn::tensor::{Int, Tensor};
use std::fmt;
use std::ops::Deref;

/// A layer with a recorder for each linear map within it.
///
/// It behaves as the layer that it holds: same record (a checkpoint of the plain model loads
/// into the recorded one, and back), same parameter paths, same `Display`, same number of
/// parameters, bitwise the same forward pass. Its fields can be read, not assigned: edit the layer before it is converted
/// ([guide](crate::guide#converting-a-model)). It is made from the layer:
///
/// ```
/// use burn::nn::LinearConfig;
/// use mac_burn::MacLinear;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
///
/// let linear: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// assert_eq!(linear.weight.dims(), [8, 4]);
/// ```
///
/// See [`Recorder`] for the statistics of clones. A module that went through `valid()` and
/// `train()`, or through `from_inner`, has new recorders.
#[derive(Clone, Debug)]
pub struct Recorded<L: RecordedLayer<B>, B: Backend> {
    layer: L,
    pub(super) recorders: L::Recorders,
}

/// Burn's [`Linear`], recorded: its mean activation is the mean of its input over every leading
/// dimension (MAC, section on fully connected layers).
pub type MacLinear<B> = Recorded<Linear<B>, B>;

/// Burn's [`Conv2d`], recorded: its mean activation is the mean patch that its kernel sees, over
/// batch and output positions, zero padding counted (MAC, section on convolutions). With groups,
/// each group has a mean of its own.
pub type MacConv2d<B> = Recorded<Conv2d<B>, B>;

/// Burn's [`Conv1d`], recorded as [`MacConv2d`] is.
pub type MacConv1d<B> = Recorded<Conv1d<B>, B>;

/// Burn's [`Conv3d`], recorded as [`MacConv2d`] is.
pub type MacConv3d<B> = Recorded<Conv3d<B>, B>;

/// Burn's [`ConvTranspose1d`], recorded.
///
/// A transposed convolution adds to its output, for each position `i` of its input, the patch
/// `Σ_c x[c, i] W[c, o, k]`. So its weight is a linear map from the channels of a position to the numbers of a patch, used at each position: its mean
/// activation is the mean of the channels over batch and positions, one for each group, and its second moment theirs. The gradient at
/// its "output" is the patch of the gradient that the position has added to; the curvatures on the output side are of these patches,
/// `channels_out / groups · kernel` numbers.
///
/// The bias is added once at each position of the *output*. It sees a 1 there, at positions that are not those of the weight's
/// input, so that no row `[x ; 1]` has both; by itself its curvature is the number 1. So the bias is not preconditioned: an
/// [auxiliary optimizer](crate::Mac::with_auxiliary_optimizer) steps it if there is one, and otherwise it takes the step that parameters without a
/// recorder take.
pub type MacConvTranspose1d<B> = Recorded<ConvTranspose1d<B>, B>;

/// Burn's [`ConvTranspose2d`], recorded as [`MacConvTranspose1d`] is.
pub type MacConvTranspose2d<B> = Recorded<ConvTranspose2d<B>, B>;

/// Burn's [`ConvTranspose3d`], recorded as [`MacConvTranspose1d`] is.
pub type MacConvTranspose3d<B> = Recorded<ConvTranspose3d<B>, B>;

/// Burn's [`Embedding`], recorded. By default it is not preconditioned, on purpose, and the report says so.
///
/// An embedding is a linear layer whose inputs are one-hot. Their second moment is diagonal, with the frequencies of tokens; of this a mean's
/// rank-one form keeps next to nothing. So it is preconditioned by the frequencies themselves, `G ← diag(ρ / (ρ + p)) G`, if the
/// configuration has a damping for that: [`embedding_damping`](crate::MacConfig::embedding_damping). Otherwise it takes the step without
/// preconditioning or that of an auxiliary optimizer, as a plain `Embedding` does.
///
/// ```
/// use burn::nn::EmbeddingConfig;
/// use burn::tensor::{Int, Tensor};
/// use mac_burn::MacEmbedding;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
///
/// let embedding: MacEmbedding<B> = EmbeddingConfig::new(65, 16).init(&device).into();
/// let tokens = Tensor::<B, 2, Int>::from_data([[3, 1, 3], [0, 64, 3]], &device);
/// assert_eq!(embedding.forward(tokens).dims(), [2, 3, 16]);
/// ```
pub type MacEmbedding<B> = Recorded<Embedding<B>, B>;

/// A layer of Burn's that this crate can record. A layer of your own holds a [`Recorder`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer that mac-burn can record",
    label = "no recorded form",
    note = "for another layer add a field `Recorder<B>`, and call `Recorder::record_linear` with the input of its weight and its output; \
            or leave it to `Mac::with_auxiliary_optimizer`"
)]
pub trait RecordedLayer<B: Backend>: Module<B> {
    /// Its recorders, under the names of the linear maps that they belong to.
    #[doc(hidden)]
    type Recorders: LayerRecorders<Self, B>;
}

pub(crate) mod sealed {
    use crate::layer::Layer;
    use crate::statistics::Recorder;
    use burn::tensor::backend::Backend;
    use std::fmt::Debug;

    /// A function of a recorder and the layer that it belongs to.
    pub struct Function<'a, B: Backend>(
        pub(crate) &'a mut dyn FnMut(&Recorder<B>, Layer) -> Recorder<B>,
    );

    /// The recorders of a layer `L`.
    pub trait LayerRecorders<L, B: Backend>: Clone + Debug + Send + Sync {
        /// New recorders.
        fn new(layer: &L) -> Self;

        /// The recorders that a function makes of these, with the parameters as they are now: `load_record` replaces
        /// their ids.
        fn map(&self, layer: &L, function: &mut Function<'_, B>) -> Self;
    }
}

/// Calls the function of one recorder.
impl<B: Backend> sealed::Function<'_, B> {
    pub(super) fn call(&mut self, recorder: &Recorder<B>, layer: Layer) -> Recorder<B> {
        (self.0)(recorder, layer)
    }
}

impl<B: Backend> RecordedLayer<B> for Linear<B> {
    type Recorders = Recorder<B>;
}

impl<B: Backend> LayerRecorders<Linear<B>, B> for Recorder<B> {
    fn new(_layer: &Linear<B>) -> Self {
        Self::new()
    }

    fn map(&self, layer: &Linear<B>, function: &mut sealed::Function<'_, B>) -> Self {
        function.call(self, Layer::linear(layer))
    }
}

/// A convolution with one recorder, by its name, the ranks of its weight, the function that makes its [`Layer`], and the one that records it.
macro_rules! recorded_convolution {
    ($layer:ident, $rank:literal, $parameters:ident, $record:ident, $input:literal, $output:literal) => {
        impl<B: Backend> RecordedLayer<B> for $layer<B> {
            type Recorders = Recorder<B>;
        }

        impl<B: Backend> LayerRecorders<$layer<B>, B> for Recorder<B> {
            fn new(_layer: &$layer<B>) -> Self {
                Self::new()
            }

            fn map(&self, layer: &$layer<B>, function: &mut sealed::Function<'_, B>) -> Self {
                function.call(self, Layer::$parameters(layer))
            }
        }

        impl<B: Backend> Recorded<$layer<B>, B> {
            #[doc = concat!("Applies the layer and records its input, see [`", stringify!($layer), "::forward`].")]
            ///
            /// # Shapes
            ///
            #[doc = concat!("- input: `", $input, "`")]
            #[doc = concat!("- output: `", $output, "`")]
            pub fn forward(&self, input: Tensor<B, $rank>) -> Tensor<B, $rank> {
                let output = self.layer.forward(input.clone());
                self.recorders.$record(self, &input, output)
            }
        }
    };
}

recorded_convolution!(
    Conv1d,
    3,
    conv1d,
    record_conv1d,
    "[batch, channels_in, length]",
    "[batch, channels_out, length_out]"
);
recorded_convolution!(
    Conv2d,
    4,
    conv2d,
    record_conv2d,
    "[batch, channels_in, height, width]",
    "[batch, channels_out, height_out, width_out]"
);
recorded_convolution!(
    Conv3d,
    5,
    conv3d,
    record_conv3d,
    "[batch, channels_in, depth, height, width]",
    "[batch, channels_out, depth_out, height_out, width_out]"
);
recorded_convolution!(
    ConvTranspose1d,
    3,
    conv_transpose1d,
    record_conv_transpose1d,
    "[batch, channels_in, length]",
    "[batch, channels_out, length_out]"
);
recorded_convolution!(
    ConvTranspose2d,
    4,
    conv_transpose2d,
    record_conv_transpose2d,
    "[batch, channels_in, height, width]",
    "[batch, channels_out, height_out, width_out]"
);
recorded_convolution!(
    ConvTranspose3d,
    5,
    conv_transpose3d,
    record_conv_transpose3d,
    "[batch, channels_in, depth, height, width]",
    "[batch, channels_out, depth_out, height_out, width_out]"
);

impl<B: Backend> RecordedLayer<B> for Embedding<B> {
    type Recorders = Recorder<B>;
}

impl<B: Backend> LayerRecorders<Embedding<B>, B> for Recorder<B> {
    fn new(_layer: &Embedding<B>) -> Self {
        Self::new()
    }

    fn map(&self, layer: &Embedding<B>, function: &mut sealed::Function<'_, B>) -> Self {
        function.call(self, Layer::embedding(&layer.weight))
    }
}

impl<B: Backend> Recorded<Embedding<B>, B> {
    /// Looks tokens up and counts them, see [`Embedding::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[batch, tokens]`
    /// - output: `[batch, tokens, d_model]`
    pub fn forward(&self, input: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let output = self.layer.forward(input.clone());
        self.recorders
            .record_embedding(&self.weight, &input, output)
    }
}

impl<B: Backend> Recorded<Linear<B>, B> {
    /// Applies the layer and records its input, see [`Linear::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[.., size_input]`
    /// - output: `[.., size_output]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let output = self.layer.forward(input.clone());
        let (weight, bias) = (&self.weight, self.bias.as_ref());
        self.recorders.record_linear(weight, bias, &input, output)
    }
}

/// The module with recorders that have nothing to do with those of the modules that it was cloned from.
///
/// Clones separate at the first step of either; until then the passes of a clone count for its original as well, see
/// [`Recorder`]. This separates a copy at once: one that trains on its own while its original has passes that no step
/// has taken, or one that goes to a thread of its own.
///
/// ```
/// use burn::nn::LinearConfig;
/// use mac_burn::{MacLinear, with_fresh_recorders};
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
///
/// let online: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// let target = with_fresh_recorders(online.clone());
/// ```
pub fn with_fresh_recorders<B: Backend, M: Module<B>>(module: M) -> M {
    Replacement::Fresh.apply(module)
}

/// The module without its recorders, for good: forward passes record nothing and ask nobody, and
/// optimizers find plain layers. Parameters, their ids and the record stay as they are.
///
/// So a network that is defined once, with recorded layers, serves as the plain one as well, where MAC is
/// not wanted: to train with another optimizer, or to compare with. (Inference needs no such step:
/// `valid()` records nothing either.)
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{GradientsParams, Optimizer};
/// use burn::tensor::Tensor;
/// use mac_burn::{MacConfig, MacLinear, unrecorded};
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
///
/// let layer: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// let mut layer = unrecorded(layer);
///
/// let mut optim = MacConfig::new().init();
/// let loss = layer.forward(Tensor::<B, 2>::ones([2, 8], &device)).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &layer);
/// layer = optim.step(0.1, layer, grads);
/// assert_eq!(optim.report(&layer).covered_parameters, 0);
/// ```
pub fn unrecorded<B: Backend, M: Module<B>>(module: M) -> M {
    Replacement::Off.apply(module)
}

impl<L: RecordedLayer<B>, B: Backend> Recorded<L, B> {
    /// The plain layer, without its recorders.
    pub fn into_inner(self) -> L {
        self.layer
    }

    /// The layer mapped, its recorders as they are.
    fn map_layer(self, map: impl FnOnce(L) -> L) -> Self {
        Self {
            layer: map(self.layer),
            recorders: self.recorders,
        }
    }

    fn map_recorders(
        &self,
        mut function: impl FnMut(&Recorder<B>, Layer) -> Recorder<B>,
    ) -> L::Recorders {
        let mut function = sealed::Function(&mut function);
        self.recorders.map(&self.layer, &mut function)
    }

    /// All recorders of a layer are off, or none.
    fn is_off(&self) -> bool {
        let mut off = true;
        self.map_recorders(|recorder, _| {
            off &= recorder.is_off();
            recorder.shared()
        });
        off
    }

    fn with_recorders_off(mut self) -> Self {
        self.recorders = self.map_recorders(|_, _| Recorder::off());
        self
    }
}

impl<L: RecordedLayer<B>, B: Backend> From<L> for Recorded<L, B> {
    fn from(layer: L) -> Self {
        let recorders = L::Recorders::new(&layer);
        Self { layer, recorders }
    }
}

impl<L: RecordedLayer<B>, B: Backend> Deref for Recorded<L, B> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.layer
    }
}

impl<L: RecordedLayer<B>, B: Backend> Module<B> for Recorded<L, B> {
    type Record = L::Record;

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        self.layer.collect_devices(devices)
    }

    fn fork(self, device: &Device<B>) -> Self {
        self.map_layer(|layer| layer.fork(device))
    }

    fn to_device(self, device: &Device<B>) -> Self {
        self.map_layer(|layer| layer.to_device(device))
    }

    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        self.map_recorders(|recorder, layer| {
            collector::report(recorder, Some(layer), RecorderHolder::RecordedLayer);
            recorder.shared()
        });
        self.layer.visit(visitor);
    }

    fn map<M: ModuleMapper<B>>(self, mapper: &mut M) -> Self {
        let recorders = self.map_recorders(|recorder, _| Replacement::of(recorder.shared()));
        Self {
            layer: self.layer.map(mapper),
            recorders,
        }
    }

    /// With new recorders: the layer's parameters have other ids now.
    fn load_record(self, record: Self::Record) -> Self {
        let recorders = self.map_recorders(|recorder, _| recorder.fresh());
        Self {
            layer: self.layer.load_record(record),
            recorders,
        }
    }

    fn into_record(self) -> Self::Record {
        self.layer.into_record()
    }
}

impl<L, B> AutodiffModule<B> for Recorded<L, B>
where
    B: AutodiffBackend,
    L: RecordedLayer<B> + AutodiffModule<B>,
    L::InnerModule: RecordedLayer<B::InnerBackend>,
{
    type InnerModule = Recorded<L::InnerModule, B::InnerBackend>;

    fn valid(&self) -> Self::InnerModule {
        let valid = Recorded::from(self.layer.valid());
        match self.is_off() {
            true => valid.with_recorders_off(),
            false => valid,
        }
    }

    fn from_inner(module: Self::InnerModule) -> Self {
        let is_off = module.is_off();
        let trained = Self::from(L::from_inner(module.layer));
        match is_off {
            true => trained.with_recorders_off(),
            false => trained,
        }
    }
}

impl<L, B> HasAutodiffModule<B> for Recorded<L, B::InnerBackend>
where
    B: AutodiffBackend,
    L: RecordedLayer<B::InnerBackend> + HasAutodiffModule<B>,
    L::TrainModule: RecordedLayer<B>,
{
    type TrainModule = Recorded<L::TrainModule, B>;
}

impl<L: RecordedLayer<B> + ModuleDisplay, B: Backend> ModuleDisplay for Recorded<L, B> {
    fn format(&self, settings: DisplaySettings) -> String {
        self.layer.format(settings)
    }
}

impl<L: RecordedLayer<B> + ModuleDisplayDefault, B: Backend> ModuleDisplayDefault
    for Recorded<L, B>
{
    fn content(&self, content: Content) -> Option<Content> {
        self.layer.content(content)
    }

    fn num_params(&self) -> usize {
        ModuleDisplayDefault::num_params(&self.layer)
    }
}

impl<L: RecordedLayer<B> + fmt::Display, B: Backend> fmt::Display for Recorded<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.layer, f)
    }
}
