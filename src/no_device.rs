//! Whether a backend has a device that it can use.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::any::{Any, type_name};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use thiserror::Error;

/// A backend that is compiled in, but finds no usable device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{backend} finds no usable device ({reason}): {advice}")]
pub struct NoDevice {
    /// The feature that selects the backend.
    pub backend: &'static str,
    /// What the backend said.
    pub reason: String,
    /// What is missing, and what to try.
    pub advice: &'static str,
}

/// Computes a sum on a device.
///
/// Burn's backends panic where a driver or a device is missing, some in threads of their own. While
/// the sum is computed nothing is written to standard error; what was to be written is the reason.
///
/// # Errors
///
/// If it cannot be computed.
pub fn probe<B: Backend>(device: &B::Device) -> Result<(), NoDevice> {
    let said = Arc::new(Mutex::new(None));
    let listener = Arc::clone(&said);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if let Ok(mut said) = listener.lock() {
            said.get_or_insert_with(|| text(info.payload()));
        }
    }));
    let sum = panic::catch_unwind(AssertUnwindSafe(|| {
        let sum = Tensor::<B, 1>::ones([3], device).sum();
        sum.try_into_data()
            .map(|data| data.iter::<f64>().sum::<f64>())
    }));
    panic::set_hook(hook);
    let reason = match sum {
        Ok(Ok(3.0)) => return Ok(()),
        Ok(Ok(other)) => format!("1 + 1 + 1 is {other} there"),
        Ok(Err(error)) => format!("{error:?}"),
        Err(payload) => text(&*payload),
    };
    let first = said.lock().ok().and_then(|mut said| said.take());
    Err(no_device::<B>(first.unwrap_or(reason)))
}

fn no_device<B>(reason: String) -> NoDevice {
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
            "install NVIDIA's driver and the CUDA toolkit (libcuda, libnvrtc), or choose a backend \
             for the CPU with --features flex",
        )
    } else {
        ("the CPU backend", "this is not expected; please report it")
    };
    NoDevice {
        backend,
        reason,
        advice,
    }
}

/// The first line of what a panic says.
fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("it gives no reason");
    text.lines().next().unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_backend_is_usable() {
        use crate::backend::Selected;
        assert_eq!(probe::<Selected>(&Default::default()), Ok(()));
    }

    #[test]
    fn each_backend_has_its_own_advice() {
        struct Wgpu;
        struct Cuda;
        let wgpu = no_device::<Wgpu>("no adapter".into()).to_string();
        assert!(wgpu.starts_with("wgpu finds no usable device (no adapter): install a driver"));
        let cuda = no_device::<Cuda>("no libcuda".into()).to_string();
        assert!(cuda.contains("CUDA toolkit"), "{cuda}");
    }
}
