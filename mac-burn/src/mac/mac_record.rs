use super::second_optimizer::{SecondOptimizer, SecondOptimizerRecord};
use super::{Adaptor, Mac, NoSecondOptimizer};
use crate::MacError;
use crate::preconditioner_record::MacPreconditionerRecord;
use crate::survey::Survey;
use burn::module::{AutodiffModule, ParamId};
use burn::optim::{Optimizer, SimpleOptimizer};
use burn::tensor::backend::AutodiffBackend;

/// The state of a [`Mac`]: the preconditioner's, the momentum of parameters with weight decay, that of
/// parameters without, and the state of the second optimizer if there is one.
pub type MacRecord<M, B, O = NoSecondOptimizer> = (
    MacPreconditionerRecord,
    <Adaptor<M, B> as Optimizer<M, B>>::Record,
    <Adaptor<M, B> as Optimizer<M, B>>::Record,
    Option<SecondOptimizerRecord<M, B, O>>,
);

impl<M, B, O> Mac<M, B, O>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
    O: SimpleOptimizer<B::InnerBackend>,
{
    /// Continues from a record of the optimizer of `module`.
    ///
    /// # Errors
    ///
    /// If the record has another version or belongs to another model, or only one of the two has a
    /// second optimizer.
    pub fn try_load_record(self, record: MacRecord<M, B, O>, module: &M) -> Result<Self, MacError> {
        let mut loaded = self.load(record)?;
        loaded.verify(&Survey::of(module))?;
        Ok(loaded)
    }

    /// Takes a record over as far as that can be done without its module.
    pub(super) fn load(self, record: MacRecord<M, B, O>) -> Result<Self, MacError> {
        let (preconditioner, decayed, exempt, second) = record;
        preconditioner.check()?;
        let second = match (self.second, second) {
            (Some(optimizer), Some(record)) => Some(optimizer.load_record(record)),
            (None, None) => None,
            (None, Some(_)) => return Err(MacError::RecordWithSecondOptimizer),
            (Some(_), None) => return Err(MacError::RecordWithoutSecondOptimizer),
        };
        Ok(Self {
            preconditioner: self.preconditioner.load_record(preconditioner),
            decayed: self.decayed.load_record(decayed),
            exempt: self.exempt.load_record(exempt),
            second,
            unverified: true,
            ..self
        })
    }

    /// Compares a loaded record with the module it is used for.
    pub(super) fn verify(&mut self, survey: &Survey<B>) -> Result<(), MacError> {
        if !std::mem::take(&mut self.unverified) {
            return Ok(());
        }
        self.preconditioner.settle(survey)?;
        let known = |id: &ParamId| survey.parameter(*id).is_some();
        let momenta = [&self.decayed, &self.exempt].map(Optimizer::to_record);
        if !momenta.iter().flat_map(|record| record.keys()).all(known) {
            return Err(MacError::RecordOfAnotherModel {
                problem: "it has the momentum of a parameter that the module does not have".into(),
            });
        }
        let second = self.second.as_ref().map(SecondOptimizer::to_record);
        if second.is_some_and(|(_, states)| !states.keys().all(known)) {
            return Err(MacError::RecordOfAnotherModel {
                problem: "its second optimizer has the state of a parameter that the module does not have"
                    .into(),
            });
        }
        Ok(())
    }
}
