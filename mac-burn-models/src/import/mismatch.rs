use std::collections::BTreeSet;
use std::fmt;

use burn::tensor::DType;
use burn_store::TensorSnapshot;

use super::ImportError;
use super::checkpoint::Checkpoint;
use super::parameters::Expected;
use crate::pytorch::conventions::{is_derived, original_of};

/// All that differs between the tensors of a network and those of a file, by PyTorch's names, sorted.
///
/// Shown with the number of each kind, and then all tensors of it, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors of the network that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that the network does not have.
    pub unused: Vec<String>,
    /// Tensors with another shape.
    pub misshaped: Vec<Misshaped>,
    /// Tensors whose values are no floating-point numbers, as those of quantized weights.
    pub mistyped: Vec<Mistyped>,
    /// Tied tensors of which the file has two with different values.
    pub untied: Vec<Untied>,
}

/// A tensor with another shape in a file than in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshaped {
    /// PyTorch's name.
    pub name: String,
    /// The shape that the network needs it to have, in PyTorch's layout.
    pub expected: Vec<usize>,
    /// The shape that it has in the file.
    pub found: Vec<usize>,
}

/// A tensor whose values in a file are no floating-point numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistyped {
    /// PyTorch's name.
    pub name: String,
    /// The type that it has in the file.
    pub found: DType,
}

/// Two tensors of a file that are one in a network, with different values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untied {
    /// PyTorch's name of the tensor that the network has.
    pub original: String,
    /// The other name of it.
    pub copy: String,
}

impl Mismatch {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.kinds().iter().all(|(_, tensors)| tensors.is_empty())
    }

    /// Adds what is wrong with a tensor that is there.
    fn check(&mut self, expected: &Expected, found: &TensorSnapshot) {
        let name = expected.name.clone();
        if found.shape.as_slice() != expected.shape {
            self.misshaped.push(Misshaped {
                name,
                expected: expected.shape.clone(),
                found: found.shape.to_vec(),
            });
        } else if !found.dtype.is_float() {
            self.mistyped.push(Mistyped {
                name,
                found: found.dtype,
            });
        }
    }

    /// Adds a tied tensor of which there are two that differ.
    fn check_tied(
        &mut self,
        file: &Checkpoint,
        copy: &str,
        original: &str,
    ) -> Result<(), ImportError> {
        let (Some(first), Some(second)) = (file.tensor(original), file.tensor(copy)) else {
            return Ok(());
        };
        if file.values(first)? != file.values(second)? {
            self.untied.push(Untied {
                original: original.to_owned(),
                copy: copy.to_owned(),
            });
        }

        Ok(())
    }

    /// The tensors of each kind in words.
    fn kinds(&self) -> [(&'static str, Vec<String>); 5] {
        [
            ("missing", self.missing.clone()),
            ("unused", self.unused.clone()),
            ("of another shape", in_words(&self.misshaped)),
            ("of another type", in_words(&self.mistyped)),
            ("not tied", in_words(&self.untied)),
        ]
    }
}

fn in_words(tensors: &[impl ToString]) -> Vec<String> {
    tensors.iter().map(ToString::to_string).collect()
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds();
        let kinds = kinds.iter().filter(|(_, tensors)| !tensors.is_empty());
        let counts = kinds.clone().map(|(kind, tensors)| {
            let count = tensors.len();
            format!("{count} {kind}")
        });
        write!(f, "{}", counts.collect::<Vec<_>>().join(", "))?;
        for (kind, tensors) in kinds {
            write!(f, "\n{kind}:")?;
            for tensor in tensors {
                write!(f, "\n  {tensor}")?;
            }
        }

        Ok(())
    }
}

impl fmt::Display for Misshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            expected,
            found,
        } = self;
        write!(
            f,
            "{name}: {expected:?} in the network, {found:?} in the file"
        )?;
        match expected.iter().rev().eq(found) {
            true => write!(f, ", its transpose"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Mistyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:?} where a floating-point type is needed",
            self.name, self.found
        )
    }
}

impl fmt::Display for Untied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { original, copy } = self;
        write!(f, "{copy} has other values than {original}")
    }
}

/// Everything that differs between the tensors of a network and those of a file.
pub(super) fn compare(expected: &[Expected], file: &Checkpoint) -> Result<Mismatch, ImportError> {
    let mut mismatch = Mismatch::default();
    for tensor in expected {
        match file.tensor(&tensor.name) {
            Some(found) => mismatch.check(tensor, found),
            None => mismatch.missing.push(tensor.name.clone()),
        }
    }
    let names: BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
    for name in file.names().filter(|name| !names.contains(name)) {
        match original_of(name).filter(|original| names.contains(original)) {
            Some(original) => mismatch.check_tied(file, name, original)?,
            None if is_derived(name) => (),
            None => mismatch.unused.push(name.to_owned()),
        }
    }
    mismatch.missing.sort();
    mismatch.misshaped.sort_by(|a, b| a.name.cmp(&b.name));
    mismatch.mistyped.sort_by(|a, b| a.name.cmp(&b.name));

    Ok(mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when a kind is not shown, or a tensor of one with many is left out.
    #[test]
    fn a_mismatch_is_counted_and_listed_as_a_whole() {
        let mismatch = Mismatch {
            missing: (100..400).map(|layer| format!("layers.{layer}")).collect(),
            misshaped: vec![Misshaped {
                name: "head".to_owned(),
                expected: vec![10, 3],
                found: vec![3, 10],
            }],
            mistyped: vec![Mistyped {
                name: "table".to_owned(),
                found: DType::I8,
            }],
            untied: vec![Untied {
                original: "embedding".to_owned(),
                copy: "output".to_owned(),
            }],
            ..Default::default()
        };

        let text = mismatch.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 301 + 2 + 2 + 2, "{text}");
        assert_eq!(
            lines[0],
            "300 missing, 1 of another shape, 1 of another type, 1 not tied"
        );
        assert_eq!(lines[1], "missing:");
        for (line, name) in lines[2..302].iter().zip(&mismatch.missing) {
            assert_eq!(*line, format!("  {name}"));
        }
        let shapes = "  head: [10, 3] in the network, [3, 10] in the file, its transpose";
        assert_eq!(lines[302..304], ["of another shape:", shapes]);
        assert!(!mismatch.is_empty());
        assert!(Mismatch::default().is_empty());
    }
}
