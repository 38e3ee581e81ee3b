use super::factor::inverse as invert;
use super::{Batches, Curvature, CurvatureRecord, CurvatureReport, LayerGradient};
use crate::MacError;
use crate::layer::{Layer, LayerKind, LayerRecord};
use crate::layers::{Recorded, RecordedLayer};
use crate::precision::{at_least_f32, bytes};
use crate::report::Coverage;
use crate::statistics::moments::moment_with_ones;
use crate::statistics::patches::ConvGeometry;
use crate::statistics::second_moments::{SampleRows, patches};
use crate::statistics::volumes;
use crate::statistics::{Demand, LayerStatistics, untracked};
use burn::module::Param;
use burn::nn::Linear;
use burn::nn::conv::{Conv1d, Conv2d, Conv3d};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// The dense curvature `C = E[a aᵀ]` of a network's first layer, `a = [x ; 1]`.
///
/// Data are standardised, so the mean of a network's input says little; but its distribution never
/// changes. So the second moment of the first layer's inputs is measured once, over the training
/// set before training, and the layer is preconditioned by `(C + ρ I)⁻¹` for the whole run, in
/// place of the rank-one form (ICDM 2025 paper, implementation details; authors' code,
/// `_configure`). `C` is the mean of the batches' means, each batch weighing the same.
///
/// The inverse carries the factor `1/ρ` that the rank-one form leaves out: with a damping far from
/// 1, the first layer moves on another scale than the rest.
///
/// ```
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Distribution, Tensor};
/// use mac_burn::{InputCovariance, MacConfig, MacConv2d};
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # type Model = MacConv2d<B>;
/// # let device = Default::default();
/// # let batches = (0..3).map(|_| Tensor::<B, 4>::random([4, 1, 6, 6], Distribution::Default, &device));
///
/// let first: MacConv2d<B> = Conv2dConfig::new([1, 8], [3, 3]).init(&device).into();
///
/// let mut covariance = InputCovariance::of(&first);
/// for images in batches {
///     covariance.update(images);
/// }
/// let optim = MacConfig::new()
///     .init::<B, Model>()
///     .with_input_covariance(&covariance)?;
/// # Ok::<(), mac_burn::MacError>(())
/// ```
#[derive(Debug, Clone)]
pub struct InputCovariance<B: Backend> {
    rows: Rows,
    layer: Layer,
    /// The size of the layer's input: the size of a token, or the channels of an image.
    size_input: usize,
    /// Sum of the batches' means, `[groups, size + 1, size + 1]`.
    sum: Option<Tensor<B, 3>>,
    batches: usize,
}

/// The rows that a layer's input is made of.
#[derive(Debug, Clone)]
enum Rows {
    Tokens,
    /// Patches of images with so many axes.
    Patches(ConvGeometry, usize),
}

/// A layer whose input covariance can be measured: a `Linear`, `Conv1d`, `Conv2d` or `Conv3d` of Burn's, recorded or within a layer of
/// your own. For other layers see [`InputCovariance::of_linear`].
pub trait FirstLayer<B: Backend> {
    #[doc(hidden)]
    fn input_covariance(&self) -> InputCovariance<B>;
}

impl<B: Backend> FirstLayer<B> for Linear<B> {
    fn input_covariance(&self) -> InputCovariance<B> {
        InputCovariance::of_linear(&self.weight, self.bias.as_ref())
    }
}

impl<B: Backend> FirstLayer<B> for Conv1d<B> {
    fn input_covariance(&self) -> InputCovariance<B> {
        let rows = Rows::Patches(ConvGeometry::from(self), 1);
        let [_, channels, ..] = self.weight.dims();
        InputCovariance::new(Layer::conv1d(self), rows, channels * self.groups)
    }
}

impl<B: Backend> FirstLayer<B> for Conv2d<B> {
    fn input_covariance(&self) -> InputCovariance<B> {
        let rows = Rows::Patches(ConvGeometry::from(self), 2);
        let [_, channels, ..] = self.weight.dims();
        InputCovariance::new(Layer::conv2d(self), rows, channels * self.groups)
    }
}

impl<B: Backend> FirstLayer<B> for Conv3d<B> {
    fn input_covariance(&self) -> InputCovariance<B> {
        let rows = Rows::Patches(ConvGeometry::from(self), 3);
        let [_, channels, ..] = self.weight.dims();
        InputCovariance::new(Layer::conv3d(self), rows, channels * self.groups)
    }
}

impl<L: RecordedLayer<B> + FirstLayer<B>, B: Backend> FirstLayer<B> for Recorded<L, B> {
    fn input_covariance(&self) -> InputCovariance<B> {
        (**self).input_covariance()
    }
}

impl<B: Backend> InputCovariance<B> {
    /// The covariance of the inputs of `layer`, with no batch seen yet.
    pub fn of(layer: &impl FirstLayer<B>) -> Self {
        layer.input_covariance()
    }

    /// The covariance of the inputs of a linear map `input · weight (+ bias)`, as in a layer of your own, with no batch
    /// seen yet. Such a layer needs no [`Recorder`](crate::Recorder) to be preconditioned by it.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_input, size_output]`
    pub fn of_linear(weight: &Param<Tensor<B, 2>>, bias: Option<&Param<Tensor<B, 1>>>) -> Self {
        let [size_input, _] = weight.dims();
        let layer = Layer::matrix(LayerKind::Linear, weight, bias);
        Self::new(layer, Rows::Tokens, size_input)
    }

    fn new(layer: Layer, rows: Rows, size_input: usize) -> Self {
        Self {
            rows,
            layer,
            size_input,
            sum: None,
            batches: 0,
        }
    }

    /// Adds a batch of the layer's inputs; an empty one is none. Nothing is read back to the host.
    ///
    /// # Shapes
    ///
    /// - input: what the layer's forward pass takes, `[.., size]` or
    ///   `[batch, channels, (depth, height,) width]`
    ///
    /// # Panics
    ///
    /// If the input is not one that the layer takes: of another size, or for a convolution of another rank.
    pub fn update<const D: usize>(&mut self, input: Tensor<B, D>) {
        self.check(&input.dims());
        if input.shape().num_elements() == 0 {
            return;
        }
        let input = at_least_f32(untracked(&input));
        let (sum, rows) = match &self.rows {
            Rows::Tokens => moment_with_ones(std::iter::once(SampleRows::of_tokens(input, None))),
            Rows::Patches(geometry, _) => moment_with_ones(patches(volumes(input), geometry)),
        };
        let mean = sum.div_scalar(rows as f64);
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + mean,
            None => mean,
        });
        self.batches += 1;
    }

    fn check(&self, shape: &[usize]) {
        let (dim, form, fits_rank) = match self.rows {
            Rows::Tokens => (shape.len() - 1, "[.., size]", true),
            Rows::Patches(_, axes) => {
                let form = match axes {
                    1 => "[batch, channels, length]",
                    2 => "[batch, channels, height, width]",
                    _ => "[batch, channels, depth, height, width]",
                };
                (1, form, shape.len() == axes + 2)
            }
        };
        assert!(
            fits_rank && shape[dim] == self.size_input,
            "the layer takes inputs of shape {form} with {} in dimension {dim}, but this one has shape {shape:?}",
            self.size_input
        );
    }

    /// `(C + ρ I)⁻¹` in `f64`, made on the host, `[groups, n, n]` where `n` is `size + 1` for
    /// a layer with a bias and `size` for one without. Reads the sums from the device.
    ///
    /// # Errors
    ///
    /// If no batch was seen, or the matrix is not positive definite.
    pub fn inverse(&self, damping: f64) -> Result<TensorData, MacError> {
        self.measured()?.inverse(damping)
    }

    /// The curvature of the layer, read from the device and inverted on the host.
    pub(crate) fn curvature(
        &self,
        damping: f64,
    ) -> Result<InputCovarianceCurvature<B::InnerBackend>, MacError>
    where
        B: AutodiffBackend,
    {
        InputCovarianceCurvature::new(self.layer, self.measured()?, damping)
    }

    /// Reads the mean of the batches from the device.
    fn measured(&self) -> Result<SecondMoment, MacError> {
        let layer = self.layer.kind.name();
        let sum = self
            .sum
            .as_ref()
            .ok_or(MacError::EmptyCovariance { layer })?;
        let [groups, width, _] = sum.dims();
        let used = width - usize::from(self.layer.bias.is_none());
        let sum = sum.clone().narrow(1, 0, used).narrow(2, 0, used);
        let batches = self.batches as f64;
        Ok(SecondMoment {
            layer,
            groups,
            size: used,
            elements: sum
                .into_data()
                .iter::<f64>()
                .map(|value| value / batches)
                .collect(),
        })
    }
}

/// The curvature `A = C` of a layer whose input covariance was measured. Its preconditioner `(C + ρ I)⁻¹` is dense, on
/// the input side.
#[derive(Debug, Clone)]
pub(crate) struct InputCovarianceCurvature<B: Backend> {
    layer: Layer,
    moment: SecondMoment,
    damping: f64,
    /// `[groups, size, size]`, in `f64`.
    inverse: TensorData,
    /// The same on the device, in the type of the gradients but at least `f32`; made at the first use.
    on_device: Option<Tensor<B, 3>>,
}

/// An [`InputCovarianceCurvature`] in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InputCovarianceRecord {
    pub(crate) layer: LayerRecord,
    groups: usize,
    size: usize,
    moment: Vec<f64>,
}

impl<B: Backend> InputCovarianceCurvature<B> {
    fn new(layer: Layer, moment: SecondMoment, damping: f64) -> Result<Self, MacError> {
        Ok(Self {
            layer,
            inverse: moment.inverse(damping)?,
            moment,
            damping,
            on_device: None,
        })
    }

    pub(crate) fn from_record(
        record: InputCovarianceRecord,
        layer: Layer,
        damping: f64,
    ) -> Result<Self, MacError> {
        let moment = SecondMoment {
            layer: layer.kind.name(),
            groups: record.groups,
            size: record.size,
            elements: record.moment,
        };
        Self::new(layer, moment, damping)
    }

    fn inverse_like(&mut self, rows: &Tensor<B, 3>) -> Tensor<B, 3> {
        let (device, dtype) = (rows.device(), rows.dtype());
        self.on_device
            .take_if(|found| found.device() != device || found.dtype() != dtype);
        self.on_device
            .get_or_insert_with(|| Tensor::from_data(self.inverse.clone(), (&device, dtype)))
            .clone()
    }
}

impl InputCovarianceRecord {
    /// Whether this is the covariance of a layer with so many groups, of inputs of that size.
    pub(crate) fn fits(&self, groups: usize, size: usize) -> bool {
        (self.groups, self.size) == (groups, size) && self.moment.len() == groups * size * size
    }
}

impl<B: Backend> Curvature<B> for InputCovarianceCurvature<B> {
    fn layer(&self) -> Layer {
        self.layer
    }

    fn demand(&self) -> Demand {
        Demand::default()
    }

    fn is_measured(&self) -> bool {
        true
    }

    fn observe(&mut self, _statistics: &LayerStatistics<B>, _decay: f64) -> Option<Batches> {
        None
    }

    fn refresh(&mut self, _step: u64) {}

    /// Inverts again on the host, `O(size³)`.
    fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        if damping != self.damping {
            self.inverse = self.moment.inverse(damping)?;
            self.on_device = None;
            self.damping = damping;
        }
        Ok(())
    }

    fn precondition(&mut self, gradient: LayerGradient<B>, _guard: bool) -> LayerGradient<B> {
        let augmented = self.layer.bias.is_some();
        let rows = gradient.to_rows(self.moment.groups, augmented);
        // Symmetric, so this is the inverse on the input side.
        let inverse = self.inverse_like(&rows);
        gradient.with_rows(rows.matmul(inverse), augmented)
    }

    fn to_record(&self) -> CurvatureRecord {
        CurvatureRecord::InputCovariance(InputCovarianceRecord {
            layer: self.layer.to_record(),
            groups: self.moment.groups,
            size: self.moment.size,
            moment: self.moment.elements.clone(),
        })
    }

    fn report(&self) -> CurvatureReport {
        CurvatureReport {
            covers_bias: self.layer.bias.is_some(),
            bytes: self.on_device.as_ref().map_or(0, bytes),
            ..CurvatureReport::of(Coverage::InputCovariance)
        }
    }

    fn boxed_clone(&self) -> Box<dyn Curvature<B>> {
        Box::new(self.clone())
    }
}

/// A measured `C`, on the host.
#[derive(Debug, Clone)]
struct SecondMoment {
    layer: &'static str,
    groups: usize,
    size: usize,
    /// `[groups, size, size]`.
    elements: Vec<f64>,
}

impl SecondMoment {
    /// `(C + ρ I)⁻¹`. At infinite damping it is 0, and not used.
    fn inverse(&self, damping: f64) -> Result<TensorData, MacError> {
        let size = self.size;
        let shape = [self.groups, size, size];
        if damping.is_infinite() {
            return Ok(TensorData::zeros::<f64, _>(shape));
        }
        let mut inverse = Vec::with_capacity(self.elements.len());
        for group in self.elements.chunks_exact(size * size) {
            let mut matrix = DMatrix::from_row_slice(size, size, group);
            (0..size).for_each(|i| matrix[(i, i)] += damping);
            let inverted = invert(matrix).ok_or(MacError::SingularCovariance {
                layer: self.layer,
                damping,
            })?;
            // Symmetric, so column-major order is row-major order.
            inverse.extend_from_slice(inverted.as_slice());
        }
        Ok(TensorData::new(inverse, shape))
    }
}
