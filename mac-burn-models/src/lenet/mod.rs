//! LeNet: two convolutions with pooling, then three linear layers.
//!
//! Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", Proceedings
//! of the IEEE 86(11), 1998, [doi:10.1109/5.726791](https://doi.org/10.1109/5.726791).

mod activation;
mod config;
mod model;
mod names;
mod pooling;

pub use activation::LeNetActivation;
pub use config::LeNetConfig;
pub use model::LeNet;
pub use names::authors_name;
pub use pooling::LeNetPooling;

#[cfg(test)]
mod tests;
