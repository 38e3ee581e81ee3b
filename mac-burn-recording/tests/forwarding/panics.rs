//! The methods that `Autodiff` or a backend does not have, and the text that they panic with.

/// Methods by the beginning of the text.
pub(crate) type Panics = &'static [(&'static str, &'static [&'static str])];

pub(crate) const AUTODIFF: Panics = &[];

pub(crate) const FLEX: Panics = &[];

pub(crate) const NDARRAY: Panics = &[];
