//! The families of networks that are covered.

mod deit;
mod densenet;
mod extent;
mod gpt;
mod lenet;
mod resnet;
mod swin;
mod wide_resnet;

use burn::tensor::{backend::AutodiffBackend, ops::Device};

pub(crate) use deit::deit;
pub(crate) use densenet::densenet;
pub(crate) use gpt::gpt;
pub(crate) use lenet::lenet;
pub(crate) use resnet::resnet;
pub(crate) use swin::swin;
pub(crate) use wide_resnet::wide_resnet;

use extent::Extent;

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
    let families: [Build<B>; 7] = [
        deit::build,
        gpt::build,
        lenet::build,
        resnet::build,
        wide_resnet::build,
        densenet::build,
        swin::build,
    ];
    for build in families {
        if let Some(subject) = build(construction, device)? {
            return Ok(Some(subject));
        }
    }

    Ok(None)
}

/// Whether an argument names another layer or pooling than the only one, which may be a class of PyTorch's or a name of timm's.
fn is_another(argument: &Option<String>, only: &str) -> bool {
    argument.as_ref().is_some_and(|name| {
        let class = name.rsplit('.').next().unwrap_or(name);
        !class.eq_ignore_ascii_case(only)
    })
}

/// Of a file of the authors' networks for CIFAR: the number of classes that these have by default, and its name.
fn cifar(file: &str) -> Option<(usize, &str)> {
    match file.split_once("/models/")? {
        ("cifar10", file) => Some((10, file)),
        ("cifar100", file) => Some((100, file)),
        _ => None,
    }
}
