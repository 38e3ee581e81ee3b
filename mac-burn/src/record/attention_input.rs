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

    /// Cross-attention.
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
    /// - mask: `[batch, keys]`, true at padded positions
    pub fn mask_pad(mut self, mask: Tensor<B, 2, Bool>) -> Self {
        self.mask_pad = Some(mask);
        self
    }

    /// Excludes queries from the statistics of the query, value and output projections. It does not
    /// change what the layer computes.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, queries]`, true at padded positions
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

    /// Refuses padding masks that do not fit.
    ///
    /// # Panics
    ///
    /// If a padding mask has another shape than the tokens that it is of.
    pub(super) fn check(&self) {
        let ([batch, queries, _], [_, keys, _]) = (self.query.dims(), self.key.dims());
        check_padding("mask_pad", self.mask_pad.as_ref(), [batch, keys]);
        let mask = self.mask_pad_query.as_ref();
        check_padding("mask_pad_query", mask, [batch, queries]);
    }

    /// Which queries are padded.
    pub(super) fn queries_padded(&self) -> Option<Tensor<B, 2, Bool>> {
        let shared = self.mask_pad.as_ref().filter(|_| self.attends_itself);
        self.mask_pad_query.as_ref().or(shared).cloned()
    }
}

/// Refuses a padding mask of another shape than its tokens, `[batch, tokens]`. Otherwise only passes that record
/// would, by the text of a reshape.
///
/// # Panics
///
/// If the shapes differ.
pub(super) fn check_padding<B: Backend>(
    name: &str,
    mask: Option<&Tensor<B, 2, Bool>>,
    tokens: [usize; 2],
) {
    if let Some(mask) = mask {
        let shape = mask.dims();
        assert!(
            shape == tokens,
            "`{name}` has the shape {shape:?}, but must have that of its tokens, {tokens:?}"
        );
    }
}
