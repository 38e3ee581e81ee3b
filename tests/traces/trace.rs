//! The tensors of a case, as its `trace.safetensors` holds them.

use std::{fs, path::Path};

use burn::tensor::TensorData;
use safetensors::{Dtype, SafeTensors};

use crate::error::TraceError;

/// The bytes of a trace, read once and parsed on demand.
pub(crate) struct Trace {
    bytes: Vec<u8>,
}

impl Trace {
    /// Reads `trace.safetensors` of a case's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, TraceError> {
        let path = folder.join("trace.safetensors");
        let bytes = fs::read(&path).map_err(|source| TraceError::Read { path, source })?;
        SafeTensors::deserialize(&bytes)?;

        Ok(Self { bytes })
    }

    /// A tensor in PyTorch's layout: floats as `f64`, which holds every `f32` exactly, integers as `i64`.
    pub(crate) fn tensor(&self, key: &str) -> Result<TensorData, TraceError> {
        let tensors = SafeTensors::deserialize(&self.bytes)?;
        let view = tensors
            .tensor(key)
            .map_err(|_| TraceError::MissingTensor(key.to_owned()))?;
        let (bytes, shape) = (view.data(), view.shape().to_vec());

        match view.dtype() {
            Dtype::F32 => Ok(TensorData::new(
                elements(bytes, |b| f64::from(f32::from_le_bytes(b))),
                shape,
            )),
            Dtype::F64 => Ok(TensorData::new(elements(bytes, f64::from_le_bytes), shape)),
            Dtype::I64 => Ok(TensorData::new(elements(bytes, i64::from_le_bytes), shape)),
            dtype => Err(TraceError::ElementType {
                key: key.to_owned(),
                dtype,
            }),
        }
    }

    /// The values of a float tensor, row by row in PyTorch's layout.
    pub(crate) fn floats(&self, key: &str) -> Result<Vec<f64>, TraceError> {
        Ok(self.tensor(key)?.iter::<f64>().collect())
    }

    /// What follows `prefix` in the keys that start with it, sorted.
    pub(crate) fn suffixes(&self, prefix: &str) -> Result<Vec<String>, TraceError> {
        let tensors = SafeTensors::deserialize(&self.bytes)?;
        let mut suffixes: Vec<_> = tensors
            .names()
            .into_iter()
            .filter_map(|key| key.strip_prefix(prefix))
            .map(str::to_owned)
            .collect();
        suffixes.sort();

        Ok(suffixes)
    }
}

/// Little-endian elements of `N` bytes each.
fn elements<T, const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|chunk| element(*chunk))
        .collect()
}
