use burn::tensor::backend::Backend;
use burn::tensor::{DType, Element};

/// The type of floats that a backend is named for.
pub(crate) fn element_dtype<B: Backend>() -> DType {
    B::FloatElem::dtype()
}
