//! Whether a backend has a device that it can use.

use crate::backend;
use crate::caught::caught;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::any::type_name;
use std::panic::AssertUnwindSafe;
use thiserror::Error;

/// The text of `unwrap` before an error, which tells a user nothing.
const UNWRAPPED: &str = "called `Result::unwrap()` on an `Err` value: ";

/// Ends of the part of a panic's text that says what is missing: cudarc adds every file name that it
/// tried, cubecl every adapter that it found, and both of them further sentences.
const ENDS: [&str; 3] = [" - searched", ", adapters [", ". "];

/// A backend that is compiled in, but finds no usable device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{backend} finds no usable device ({reason}): {advice}")]
pub struct NoDevice {
    /// The feature that selects the backend.
    pub backend: &'static str,
    /// The first sentence that the backend said.
    pub reason: String,
    /// Advice on the missing part.
    pub advice: &'static str,
}

/// Computes a sum on a device.
///
/// Burn's backends panic where a driver or a device is missing, some in threads of their own. While
/// the sum is computed nothing is written to standard error; what the first panic says is the reason.
///
/// # Errors
///
/// If it cannot be computed.
pub fn probe<B: Backend>(device: &B::Device) -> Result<(), NoDevice> {
    // The adapter is only known to the first who uses the device, which would be the sum.
    backend::adapter(device);
    let sum = caught(AssertUnwindSafe(|| {
        let sum = Tensor::<B, 1>::ones([3], device).sum();
        match sum.try_into_data() {
            Ok(data) => data.iter::<f64>().sum::<f64>(),
            // A thread of the backend's may have said more before.
            Err(error) => panic!("{error:?}"),
        }
    }));
    match sum {
        Ok(3.0) => Ok(()),
        Ok(other) => Err(no_device::<B>(&format!("1 + 1 + 1 is {other} there"))),
        Err(panicked) => Err(no_device::<B>(&panicked.first)),
    }
}

fn no_device<B>(said: &str) -> NoDevice {
    let name = type_name::<B>();
    let (backend, advice) = if name.contains("Wgpu") {
        (
            "wgpu",
            "install a driver for Vulkan, Metal or DirectX 12 (software Vulkan for the CPU is \
             mesa-vulkan-drivers on Debian and Ubuntu), or choose a backend for the CPU with \
             --features flex",
        )
    } else if name.contains("Cuda") {
        (
            "cuda",
            "install NVIDIA's driver (libcuda) and the CUDA toolkit (libnvrtc), name their folders \
             in LD_LIBRARY_PATH and CUDA_PATH if they are not in the usual ones, or choose a backend \
             for the CPU with --features flex",
        )
    } else {
        ("the CPU backend", "this is not expected; please report it")
    };
    NoDevice {
        backend,
        reason: first_sentence(said).to_string(),
        advice,
    }
}

/// The part of a text that says what is missing, without a full stop.
fn first_sentence(said: &str) -> &str {
    // Before lines are counted: cubecl-cuda starts its text with an empty one.
    let line = said.trim().lines().next().unwrap_or_default();
    let line = line.strip_prefix(UNWRAPPED).unwrap_or(line);
    let end = ENDS.iter().filter_map(|end| line.find(end)).min();
    line[..end.unwrap_or(line.len())].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_backend_is_usable() {
        use crate::backend::Selected;
        assert_eq!(probe::<Selected>(&Default::default()), Ok(()));
    }

    struct Wgpu;
    struct Cuda;

    /// Breaks when the advice for one backend is given for another.
    #[test]
    fn each_backend_has_its_own_advice() {
        let wgpu = no_device::<Wgpu>("no adapter").to_string();
        assert!(wgpu.starts_with("wgpu finds no usable device (no adapter): install a driver"));
        let cuda = no_device::<Cuda>("no libcuda").to_string();
        assert!(cuda.contains("CUDA toolkit"), "{cuda}");
    }

    /// Breaks when cudarc's list of file names (34 of them, here the first two) or its request to
    /// open an issue is told.
    #[test]
    fn a_missing_library_of_cuda_is_told_in_a_sentence() {
        for library in ["cuda", "nvrtc"] {
            let said = format!(
                "Unable to dynamically load the \"{library}\" shared library - searched for library \
                 names: [\"lib{library}.so\", \"lib{library}64.so\"]. Ensure that `LD_LIBRARY_PATH` has \
                 the correct path to the installed library. If the shared library is present on the \
                 system under a different name than one of those listed above, please open a GitHub \
                 issue."
            );
            let told = no_device::<Cuda>(&said).to_string();
            let expected = format!(
                "cuda finds no usable device (Unable to dynamically load the \"{library}\" shared \
                 library): install NVIDIA's driver"
            );
            assert!(told.starts_with(&expected), "{told}");
            assert!(!told.contains("issue"), "{told}");
        }
    }

    /// Breaks when `unwrap`'s own words are told, or when the driver's are not.
    #[test]
    fn a_driver_without_a_device_is_told_by_its_error() {
        let said = "called `Result::unwrap()` on an `Err` value: DriverError(CUDA_ERROR_NO_DEVICE, \
                    \"no CUDA-capable device is detected\")";
        let reason = "DriverError(CUDA_ERROR_NO_DEVICE, \"no CUDA-capable device is detected\")";
        assert_eq!(first_sentence(said), reason);
    }

    /// Breaks when the reason is the first line, which cubecl-cuda leaves empty.
    #[test]
    fn a_missing_toolkit_is_told_though_the_first_line_is_empty() {
        let said = "\n        CUDA installation not found.\n        Please ensure that CUDA is \
                    installed and the CUDA_PATH environment variable is set correctly.\n    ";
        assert_eq!(first_sentence(said), "CUDA installation not found");
    }

    /// Breaks when it is told that wgpu falls back to another adapter, which it does not.
    #[test]
    fn a_missing_adapter_is_told_in_a_sentence() {
        let said = "No possible adapter available for backend. Falling back to first available.: \
                    NotFound { active_backends: Backends(0x0), requested_backends: \
                    Backends(VULKAN) }";
        let told = no_device::<Wgpu>(said).to_string();
        let expected = "wgpu finds no usable device (No possible adapter available for backend): \
                        install a driver for Vulkan";
        assert!(told.starts_with(expected), "{told}");
    }

    /// Breaks when all that is known about each adapter is told.
    #[test]
    fn a_missing_gpu_is_told_without_the_adapters_that_there_are() {
        let said = "No Discrete GPU device found, adapters [], other adapters [AdapterInfo { .. }]";
        assert_eq!(first_sentence(said), "No Discrete GPU device found");
    }

    /// Breaks when a text that ends nowhere is cut.
    #[test]
    fn another_reason_is_told_as_it_is() {
        assert_eq!(
            first_sentence("1 + 1 + 1 is 2.5 there"),
            "1 + 1 + 1 is 2.5 there"
        );
    }
}
