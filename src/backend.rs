//! The backend that the features of this package select.
//!
//! Each of the features `flex` (default), `ndarray`, `wgpu` and `cuda` compiles one backend in, under its own name.
//! [`Selected`] is the first of cuda, wgpu, ndarray and flex that is on: naming a feature is enough to select its
//! backend, the default need not be turned off.

use burn::tensor::backend::Backend;

#[cfg(feature = "cuda")]
pub use burn_cuda::Cuda;
#[cfg(feature = "flex")]
pub use burn_flex::Flex;
#[cfg(feature = "ndarray")]
pub use burn_ndarray::NdArray;
#[cfg(feature = "wgpu")]
pub use burn_wgpu::Wgpu;

#[cfg(not(any(
    feature = "cuda",
    feature = "wgpu",
    feature = "ndarray",
    feature = "flex"
)))]
compile_error!(
    "no backend is selected: turn on one of the features flex or ndarray (CPU), wgpu (Vulkan, Metal, DirectX) or \
     cuda (NVIDIA), as in `--features flex`"
);

/// The backend that computes.
#[cfg(feature = "cuda")]
pub type Selected = Cuda;

/// The backend that computes.
#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
pub type Selected = Wgpu;

/// The backend that computes.
#[cfg(all(feature = "ndarray", not(any(feature = "cuda", feature = "wgpu"))))]
pub type Selected = NdArray;

/// The backend that computes.
#[cfg(all(
    feature = "flex",
    not(any(feature = "cuda", feature = "wgpu", feature = "ndarray"))
))]
pub type Selected = Flex;

/// The backend that trains.
#[cfg(any(
    feature = "cuda",
    feature = "wgpu",
    feature = "ndarray",
    feature = "flex"
))]
pub type Training = burn::backend::Autodiff<Selected>;

/// Names a backend and a device of it: "flex on Cpu".
pub fn describe<B: Backend>(device: &B::Device) -> String {
    format!("{} on {device:?}", B::name(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "flex")]
    #[test]
    fn the_description_names_backend_and_device() {
        assert_eq!(describe::<Flex>(&Default::default()), "flex on Cpu");
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn the_feature_ndarray_wins_over_the_default() {
        if cfg!(not(any(feature = "cuda", feature = "wgpu"))) {
            assert_eq!(describe::<Selected>(&Default::default()), "ndarray on Cpu");
        }
    }
}
