use super::factor::{Factor, FactorRecord, FailedInversions, inverses, multiply, without_bias};
use super::moving_average::{BatchCounts, BatchCountsRecord, Finite, Means, Start, means_of};
use super::{
    Batches, Curvature, CurvatureRecord, CurvatureReport, CurvatureSettings, LayerGradient,
};
use crate::MacError;
use crate::layer::{Layer, LayerRecord};
use crate::report::Coverage;
use crate::statistics::{Demand, LayerStatistics, Statistic, WeightSharing};
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

/// The curvature of FOOF (F. Benzing 2022, "Gradient Descent on Neurons and its Link to Approximate Second-Order Optimization"), the second
/// moment of a layer's inputs, with the identity on the output side:
///
/// ```text
/// G ← G (A + ρ I)⁻¹      A = E[a aᵀ]      a = [x ; 1]
/// ```
///
/// It keeps `A` and its inverse, `2 (size_input + 1)²` numbers. Each place of a convolution or sequence is a row; the values of attention are
/// those that come through it. The inverse is made on the host at a refresh, in `f64`.
#[derive(Debug, Clone)]
pub(crate) struct Foof<B: Backend> {
    layer: Layer,
    settings: CurvatureSettings,
    counts: BatchCounts<B>,
    inputs: Factor<B>,
    /// The damping of the inverse.
    inverted_with: f64,
    last_refresh: Option<u64>,
    inversions: FailedInversions,
}

/// A [`Foof`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FoofRecord {
    pub(super) layer: LayerRecord,
    pub(super) counts: BatchCountsRecord,
    inputs: FactorRecord,
    #[serde(with = "crate::number")]
    inverted_with: f64,
    last_refresh: Option<u64>,
    inversions: FailedInversions,
}

/// The second moments that a FOOF is made of.
pub(super) const INPUTS: Statistic = Statistic::InputMoments(WeightSharing::Expand);

impl<B: Backend> Foof<B> {
    /// A curvature that has seen nothing, shaped like the first statistics; none if they are not what it is made of.
    pub(super) fn new(
        layer: Layer,
        settings: CurvatureSettings,
        identity_start: bool,
        statistics: &LayerStatistics<B>,
    ) -> Option<Self> {
        let means = input_means(layer, settings, INPUTS, statistics)?;
        Some(Self {
            layer,
            settings,
            counts: BatchCounts::new(&means[0]),
            inputs: Factor::new(start(identity_start), &means),
            inverted_with: settings.damping,
            last_refresh: None,
            inversions: FailedInversions::default(),
        })
    }

    pub(super) fn from_record(
        record: FoofRecord,
        layer: Layer,
        settings: CurvatureSettings,
        identity_start: bool,
        device: &B::Device,
    ) -> Self {
        let mut restored = Self {
            layer,
            settings,
            counts: BatchCounts::from_record(record.counts, device),
            inputs: Factor::from_record(record.inputs, start(identity_start), device),
            inverted_with: record.inverted_with,
            last_refresh: record.last_refresh,
            inversions: record.inversions,
        };
        if restored.inverted_with != settings.damping {
            restored.invert();
        }
        restored
    }

    /// Inverts the average, or keeps the last inverse. Whether there is a new one.
    fn invert(&mut self) -> bool {
        let damping = self.settings.damping;
        self.inverted_with = damping;
        if damping.is_infinite() {
            return false;
        }
        let Some(parts) = self.inputs.read() else {
            return false;
        };
        let inverted = inverses(parts.iter().map(|part| (part, vec![damping; part.0.len()])));
        let inverse = self.inversions.count(inverted);
        let is_new = inverse.is_some();
        if let Some(inverse) = inverse {
            self.inputs.set_inverse(inverse);
        }
        is_new
    }
}

impl FoofRecord {
    pub(super) fn fits(&self, shapes: &[[usize; 3]]) -> bool {
        self.counts.fits() && self.inputs.fits(shapes, shapes)
    }
}

fn start(identity_start: bool) -> Start {
    match identity_start {
        true => Start::Identity,
        false => Start::Zero,
    }
}

/// The means of a batch's second moments of inputs, with the 1 of a bias if that is preconditioned.
pub(super) fn input_means<B: Backend>(
    layer: Layer,
    settings: CurvatureSettings,
    statistic: Statistic,
    statistics: &LayerStatistics<B>,
) -> Option<Means<B>> {
    let means = means_of(statistics.get(statistic)?);
    let [_, width, _] = means[0].dims();
    Some(match layer.bias.is_some() && !settings.biases {
        true => without_bias(means, width - 1),
        false => means,
    })
}

impl<B: Backend> Curvature<B> for Foof<B> {
    fn layer(&self) -> Layer {
        self.layer
    }

    fn demand(&self) -> Demand {
        Demand::of(&[INPUTS])
    }

    fn observe(&mut self, statistics: &LayerStatistics<B>, decay: f64) -> Option<Batches> {
        let statistics = &statistics.clone().on_device(&self.inputs.device());
        let means = input_means(self.layer, self.settings, INPUTS, statistics)?;
        let rows = statistics.get(INPUTS)?.parts[0].count.clone();
        let finite = Finite::of(&[&means]);
        self.inputs.average_mut().observe(means, &finite, decay);
        self.counts.count(&finite, rows)
    }

    /// Reads the average from the device and inverts it on the host, `O(size³)`.
    fn refresh(&mut self, step: u64) {
        if self.invert() {
            self.last_refresh = Some(step);
        }
    }

    fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        if damping != self.settings.damping {
            self.settings.damping = damping;
            self.invert();
        }
        Ok(())
    }

    fn precondition(&mut self, gradient: LayerGradient<B>, _guard: bool) -> LayerGradient<B> {
        let augmented = self.settings.covers_bias(self.layer);
        let bias_is_fixed = augmented && gradient.bias.is_none();
        let inputs = &self.inputs;
        gradient.map_blocks(self.layer.kind, augmented, |block, rows| {
            let inverse = inputs.inverse(block.mean, &rows.device());
            match inverse {
                Some(inverse) => multiply(rows, inverse, bias_is_fixed),
                None => rows,
            }
        })
    }

    fn to_record(&self) -> CurvatureRecord {
        CurvatureRecord::Foof(FoofRecord {
            layer: self.layer.to_record(),
            counts: self.counts.to_record(),
            inputs: self.inputs.to_record(),
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
            bytes: self.counts.bytes() + self.inputs.bytes(),
            ..CurvatureReport::of(Coverage::InputSecondMoment)
        }
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>> {
        Box::new(self.clone())
    }
}
