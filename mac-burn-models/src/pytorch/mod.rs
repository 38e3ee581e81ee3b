//! How PyTorch names and lays out the parameters of a module.
//!
//! Each family has functions that give PyTorch's name to the parameter at a path, such as
//! [`deit::timm_name`](crate::deit::timm_name); a [`Layout`] follows a pass over a module and applies one.
//!
//! With the feature `import` the crate has `import::load`, which reads weights that PyTorch stored, and with `export`
//! `export::save`, which stores them for it.

#[cfg(any(feature = "import", feature = "export"))]
pub(crate) mod conventions;
mod layout;
#[cfg(any(feature = "import", feature = "export"))]
mod settle;

pub use layout::{Layout, Name};
#[cfg(any(feature = "import", feature = "export"))]
pub(crate) use settle::settle;
