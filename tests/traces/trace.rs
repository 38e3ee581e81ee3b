//! The tensors of a case, as its `trace.safetensors` holds them.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::TensorData;
use safetensors::{Dtype, SafeTensors, tensor::TensorInfo};

use crate::error::TraceError;

/// What goes before the header of a safetensors file: its length, in so many bytes.
const LENGTH: usize = 8;

/// The bytes of a trace, and where in them each tensor is.
pub(crate) struct Trace {
    bytes: Vec<u8>,
    /// Where the tensors' own bytes begin.
    start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Trace {
    /// Reads `trace.safetensors` of a case's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, TraceError> {
        let path = folder.join("trace.safetensors");
        let bytes = fs::read(&path).map_err(|source| TraceError::Read { path, source })?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes)?;
        let tensors = metadata.tensors().into_iter();
        let tensors = tensors.map(|(key, info)| (key, info.clone())).collect();

        Ok(Self {
            bytes,
            start: LENGTH + header,
            tensors,
        })
    }

    /// A tensor in PyTorch's layout: floats as `f64`, which holds every `f32` exactly, integers as `i64`.
    pub(crate) fn tensor(&self, key: &str) -> Result<TensorData, TraceError> {
        let info = self
            .tensors
            .get(key)
            .ok_or_else(|| TraceError::MissingTensor(key.to_owned()))?;
        let (from, to) = info.data_offsets;
        let bytes = &self.bytes[self.start + from..self.start + to];
        let shape = info.shape.clone();

        match info.dtype {
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
    pub(crate) fn suffixes(&self, prefix: &str) -> Vec<String> {
        self.tensors
            .keys()
            .filter_map(|key| key.strip_prefix(prefix))
            .map(str::to_owned)
            .collect()
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
