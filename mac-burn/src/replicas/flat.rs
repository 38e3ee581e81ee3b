//! Numbers and tensors of a rank as one vector, so that one sum over all ranks does for all of them.

use super::hash::Hash;
use super::{GradientReduction, ReplicaError, Replicas};
use crate::precision::{as_dtype, wider_of_f32};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

/// A vector of `f32` holds whole numbers below this exactly.
const EXACT: u64 = 1 << 24;
/// A count is summed as two numbers, its multiples of this and the rest: exact below 2³⁶ in `f32`, over at most 4096 ranks.
const COUNT_BASE: u64 = 1 << 12;
/// The numbers of each rank by which it is compared with rank 0: its step, and a hash of what the vector is made of.
const SLOTS: usize = 2;

/// A vector that is being made. All ranks push the same shapes in the same order.
pub(super) struct Flat<B: Backend> {
    step: u64,
    layout: Hash,
    numbers: Vec<f64>,
    tensors: Vec<Tensor<B, 1>>,
    /// Of the first tensor.
    device: B::Device,
    dtype: DType,
}

/// The sum of all ranks' vectors, from which things are taken in the order in which they were pushed.
pub(super) struct Summed<B: Backend> {
    numbers: std::vec::IntoIter<f64>,
    values: Tensor<B, 1>,
    taken: usize,
}

impl<B: Backend> Flat<B> {
    /// For a purpose that only such vectors have, in the step with this index.
    pub(super) fn new(purpose: &str, step: u64, device: B::Device) -> Self {
        let mut flat = Self {
            step,
            layout: Hash::new(),
            numbers: Vec::new(),
            tensors: Vec::new(),
            device,
            dtype: DType::F32,
        };
        flat.layout.add(purpose.as_bytes());
        flat
    }

    /// Makes a number part of what must be the same on all ranks.
    pub(super) fn compare(&mut self, number: usize) {
        self.layout.add(&(number as u64).to_le_bytes());
    }

    /// Makes a text part of what must be the same on all ranks.
    pub(super) fn compare_text(&mut self, text: &str) {
        self.layout.add(text.as_bytes());
    }

    /// A number; whole ones below 2²⁴ in sum are exact.
    pub(super) fn push_number(&mut self, number: f64) {
        self.numbers.push(number);
    }

    pub(super) fn push_count(&mut self, count: usize) {
        let count = count as u64;
        self.numbers.push((count / COUNT_BASE) as f64);
        self.numbers.push((count % COUNT_BASE) as f64);
    }

    /// A tensor of this shape and type, in at least `f32`, or zeros where this rank has none.
    pub(super) fn push<const D: usize>(
        &mut self,
        tensor: Option<Tensor<B, D>>,
        shape: [usize; D],
        dtype: DType,
    ) {
        let dtype = wider_of_f32(dtype);
        if dtype == DType::F64 {
            self.dtype = dtype;
        }
        let elements: usize = shape.iter().product();
        shape.iter().for_each(|size| self.compare(*size));
        self.tensors.push(match tensor {
            Some(tensor) => as_dtype(tensor, dtype)
                .to_device(&self.device)
                .reshape([elements]),
            None => Tensor::zeros([elements], (&self.device, dtype)),
        });
    }

    /// The sum over all ranks.
    pub(super) fn sum(mut self, replicas: &Replicas<B>) -> Result<Summed<B>, ReplicaError> {
        let (rank, ranks) = (replicas.rank(&self.device), replicas.world_size());
        self.compare(self.numbers.len());
        // Ranks that reduce in other ways would drift apart without an error.
        self.compare(usize::from(replicas.reduction() == GradientReduction::Sum));
        let own = [self.step % EXACT, self.layout.0 % EXACT];
        let mut head = vec![0.0; SLOTS * ranks];
        for (slot, number) in head[SLOTS * rank..].iter_mut().zip(own) {
            *slot = number as f64;
        }
        head.append(&mut self.numbers);
        let (length, dtype) = (head.len(), self.dtype);
        let head = TensorData::new(head, [length]).convert_dtype(dtype);
        let mut all = vec![Tensor::from_data(head, (&self.device, dtype))];
        let tensors = self.tensors.into_iter();
        all.extend(tensors.map(|tensor| as_dtype(tensor, dtype)));
        let flat = Tensor::cat(all, 0);
        let elements = flat.dims()[0];
        let values = replicas.sum(flat)?;
        if values.dims() != [elements] {
            return Err(ReplicaError::Failed {
                rank,
                reason: format!(
                    "it was given {elements} numbers and has returned {}",
                    values.dims()[0]
                ),
            });
        }
        let head = values.clone().narrow(0, 0, length).into_data();
        let mut numbers: Vec<f64> = head.iter().collect();
        let rest = numbers.split_off(SLOTS * ranks);
        compare(&numbers)?;
        Ok(Summed {
            numbers: rest.into_iter(),
            values,
            taken: length,
        })
    }
}

/// Compares the numbers of each rank with those of rank 0.
fn compare(slots: &[f64]) -> Result<(), ReplicaError> {
    let mut ranks = slots.chunks_exact(SLOTS);
    let Some(first) = ranks.next() else {
        return Ok(());
    };
    let whats = [
        "the step",
        "a hash of the layers whose gradients or statistics are summed, and of their reduction",
    ];
    for (rank, numbers) in ranks.enumerate() {
        for ((what, found), expected) in whats.iter().zip(numbers).zip(first) {
            // NaN is not equal either.
            if found != expected {
                return Err(ReplicaError::Mismatch {
                    rank: rank + 1,
                    what: what.to_string(),
                    found: found.to_string(),
                    expected: expected.to_string(),
                });
            }
        }
    }
    Ok(())
}

impl<B: Backend> Summed<B> {
    pub(super) fn number(&mut self) -> f64 {
        self.numbers.next().unwrap_or(f64::NAN)
    }

    pub(super) fn count(&mut self) -> usize {
        let multiples = self.number() as u64;
        (multiples * COUNT_BASE + self.number() as u64) as usize
    }

    /// In the type that all are summed in, on the device of the first.
    pub(super) fn tensor<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<B, D> {
        let elements: usize = shape.iter().product();
        let values = self.values.clone().narrow(0, self.taken, elements);
        self.taken += elements;
        values.reshape(shape)
    }
}
