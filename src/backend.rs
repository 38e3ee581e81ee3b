//! The backend that the features of this package select.
//!
//! Each of the features `flex` (default), `ndarray`, `wgpu` and `cuda` compiles one backend in, under its own name.
//! [`Selected`] is the first of cuda, wgpu, ndarray and flex that is on: naming a feature is enough to select its
//! backend, the default need not be turned off.

#[cfg(feature = "wgpu")]
use crate::caught::caught;
use crate::no_device::{NoDevice, probe};
use burn::tensor::backend::{Backend, BackendTypes};
#[cfg(feature = "wgpu")]
use burn_wgpu::{WgpuDevice, graphics::AutoGraphicsApi, init_setup};
#[cfg(feature = "cuda")]
use cubecl::{
    Runtime,
    cuda::{CudaDevice, CudaRuntime},
};
use std::any::Any;
#[cfg(feature = "wgpu")]
use std::sync::OnceLock;

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

/// The default device of the selected backend, whose name is printed.
///
/// # Errors
///
/// If there is none that can be used.
#[expect(clippy::print_stdout, reason = "programs begin with this line")]
pub fn device() -> Result<<Selected as BackendTypes>::Device, NoDevice> {
    let device = Default::default();
    probe::<Selected>(&device)?;
    println!("backend: {}", describe::<Selected>(&device));
    Ok(device)
}

/// Names a backend and a device of it: "flex on Cpu".
///
/// wgpu's default device is named by its adapter, as a GPU and software Vulkan are both "DefaultDevice":
/// `fusion<cubecl<wgpu<wgsl>>> on llvmpipe (LLVM 15.0.6, 256 bits), Vulkan (Cpu)`. The adapter is not known where the
/// device was in use before the first call of this function or of [`probe`].
pub fn describe<B: Backend>(device: &B::Device) -> String {
    // Before the name, for which wgpu starts its runtime.
    match adapter(device) {
        Some(adapter) => format!("{} on {adapter}", B::name(device)),
        None => format!("{} on {device:?}", B::name(device)),
    }
}

/// The adapter of wgpu's default device; none for other devices, and where it is not known.
///
/// Burn tells the adapter only to who starts the runtime. So the first call starts it, as the first use of the device
/// would, and panics inside if it is running already: that changes nothing.
#[cfg(feature = "wgpu")]
pub(crate) fn adapter(device: &dyn Any) -> Option<&'static str> {
    static ADAPTER: OnceLock<Option<String>> = OnceLock::new();
    let device = device.downcast_ref::<WgpuDevice>()?;
    if *device != WgpuDevice::DefaultDevice {
        return None;
    }
    ADAPTER
        .get_or_init(|| caught(|| start_wgpu(device)).ok())
        .as_deref()
}

/// Starts the runtime with the graphics API and the options that it would choose for itself.
#[cfg(feature = "wgpu")]
fn start_wgpu(device: &WgpuDevice) -> String {
    let setup = init_setup::<AutoGraphicsApi>(device, Default::default());
    let info = setup.adapter.get_info();
    format!("{}, {:?} ({:?})", info.name, info.backend, info.device_type)
}

/// The bytes of a GPU that the runtime holds, in use or kept for later; none where it is not known, as for backends other
/// than CUDA.
#[cfg(feature = "cuda")]
pub fn held_bytes(device: &dyn Any) -> Option<usize> {
    let device = device.downcast_ref::<CudaDevice>()?;
    let usage = CudaRuntime::client(device).memory_usage().ok()?;
    Some(usage.bytes_reserved as usize)
}

/// None: the backends that are compiled in do not tell.
#[cfg(not(feature = "cuda"))]
pub fn held_bytes(_device: &dyn Any) -> Option<usize> {
    None
}

/// Only wgpu has adapters.
#[cfg(not(feature = "wgpu"))]
pub(crate) fn adapter(_device: &dyn Any) -> Option<&'static str> {
    None
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

    /// Breaks when the runtime is started again for a device that is in use.
    #[cfg(feature = "wgpu")]
    #[test]
    fn wgpu_is_described_alike_before_and_after_its_use() {
        use crate::no_device::probe;
        let device = Default::default();
        let before = describe::<Wgpu>(&device);
        assert_eq!(probe::<Wgpu>(&device), Ok(()));
        assert_eq!(describe::<Wgpu>(&device), before);
    }

    /// Breaks when another device is given the name of the default device's adapter.
    #[cfg(feature = "wgpu")]
    #[test]
    fn only_the_default_device_has_a_known_adapter() {
        assert_eq!(adapter(&WgpuDevice::Cpu), None);
        assert_eq!(adapter(&()), None);
    }
}
