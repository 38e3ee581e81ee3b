//! The way into a record and back.

use super::MacPreconditioner;
use crate::MacError;
use crate::preconditioner_record::MacPreconditionerRecord;
use crate::survey::Survey;
use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;

impl<B: AutodiffBackend> MacPreconditioner<B> {
    /// Everything that the next call depends on.
    pub fn to_record(&self) -> MacPreconditionerRecord {
        match &self.loaded {
            Some(record) => record.clone(),
            None => MacPreconditionerRecord::new(self),
        }
    }

    /// Continues from a record. Damping, stat_decay and input covariances are the record's; what is set
    /// after this replaces them.
    ///
    /// Whether the record belongs to the model is found out at the next call of
    /// [`precondition`](Self::precondition); [`try_load_record`](Self::try_load_record) tells at
    /// once.
    ///
    /// # Panics
    ///
    /// If the record has another version.
    pub fn load_record(mut self, record: MacPreconditionerRecord) -> Self {
        record.check().unwrap_or_else(|error| panic!("{error}"));
        self.loaded = Some(record);
        self
    }

    /// Continues from a record of `module`'s preconditioner.
    ///
    /// # Errors
    ///
    /// If the record has another version or belongs to another model.
    pub fn try_load_record<M: AutodiffModule<B>>(
        mut self,
        record: MacPreconditionerRecord,
        module: &M,
    ) -> Result<Self, MacError> {
        record.check()?;
        self.loaded = Some(record);
        self.settle(&Survey::of(module))?;
        Ok(self)
    }

    /// What it becomes once the record that waits is taken into use. None if no record waits, or if it belongs to another
    /// model, which the next step tells.
    pub(crate) fn settled(&self, survey: &Survey<B>) -> Option<Self> {
        self.loaded.as_ref()?;
        let mut settled = self.clone();
        settled.settle(survey).ok()?;
        Some(settled)
    }

    /// Takes a loaded record into use, now that its module is known.
    pub(crate) fn settle(&mut self, survey: &Survey<B>) -> Result<(), MacError> {
        let Some(record) = self.loaded.take() else {
            return Ok(());
        };
        let state = record.resolve(survey)?;
        if (state.damping, state.stat_decay) != (self.damping, self.stat_decay) {
            log::info!(
                "the record's damping {} and stat_decay {} replace {} and {}",
                state.damping,
                state.stat_decay,
                self.damping,
                self.stat_decay
            );
        }
        self.step = state.step;
        self.damping = state.damping;
        self.stat_decay = state.stat_decay;
        self.layers = state.layers;
        self.dense = state.dense;
        Ok(())
    }
}
