use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// What [`MacMultiHeadAttention`](crate::MacMultiHeadAttention) takes: query, key and value, and masks
/// that are true where nothing is to be attended to.
///
/// It is made as Burn's `MhaInput`, whose fields no other crate can read, and has one thing more: which
/// queries are padded.
#[derive(Debug, Clone)]
pub struct AttentionInput<B: Backend> {
    pub(super) query: Tensor<B, 3>,
    pub(super) key: Tensor<B, 3>,
    pub(super) value: Tensor<B, 3>,
    pub(super) mask_pad: Option<Tensor<B, 2, Bool>>,
    pub(super) mask_attn: Option<Tensor<B, 3, Bool>>,
    mask_pad_query: Option<Tensor<B, 2, Bool>>,
    attends_itself: bool,
}

impl<B: Backend> AttentionInput<B> {
    /// Self-attention: query, key and value are the same.
    ///
    /// # Shapes
    ///
    /// - tensor: `[batch, tokens, d_model]`
    pub fn self_attn(tensor: Tensor<B, 3>) -> Self {
        Self {
            attends_itself: true,
            ..Self::new(tensor.clone(), tensor.clone(), tensor)
        }
    }

    /// Cross-attention. For self-attention use [`self_attn`](Self::self_attn), or give the padding by
    /// [`mask_pad_query`](Self::mask_pad_query) too; otherwise padded queries count in the statistics.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, queries, d_model]`
    /// - key and value: `[batch, keys, d_model]`
    pub fn new(query: Tensor<B, 3>, key: Tensor<B, 3>, value: Tensor<B, 3>) -> Self {
        Self {
            query,
            key,
            value,
            mask_pad: None,
            mask_attn: None,
            mask_pad_query: None,
            attends_itself: false,
        }
    }

    /// Excludes keys from attention, and from the statistics of the key and value projections. In
    /// self-attention the keys are the queries as well, so there it excludes them from all statistics.
    ///
    /// Where all keys of a sample are padded, its queries have nothing to attend to but padding. Then they
    /// are excluded from the statistics of the value projection.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, keys]`, or `[1, keys]` for all samples, true at padded positions
    pub fn mask_pad(mut self, mask: Tensor<B, 2, Bool>) -> Self {
        self.mask_pad = Some(mask);
        self
    }

    /// Excludes queries from the statistics of the query, value and output projections. It does not
    /// change what the layer computes.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, queries]`, or `[1, queries]` for all samples, true at padded positions
    pub fn mask_pad_query(mut self, mask: Tensor<B, 2, Bool>) -> Self {
        self.mask_pad_query = Some(mask);
        self
    }

    /// Excludes keys from the attention of single queries, as a causal mask does. It excludes nothing
    /// from the statistics but by the probabilities that it makes 0.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, queries, keys]`
    pub fn mask_attn(mut self, mask: Tensor<B, 3, Bool>) -> Self {
        self.mask_attn = Some(mask);
        self
    }

    /// The same with padding masks of the whole batch.
    ///
    /// # Panics
    ///
    /// If a padding mask has another shape than the tokens that it is of, or than those of one sample.
    pub(super) fn fitted(mut self) -> Self {
        let ([batch, queries, _], [_, keys, _]) = (self.query.dims(), self.key.dims());
        self.mask_pad = fitted_padding("mask_pad", self.mask_pad, [batch, keys]);
        let mask = self.mask_pad_query;
        self.mask_pad_query = fitted_padding("mask_pad_query", mask, [batch, queries]);
        self
    }

    /// Which queries are padded.
    pub(super) fn queries_padded(&self) -> Option<Tensor<B, 2, Bool>> {
        let shared = self.mask_pad.as_ref().filter(|_| self.attends_itself);
        match (self.mask_pad_query.as_ref(), shared) {
            (Some(own), Some(shared)) => Some(own.clone().bool_or(shared.clone())),
            (own, shared) => own.or(shared).cloned(),
        }
    }
}

/// A padding mask of the tokens, `[batch, tokens]`, of one that all samples may share, `[1, tokens]`: Burn's
/// attention takes both, and recorders count by sample.
///
/// # Panics
///
/// If the mask has another shape. Burn refuses only what it cannot broadcast, and by the text of that.
pub(super) fn fitted_padding<B: Backend>(
    name: &str,
    mask: Option<Tensor<B, 2, Bool>>,
    tokens: [usize; 2],
) -> Option<Tensor<B, 2, Bool>> {
    let mask = mask?;
    let shape = mask.dims();
    assert!(
        shape == tokens || shape == [1, tokens[1]],
        "`{name}` has the shape {shape:?}, but must have that of its tokens, {tokens:?}, or of one sample's"
    );
    Some(mask.expand(tokens))
}
