use super::averages::{is_of, load};
use super::inverse_root::InverseRoot;
use super::moving_average::{
    BatchCounts, BatchCountsRecord, Finite, MovingAverage, MovingAverageRecord, Start, mean_inputs,
};
use super::whitened_mean::WhitenedMean;
use super::{Batches, Curvature, CurvatureRecord, CurvatureReport, LayerGradient};
use crate::MacError;
use crate::layer::{Layer, LayerRecord};
use crate::precision::{as_dtype, bytes};
use crate::report::Coverage;
use crate::statistics::{Demand, LayerStatistics, Statistic};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The curvature of an embedding. It is a linear layer whose inputs are one-hot, so that the second moment of these is diagonal, with the
/// frequencies `p` of the tokens:
///
/// ```text
/// G ← diag(ρ / (ρ + p)) G      E[x xᵀ] = diag(p)
/// ```
///
/// Exact where MAC would have `p pᵀ`, at the same memory, and so the same for all optimizers. The moving average of `p` is bias-corrected.
#[derive(Debug, Clone)]
pub(crate) struct TokenFrequencies<B: Backend> {
    layer: Layer,
    damping: f64,
    counts: BatchCounts<B>,
    /// `[1, 1, tokens]`.
    average: MovingAverage<B>,
    /// `p` in use, `[1, 1, tokens]`; none before the first refresh.
    in_use: Option<Tensor<B, 3>>,
    /// `ρ / (ρ + p)`, `[tokens, 1]`.
    factors: Option<Tensor<B, 2>>,
    last_refresh: Option<u64>,
}

/// [`TokenFrequencies`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TokenFrequenciesRecord {
    pub(super) layer: LayerRecord,
    pub(super) counts: BatchCountsRecord,
    average: MovingAverageRecord,
    in_use: Option<TensorData>,
    last_refresh: Option<u64>,
}

impl<B: Backend> TokenFrequencies<B> {
    /// A curvature that has seen nothing, shaped like the first statistics; none if these do not count tokens.
    pub(super) fn new(layer: Layer, damping: f64, statistics: &LayerStatistics<B>) -> Option<Self> {
        let frequencies = mean_inputs(statistics.activations.as_ref()?, false);
        Some(Self {
            layer,
            damping,
            counts: BatchCounts::new(&frequencies),
            average: MovingAverage::new(Start::Zero, &[frequencies]),
            in_use: None,
            factors: None,
            last_refresh: None,
        })
    }

    pub(super) fn from_record(
        record: TokenFrequenciesRecord,
        layer: Layer,
        damping: f64,
        device: &B::Device,
    ) -> Self {
        Self {
            layer,
            damping,
            counts: BatchCounts::from_record(record.counts, device),
            average: MovingAverage::from_record(record.average, Start::Zero, device),
            in_use: record.in_use.map(|in_use| load(in_use, device)),
            factors: None,
            last_refresh: record.last_refresh,
        }
    }

    /// `ρ / (ρ + p)`, `[tokens, 1]`; none before the first refresh.
    fn factors(&mut self) -> Option<Tensor<B, 2>> {
        if self.factors.is_none() {
            let frequencies = self.in_use.clone()?;
            let [_, _, tokens] = frequencies.dims();
            let damped = frequencies.reshape([tokens, 1]).add_scalar(self.damping);
            self.factors = Some(damped.full_like(self.damping) / damped);
        }
        self.factors.clone()
    }
}

impl TokenFrequenciesRecord {
    pub(super) fn fits(&self, tokens: usize) -> bool {
        let shape = [1, 1, tokens];
        let in_use = self.in_use.as_ref();
        self.counts.fits()
            && self.average.fits(&[shape])
            && in_use.is_none_or(|in_use| is_of(in_use, &shape))
    }
}

impl<B: Backend> Curvature<B> for TokenFrequencies<B> {
    fn layer(&self) -> Layer {
        self.layer
    }

    fn demand(&self) -> Demand {
        Demand::of(&[Statistic::Activations])
    }

    fn observe(&mut self, statistics: &LayerStatistics<B>, decay: f64) -> Option<Batches> {
        let statistics = statistics.clone().on_device(&self.average.device());
        let sums = statistics.activations.as_ref()?;
        let frequencies = vec![mean_inputs(sums, false)];
        let finite = Finite::of(&[&frequencies]);
        self.average.observe(frequencies, &finite, decay);
        let (_, rows) = sums.weighed_rows();
        self.counts.count(&finite, rows.unsqueeze_dim(2))
    }

    fn refresh(&mut self, step: u64) {
        self.in_use = self.average.corrected().into_iter().next();
        self.factors = None;
        self.last_refresh = Some(step);
    }

    /// Nothing: it has a damping of its own.
    fn set_damping(&mut self, _damping: f64) -> Result<(), MacError> {
        Ok(())
    }

    fn precondition(&mut self, gradient: LayerGradient<B>, _guard: bool) -> LayerGradient<B> {
        let Some(factors) = self.factors() else {
            return gradient;
        };
        let factors = factors.to_device(&gradient.weight.device());
        let factors = as_dtype(factors, gradient.weight.dtype());
        gradient.with_weight(|weight| weight * factors, |kernel| kernel)
    }

    fn inverse_root(&mut self, size_output: usize) -> Option<InverseRoot<B>> {
        let factors = self.factors()?;
        let scale = factors.sqrt().transpose();
        let diagonal = WhitenedMean::of_diagonal(scale);
        Some(InverseRoot::new(self.layer.kind, size_output, diagonal))
    }

    fn to_record(&self) -> CurvatureRecord {
        CurvatureRecord::TokenFrequencies(TokenFrequenciesRecord {
            layer: self.layer.to_record(),
            counts: self.counts.to_record(),
            average: self.average.to_record(),
            in_use: self.in_use.as_ref().map(Tensor::to_data),
            last_refresh: self.last_refresh,
        })
    }

    fn report(&self) -> CurvatureReport {
        let in_use = self.in_use.as_ref().map_or(0, bytes);
        let factors = self.factors.as_ref().map_or(0, bytes);
        CurvatureReport {
            batches: self.counts.batches(),
            last_refresh: self.last_refresh,
            bytes: self.counts.bytes() + self.average.bytes() + in_use + factors,
            ..CurvatureReport::of(Coverage::TokenFrequencies)
        }
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>> {
        Box::new(self.clone())
    }
}
