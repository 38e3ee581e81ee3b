//! Differences between numbers that are to be the same.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// The largest difference of a quantity, in proportion to what is allowed there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// The difference.
    pub difference: f64,
    /// The difference that rounding explains.
    pub allowed: f64,
    at: String,
}

impl Worst {
    /// Whether the difference is more than rounding explains.
    pub fn exceeds(&self) -> bool {
        self.ratio() > 1.0
    }

    /// The difference in multiples of what is allowed.
    pub fn ratio(&self) -> f64 {
        self.difference / self.allowed
    }

    fn cell(&self) -> String {
        let mark = if self.exceeds() { " !" } else { "" };

        format!("{:.1e}/{:.0e}{mark}", self.difference, self.allowed)
    }
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} differs by {:.1e}, where {:.1e} is allowed",
            self.at, self.difference, self.allowed
        )
    }
}

/// The largest difference of each quantity that was compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Differences<Q: Ord> {
    worst: BTreeMap<Q, Worst>,
}

impl<Q: Ord> Default for Differences<Q> {
    fn default() -> Self {
        let worst = BTreeMap::new();
        Self { worst }
    }
}

impl<Q: Ord + Copy> Differences<Q> {
    /// Takes in a difference; what is infinite or not a number, for which JSON has no word, counts as the largest number.
    pub fn add(&mut self, quantity: Q, at: &str, difference: f64, allowed: f64) {
        let found = Worst {
            difference: difference.abs().min(f64::MAX),
            allowed,
            at: at.to_owned(),
        };
        let worst = self.worst.get(&quantity);
        if worst.is_none_or(|worst| found.ratio() > worst.ratio()) {
            self.worst.insert(quantity, found);
        }
    }

    /// The largest difference of a quantity, if it was compared.
    pub fn worst(&self, quantity: Q) -> Option<&Worst> {
        self.worst.get(&quantity)
    }

    /// The difference that is the largest in proportion to what is allowed.
    pub fn largest(&self) -> Option<&Worst> {
        let worst = self.worst.values();

        worst.max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
    }

    /// The differences that are more than rounding explains.
    pub fn exceeding(&self) -> impl Iterator<Item = (Q, &Worst)> {
        let all = self.worst.iter();

        all.filter(|(_, worst)| worst.exceeds())
            .map(|(quantity, worst)| (*quantity, worst))
    }

    /// The cells of a table for these quantities: the difference and what is allowed.
    pub fn cells<const N: usize>(&self, quantities: [Q; N]) -> [String; N] {
        quantities.map(|quantity| {
            let worst = self.worst(quantity);
            worst.map_or_else(|| "-".to_owned(), Worst::cell)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when a large difference that is allowed hides a small one that is not, or one that is no number is left out.
    #[test]
    fn the_worst_is_in_proportion_to_what_is_allowed() {
        let mut differences = Differences::default();
        differences.add("loss", "step 1", 1e-3, 1e-2);
        differences.add("loss", "step 2", -1e-5, 1e-6);
        differences.add("loss", "step 3", 1e-7, 1e-6);
        differences.add("mean", "all", 0.0, 1e-6);
        let worst = differences.worst("loss").expect("it was compared");
        assert_eq!(
            worst.to_string(),
            "step 2 differs by 1.0e-5, where 1.0e-6 is allowed"
        );
        assert_eq!(differences.largest(), Some(worst));
        let cells = differences.cells(["loss", "mean", "other"]);
        assert_eq!(cells, ["1.0e-5/1e-6 !", "0.0e0/1e-6", "-"]);

        differences.add("mean", "one", f64::NAN, 1e-6);
        let exceeding: Vec<_> = differences.exceeding().map(|(name, _)| name).collect();
        assert_eq!(exceeding, ["loss", "mean"]);
    }
}
