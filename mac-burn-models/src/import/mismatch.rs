use std::fmt;

use burn::tensor::DType;

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
