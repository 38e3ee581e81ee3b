//! The formula that weights and images are made of, so that none need be stored.

use std::f64::consts::TAU;

/// Advances the phase by much more than a period from one index to the next.
const FREQUENCY: f64 = 0.754_877_666_246_692_7;

/// 2²⁴ − 3, a prime: squares of indices modulo it make no matrix of low rank, as a plain wave would.
const PERIOD: u64 = 16_777_213;

/// A prime below 10⁴ + 10, of which the hash of a name chooses a phase.
const PHASES: u64 = 10_007;

/// The wave of a tensor, `s(j) = sin(phase + frequency · k(j))` with `k(j) = (j + 1)² mod period`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wave {
    phase: f64,
}

impl Wave {
    /// The wave of the tensor of this name in PyTorch.
    pub(crate) fn of(name: &str) -> Self {
        let phase = (fnv1a(name) % PHASES) as f64 / PHASES as f64 * TAU;

        Self { phase }
    }

    /// The value at a row-major index in PyTorch's layout.
    pub(crate) fn at(self, index: usize) -> f64 {
        let next = index as u64 + 1;
        let k = next * next % PERIOD;

        (self.phase + FREQUENCY * k as f64).sin()
    }

    /// The first `count` values in single precision, in which tensors are stored.
    pub(crate) fn values(self, count: usize) -> Vec<f32> {
        (0..count).map(|index| self.at(index) as f32).collect()
    }
}

/// The hash of Fowler, Noll and Vo, variant 1a, in 64 bits.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The check values of the fixtures' README; breaks with any change of the formula.
#[test]
fn the_wave_is_that_of_the_fixtures() {
    let hash = fnv1a("conv1.weight");
    assert_eq!((hash, hash % PHASES), (0x69a2_9a2c_ee47_d254, 2947));

    let wave = Wave::of("transformer.wte.weight");
    let values = [0, 1, 2, 5000, 999_999].map(|index| wave.at(index));
    let expected = [
        -0.973_138_294_080_272_4,
        0.445_319_940_526_652_36,
        -0.888_619_889_533_234_3,
        0.459_166_278_040_363_6,
        0.220_765_073_550_949_54,
    ];
    assert_eq!(values, expected);
}
