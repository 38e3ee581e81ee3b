use super::averages::{
    ActivationAverages, Augmented, AveragesRecord, Squares, is_of, largest, load,
};
use super::inverse_root::InverseRoot;
use super::rank_one::RankOne;
use super::whitened_mean::WhitenedMean;
use super::{
    Batches, Curvature, CurvatureRecord, CurvatureReport, CurvatureSettings, LayerGradient,
};
use crate::layer::{Layer, LayerRecord};
use crate::precision::bytes;
use crate::report::Coverage;
use crate::statistics::{ActivationSums, Demand, LayerStatistics, Statistic};
use crate::{InputCurvature, MacError};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// MAC's curvature `A ≈ ā āᵀ`, with `ā = [x̄ ; 1]` the bias-corrected moving average of a layer's mean activation
/// (ICDM 2025, section on the approximated curvature); or `x̄ x̄ᵀ` and the variances of the inputs, see [`InputCurvature`].
///
/// A layer without a finite statistic has a mean of 0, which preconditions nothing.
#[derive(Debug, Clone)]
pub(crate) struct MeanActivation<B: Backend> {
    layer: Layer,
    settings: CurvatureSettings,
    averages: ActivationAverages<B>,
    /// The averages that gradients are preconditioned with; none before the first refresh.
    in_use: Option<InUse<B>>,
    /// The preconditioner made of the mean, with or without a bias.
    rank_one: Option<(bool, RankOne<B>)>,
    /// The inverse root made of it, and of the variances.
    inverse_root: Option<InverseRoot<B>>,
}

/// Bias-corrected averages.
#[derive(Debug, Clone)]
struct InUse<B: Backend> {
    mean: Augmented<B>,
    /// `E[x²]`, `[means, size]`, for variances.
    square: Option<Tensor<B, 2>>,
    /// The step that took them into use; none if a record of version 1 brought them.
    last_refresh: Option<u64>,
}

/// A [`MeanActivation`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MeanActivationRecord {
    pub(crate) layer: LayerRecord,
    /// `[x̄ ; 1 ; 1 − βⁿ]` of the moving averages, `[means, size + 2]`.
    ema: TensorData,
    /// The moving average of `‖x‖²`, `[means, 1]`, or of `x²`, `[means, size]`; not in records before version 3.
    #[serde(default)]
    square: Option<TensorData>,
    /// `[x̄ ; 1]` in use, `[means, size + 1]`.
    mean: Option<TensorData>,
    /// `E[x²]` in use, `[means, size]`; not in records before version 3.
    #[serde(default)]
    mean_square: Option<TensorData>,
    /// The step that took `mean` into use; not in records of version 1.
    #[serde(default)]
    last_refresh: Option<u64>,
    updates: u64,
    /// `[means]`, or `[1]` in records of version 1.
    rejected: TensorData,
}

impl<B: Backend> MeanActivation<B> {
    /// A curvature that has seen nothing, shaped like the first sums.
    pub(crate) fn new(layer: Layer, settings: CurvatureSettings, sums: &ActivationSums<B>) -> Self {
        Self {
            layer,
            settings,
            averages: ActivationAverages::new(squares_of(settings.kind.inputs()), sums),
            in_use: None,
            rank_one: None,
            inverse_root: None,
        }
    }

    /// The moving average of `ā`, `[means, size + 1]`.
    pub(crate) fn ema(&self) -> Tensor<B, 2> {
        self.averages.augmented()
    }

    /// The mean `ā` in use, `[means, size + 1]`.
    pub(crate) fn mean(&self) -> Option<Tensor<B, 2>> {
        self.in_use.as_ref().map(|in_use| in_use.mean.joined())
    }

    /// The preconditioner of a gradient with or without a bias.
    fn rank_one(&mut self, gradient: &LayerGradient<B>) -> Option<&RankOne<B>> {
        let bias = gradient.bias.is_some();
        self.rank_one.take_if(|(with, _)| *with != bias);
        if self.rank_one.is_none() {
            let mean = &self.in_use.as_ref()?.mean;
            let kind = self.layer.kind.of_gradient();
            let size_output = gradient.size_output();
            let made = RankOne::new(mean, self.settings.damping, bias, kind, size_output);
            self.rank_one = Some((bias, made));
        }
        self.rank_one.as_ref().map(|(_, rank_one)| rank_one)
    }

    /// The inverse root for a weight with so many outputs.
    fn made_root(&mut self, size_output: usize) -> Option<&InverseRoot<B>> {
        if self.inverse_root.is_none() {
            let mean = self.whitened_mean()?;
            let made = InverseRoot::new(self.layer.kind, size_output, mean);
            self.inverse_root = Some(made);
        }
        self.inverse_root.as_ref()
    }

    /// None before the first refresh.
    fn whitened_mean(&self) -> Option<WhitenedMean<B>> {
        let InUse { mean, square, .. } = self.in_use.as_ref()?;
        let (mean, damping) = (&mean.inputs, self.settings.damping);
        Some(match (self.settings.kind.inputs(), square) {
            (InputCurvature::Mean, _) => WhitenedMean::of_damping(mean, damping),
            (InputCurvature::MeanVariance, Some(square)) if damping.is_finite() => {
                WhitenedMean::of_variance(mean, square, damping)
            }
            // Nothing is preconditioned where a record has no squares, until the next refresh: damping is relative.
            (InputCurvature::MeanVariance, _) => WhitenedMean::of_damping(mean, f64::INFINITY),
        })
    }

    /// Whether there is a bias that is preconditioned with the weight.
    fn has_bias(&self) -> bool {
        self.settings.covers_bias(self.layer)
    }

    fn forget_preconditioners(&mut self) {
        self.rank_one = None;
        self.inverse_root = None;
    }

    pub(crate) fn from_record(
        record: MeanActivationRecord,
        layer: Layer,
        settings: CurvatureSettings,
        device: &B::Device,
    ) -> Self {
        let averages = AveragesRecord {
            ema: record.ema,
            square: record.square,
            updates: record.updates,
            rejected: record.rejected,
        };
        let squares = squares_of(settings.kind.inputs());
        let (square, last_refresh) = (record.mean_square, record.last_refresh);
        Self {
            layer,
            settings,
            averages: ActivationAverages::from_record(averages, squares, device),
            in_use: record.mean.map(|mean| InUse {
                mean: Augmented::split(load(mean, device)),
                square: square
                    .filter(|_| squares == Squares::OfInputs)
                    .map(|square| load(square, device)),
                last_refresh,
            }),
            rank_one: None,
            inverse_root: None,
        }
    }
}

/// The squares that a curvature is made of.
fn squares_of(inputs: InputCurvature) -> Squares {
    match inputs {
        InputCurvature::Mean => Squares::OfNorms,
        InputCurvature::MeanVariance => Squares::OfInputs,
    }
}

impl<B: Backend> Curvature<B> for MeanActivation<B> {
    fn layer(&self) -> Layer {
        self.layer
    }

    fn demand(&self) -> Demand {
        Demand::of(&[Statistic::Activations])
    }

    fn observe(&mut self, statistics: &LayerStatistics<B>, decay: f64) -> Option<Batches> {
        let sums = statistics.activations.clone()?;
        self.averages.observe(sums, decay)
    }

    fn refresh(&mut self, step: u64) {
        let (mean, square) = self.averages.corrected();
        self.in_use = Some(InUse {
            mean,
            square,
            last_refresh: Some(step),
        });
        self.forget_preconditioners();
    }

    fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        if damping != self.settings.damping {
            self.settings.damping = damping;
            self.forget_preconditioners();
        }
        Ok(())
    }

    fn precondition(&mut self, gradient: LayerGradient<B>, guard: bool) -> LayerGradient<B> {
        match self.settings.kind.inputs() {
            InputCurvature::Mean => match self.rank_one(&gradient) {
                Some(rank_one) => rank_one.apply(gradient, guard),
                None => gradient,
            },
            InputCurvature::MeanVariance => match self.made_root(gradient.size_output()) {
                Some(root) => gradient.with_weight(
                    |weight| root.apply_both(weight),
                    |kernel| root.apply_both(kernel),
                ),
                None => gradient,
            },
        }
    }

    fn inverse_root(&mut self, size_output: usize) -> Option<InverseRoot<B>> {
        self.made_root(size_output).cloned()
    }

    fn to_record(&self) -> CurvatureRecord {
        let AveragesRecord {
            ema,
            square,
            updates,
            rejected,
        } = self.averages.to_record();
        let in_use = self.in_use.as_ref();
        let mean_square = in_use.and_then(|in_use| in_use.square.clone());
        CurvatureRecord::MeanActivation(MeanActivationRecord {
            layer: self.layer.to_record(),
            ema,
            square,
            mean: self.mean().map(Tensor::into_data),
            mean_square: mean_square.map(Tensor::into_data),
            last_refresh: in_use.and_then(|in_use| in_use.last_refresh),
            updates,
            rejected,
        })
    }

    fn report(&self) -> CurvatureReport {
        let in_use = self.in_use.as_ref();
        let rank_one = self.rank_one.as_ref();
        let root = self.inverse_root.as_ref();
        let mean_norm_squared = in_use.map(InUse::norm_squared);
        let damping = self.settings.damping;
        let (coverage, gain) = match self.settings.kind.inputs() {
            InputCurvature::Mean => {
                let gain = mean_norm_squared.map(|norm| match damping.is_infinite() {
                    true => 1.0,
                    false => damping / (damping + norm),
                });
                (Coverage::MeanActivation, gain)
            }
            InputCurvature::MeanVariance => {
                let gain = self.whitened_mean().map(|mean| mean.gain());
                (Coverage::MeanAndVariance, gain)
            }
        };
        CurvatureReport {
            covers_bias: self.has_bias(),
            batches: self.averages.batches(),
            last_refresh: in_use.and_then(|in_use| in_use.last_refresh),
            mean_norm_squared,
            gain,
            mean_share: self.averages.mean_share(self.has_bias()),
            bytes: self.averages.bytes()
                + in_use.map_or(0, InUse::bytes)
                + rank_one.map_or(0, |(_, rank_one)| rank_one.bytes())
                + root.map_or(0, InverseRoot::bytes),
            ..CurvatureReport::of(coverage)
        }
    }

    fn mean_activation(&self) -> Option<&MeanActivation<B>> {
        Some(self)
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>> {
        Box::new(self.clone())
    }
}

impl<B: Backend> InUse<B> {
    /// `‖x̄‖²`, the mean over the means. Reads from the device.
    fn norm_squared(&self) -> f64 {
        let [means, _] = self.mean.inputs.dims();
        let values = self.mean.inputs.to_data();
        let squares = values.iter::<f64>().map(|value| value * value);
        squares.sum::<f64>() / means as f64
    }

    fn bytes(&self) -> usize {
        self.mean.bytes() + self.square.as_ref().map_or(0, bytes)
    }
}

impl MeanActivationRecord {
    pub(crate) fn batches(&self) -> Batches {
        Batches {
            offered: self.updates,
            rejected: largest(&self.rejected),
        }
    }

    /// Whether these are statistics of a layer with so many means of that size.
    pub(crate) fn fits(&self, means: usize, size: usize) -> bool {
        let is =
            |data: Option<&TensorData>, shape: &[usize]| data.is_none_or(|data| is_of(data, shape));
        let square = self.square.as_ref();
        is_of(&self.ema, &[means, size + 2])
            && (is(square, &[means, 1]) || is(square, &[means, size]))
            && is(self.mean.as_ref(), &[means, size + 1])
            && is(self.mean_square.as_ref(), &[means, size])
            && (is_of(&self.rejected, &[means]) || is_of(&self.rejected, &[1]))
    }
}
