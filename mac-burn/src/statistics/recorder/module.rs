//! A recorder as a part of a module.

use super::Recorder;
use crate::statistics::collector::{self, RecorderHolder, Replacement};
use burn::module::{
    AutodiffModule, Content, Devices, EmptyRecord, HasAutodiffModule, Module, ModuleDisplay,
    ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::Device;

/// As a part of a module it has no parameters and no record, and is visible to this crate's passes only.
impl<B: Backend> Module<B> for Recorder<B> {
    type Record = EmptyRecord;

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        devices
    }

    fn fork(self, _device: &Device<B>) -> Self {
        self
    }

    fn to_device(self, _device: &Device<B>) -> Self {
        self
    }

    fn visit<V: ModuleVisitor<B>>(&self, _visitor: &mut V) {
        collector::report(self, self.layer(), RecorderHolder::OwnLayer);
    }

    fn map<M: ModuleMapper<B>>(self, _mapper: &mut M) -> Self {
        Replacement::of(self)
    }

    /// A new recorder: the layer's parameters may have other ids now.
    fn load_record(self, _record: Self::Record) -> Self {
        match self.is_off() {
            true => self,
            false => Self::new(),
        }
    }

    fn into_record(self) -> Self::Record {
        EmptyRecord
    }
}

impl<B: AutodiffBackend> AutodiffModule<B> for Recorder<B> {
    type InnerModule = Recorder<B::InnerBackend>;

    fn valid(&self) -> Self::InnerModule {
        match self.is_off() {
            true => Recorder::off(),
            false => Recorder::new(),
        }
    }

    fn from_inner(module: Self::InnerModule) -> Self {
        match module.is_off() {
            true => Self::off(),
            false => Self::new(),
        }
    }
}

impl<B: AutodiffBackend> HasAutodiffModule<B> for Recorder<B::InnerBackend> {
    type TrainModule = Recorder<B>;
}

impl<B: Backend> ModuleDisplayDefault for Recorder<B> {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_single(&"Recorder".to_string()).optional()
    }
}

impl<B: Backend> ModuleDisplay for Recorder<B> {}
