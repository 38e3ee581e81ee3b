use super::Recorder;
use super::collector;
use super::layer::LayerParameters;
use super::unrecorded::mapped;
use burn::module::{
    AutodiffModule, Content, Devices, DisplaySettings, HasAutodiffModule, Module, ModuleDisplay,
    ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::Device;
use std::fmt;
use std::ops::Deref;

/// A layer with recorders of its inputs: one for each linear map within it.
///
/// To everybody but this crate it is the layer: same record (a checkpoint of the plain model loads
/// into the recorded one, and back), same parameter paths, same `Display`, same number of
/// parameters, bitwise the same forward pass. It is made from the layer:
///
/// ```
/// use burn::nn::LinearConfig;
/// use mac_burn::MacLinear;
/// # type B = burn::backend::Autodiff<burn_ndarray::NdArray<f32>>;
/// # let device = Default::default();
///
/// let linear: MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
/// assert_eq!(linear.weight.dims(), [8, 4]);
/// ```
///
/// Clones share the recorder, see [`Recorder`]; a module that went through `valid()` and `train()`,
/// or through `from_inner`, has a new one.
#[derive(Clone, Debug)]
pub struct Recorded<L, B: Backend> {
    layer: L,
    recorders: Vec<Recorder<B>>,
}

/// A layer that knows which of its parameters its recorders stand for. This crate implements it for
/// Burn's layers; a layer of your own holds a [`Recorder`].
pub trait RecordedLayer<B: Backend>: Module<B> {
    /// The parameters as they are now, one for each recorder: `load_record` replaces their ids.
    #[doc(hidden)]
    fn parameters(&self) -> Vec<sealed::Parameters>;
}

pub(crate) mod sealed {
    /// Keeps the trait's method out of the hands of other crates.
    #[derive(Debug, Clone, Copy)]
    pub struct Parameters(pub(crate) crate::record::layer::LayerParameters);
}

impl<L, B: Backend> Recorded<L, B> {
    /// The recorders of this layer's inputs, in the order of its parameters.
    pub(crate) fn recorders(&self) -> &[Recorder<B>] {
        &self.recorders
    }

    /// The plain layer, without its recorder.
    pub fn into_inner(self) -> L {
        self.layer
    }
}

impl<L: RecordedLayer<B>, B: Backend> Recorded<L, B> {
    pub(crate) fn layer_parameters(&self) -> impl Iterator<Item = LayerParameters> {
        self.layer.parameters().into_iter().map(|found| found.0)
    }
}

impl<L: RecordedLayer<B>, B: Backend> From<L> for Recorded<L, B> {
    fn from(layer: L) -> Self {
        let recorders = layer.parameters().iter().map(|_| Recorder::new()).collect();
        Self { layer, recorders }
    }
}

impl<L, B: Backend> Deref for Recorded<L, B> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.layer
    }
}

impl<L, B: Backend> Recorded<L, B> {
    fn map_layer<T>(self, map: impl FnOnce(L) -> T) -> Recorded<T, B> {
        Recorded {
            layer: map(self.layer),
            recorders: self.recorders,
        }
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
        for (recorder, parameters) in self.recorders.iter().zip(self.layer_parameters()) {
            collector::report(recorder, Some(parameters));
        }
        self.layer.visit(visitor);
    }

    fn map<M: ModuleMapper<B>>(self, mapper: &mut M) -> Self {
        Self {
            layer: self.layer.map(mapper),
            recorders: self.recorders.into_iter().map(mapped).collect(),
        }
    }

    fn load_record(self, record: Self::Record) -> Self {
        self.map_layer(|layer| layer.load_record(record))
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
        Recorded {
            layer: self.layer.valid(),
            recorders: self.recorders.iter().map(Recorder::valid).collect(),
        }
    }

    fn from_inner(module: Self::InnerModule) -> Self {
        let recorders = module.recorders.into_iter();
        Self {
            layer: L::from_inner(module.layer),
            recorders: recorders.map(Recorder::from_inner).collect(),
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

impl<L: ModuleDisplay, B: Backend> ModuleDisplay for Recorded<L, B> {
    fn format(&self, settings: DisplaySettings) -> String {
        self.layer.format(settings)
    }
}

impl<L: ModuleDisplayDefault, B: Backend> ModuleDisplayDefault for Recorded<L, B> {
    fn content(&self, content: Content) -> Option<Content> {
        self.layer.content(content)
    }

    fn num_params(&self) -> usize {
        self.layer.num_params()
    }
}

impl<L: fmt::Display, B: Backend> fmt::Display for Recorded<L, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layer.fmt(f)
    }
}
