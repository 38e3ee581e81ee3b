use std::collections::BTreeSet;

use burn_store::TensorSnapshot;

use super::checkpoint::Checkpoint;
use super::{Expected, ImportError, Mismatch, Misshaped, Mistyped, Untied};
use crate::pytorch::conventions::{is_derived, original_of};

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

impl Mismatch {
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
}
