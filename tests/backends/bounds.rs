use serde::{Deserialize, Serialize};

/// Largest difference of a parameter after any step of a trace. The authors' own `f32` differs from
/// their `f64` by 1e-7 to 5e-7, as do the backends, which sum in other orders; the smallest mistake that
/// the replay of traces makes (`tests/traces/tolerance.rs`) moves a parameter by 4.2e-5, 20 times this.
const TRACE: f64 = 2e-6;

/// The same on `NdArray<f32>` for a run whose derivatives it approximates; of traces, see
/// [`Case::takes_reciprocals`](crate::case::Case::takes_reciprocals): 1.2e-5 is measured in `vit` with
/// AVX-512, and AVX2 is six times as coarse. Attention's values by the wrong mean are 4.0e-3 away there.
const APPROXIMATE: f64 = 1e-4;

/// The backend that takes reciprocals by the processor's approximation.
const APPROXIMATES: &str = "ndarray";

/// Largest difference of a parameter after any of 30 steps of the digits network, which are more steps of a
/// larger network than a trace's: less than 1e-6 is measured.
const DIGITS: f64 = 1e-5;

/// Largest difference of a parameter after any of 10 steps of attention: 3.0e-7 is measured, and 3.0e-6 where reciprocals are
/// approximated, through which a softmax is differentiated; there [`APPROXIMATE`] is allowed.
const ATTENTION: f64 = 1e-5;

/// How many tolerances at least a mistake must move a parameter by, on every backend.
const NOTICED: f64 = 100.0;

/// Largest error of a gradient that was preconditioned in half precision, in units of half an epsilon of its largest
/// element: it is rounded once. With statistics in half precision 1.7 (attention's keys) to 35 (its output) are measured.
pub(crate) const HALF_ROUNDINGS: f64 = 1.1;

/// The backends that compute in both types of half precision on any device. wgpu's device decides, and ndarray has none.
pub(crate) const HALF: [&str; 2] = ["flex", "cuda"];

/// The type of statistics, whatever that of the network.
pub(crate) const STATISTICS: &str = "F32";

/// The share of the first loss that is left after training in half precision. In `f32` it is 0.25;
/// without training it would be 1.
pub(crate) const HALF_LOSS: f64 = 0.5;

/// What was run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Kind {
    Trace { takes_reciprocals: bool },
    Digits,
    Attention,
}

impl Kind {
    /// What these two backends may differ by.
    pub(crate) fn allowed(self, backends: [&str; 2]) -> f64 {
        match self {
            Self::Digits => DIGITS,
            Self::Attention if backends.contains(&APPROXIMATES) => APPROXIMATE,
            Self::Attention => ATTENTION,
            Self::Trace {
                takes_reciprocals: true,
            } if backends.contains(&APPROXIMATES) => APPROXIMATE,
            Self::Trace { .. } => TRACE,
        }
    }
    /// What a mistake must move a parameter by on a backend.
    pub(crate) fn noticed(self, backend: &str) -> f64 {
        NOTICED * self.allowed([backend; 2])
    }
}
