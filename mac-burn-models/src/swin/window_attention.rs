use burn::module::{Initializer, Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use mac_burn::{MacSelfAttention, SelfAttention, SelfAttentionConfig};

use super::{STD, SwinConfig, Windows};
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
    /// The bias of the scores.
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

    /// A mask of the tokens that only fill up the map, `[batch_size · windows, area]`.
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

/// The bias of the score of two tokens of a window, by how far the query is below and right of the key: a number for
/// each offset and head, which is learned (section 3.2 of the paper).
///
/// Part of a [`WindowAttention`](super::WindowAttention).
#[derive(Module, Debug)]
pub struct RelativePositionBias<B: Backend> {
    /// The numbers, `[(2 height − 1) · (2 width − 1), n_heads]`: by rows of offsets, from `1 − height` and `1 − width` up.
    pub table: Param<Tensor<B, 2>>,
    /// Height and width of a window.
    pub window_size: [usize; 2],
}

impl<B: Backend> RelativePositionBias<B> {
    pub(super) fn new(window_size: [usize; 2], n_heads: usize, device: &B::Device) -> Self {
        let offsets: usize = window_size.map(|size| 2 * size - 1).iter().product();
        let normal = Initializer::Normal {
            mean: 0.0,
            std: STD,
        };
        Self {
            table: normal.init([offsets, n_heads], device),
            window_size,
        }
    }

    /// The bias of each query and key.
    ///
    /// # Shapes
    /// - output: `[n_heads, area, area]`
    pub fn forward(&self) -> Tensor<B, 3> {
        let table = self.table.val();
        let [_, n_heads] = table.dims();
        let area = self.window_size.iter().product();
        let offsets = offsets(self.window_size);
        let shape = [offsets.len()];
        let offsets =
            Tensor::<B, 1, Int>::from_data(TensorData::new(offsets, shape), &table.device());
        table
            .select(0, offsets)
            .reshape([area, area, n_heads])
            .permute([2, 0, 1])
    }
}

/// The table's row for each query and key of a window, query by query.
fn offsets([height, width]: [usize; 2]) -> Vec<i64> {
    let area = height * width;
    let offset = |index: usize| {
        let (query, key) = (index / area, index % area);
        let down = query / width + height - 1 - key / width;
        let right = query % width + width - 1 - key % width;
        (down * (2 * width - 1) + right) as i64
    };
    (0..area * area).map(offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBackend;

    /// Of a window of 2×3, whose table has rows of 5: each by hand, tokens 0 1 2 above 3 4 5.
    ///
    /// Breaks when query and key, or rows and columns, are exchanged.
    #[test]
    fn an_offset_is_the_querys_place_from_the_key() {
        let offsets = offsets([2, 3]);
        let of = |query: usize, key: usize| offsets[query * 6 + key];

        assert_eq!(offsets.len(), 36);
        assert_eq!((of(0, 0), of(4, 4)), (7, 7));
        assert_eq!((of(1, 0), of(0, 1)), (8, 6));
        assert_eq!((of(3, 0), of(0, 3)), (12, 2));
        assert_eq!((of(5, 0), of(0, 5)), (14, 0));
        assert_eq!((of(3, 2), of(2, 3)), (10, 4));
    }

    /// Breaks when a head takes the numbers of another.
    #[test]
    fn a_head_has_its_column_of_the_table() {
        let mut bias = RelativePositionBias::<TestBackend>::new([1, 2], 2, &Default::default());
        let table = [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]];
        bias.table = Param::from_data(table, &Default::default());

        let expected = [2.0, 1.0, 3.0, 2.0, 20.0, 10.0, 30.0, 20.0];
        let found = bias.forward();
        assert_eq!(found.dims(), [2, 2, 2]);
        assert_eq!(
            found.into_data().iter::<f32>().collect::<Vec<_>>(),
            expected
        );
    }
}
