use std::time::Duration;
use thiserror::Error;

/// The end of a training in replicas, with the rank that it is due to. A run that ends with it is resumed from its last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// A rank whose connection has broken: its process has ended, or the network between has.
    #[error(
        "rank {rank} is lost: {reason}. The ranks that are left cannot go on: resume all from the last checkpoint"
    )]
    Lost {
        /// The rank.
        rank: usize,
        /// The error of its connection.
        reason: String,
    },
    /// A rank that has sent nothing in time.
    #[error(
        "rank {rank} did not answer within {timeout:?}: it hangs, it is slower than that, or its machine is gone. The ranks that are \
         left cannot go on: resume all from the last checkpoint, with a larger timeout if it is slow"
    )]
    TimedOut {
        /// The rank.
        rank: usize,
        /// The time that it had.
        timeout: Duration,
    },
    /// A rank that has ended its run before the others.
    #[error(
        "rank {rank} has left while others wait for it: all ranks must take the same number of steps"
    )]
    LeftEarly {
        /// The rank.
        rank: usize,
    },
    /// A rank that differs from rank 0 in what must be the same on all.
    #[error("rank {rank} differs from rank 0 in {what}: it has {found}, and rank 0 has {expected}")]
    Mismatch {
        /// The rank.
        rank: usize,
        /// The thing that differs.
        what: String,
        /// The value of the rank.
        found: String,
        /// The value of rank 0.
        expected: String,
    },
    /// Rank 0, where it does not listen, or not at this address.
    #[error("rank 0 was not reached at {address} within {timeout:?}: {reason}")]
    Unreachable {
        /// The address of rank 0.
        address: String,
        /// The time that was tried for.
        timeout: Duration,
        /// The last error.
        reason: String,
    },
    /// An argument outside its range.
    #[error("`{field}` is {value}, but must be {allowed}")]
    Invalid {
        /// The argument.
        field: &'static str,
        /// The value found.
        value: String,
        /// The range or form that is allowed.
        allowed: String,
    },
    /// Any other failure of an all-reduce on this rank, as of an implementation outside this crate.
    #[error("the all-reduce of rank {rank} failed: {reason}")]
    Failed {
        /// The rank.
        rank: usize,
        /// The failure.
        reason: String,
    },
}

impl ReplicaError {
    /// The rank that the others have lost; none if a rank differs, or there is none.
    pub fn failed_rank(&self) -> Option<usize> {
        match self {
            Self::Lost { rank, .. } | Self::TimedOut { rank, .. } | Self::LeftEarly { rank } => {
                Some(*rank)
            }
            _ => None,
        }
    }
}
