//! Convolutions, transposed or not.

use super::Recorder;
use crate::layer::Layer;
use crate::precision::at_least_f32;
use crate::statistics::moments::{self, Moment};
use crate::statistics::pass::{PassWeight, RowCounts, SeenInputs};
use crate::statistics::passes::lock;
use crate::statistics::patches::{ConvGeometry, Incidence, patch_sums, volume, volumes};
use crate::statistics::second_moments::patches;
use crate::statistics::transposed::{position_sums, positions};
use crate::statistics::untracked;
use burn::nn::conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::iter;
use std::sync::MutexGuard;

/// Recording of convolutions.
impl<B: Backend> Recorder<B> {
    /// Records the input of a two-dimensional convolution with the parameters of `layer`.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, height, width]`; the mean is over the batch and the output positions of the
    ///   patches that the kernel sees
    ///
    /// # Panics
    ///
    /// If the input has another number of channels than the layer takes.
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_conv2d<const O: usize>(
        &self,
        layer: &Conv2d<B>,
        input: &Tensor<B, 4>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let geometry = ConvGeometry::from(layer);
        let weight = PassWeight::of(Layer::conv2d(layer), &layer.weight);
        self.record_patches(weight, geometry, input, output)
    }

    /// Records the input of a one-dimensional convolution, as [`record_conv2d`](Self::record_conv2d) that of a two-dimensional one.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, length]`
    ///
    /// # Panics
    ///
    /// If the input has another number of channels than the layer takes.
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_conv1d<const O: usize>(
        &self,
        layer: &Conv1d<B>,
        input: &Tensor<B, 3>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let geometry = ConvGeometry::from(layer);
        let weight = PassWeight::of(Layer::conv1d(layer), &layer.weight);
        self.record_patches(weight, geometry, input, output)
    }

    /// Records the input of a three-dimensional convolution, as [`record_conv2d`](Self::record_conv2d) that of a two-dimensional one.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, depth, height, width]`
    ///
    /// # Panics
    ///
    /// If the input has another number of channels than the layer takes.
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_conv3d<const O: usize>(
        &self,
        layer: &Conv3d<B>,
        input: &Tensor<B, 5>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let geometry = ConvGeometry::from(layer);
        let weight = PassWeight::of(Layer::conv3d(layer), &layer.weight);
        self.record_patches(weight, geometry, input, output)
    }

    pub(super) fn record_patches<const D: usize, const O: usize>(
        &self,
        weight: PassWeight,
        geometry: ConvGeometry,
        input: &Tensor<B, D>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let layer = weight.layer;
        let images = || volumes(untracked(input));
        moments::observe(|| Moment::of_patches(layer, images(), &geometry));
        // Those of a convolution's output are its own.
        let rows = RowCounts::of(&[], None);
        self.record(weight, rows, output, |demand| {
            let mut seen = SeenInputs::new(layer, demand);
            seen.activations(|| {
                // Taken out, so that threads do not wait for each other's sums.
                let mut incidence = self.incidence().and_then(|mut kept| kept.take());
                let sums = patch_sums(images(), &geometry, &mut incidence);
                if let Some(mut kept) = self.incidence() {
                    *kept = incidence;
                }
                sums
            });
            seen.rows(|| patches(images(), &geometry));
            seen.statistics
        })
    }

    /// Records the input of a one-dimensional transposed convolution with the parameters of `layer`: the channels of its positions. Each position is
    /// a row. The bias is not among what is preconditioned, since it is added at each position of the output.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, length]`; the mean is over batch and positions
    /// - output: any, or of the gradients to be seen the layer's own
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_conv_transpose1d<const O: usize>(
        &self,
        layer: &ConvTranspose1d<B>,
        input: &Tensor<B, 3>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let geometry = ConvGeometry::from(layer);
        let weight = PassWeight::of(Layer::conv_transpose1d(layer), &layer.weight);
        self.record_positions(weight, geometry, input, output)
    }

    /// Records the input of a two-dimensional transposed convolution, as [`record_conv_transpose1d`](Self::record_conv_transpose1d) that of a
    /// one-dimensional one.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, height, width]`
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_conv_transpose2d<const O: usize>(
        &self,
        layer: &ConvTranspose2d<B>,
        input: &Tensor<B, 4>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let geometry = ConvGeometry::from(layer);
        let weight = PassWeight::of(Layer::conv_transpose2d(layer), &layer.weight);
        self.record_positions(weight, geometry, input, output)
    }

    /// Records the input of a three-dimensional transposed convolution, as [`record_conv_transpose1d`](Self::record_conv_transpose1d) that of a
    /// one-dimensional one.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, depth, height, width]`
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_conv_transpose3d<const O: usize>(
        &self,
        layer: &ConvTranspose3d<B>,
        input: &Tensor<B, 5>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let geometry = ConvGeometry::from(layer);
        let weight = PassWeight::of(Layer::conv_transpose3d(layer), &layer.weight);
        self.record_positions(weight, geometry, input, output)
    }

    pub(super) fn record_positions<const D: usize, const O: usize>(
        &self,
        weight: PassWeight,
        geometry: ConvGeometry,
        input: &Tensor<B, D>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let groups = geometry.groups;
        let layer = weight.layer;
        let images = || at_least_f32(volumes(untracked(input)));
        moments::observe(|| Moment::of_chunks(layer, iter::once(positions(images(), groups))));
        let output_shape = (O == D).then(|| volume(output.dims()));
        let rows = RowCounts::of_positions(&geometry, volume(input.dims()), output_shape);
        self.record(weight, rows, output, |demand| {
            let mut seen = SeenInputs::new(layer, demand);
            seen.activations(|| position_sums(images(), groups));
            seen.rows(|| iter::once(positions(images(), groups)));
            seen.statistics
        })
    }

    fn incidence(&self) -> Option<MutexGuard<'_, Option<Incidence<B>>>> {
        Some(lock(&self.shared.as_ref()?.incidence))
    }
}
