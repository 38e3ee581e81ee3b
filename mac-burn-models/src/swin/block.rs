use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::config::STD;
use super::{SwinConfig, WindowAttention, Windows};
use crate::transformer::{DropPath, FeedForward, Gelu, normal_linear};

/// A block: attention within windows and a feed-forward layer, each with a norm before it and the input added after it.
///
/// Part of a [`Swin`](super::Swin).
#[derive(Module, Debug)]
pub struct SwinBlock<B: Backend> {
    /// The norm before the attention.
    pub norm1: LayerNorm<B>,
    /// The attention within windows.
    pub window_attention: WindowAttention<B>,
    /// The norm before the feed-forward layer.
    pub norm2: LayerNorm<B>,
    /// The feed-forward layer.
    pub mlp: FeedForward<B>,
    /// Drops outputs of both branches.
    pub dropout: Dropout,
    /// Drops both branches of a sample as a whole.
    pub drop_path: DropPath,
}

impl<B: Backend> SwinBlock<B> {
    /// `index` is that of the stage and that of the block in it.
    pub(super) fn new(config: &SwinConfig, index: [usize; 2], device: &B::Device) -> Self {
        let [stage, block] = index;
        let d_model = config.stages[stage].d_model;
        let hidden = (d_model as f64 * config.stages[stage].mlp_ratio) as usize;
        let dropout = DropoutConfig::new(config.dropout).init();
        Self {
            norm1: config.norm(d_model).init(device),
            window_attention: WindowAttention::new(config, stage, windows(config, index), device),
            norm2: config.norm(d_model).init(device),
            mlp: FeedForward {
                fc1: normal_linear([d_model, hidden], true, STD, device).into(),
                gelu: Gelu::default(),
                dropout: dropout.clone(),
                fc2: normal_linear([hidden, d_model], true, STD, device).into(),
            },
            dropout,
            drop_path: DropPath::new(config.drop_path_of(stage, block)),
        }
    }

    /// Applies the forward pass.
    ///
    /// # Shapes
    /// - map and output: `[batch_size, height, width, d_model]`
    pub fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let attended = self
            .window_attention
            .forward(self.norm1.forward(map.clone()));
        let map = map + self.branch(attended);
        let output = self.mlp.forward(self.norm2.forward(map.clone()));
        map + self.branch(output)
    }

    fn branch(&self, output: Tensor<B, 4>) -> Tensor<B, 4> {
        self.drop_path.forward(self.dropout.forward(output))
    }
}

/// The windows of a block: every second block shifts them.
fn windows(config: &SwinConfig, [stage, block]: [usize; 2]) -> Windows {
    let size = config.stages[stage].window_size;
    let windows = match block % 2 {
        0 => Windows::new(size),
        _ => Windows::shifted(size),
    };
    match config.always_partition {
        true => windows,
        false => windows.fitted(config.map_size(stage)),
    }
}
