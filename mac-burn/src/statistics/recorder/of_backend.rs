//! Recorders of a [backend that records](crate::recording_backend), which knows weights by ids and shapes.

use super::{Recorder, Shared};
use crate::layer::{Layer, LayerKind};
use crate::recording_backend::SeenWeight;
use crate::statistics::SharedInput;
use crate::statistics::moments;
use crate::statistics::pass::PassWeight;
use crate::statistics::passes::{Passes, lock};
use crate::statistics::patches::ConvGeometry;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Int, Tensor};
use std::sync::{Arc, Mutex};

/// For a [backend that records](crate::recording_backend). Its recorders belong to tensors: clones of a module share them, and a step makes new ones.
impl<B: Backend> Recorder<B> {
    /// Records the input of a linear map `input · weight (+ bias)`, or with the weight transposed.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_input, size_output]`, or `[size_output, size_input]` if `transposed`
    /// - input: `[.., size_input]`
    /// - output: the operation's own
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_seen_linear<const D: usize>(
        &self,
        weight: &SeenWeight,
        transposed: bool,
        input: &Tensor<B, D>,
        output: Tensor<B, D>,
    ) -> Tensor<B, D> {
        let kind = match transposed {
            false => LayerKind::Linear,
            true => LayerKind::TransposedLinear,
        };
        let mut input = SharedInput::new(input.clone());
        self.record_rows(PassWeight::seen(kind, weight), &mut input, output)
    }

    /// Counts the tokens that an embedding looks up, as [`record_embedding`](Self::record_embedding) does.
    ///
    /// # Shapes
    ///
    /// - weight: `[tokens, size_output]`
    /// - tokens: `[batch, tokens]`
    /// - output: the operation's own
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_seen_embedding(
        &self,
        weight: &SeenWeight,
        tokens: &Tensor<B, 2, Int>,
        output: Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let weight = PassWeight::seen(LayerKind::Embedding, weight);
        self.record_token_counts(weight, tokens, output)
    }

    /// Records the input of a convolution over `N` axes for a [backend that records](crate::recording_backend).
    ///
    /// # Shapes
    ///
    /// - weight: `[channels_out, channels_in / groups, kernel, ..]`
    /// - input: `[batch, channels_in, length, ..]`
    /// - output: the operation's own
    ///
    /// # Panics
    ///
    /// If `N` is not 1, 2 or 3, or `D` not `N + 2`.
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_seen_convolution<const N: usize, const D: usize>(
        &self,
        weight: &SeenWeight,
        options: &ConvOptions<N>,
        input: &Tensor<B, D>,
        output: Tensor<B, D>,
    ) -> Tensor<B, D> {
        let groups = options.groups;
        let kind = match N {
            1 => LayerKind::Conv1d { groups },
            2 => LayerKind::Conv2d { groups },
            _ => LayerKind::Conv3d { groups },
        };
        let geometry = ConvGeometry::of_options(kernel::<N, D>(weight), options);
        self.record_patches(PassWeight::seen(kind, weight), geometry, input, output)
    }

    /// Records the input of a transposed convolution over `N` axes for a [backend that records](crate::recording_backend). A bias is no part of what
    /// is recorded, see [`record_conv_transpose1d`](Self::record_conv_transpose1d).
    ///
    /// # Shapes
    ///
    /// - weight: `[channels_in, channels_out / groups, kernel, ..]`
    /// - input: `[batch, channels_in, length, ..]`
    /// - output: the operation's own
    ///
    /// # Panics
    ///
    /// If `N` is not 1, 2 or 3, or `D` not `N + 2`.
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_seen_transposed_convolution<const N: usize, const D: usize>(
        &self,
        weight: &SeenWeight,
        options: &ConvTransposeOptions<N>,
        input: &Tensor<B, D>,
        output: Tensor<B, D>,
    ) -> Tensor<B, D> {
        let groups = options.groups;
        let kind = match N {
            1 => LayerKind::ConvTranspose1d { groups },
            2 => LayerKind::ConvTranspose2d { groups },
            _ => LayerKind::ConvTranspose3d { groups },
        };
        let geometry = ConvGeometry::of_transposed_options(kernel::<N, D>(weight), options);
        let mut weight = PassWeight::seen(kind, weight);
        weight.layer.bias = None;
        self.record_positions(weight, geometry, input, output)
    }

    /// Whether anything is to be recorded of a pass on this device, by optimizers or by a [spectrum](crate::spectrum).
    pub fn wants_pass(&self, device: &B::Device) -> bool {
        moments::are_wanted::<B>()
            || moments::of_gradients_are_wanted::<B>()
            || !self.demand(true, device).is_empty()
    }

    /// The layers of the passes that count, with the ids of the backend.
    pub(crate) fn counted_layers(&self) -> Vec<Layer> {
        let shared = self.shared.as_ref();
        shared.map_or_else(Vec::new, |shared| shared.passes.layers())
    }

    /// Whether the last step found passes of several maps.
    pub(crate) fn was_in_several_maps(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| lock(&shared.state).in_several_maps)
    }

    /// Forgets the passes that a step found to be of several maps.
    pub(crate) fn end_step_of_several_maps(&self) {
        if let Some(shared) = &self.shared {
            shared.passes.end_step();
            lock(&shared.state).in_several_maps = true;
        }
    }

    /// The same recorder, not a clone with passes of its own.
    pub fn shared(&self) -> Self {
        Self {
            shared: self.shared.as_ref().map(|shared| Shared {
                passes: shared.passes.shared(),
                state: shared.state.clone(),
                incidence: shared.incidence.clone(),
            }),
        }
    }

    /// A recorder without passes for the tensor that a step puts in the place of this one's. It keeps what optimizers ask for.
    pub fn successor(&self) -> Self {
        Self {
            shared: self.shared.as_ref().map(|shared| Shared {
                passes: Passes::new(),
                state: Arc::new(Mutex::new(lock(&shared.state).clone())),
                incidence: shared.incidence.clone(),
            }),
        }
    }

    /// The recorder for one step. The passes that it takes stay here until another counts, since other clones of the module that have the
    /// tensor may take a step with the same gradients.
    pub(crate) fn of_step(&self) -> Self {
        Self {
            shared: self.shared.as_ref().map(|shared| Shared {
                passes: shared.passes.clone(),
                state: shared.state.clone(),
                incidence: shared.incidence.clone(),
            }),
        }
    }
}

/// The lengths of the kernel of a convolution over `N` axes.
fn kernel<const N: usize, const D: usize>(weight: &SeenWeight) -> [usize; N] {
    assert!(
        (1..=3).contains(&N) && D == N + 2 && weight.shape.num_dims() == D,
        "a convolution over {N} axes of images of {D}, with a weight of {}: it must be over 1, 2 or 3, and images and weight have 2 more",
        weight.shape.num_dims()
    );
    std::array::from_fn(|axis| weight.shape[2 + axis])
}
