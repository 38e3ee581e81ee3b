use crate::replicas::ReplicaError;
use thiserror::Error;

/// An error, with the field or layer that it concerns, the value found and the values allowed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MacError {
    /// A hyper-parameter outside its range.
    #[error("`{field}` is {value}, but must be {allowed}")]
    InvalidConfig {
        /// The field of [`MacConfig`](crate::MacConfig), or the argument.
        field: &'static str,
        /// The value found.
        value: String,
        /// The range or form that is allowed.
        allowed: &'static str,
    },
    /// A record written by another version of this crate, in a form that it cannot read.
    #[error(
        "the optimizer record has version {found}, but this crate reads version {expected} \
         (and versions before from formats that name their fields, such as that of `NamedMpkFileRecorder`); \
         if it is the checkpoint of another optimizer, start with a new optimizer, and load only the model's record"
    )]
    RecordVersion {
        /// The version in the record.
        found: u32,
        /// The version that this crate reads and writes.
        expected: u32,
    },
    /// A file that is not the record of a [`Mac`](crate::Mac).
    #[error(
        "this is not a record of the MAC optimizer (version {expected}): {problem}. It may be the checkpoint of another \
         optimizer; start with a new optimizer, and load only the model's record"
    )]
    NotARecord {
        /// The first thing that a record has and this has not.
        problem: String,
        /// The version that this crate reads and writes.
        expected: u32,
    },
    /// A record whose layers are not those of the module.
    #[error(
        "the optimizer record belongs to another model: {problem} \
         (load the model's record, which restores the parameter ids, before the first step)"
    )]
    RecordOfAnotherModel {
        /// The first difference found.
        problem: String,
    },
    /// A record whose momentum is not what the configured [`step`](crate::MacConfig::step) is made of.
    #[error(
        "the optimizer record has momentum of {found} gradients, but the configured `step` is made of that of {expected} ones \
         (with `Momentum`, gradients are preconditioned before they are averaged). To go on with another step, start with a new \
         optimizer and load only the model's record"
    )]
    RecordOfAnotherStep {
        /// `raw` or `preconditioned`.
        found: &'static str,
        /// `raw` or `preconditioned`.
        expected: &'static str,
    },
    /// A record with the curvatures of another optimizer.
    #[error(
        "the optimizer record has curvatures of {found}, but it is loaded into {expected}: make the optimizer from the configuration that \
         the record was written with, or start with a new one and load only the model's record"
    )]
    RecordOfAnotherCurvature {
        /// The optimizer whose curvatures the record has.
        found: &'static str,
        /// The optimizer that it is loaded into.
        expected: &'static str,
    },
    /// A record written with an auxiliary optimizer, for an optimizer without one.
    #[error(
        "the optimizer record has the state of an auxiliary optimizer, but the optimizer that it is \
         loaded into has none. To continue the run, give it one by `Mac::with_auxiliary_optimizer` before the record is \
         loaded. To go on without one, start with a new optimizer and load the model's record only; in Burn's `Learner` that \
         is a model with its record loaded and no `checkpoint`"
    )]
    RecordWithAuxiliaryOptimizer,
    /// A record written without an auxiliary optimizer, for an optimizer with one.
    #[error(
        "the optimizer record has no state of an auxiliary optimizer, but the optimizer that it is \
         loaded into has one. To continue the run as it was, load it into an optimizer without one. To add one, load the \
         record first and then call `Mac::with_auxiliary_optimizer`; Burn's `Learner` loads records after that, so there \
         start with a new optimizer and a model with its record loaded, and no `checkpoint`"
    )]
    RecordWithoutAuxiliaryOptimizer,
    /// A setting of the auxiliary optimizer where there is none.
    #[error("there is no auxiliary optimizer: give it one by `Mac::with_auxiliary_optimizer`")]
    NoAuxiliaryOptimizer,
    /// A training in [replicas](crate::replicas) that has ended on one rank.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// One recorder that saw the inputs of two weights.
    #[error(
        "one recorder has seen the inputs of `{first}` and of `{second}`, whose sums would be mixed: \
         give each weight a `Recorder` of its own"
    )]
    SharedRecorder {
        /// The layer of the first pass.
        first: String,
        /// Another layer, of a later pass.
        second: String,
    },
    /// One weight that two kinds of layers use.
    #[error(
        "the weight of `{path}` is recorded as that of a {first} and of a {second}, which see it in other layouts: leave one of them \
         without a recorder"
    )]
    WeightOfTwoKinds {
        /// The path of the layer.
        path: String,
        /// The kind of one layer.
        first: &'static str,
        /// The kind of the other.
        second: &'static str,
    },
    /// An input covariance that was never updated.
    #[error(
        "the input covariance of `{layer}` has seen no batch: call `update` with training inputs first"
    )]
    EmptyCovariance {
        /// The kind of the layer.
        layer: &'static str,
    },
    /// An input covariance that cannot be inverted.
    #[error(
        "the input covariance of `{layer}` plus damping {damping} is not positive definite: \
         its inputs contain NaN or infinity, or the damping is too small for them"
    )]
    SingularCovariance {
        /// The kind of the layer.
        layer: &'static str,
        /// The damping added to the diagonal.
        damping: f64,
    },
}
