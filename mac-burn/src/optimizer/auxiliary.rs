use crate::MacError;
use crate::config::check;
use crate::inventory::{Inventory, Parameter};
use burn::grad_clipping::GradientClipping;
use burn::module::{AutodiffModule, ParamId};
use burn::optim::SimpleOptimizer;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::record::{PrecisionSettings, Record};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashSet;
use std::fmt;

/// The optimizer of the parameters that MAC does not cover.
#[derive(Clone)]
pub(super) struct Auxiliary<O> {
    pub(super) optimizer: O,
    /// The clipping that it came with, after that of MAC.
    pub(super) clipping: Option<GradientClipping>,
    /// The factor of the learning rate.
    lr_factor: f64,
}

impl<O> Auxiliary<O> {
    pub(super) fn new<B, M>(
        adaptor: &OptimizerAdaptor<O, M, B>,
        lr_factor: f64,
    ) -> Result<Self, MacError>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
        O: SimpleOptimizer<B::InnerBackend>,
    {
        check_lr_factor(lr_factor)?;
        Ok(Self {
            optimizer: adaptor.optim().clone(),
            clipping: adaptor.grad_clipping().cloned(),
            lr_factor,
        })
    }

    pub(super) fn set_lr_factor(&mut self, lr_factor: f64) -> Result<(), MacError> {
        check_lr_factor(lr_factor)?;
        self.lr_factor = lr_factor;
        Ok(())
    }

    pub(super) fn lr_factor(&self) -> f64 {
        self.lr_factor
    }

    /// Takes over the factor of a record.
    pub(super) fn resume_lr_factor(&mut self, recorded: f64) {
        if recorded != self.lr_factor {
            log::info!(
                "the record's learning-rate factor {recorded} of the auxiliary optimizer replaces {}",
                self.lr_factor
            );
            self.lr_factor = recorded;
        }
    }
}

fn check_lr_factor(lr_factor: f64) -> Result<(), MacError> {
    check("lr_factor", lr_factor, "finite and above 0", |value| {
        value > 0.0 && value.is_finite()
    })
}

/// The auxiliary optimizer of a [`Mac`](crate::Mac) that has none. It has no values, so there is no such
/// optimizer to be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAuxiliaryOptimizer {}

/// The state of some auxiliary optimizer in a record that is read without one: that there is one.
///
/// It reads any state in a format that describes itself, such as that of Burn's
/// `NamedMpkFileRecorder`, so that such a record is refused by a
/// [`MacError`](crate::MacError::RecordWithAuxiliaryOptimizer) and not by an error of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NoAuxiliaryOptimizerState;

impl<B: Backend> SimpleOptimizer<B> for NoAuxiliaryOptimizer {
    type State<const D: usize> = NoAuxiliaryOptimizerState;

    fn step<const D: usize>(
        &self,
        _lr: f64,
        _tensor: Tensor<B, D>,
        _grad: Tensor<B, D>,
        _state: Option<NoAuxiliaryOptimizerState>,
    ) -> (Tensor<B, D>, Option<NoAuxiliaryOptimizerState>) {
        match *self {}
    }

    fn to_device<const D: usize>(
        state: NoAuxiliaryOptimizerState,
        _device: &B::Device,
    ) -> NoAuxiliaryOptimizerState {
        state
    }
}

impl<B: Backend> Record<B> for NoAuxiliaryOptimizerState {
    type Item<S: PrecisionSettings> = Self;

    fn into_item<S: PrecisionSettings>(self) -> Self::Item<S> {
        self
    }

    fn from_item<S: PrecisionSettings>(item: Self::Item<S>, _device: &B::Device) -> Self {
        item
    }
}

impl<'de> Deserialize<'de> for NoAuxiliaryOptimizerState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// The parameters that an auxiliary optimizer steps.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuxiliaryOptimizerReport {
    /// The paths of its parameters, in the order of the module.
    pub paths: Vec<String>,
    /// The elements of these parameters.
    pub parameters: usize,
    /// The factor of the learning rate.
    pub lr_factor: f64,
}

impl AuxiliaryOptimizerReport {
    pub(super) fn new<B: AutodiffBackend>(
        inventory: &Inventory<B>,
        uncovered: &HashSet<ParamId>,
        lr_factor: f64,
    ) -> Self {
        let all = inventory.parameters.iter();
        let stepped = all.filter(|found| found.trained && uncovered.contains(&found.id));
        Self {
            paths: stepped.clone().map(|found| found.path.clone()).collect(),
            parameters: stepped.map(Parameter::num_elements).sum(),
            lr_factor,
        }
    }
}

impl fmt::Display for AuxiliaryOptimizerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} parameters stepped by the auxiliary optimizer, learning rate times {}",
            self.parameters, self.lr_factor
        )
    }
}
