use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};
use mac_burn::{MacSelfAttention, SelfAttention, SelfAttentionConfig};

use super::config::STD;
use super::{RelativePositionBias, SwinConfig, Windows};
use crate::transformer::normal_linear;

/// Self-attention within each window of a map, `softmax(q kᵀ / √d_head + bias) v`, where the bias is that of relative
/// positions, and of shifted windows also the [mask](Windows::shift_mask) of tokens that are far from each other.
///
/// A window is a sample to its recorders: probabilities are averaged over windows and images, values at each position in
/// a window. Tokens that only fill up the map count in no mean. Part of a [`SwinBlock`](super::SwinBlock).
#[derive(Module, Debug)]
pub struct WindowAttention<B: Backend> {
    /// The attention.
    pub attention: MacSelfAttention<B>,
    /// What is added to the scores.
    pub relative_position_bias: RelativePositionBias<B>,
    /// How the map is cut.
    pub windows: Windows,
}

impl<B: Backend> WindowAttention<B> {
    pub(super) fn new(
        config: &SwinConfig,
        stage: usize,
        windows: Windows,
        device: &B::Device,
    ) -> Self {
        let n_heads = config.stages[stage].n_heads;
        Self {
            attention: attention(config, stage, device).into(),
            relative_position_bias: RelativePositionBias::new(windows.size, n_heads, device),
            windows,
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - map and output: `[batch_size, height, width, d_model]`
    pub fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch_size, height, width, _] = map.dims();
        let size = [height, width];
        let uncounted = self.uncounted(batch_size, size, &map.device());
        let windows = self.windows.partition(map);
        let output = self
            .attention
            .forward_biased(windows, self.score_bias(size), uncounted);
        self.windows.reverse(output, size)
    }

    /// `[windows, n_heads, area, area]`, or `[1, ..]` where all windows have the same.
    fn score_bias(&self, map: [usize; 2]) -> Tensor<B, 4> {
        let bias = self.relative_position_bias.forward();
        let mask = self.windows.shift_mask(map, &bias);
        let bias = bias.unsqueeze_dim(0);
        match mask {
            Some(mask) => bias + mask.unsqueeze_dim(1),
            None => bias,
        }
    }

    /// Which tokens only fill up the map, `[batch_size · windows, area]`.
    fn uncounted(
        &self,
        batch_size: usize,
        map: [usize; 2],
        device: &B::Device,
    ) -> Option<Tensor<B, 2, Bool>> {
        let padding = self.windows.padding(map, device)?;
        Some(padding.repeat_dim(0, batch_size))
    }
}

fn attention<B: Backend>(
    config: &SwinConfig,
    stage: usize,
    device: &B::Device,
) -> SelfAttention<B> {
    let stage = &config.stages[stage];
    let mut attention = SelfAttentionConfig::new(stage.d_model, stage.n_heads)
        .with_d_head(stage.d_head)
        .with_dropout(config.attention_dropout)
        .init(device);
    let [_, three] = attention.qkv.weight.lazy_shape().dims();
    attention.qkv = normal_linear([stage.d_model, three], config.qkv_bias, STD, device);
    attention.output = normal_linear([three / 3, stage.d_model], true, STD, device);
    attention
}
