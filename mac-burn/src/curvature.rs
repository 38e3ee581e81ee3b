use crate::rank_one::RankOne;
use crate::record::layer::{LayerParameters, LayerRecord};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// What is believed of one layer's inputs: the moving average of its mean activations, and the
/// mean that the optimizer preconditions with until the next refresh.
#[derive(Debug, Clone)]
pub(crate) struct Curvature<B: Backend> {
    pub(crate) parameters: LayerParameters,
    /// The moving average of `[ā ; 1]` with `a = [x ; 1]`, started at 0, `[means, size + 2]`. Its last
    /// column is `1 − βⁿ`, so dividing by it is the bias correction.
    ema: Tensor<B, 2>,
    /// The bias-corrected mean `ā` in use, `[means, size + 1]`.
    mean: Option<Tensor<B, 2>>,
    /// Batches offered to the moving average.
    updates: u64,
    /// How many of them held what is not finite, counted on the device, `[1]`.
    rejected: Tensor<B, 1>,
    /// The preconditioner made of `mean`, with the damping and bias it was made for.
    preconditioner: Option<(f64, bool, RankOne<B>)>,
}

/// The part of a [`Curvature`] that the next step depends on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CurvatureRecord {
    pub(crate) layer: LayerRecord,
    ema: TensorData,
    mean: Option<TensorData>,
    updates: u64,
    rejected: TensorData,
}

impl<B: Backend> Curvature<B> {
    /// A curvature that has seen nothing, shaped like the first `sums`.
    pub(crate) fn new(parameters: LayerParameters, sums: &Tensor<B, 2>) -> Self {
        Self {
            parameters,
            ema: sums.zeros_like(),
            mean: None,
            updates: 0,
            rejected: Tensor::zeros([1], (&sums.device(), sums.dtype())),
            preconditioner: None,
        }
    }

    /// Moves the average towards the mean of a batch: `m ← β m + (1 − β) r / count`.
    ///
    /// A batch with a NaN or infinity leaves the average as it is and is rejected. One that is all
    /// padding, whose sums and count are 0, leaves the average as it is too, but nothing is wrong with
    /// it. The decision is taken on the device; the host does not wait for it.
    ///
    /// # Shapes
    ///
    /// - sums: `[means, size + 2]`, the count in the last column
    pub(crate) fn observe(&mut self, sums: Tensor<B, 2>, decay: f64) {
        let sums = sums.to_device(&self.ema.device());
        let [_, width] = sums.dims();
        let count = sums.clone().narrow(1, width - 1, 1);
        let mean = sums / count.clone();
        let left_out = mean.clone().sum().is_finite().bool_not();

        let before = self.ema.clone();
        let after = before.clone().mul_scalar(decay) + mean.mul_scalar(1.0 - decay);
        let everywhere = left_out.clone().reshape([1, 1]).expand(after.shape());
        self.ema = after.mask_where(everywhere, before);
        // All means of a layer have the same count: 0, or at least 1.
        let counted = count.narrow(0, 0, 1).reshape([1]).clamp_max(1.0);
        let dtype = self.rejected.dtype();
        self.rejected = self.rejected.clone() + left_out.float().cast(dtype) * counted;
        self.updates += 1;
    }

    /// Takes the moving average, bias-corrected, into use.
    pub(crate) fn refresh(&mut self) {
        let [_, width] = self.ema.dims();
        let weight = self.ema.clone().narrow(1, width - 1, 1);
        // Without a finite batch so far the average is 0 / 0; a mean of 0 preconditions nothing.
        let unseen = weight.clone().equal_elem(0.0).expand(self.ema.shape());
        let mean = (self.ema.clone() / weight).mask_fill(unseen, 0.0);
        self.mean = Some(mean.narrow(1, 0, width - 1));
        self.preconditioner = None;
    }

    /// The preconditioner of the mean in use; none before the first refresh, nor with infinite
    /// damping, where it is the identity.
    pub(crate) fn preconditioner(&mut self, damping: f64, bias: bool) -> Option<RankOne<B>> {
        if damping.is_infinite() {
            return None;
        }
        let fresh = matches!(&self.preconditioner, Some((d, b, _)) if *d == damping && *b == bias);
        if !fresh {
            let made = RankOne::new(self.mean.clone()?, damping, bias, self.parameters.kind);
            self.preconditioner = Some((damping, bias, made));
        }
        self.preconditioner
            .as_ref()
            .map(|(_, _, made)| made.clone())
    }

    /// The moving average of `ā`, `[means, size + 1]`.
    pub(crate) fn ema(&self) -> Tensor<B, 2> {
        let [_, width] = self.ema.dims();
        self.ema.clone().narrow(1, 0, width - 1)
    }

    pub(crate) fn mean(&self) -> Option<&Tensor<B, 2>> {
        self.mean.as_ref()
    }

    pub(crate) fn updates(&self) -> u64 {
        self.updates
    }

    /// Reads the number of batches that were not finite from the device.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.to_data().iter::<f64>().sum::<f64>() as u64
    }

    /// Bytes of the tensors held between steps, all of one float type.
    pub(crate) fn bytes(&self) -> usize {
        let elements = |tensor: &Tensor<B, 2>| tensor.shape().num_elements();
        let statistics = elements(&self.ema) + self.mean.as_ref().map_or(0, elements);
        let made = self.preconditioner.as_ref();
        let made = made.map_or(0, |(_, _, made)| made.elements());
        let rejected = self.rejected.shape().num_elements();
        (statistics + made + rejected) * self.ema.dtype().size()
    }

    pub(crate) fn to_record(&self) -> CurvatureRecord {
        CurvatureRecord {
            layer: self.parameters.to_record(),
            ema: self.ema.to_data(),
            mean: self.mean.as_ref().map(Tensor::to_data),
            updates: self.updates,
            rejected: self.rejected.to_data(),
        }
    }

    /// The curvature of a record, for the layer with these parameters.
    pub(crate) fn from_record(
        record: CurvatureRecord,
        parameters: LayerParameters,
        device: &B::Device,
    ) -> Self {
        let load = |data: TensorData| {
            let dtype = data.dtype;
            Tensor::from_data(data, (device, dtype))
        };
        Self {
            parameters,
            ema: load(record.ema),
            mean: record.mean.map(load),
            updates: record.updates,
            rejected: {
                let dtype = record.rejected.dtype;
                Tensor::from_data(record.rejected, (device, dtype))
            },
            preconditioner: None,
        }
    }
}

impl CurvatureRecord {
    /// Whether these are statistics of a layer with so many means of that size.
    pub(crate) fn fits(&self, means: usize, size: usize) -> bool {
        let is = |data: &TensorData, shape: &[usize]| {
            data.shape[..] == *shape && matches!(data.dtype, DType::F32 | DType::F64)
        };
        is(&self.ema, &[means, size + 2])
            && self
                .mean
                .as_ref()
                .is_none_or(|mean| is(mean, &[means, size + 1]))
            && is(&self.rejected, &[1])
    }
}
