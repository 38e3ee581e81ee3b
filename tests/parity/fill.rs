//! Fills tensors by the formula, and checks them before any network is.

use crate::{error::ParityError, fixture::Filled, wave::Wave};

/// Of the sum of magnitudes. Sums are stored in 14 digits, and two orders of adding a million values differ by less than
/// 1e-13 of their magnitudes. An error in the formula changes the values themselves, and so does a tensor whose values
/// are rounded another way.
const SUM_ROUNDING: f64 = 2e-13;

/// A change of the values of some tensors, with which another network results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alteration {
    /// How the names of these tensors end.
    pub(crate) of: &'static str,
    /// Changes row-major values of a shape, both in PyTorch's layout.
    pub(crate) change: fn(&[usize], Vec<f32>) -> Vec<f32>,
}

impl Filled {
    /// The values, row-major in PyTorch's layout, once their sum is the fixture's.
    pub(crate) fn values(&self) -> Result<Vec<f32>, ParityError> {
        let wave = Wave::of(&self.name);
        let count = self.shape.iter().product();
        let value = |index| {
            let power = match self.power {
                1 => wave.at(index),
                power => wave.at(index).powi(power as i32),
            };
            (self.offset + self.amplitude * power) as f32
        };
        let values: Vec<f32> = (0..count).map(value).collect();
        check_sum(&self.name, self.fill_sum, &values)?;

        Ok(values)
    }
}

/// Checks that values sum up to what the fixture has.
pub(crate) fn check_sum(name: &str, expected: f64, values: &[f32]) -> Result<(), ParityError> {
    let (mut found, mut magnitude) = (0.0, 0.0);
    for value in values {
        found += f64::from(*value);
        magnitude += f64::from(value.abs());
    }
    if (found - expected).abs() <= SUM_ROUNDING * magnitude {
        return Ok(());
    }

    Err(ParityError::Fill {
        name: name.to_owned(),
        expected,
        found,
    })
}
