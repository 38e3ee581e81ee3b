//! The sizes of networks, without any of their numbers.

use serde::Deserialize;

use burn::tensor::backend::AutodiffBackend;

use crate::{
    construction::{Arguments, Construction},
    error::ParityError,
    family::build,
    subject::Described,
};

/// A list of networks and their sizes.
#[derive(Debug, Deserialize)]
pub(crate) struct Counts {
    pub(crate) rows: Vec<Row>,
}

/// One network.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    name: String,
    source: String,
    args: Arguments,
    #[serde(flatten)]
    size: Size,
}

/// How large a network is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Size {
    pub(crate) trainable_parameters: usize,
    pub(crate) parameter_tensors: usize,
    pub(crate) float_buffer_elements: usize,
}

impl Row {
    /// The name and the arguments, which tell the rows apart.
    pub(crate) fn label(&self) -> String {
        if self.args.is_empty() {
            return self.name.clone();
        }
        let arguments = serde_json::Value::Object(self.args.clone());

        format!("{} {arguments}", self.name)
    }

    /// Builds the network and compares its size; false if its family is not covered.
    pub(crate) fn check<B: AutodiffBackend>(&self) -> Result<bool, ParityError> {
        let Some(subject) = build::<B>(&self.construction(), &Default::default())? else {
            return Ok(false);
        };
        self.size.check(&subject.tensors())?;

        Ok(true)
    }

    /// The models of packages are named by their row, and all others by their source.
    fn construction(&self) -> Construction {
        let source = match self.source.split_once(' ') {
            Some((package @ ("timm" | "torchvision"), _)) => format!("{package}:{}", self.name),
            _ => self.source.clone(),
        };

        Construction::new(&source, self.args.clone())
    }
}

impl Size {
    /// Compares the numbers of parameters, of their tensors, and of elements of buffers.
    pub(crate) fn check(&self, found: &[Described]) -> Result<(), ParityError> {
        let elements = |buffers: bool| {
            let tensors = found.iter().filter(|found| found.is_buffer() == buffers);
            tensors.map(Described::num_elements).sum()
        };
        let tensors = found.iter().filter(|found| !found.is_buffer()).count();
        let comparisons = [
            ("parameters", self.trainable_parameters, elements(false)),
            ("tensors of parameters", self.parameter_tensors, tensors),
            (
                "elements of buffers",
                self.float_buffer_elements,
                elements(true),
            ),
        ];
        for (what, expected, found) in comparisons {
            if expected != found {
                return Err(ParityError::Count {
                    what,
                    expected,
                    found,
                });
            }
        }

        Ok(())
    }
}
