use super::factor::{Factor, FactorRecord, FailedInversions, HostMatrices, inverses, multiply};
use super::foof::input_means;
use super::moving_average::{BatchCounts, BatchCountsRecord, Finite, Means, Start};
use super::{
    Batches, Curvature, CurvatureRecord, CurvatureReport, CurvatureSettings, LayerGradient,
};
use crate::MacError;
use crate::layer::{Layer, LayerRecord};
use crate::report::Coverage;
use crate::statistics::{Demand, LayerStatistics, Statistic, Sums, WeightSharing};
use burn::tensor::backend::Backend;
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// The damping of the factors of K-FAC. With `π = √((tr A / dim A) / (tr P / dim P))` the factors in use are `A + π √ρ I` and
/// `P + √ρ / π I` (Martens & Grosse 2015, section 6.3), so that the damping of the whole is near `ρ I`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KfacDamping {
    /// Factored Tikhonov damping, as above.
    #[default]
    FactoredTikhonov,
    /// The same, added to the moving averages themselves, as in the code of the authors of MAC: it is seen by the `π` of the next refresh,
    /// and grows from refresh to refresh where factors are recorded more seldom. For comparison with their numbers.
    Accumulated,
}

/// The scale of the gradients at the outputs that K-FAC's factor `P` is made of. The factor is the second moment of the gradients of
/// single samples; a step has those of the loss of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum GradientScale {
    /// The loss is a mean over the samples, so that the gradient of a sample's loss is `N` times what flows back to its outputs: with `N`
    /// samples `P = N Σ g gᵀ` over all rows by [`WeightSharing::Expand`], and `P = N Σₙ gₙ gₙᵀ` with the sum `gₙ` over
    /// a sample's rows by [`WeightSharing::Reduce`]. As kfac-jax and singd have it. A sample is an index of the first axis of the layer's
    /// input: with samples and tokens as one axis, each token is one. The samples are those of all passes of a step: right for
    /// micro-batches whose losses add up to one mean, and `k` times too many where a layer is called `k` times, or each of `k` devices has a mean of its
    /// own.
    #[default]
    MeanLoss,
    /// The loss is a mean over all rows, as that of a language model over samples and tokens: `P` as above with the number of rows in place of
    /// `N`, padding among them. singd's `batch+sequence`.
    MeanLossOverRows,
    /// The loss is a sum over the samples: `P` is `1 / N²` of that.
    SummedLoss,
    /// The mean over rows of what flows back, or of the means over each sample's places, whatever the loss. As in the code of the authors of
    /// MAC.
    Unscaled,
}

/// The settings of K-FAC's curvature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct KfacSettings {
    pub(crate) weight_sharing: WeightSharing,
    pub(crate) damping: KfacDamping,
    pub(crate) gradient_scale: GradientScale,
}

impl KfacSettings {
    pub(super) fn demand(self) -> Demand {
        let [inputs, outputs] = self.statistics();
        Demand::of(&[inputs, outputs])
    }

    fn statistics(self) -> [Statistic; 2] {
        let sharing = self.weight_sharing;
        [
            Statistic::InputMoments(sharing),
            Statistic::OutputMoments(sharing),
        ]
    }

    /// `P` of the sums of `g gᵀ`, over rows or of the sums over each sample's rows.
    fn output_factor<B: Backend>(self, sums: &Sums<B>) -> Means<B> {
        let samples = sums.samples as f64;
        let places = sums.rows as f64 / samples;
        let parts = sums.parts.iter();
        let factor = parts.map(|part| match self.gradient_scale {
            GradientScale::MeanLoss => part.sum.clone().mul_scalar(samples),
            GradientScale::MeanLossOverRows => part.sum.clone().mul_scalar(sums.rows as f64),
            GradientScale::SummedLoss => part.sum.clone().div_scalar(samples),
            GradientScale::Unscaled => {
                let mean = part.sum.clone() / part.count.clone();
                match self.weight_sharing {
                    WeightSharing::Expand => mean,
                    WeightSharing::Reduce => mean.div_scalar(places * places),
                }
            }
        });
        factor.collect()
    }
}

/// K-FAC's curvature (Martens & Grosse 2015, arXiv:1503.05671; convolutions: Grosse & Martens 2016; attention and other shared weights:
/// Eschenhagen et al. 2023), the Kronecker product of the second moments of a layer's inputs and of the gradients at its outputs:
///
/// ```text
/// G ← (P + √ρ / π I)⁻¹ G (A + π √ρ I)⁻¹      A = E[a aᵀ]      P = E[g gᵀ]
/// ```
///
/// It keeps both and their inverses, `2 (size_input + 1)² + 2 size_output²` numbers. The projections to queries, keys and values have a `P`
/// each, and the values' `A` is that of what comes through attention. The averages start from the first batch. The inverses are made on the
/// host at a refresh, in `f64`.
#[derive(Debug, Clone)]
pub(crate) struct Kfac<B: Backend> {
    layer: Layer,
    settings: CurvatureSettings,
    kfac: KfacSettings,
    counts: BatchCounts<B>,
    inputs: Factor<B>,
    outputs: Factor<B>,
    /// The damping of the inverses.
    inverted_with: f64,
    last_refresh: Option<u64>,
    inversions: FailedInversions,
}

/// A [`Kfac`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KfacRecord {
    pub(super) layer: LayerRecord,
    pub(super) counts: BatchCountsRecord,
    weight_sharing: WeightSharing,
    gradient_scale: GradientScale,
    inputs: FactorRecord,
    outputs: FactorRecord,
    #[serde(with = "crate::number")]
    inverted_with: f64,
    last_refresh: Option<u64>,
    inversions: FailedInversions,
}

impl KfacRecord {
    /// Whether its averages are of what these settings take in, and of their scale.
    pub(super) fn is_of(&self, settings: KfacSettings) -> bool {
        (self.weight_sharing, self.gradient_scale)
            == (settings.weight_sharing, settings.gradient_scale)
    }

    /// Whether it is of inputs in parts and blocks with these shapes, and of such outputs.
    pub(super) fn fits(
        &self,
        parts: &[[usize; 3]],
        blocks: &[[usize; 3]],
        outputs: &[[usize; 3]],
    ) -> bool {
        self.counts.fits() && self.inputs.fits(parts, blocks) && self.outputs.fits(outputs, outputs)
    }
}

impl<B: Backend> Kfac<B> {
    /// A curvature that has seen nothing, shaped like the first statistics; none if they are not what it is made of.
    pub(super) fn new(
        layer: Layer,
        settings: CurvatureSettings,
        kfac: KfacSettings,
        statistics: &LayerStatistics<B>,
    ) -> Option<Self> {
        let [inputs, outputs] = means(layer, settings, kfac, statistics)?;
        Some(Self {
            layer,
            settings,
            kfac,
            counts: BatchCounts::new(&inputs[0]),
            inputs: Factor::new(Start::FirstBatch, &inputs),
            outputs: Factor::new(Start::FirstBatch, &outputs),
            inverted_with: settings.damping,
            last_refresh: None,
            inversions: FailedInversions::default(),
        })
    }

    pub(super) fn from_record(
        record: KfacRecord,
        layer: Layer,
        settings: CurvatureSettings,
        kfac: KfacSettings,
        device: &B::Device,
    ) -> Self {
        let mut restored = Self {
            layer,
            settings,
            kfac,
            counts: BatchCounts::from_record(record.counts, device),
            inputs: Factor::from_record(record.inputs, Start::FirstBatch, device),
            outputs: Factor::from_record(record.outputs, Start::FirstBatch, device),
            inverted_with: record.inverted_with,
            last_refresh: record.last_refresh,
            inversions: record.inversions,
        };
        if restored.inverted_with != settings.damping {
            restored.invert(false);
        }
        restored
    }

    /// Inverts the averages, or keeps the last inverses. Whether there are new ones. In a refresh, damping that accumulates does.
    fn invert(&mut self, refreshes: bool) -> bool {
        let damping = self.settings.damping.sqrt();
        self.inverted_with = self.settings.damping;
        if damping.is_infinite() {
            return false;
        }
        let Some((inputs, outputs)) = self.inputs.read().zip(self.outputs.read()) else {
            return false;
        };
        let blocks = self.layer.kind.output_blocks(total_size(&outputs));
        // Of each block, by group.
        let of_blocks = blocks.iter().zip(&outputs);
        let pi: Vec<Vec<f64>> = of_blocks
            .map(|(block, outputs)| pi(&inputs[block.mean], outputs))
            .collect();
        let times = |pi: &[f64]| pi.iter().map(|pi| damping * pi).collect::<Vec<_>>();
        let by = |pi: &[f64]| pi.iter().map(|pi| damping / pi).collect::<Vec<_>>();
        let damped_inputs = blocks
            .iter()
            .zip(&pi)
            .map(|(block, pi)| (&inputs[block.mean], times(pi)));
        let damped_outputs = outputs
            .iter()
            .zip(&pi)
            .map(|(outputs, pi)| (outputs, by(pi)));
        let inverted = inverses(damped_inputs).zip(inverses(damped_outputs.clone()));
        let inverted = inverted
            .map(|((inputs, first), (outputs, second))| ((inputs, outputs), first || second));
        let inverses = self.inversions.count(inverted);
        let are_new = inverses.is_some();
        if let Some((inputs, outputs)) = inverses {
            self.inputs.set_inverse(inputs);
            self.outputs.set_inverse(outputs);
        }
        if refreshes && self.kfac.damping == KfacDamping::Accumulated {
            let of_part = |part: usize| {
                blocks
                    .iter()
                    .position(|block| block.mean == part)
                    .unwrap_or(0)
            };
            let damped = inputs
                .iter()
                .enumerate()
                .map(|(part, inputs)| inputs.damped(&times(&pi[of_part(part)])));
            self.inputs.replace_average(&damped.collect::<Vec<_>>());
            let damped = damped_outputs.map(|(outputs, damping)| outputs.damped(&damping));
            self.outputs.replace_average(&damped.collect::<Vec<_>>());
        }
        are_new
    }
}

/// `√((tr A / dim A) / (tr P / dim P))` of each group; 1 where that is 0 or no number.
fn pi(inputs: &HostMatrices, outputs: &HostMatrices) -> Vec<f64> {
    let groups = inputs.0.iter().zip(&outputs.0);
    let mean = |matrix: &DMatrix<f64>| matrix.trace() / matrix.nrows() as f64;
    groups
        .map(|(inputs, outputs)| {
            let pi = (mean(inputs) / mean(outputs)).sqrt();
            if pi.is_finite() && pi > 0.0 { pi } else { 1.0 }
        })
        .collect()
}

/// The outputs of all blocks, of a convolution's group.
fn total_size(outputs: &[HostMatrices]) -> usize {
    let sizes = outputs.iter().filter_map(|part| part.0.first());
    sizes.map(DMatrix::nrows).sum()
}

/// The means of a batch's second moments, of inputs and outputs.
fn means<B: Backend>(
    layer: Layer,
    settings: CurvatureSettings,
    kfac: KfacSettings,
    statistics: &LayerStatistics<B>,
) -> Option<[Means<B>; 2]> {
    let [inputs, outputs] = kfac.statistics();
    let inputs = input_means(layer, settings, inputs, statistics)?;
    let outputs = kfac.output_factor(statistics.get(outputs)?);
    Some([inputs, outputs])
}

impl<B: Backend> Curvature<B> for Kfac<B> {
    fn layer(&self) -> Layer {
        self.layer
    }

    fn demand(&self) -> Demand {
        self.kfac.demand()
    }

    fn observe(&mut self, statistics: &LayerStatistics<B>, decay: f64) -> Option<Batches> {
        let statistics = &statistics.clone().on_device(&self.inputs.device());
        let [inputs, outputs] = means(self.layer, self.settings, self.kfac, statistics)?;
        let [of_inputs, _] = self.kfac.statistics();
        let rows = statistics.get(of_inputs)?.parts[0].count.clone();
        let finite = Finite::of(&[&inputs, &outputs]);
        self.inputs.average_mut().observe(inputs, &finite, decay);
        self.outputs.average_mut().observe(outputs, &finite, decay);
        self.counts.count(&finite, rows)
    }

    /// Reads the averages from the device and inverts them on the host, `O(size³)`.
    fn refresh(&mut self, step: u64) {
        if self.invert(true) {
            self.last_refresh = Some(step);
        }
    }

    fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        if damping != self.settings.damping {
            self.settings.damping = damping;
            self.invert(false);
        }
        Ok(())
    }

    fn precondition(&mut self, gradient: LayerGradient<B>, _guard: bool) -> LayerGradient<B> {
        let augmented = self.settings.covers_bias(self.layer);
        let bias_is_fixed = augmented && gradient.bias.is_none();
        let (inputs, outputs) = (&self.inputs, &self.outputs);
        gradient.map_blocks(self.layer.kind, augmented, |block, rows| {
            let device = rows.device();
            let inverse = inputs.inverse(block.index, &device);
            match inverse.zip(outputs.inverse(block.index, &device)) {
                Some((inputs, outputs)) => multiply(outputs.matmul(rows), inputs, bias_is_fixed),
                None => rows,
            }
        })
    }

    fn to_record(&self) -> CurvatureRecord {
        CurvatureRecord::Kfac(KfacRecord {
            layer: self.layer.to_record(),
            counts: self.counts.to_record(),
            weight_sharing: self.kfac.weight_sharing,
            gradient_scale: self.kfac.gradient_scale,
            inputs: self.inputs.to_record(),
            outputs: self.outputs.to_record(),
            inverted_with: self.inverted_with,
            last_refresh: self.last_refresh,
            inversions: self.inversions,
        })
    }

    fn report(&self) -> CurvatureReport {
        CurvatureReport {
            covers_bias: self.settings.covers_bias(self.layer),
            batches: self.counts.batches(),
            last_refresh: self.last_refresh,
            inversions: self.inversions,
            bytes: self.counts.bytes() + self.inputs.bytes() + self.outputs.bytes(),
            ..CurvatureReport::of(Coverage::KroneckerFactors)
        }
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>> {
        Box::new(self.clone())
    }
}
