use serde::{Deserialize, Serialize};

/// A number that is written as its bits, since JSON has neither NaN nor infinity.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub(crate) struct Bits(pub(crate) f64);

impl From<u64> for Bits {
    fn from(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

impl From<Bits> for u64 {
    fn from(bits: Bits) -> Self {
        bits.0.to_bits()
    }
}
