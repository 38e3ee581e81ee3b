//! Which runs of the authors' code this project means to reproduce.

use crate::{
    case::Case,
    error::TraceError,
    layer_spec::{Conv2dSpec, Extent, LayerKind, LayerSpec, Padding},
};

/// Why a case is not replayed; none if it is.
///
/// An architecture or a layer that the harness does not know is an error, not a reason: the case would
/// be MAC's.
pub(crate) fn not_covered(case: &Case) -> Result<Option<String>, TraceError> {
    if case.official.cls != "MAC" {
        return Ok(Some(format!("optimizer {}", case.official.cls)));
    }
    case.architecture.known()?;
    for value in &case.architecture.layers {
        let spec = LayerSpec::read(value)?;
        let LayerKind::Conv2d(conv) = &spec.kind else {
            continue;
        };
        if let Some(deviation) = conv.deviation() {
            return Ok(Some(format!("`{}`: {deviation}", spec.name)));
        }
    }

    Ok(None)
}

impl Conv2dSpec {
    /// Where the mean patch of the authors' code is not that of the convolution, as the README of
    /// the traces states; this project takes the patches that the kernel sees.
    fn deviation(&self) -> Option<&'static str> {
        if self.groups > 1 {
            Some("the authors' code shares one mean between the channels of a grouped convolution")
        } else if self.dilation.sides() != Extent::Square(1).sides() {
            Some("the authors' mean patch ignores dilation")
        } else if self.padding_mode != "zeros" {
            Some("the authors' mean patch is padded with zeros whatever the padding mode")
        } else if self.padding == Padding::Named("valid".to_owned()) {
            Some("the authors' mean patch takes the padding `valid` for `same`")
        } else {
            None
        }
    }
}
