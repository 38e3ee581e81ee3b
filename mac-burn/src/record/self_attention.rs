use super::layer::LayerParameters;
use super::recorded::sealed::Parameters;
use super::{Recorded, RecordedLayer, Recorder};
use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// [`SelfAttention`], recorded. The query and key columns of its fused projection are
/// preconditioned by the mean of the tokens, the value columns by the attention-weighted mean, see
/// [`MacMultiHeadAttention`](crate::MacMultiHeadAttention); the output projection as any `Linear`. The
/// probabilities are those that dropout left, so what the bias sees is 1 on average only.
pub type MacSelfAttention<B> = Recorded<SelfAttention<B>, B>;

/// A masked score, Burn's: far below any other, and finite in half precision. Where all scores of a query
/// are masked, their softmax is uniform, not NaN.
const MASKED: f64 = -1.0e4;

/// Configuration to create a [`SelfAttention`] layer with [`init`](Self::init).
///
/// ```
/// use burn::tensor::Tensor;
/// use mac_burn::{MacSelfAttention, SelfAttentionConfig};
/// # type B = burn::backend::Autodiff<burn_ndarray::NdArray<f32>>;
/// # let device = Default::default();
/// # let tokens = Tensor::ones([2, 5, 8], &device);
///
/// let config = SelfAttentionConfig::new(8, 2).with_causal(true);
/// let attention: MacSelfAttention<B> = config.init(&device).into();
/// assert_eq!(attention.forward(tokens, None).dims(), [2, 5, 8]);
/// ```
#[derive(Config, Debug)]
pub struct SelfAttentionConfig {
    /// The size of a token.
    pub d_model: usize,
    /// The number of heads; it divides the size of a token.
    pub n_heads: usize,
    /// Whether the fused projection has a bias.
    #[config(default = true)]
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    #[config(default = true)]
    pub output_bias: bool,
    /// Whether a token attends only to itself and to tokens before it.
    #[config(default = false)]
    pub causal: bool,
    /// The dropout rate of the attention probabilities, in [0, 1].
    #[config(default = 0.0)]
    pub dropout: f64,
    /// How parameters are made.
    #[config(default = "Initializer::KaimingUniform{gain:1.0/3.0f64.sqrt(), fan_out_only:false}")]
    pub initializer: Initializer,
}

/// Multi-head self-attention with one projection to queries, keys and values, as ViT and GPT have it
/// ("Attention Is All You Need", arXiv:1706.03762): `softmax(q kᵀ / √d_head) v`, where `d_head` is
/// `d_model / n_heads`.
///
/// Should be created with [`SelfAttentionConfig`].
#[derive(Module, Debug)]
pub struct SelfAttention<B: Backend> {
    /// The projection to queries, keys and values, `[d_model, 3 · d_model]`: in this order, and within
    /// each head by head.
    pub qkv: Linear<B>,
    /// The projection of the heads' outputs, `[d_model, d_model]`.
    pub output: Linear<B>,
    /// Drops attention probabilities.
    pub dropout: Dropout,
    /// The number of heads.
    pub n_heads: usize,
    /// Whether a token attends only to itself and to tokens before it.
    pub causal: bool,
}

impl SelfAttentionConfig {
    /// Initializes a new [`SelfAttention`].
    ///
    /// # Panics
    ///
    /// If the number of heads does not divide the size of a token, or `dropout` is outside [0, 1].
    pub fn init<B: Backend>(&self, device: &B::Device) -> SelfAttention<B> {
        assert!(
            self.n_heads > 0 && self.d_model.is_multiple_of(self.n_heads),
            "n_heads must divide d_model, but they are {} and {}",
            self.n_heads,
            self.d_model
        );
        let linear = |size_output, bias| {
            LinearConfig::new(self.d_model, size_output)
                .with_bias(bias)
                .with_initializer(self.initializer.clone())
                .init(device)
        };
        SelfAttention {
            qkv: linear(3 * self.d_model, self.qkv_bias),
            output: linear(self.d_model, self.output_bias),
            dropout: DropoutConfig::new(self.dropout).init(),
            n_heads: self.n_heads,
            causal: self.causal,
        }
    }
}

impl<B: Backend> SelfAttention<B> {
    /// Applies the layer. Padded positions are not attended to; a token that has nothing to attend to
    /// attends to all tokens alike.
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    /// - mask_pad: `[batch, tokens]`, true at padded positions
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        self.forward_recorded(None, input, mask_pad)
    }

    fn forward_recorded(
        &self,
        recorders: Option<&[Recorder<B>]>,
        input: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        let [batch, tokens, d_model] = input.dims();
        let padded = mask_pad.as_ref();

        let [query, key, value] = self.heads(input.clone());
        let weights = self.weights(query, key, padded);
        if let Some(recorders) = recorders {
            recorders[0].record_fused(&self.qkv, &weights, &input, padded);
        }
        let context = weights.matmul(value);
        let context = context.swap_dims(1, 2).reshape([batch, tokens, d_model]);
        if let Some(recorders) = recorders {
            recorders[1].record_tokens(&self.output, &context, padded);
        }
        self.output.forward(context)
    }

    /// Queries, keys and values, each `[batch, heads, tokens, d_head]`.
    fn heads(&self, input: Tensor<B, 3>) -> [Tensor<B, 4>; 3] {
        let [batch, tokens, d_model] = input.dims();
        let all = self.qkv.forward(input);
        [0, 1, 2].map(|part| {
            all.clone()
                .narrow(2, part * d_model, d_model)
                .reshape([batch, tokens, self.n_heads, d_model / self.n_heads])
                .swap_dims(1, 2)
        })
    }

    /// The attention probabilities, `[batch, heads, tokens, tokens]`.
    fn weights(
        &self,
        query: Tensor<B, 4>,
        key: Tensor<B, 4>,
        padded: Option<&Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 4> {
        let [batch, _, tokens, d_head] = query.dims();
        // Not divided: the derivative of Burn 0.21's `div_scalar` rounds the scalar to `f32`.
        let scale = (d_head as f64).sqrt().recip();
        let mut scores = query.matmul(key.transpose()).mul_scalar(scale);
        if self.causal {
            let mask = generate_autoregressive_mask::<B>(1, tokens, &scores.device());
            scores = scores.mask_fill(mask.reshape([1, 1, tokens, tokens]), MASKED);
        }
        if let Some(mask) = padded {
            let mask = mask.clone().reshape([batch, 1, 1, tokens]);
            scores = scores.mask_fill(mask, MASKED);
        }
        self.dropout.forward(softmax(scores, 3))
    }
}

impl<B: Backend> RecordedLayer<B> for SelfAttention<B> {
    fn parameters(&self) -> Vec<Parameters> {
        vec![
            Parameters(LayerParameters::fused_attention(&self.qkv)),
            Parameters(LayerParameters::linear(&self.output)),
        ]
    }
}

impl<B: Backend> Recorded<SelfAttention<B>, B> {
    /// Records and applies the layer, see [`SelfAttention::forward`]. Padded positions count in no mean.
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    /// - mask_pad: `[batch, tokens]`, true at padded positions
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        self.forward_recorded(Some(self.recorders()), input, mask_pad)
    }
}
