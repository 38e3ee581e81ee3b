//! The families of networks that are covered.

mod authors;
mod deit;
mod densenet;
mod gpt;
mod resnet;
mod wide_resnet;

use burn::tensor::{backend::AutodiffBackend, ops::Device};

pub(crate) use deit::deit;
pub(crate) use densenet::densenet;
pub(crate) use gpt::gpt;
pub(crate) use resnet::resnet;

use crate::{construction::Construction, error::ParityError, subject::Subject};

/// What building a network gives: none if it is of another family.
type Built<B> = Result<Option<Box<dyn Subject<B>>>, ParityError>;

/// Builds the network of a construction.
type Build<B> = fn(&Construction, &Device<B>) -> Built<B>;

/// Builds the network of a construction; none if no family covers it.
///
/// A further family is a file with such a function, and an entry here.
pub(crate) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Built<B> {
    let families: [Build<B>; 5] = [
        deit::build,
        gpt::build,
        resnet::build,
        wide_resnet::build,
        densenet::build,
    ];
    for build in families {
        if let Some(subject) = build(construction, device)? {
            return Ok(Some(subject));
        }
    }

    Ok(None)
}
