use thiserror::Error;

/// What can go wrong, with the field or layer it concerns, the value found and what is allowed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MacError {
    /// A hyper-parameter outside its range.
    #[error("`{field}` is {value}, but must be {allowed}")]
    InvalidConfig {
        /// The field of [`MacConfig`](crate::MacConfig).
        field: &'static str,
        /// The value found.
        value: String,
        /// The range or form that is allowed.
        allowed: &'static str,
    },
    /// A record written by another version of this crate.
    #[error("the optimizer record has version {found}, but this crate reads version {expected}")]
    RecordVersion {
        /// The version in the record.
        found: u32,
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
    /// A record written with a second optimizer, for an optimizer without one.
    #[error(
        "the optimizer record has the state of a second optimizer, but the optimizer that it is \
         loaded into has none: give it one by `Mac::with_second_optimizer`"
    )]
    RecordWithSecondOptimizer,
    /// A record written without a second optimizer, for an optimizer with one.
    #[error(
        "the optimizer record has no state of a second optimizer, but the optimizer that it is \
         loaded into has one: make it without `Mac::with_second_optimizer`"
    )]
    RecordWithoutSecondOptimizer,
    /// A setting of the second optimizer where there is none.
    #[error("there is no second optimizer: give it one by `Mac::with_second_optimizer`")]
    NoSecondOptimizer,
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
