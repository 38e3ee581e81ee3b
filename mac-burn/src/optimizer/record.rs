use super::auxiliary::{AuxiliaryRate, NoAuxiliaryOptimizer};
use super::mac_optimizer::MacOptimizer;
use super::parameter_steps::{ParameterState, ParameterStates};
use crate::inventory::Inventory;
use crate::preconditioner::not_a_record;
use crate::{CurvatureConfig, MacError, MacPreconditioner, MacPreconditionerRecord, Report};
use burn::module::{AutodiffModule, ParamId};
use burn::optim::SimpleOptimizer;
use burn::optim::record::{AdaptorRecord, AdaptorRecordItem};
use burn::record::{PrecisionSettings, Record};
use burn::tensor::backend::AutodiffBackend;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;

/// The state of a [`Mac`](crate::Mac): that of the preconditioner, the momentum of each parameter, and the state of the
/// auxiliary optimizer if there is one.
pub struct MacRecord<B, O = NoAuxiliaryOptimizer>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// The state of the preconditioner.
    pub preconditioner: MacPreconditionerRecord,
    /// The states of the parameters that have been stepped.
    pub states: HashMap<ParamId, ParameterState<B, O>>,
    /// The learning-rate factor of the auxiliary optimizer, if there is one.
    pub auxiliary_lr_factor: Option<f64>,
}

impl<B, O> Clone for MacRecord<B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    fn clone(&self) -> Self {
        Self {
            preconditioner: self.preconditioner.clone(),
            states: self.states.clone(),
            auxiliary_lr_factor: self.auxiliary_lr_factor,
        }
    }
}

impl<B, O> MacRecord<B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// The report of the optimizer that this is the record of, without that optimizer: Burn's `Learner` consumes it, and
    /// returns the model that it has trained. The optimizer's state is in the checkpoints that
    /// `with_file_checkpointer(CompactRecorder::new())` makes it write.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::record::{CompactRecorder, Recorder};
    /// use mac_burn::{MacConfig, MacRecord};
    /// # use burn::module::AutodiffModule;
    /// # use burn::nn::LinearConfig;
    /// # use burn::optim::{GradientsParams, Optimizer};
    /// # use burn::tensor::Tensor;
    /// # type B = burn::backend::Autodiff<burn::backend::Flex>;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let device = Default::default();
    /// # let model: mac_burn::MacLinear<B> = LinearConfig::new(8, 4).init(&device).into();
    /// # let mut optim = MacConfig::new().init();
    /// # let loss = model.forward(Tensor::<B, 2>::ones([2, 8], &device)).sum();
    /// # let grads = GradientsParams::from_grads(loss.backward(), &model);
    /// # let model = optim.step(0.1, model, grads);
    /// # let artifacts = tempfile::tempdir()?;
    /// # let artifacts = artifacts.path();
    /// # std::fs::create_dir(artifacts.join("checkpoint"))?;
    /// # let file = artifacts.join("checkpoint").join("optim-10");
    /// # Recorder::<B>::record(&CompactRecorder::new(), optim.to_record(), file)?;
    /// # struct LearningResult<M> { model: M }
    /// # let result = LearningResult { model: model.valid() };
    ///
    /// // let result = training.launch(learner);
    /// let file = artifacts.join("checkpoint").join("optim-10");
    /// let record: MacRecord<B> = CompactRecorder::new().load(file, &device)?;
    /// let model = result.model.train::<B>();
    /// let report = record.report(&MacConfig::new(), &model)?;
    /// println!("{report}");
    /// # assert_eq!(report.layers[0].updates, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With an auxiliary optimizer the record's type names it: `MacRecord<B, AdamW>`.
    ///
    /// # Errors
    ///
    /// If the configuration is not valid, or the record has another version or belongs to another model.
    pub fn report<M: AutodiffModule<B>>(
        self,
        config: &impl CurvatureConfig,
        module: &M,
    ) -> Result<Report, MacError> {
        let preconditioner = MacPreconditioner::of_mac(config)?;
        let preconditioner = preconditioner.try_load_record(self.preconditioner, module)?;
        let inventory = Inventory::of(module);
        super::check_states(&self.states, &inventory)?;
        let rate = self.auxiliary_lr_factor.map(AuxiliaryRate::of_factor);
        Ok(super::report(
            module,
            &inventory,
            &preconditioner,
            &self.states,
            rate,
        ))
    }
}

type MomentumItem<B, S> =
    AdaptorRecordItem<MacOptimizer<<B as AutodiffBackend>::InnerBackend>, B, S>;

/// A [`MacRecord`] as it is written.
///
/// Version 1 was a sequence of four: the preconditioner, the momentum of parameters with weight decay, that of parameters
/// without, and factor and states of the auxiliary optimizer. It is read from formats that describe themselves.
#[derive(Clone)]
pub struct MacRecordItem<B, O, S>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
    S: PrecisionSettings,
{
    preconditioner: MacPreconditionerRecord,
    /// By parameter id.
    momentum: BTreeMap<String, MomentumItem<B, S>>,
    auxiliary: Option<AuxiliaryItem<B, O, S>>,
}

/// The learning-rate factor and the states by parameter id.
type AuxiliaryItem<B, O, S> = (f64, BTreeMap<String, AdaptorRecordItem<O, B, S>>);

impl<B, O> Record<B> for MacRecord<B, O>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    type Item<S: PrecisionSettings> = MacRecordItem<B, O, S>;

    fn into_item<S: PrecisionSettings>(self) -> Self::Item<S> {
        let mut momentum = BTreeMap::new();
        let mut auxiliary = BTreeMap::new();
        for (id, state) in self.states {
            match state {
                ParameterState::Mac(state) => {
                    momentum.insert(id.serialize(), state.into_item());
                }
                ParameterState::Auxiliary(state) => {
                    auxiliary.insert(id.serialize(), state.into_item());
                }
            }
        }
        MacRecordItem {
            preconditioner: self.preconditioner,
            momentum,
            auxiliary: self.auxiliary_lr_factor.map(|factor| (factor, auxiliary)),
        }
    }

    fn from_item<S: PrecisionSettings>(item: Self::Item<S>, device: &B::Device) -> Self {
        let mut states = ParameterStates::<B, O>::new();
        for (id, state) in item.momentum {
            let state = AdaptorRecord::from_item::<S>(state, device);
            states.insert(ParamId::deserialize(&id), ParameterState::Mac(state));
        }
        let auxiliary_lr_factor = item.auxiliary.map(|(factor, auxiliary)| {
            for (id, state) in auxiliary {
                let state = AdaptorRecord::from_item::<S>(state, device);
                states.insert(ParamId::deserialize(&id), ParameterState::Auxiliary(state));
            }
            factor
        });
        Self {
            preconditioner: item.preconditioner,
            states,
            auxiliary_lr_factor,
        }
    }
}

const NAME: &str = "MacRecord";
const FIELDS: &[&str] = &["preconditioner", "momentum", "auxiliary"];

impl<B, O, S> Serialize for MacRecordItem<B, O, S>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
    S: PrecisionSettings,
{
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let mut fields = serializer.serialize_struct(NAME, FIELDS.len())?;
        fields.serialize_field(FIELDS[0], &self.preconditioner)?;
        fields.serialize_field(FIELDS[1], &self.momentum)?;
        fields.serialize_field(FIELDS[2], &self.auxiliary)?;
        fields.end()
    }
}

impl<'de, B, O, S> Deserialize<'de> for MacRecordItem<B, O, S>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
    S: PrecisionSettings,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(NAME, FIELDS, ItemVisitor(PhantomData))
    }
}

struct ItemVisitor<B, O, S>(PhantomData<(B, O, S)>);

impl<'de, B, O, S> Visitor<'de> for ItemVisitor<B, O, S>
where
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
    S: PrecisionSettings,
{
    type Value = MacRecordItem<B, O, S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record of a Mac optimizer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut preconditioner, mut momentum, mut auxiliary) = (None, None, None);
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "preconditioner" => preconditioner = Some(map.next_value()?),
                "momentum" => momentum = Some(map.next_value()?),
                "auxiliary" => auxiliary = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(MacRecordItem {
            preconditioner: preconditioner
                .ok_or_else(|| Error::custom(not_a_record("it has no preconditioner")))?,
            momentum: momentum.ok_or_else(|| Error::missing_field(FIELDS[1]))?,
            auxiliary,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let missing = |index| Error::invalid_length(index, &FIELDS.len().to_string().as_str());
        let preconditioner: MacPreconditionerRecord =
            sequence.next_element()?.ok_or_else(|| missing(0))?;
        let mut momentum: BTreeMap<String, MomentumItem<B, S>> =
            sequence.next_element()?.ok_or_else(|| missing(1))?;
        if preconditioner.is_of_version_1() {
            let without_decay: BTreeMap<String, MomentumItem<B, S>> =
                sequence.next_element()?.ok_or_else(|| missing(2))?;
            momentum.extend(without_decay);
        }
        let auxiliary = sequence.next_element()?.ok_or_else(|| missing(2))?;
        Ok(MacRecordItem {
            preconditioner,
            momentum,
            auxiliary,
        })
    }
}
