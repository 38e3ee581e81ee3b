use crate::MacError;
use crate::config::check;
use crate::inventory::{Inventory, Parameter};
use burn::grad_clipping::GradientClipping;
use burn::module::{AutodiffModule, ParamId};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{LearningRate, SimpleOptimizer};
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
    rate: AuxiliaryRate,
}

/// The learning rate of an auxiliary optimizer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AuxiliaryRate {
    /// In learning rates of MAC.
    pub(super) factor: f64,
    /// In place of that.
    own: Option<LearningRate>,
}

impl AuxiliaryRate {
    pub(super) fn of_factor(factor: f64) -> Self {
        Self { factor, own: None }
    }
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
            rate: AuxiliaryRate::of_factor(lr_factor),
        })
    }

    pub(super) fn set_lr_factor(&mut self, lr_factor: f64) -> Result<(), MacError> {
        check_lr_factor(lr_factor)?;
        self.rate = AuxiliaryRate::of_factor(lr_factor);
        Ok(())
    }

    pub(super) fn set_lr(&mut self, lr: LearningRate) -> Result<(), MacError> {
        check("lr", lr, "finite and at least 0", |value| {
            value >= 0.0 && value.is_finite()
        })?;
        self.rate.own = Some(lr);
        Ok(())
    }

    pub(super) fn rate(&self) -> AuxiliaryRate {
        self.rate
    }

    /// The learning rate of a step that MAC takes with `lr`.
    pub(super) fn lr(&self, lr: LearningRate) -> LearningRate {
        self.rate.own.unwrap_or(lr * self.rate.factor)
    }

    /// Takes over the factor of a record.
    pub(super) fn resume(&mut self, recorded: f64) {
        let factor = self.rate.factor;
        if recorded != factor {
            log::info!(
                "the record's learning-rate factor {recorded} of the auxiliary optimizer replaces {factor}"
            );
        }
        self.rate = AuxiliaryRate::of_factor(recorded);
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
    /// Its [own learning rate](crate::Mac::set_auxiliary_lr), if it has one in place of that.
    pub lr: Option<LearningRate>,
}

impl AuxiliaryOptimizerReport {
    pub(super) fn new<B: AutodiffBackend>(
        inventory: &Inventory<B>,
        uncovered: &HashSet<ParamId>,
        rate: AuxiliaryRate,
    ) -> Self {
        let all = inventory.parameters.iter();
        let stepped = all.filter(|found| found.trained && uncovered.contains(&found.id));
        Self {
            paths: stepped.clone().map(|found| found.path.clone()).collect(),
            parameters: stepped.map(Parameter::num_elements).sum(),
            lr_factor: rate.factor,
            lr: rate.own,
        }
    }
}

impl fmt::Display for AuxiliaryOptimizerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stepped = self.parameters;
        write!(
            f,
            "{stepped} parameters stepped by the auxiliary optimizer, learning rate "
        )?;
        match self.lr {
            Some(lr) => write!(f, "{lr}"),
            None => write!(f, "times {}", self.lr_factor),
        }
    }
}
