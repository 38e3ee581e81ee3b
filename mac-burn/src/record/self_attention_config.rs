use super::SelfAttention;
use burn::config::Config;
use burn::module::Initializer;
use burn::nn::{DropoutConfig, LinearConfig};
use burn::tensor::backend::Backend;

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
    /// The number of heads, at least 1; it divides the size of a token, or the size of a head is given.
    pub n_heads: usize,
    /// Whether the fused projection has a bias. Default: true
    #[config(default = true)]
    pub qkv_bias: bool,
    /// Whether the output projection has a bias. Default: true
    #[config(default = true)]
    pub output_bias: bool,
    /// Whether a token attends only to itself and to tokens before it. Default: false
    #[config(default = false)]
    pub causal: bool,
    /// The dropout rate of the attention probabilities, in [0, 1]. Default: 0.0, with which DeiT and Swin
    /// are trained. (Burn's `MultiHeadAttentionConfig` has 0.1, of the scores.)
    #[config(default = 0.0)]
    pub dropout: f64,
    /// The size of a head, at least 1. Default: none, for `d_model / n_heads`
    #[config(default = "None")]
    pub d_head: Option<usize>,
    /// How parameters are made. Default: Burn's for a `Linear`
    #[config(default = "Initializer::KaimingUniform{gain:1.0/3.0f64.sqrt(), fan_out_only:false}")]
    pub initializer: Initializer,
}

impl SelfAttentionConfig {
    /// Initializes a new [`SelfAttention`].
    ///
    /// # Panics
    ///
    /// If there are no heads, if a head has the size 0, if the number of heads does not divide the size of a
    /// token and the size of a head is not given, or if `dropout` is outside [0, 1].
    pub fn init<B: Backend>(&self, device: &B::Device) -> SelfAttention<B> {
        let size = self.n_heads * self.size_of_head();
        let linear = |size_input, size_output, bias| {
            LinearConfig::new(size_input, size_output)
                .with_bias(bias)
                .with_initializer(self.initializer.clone())
                .init(device)
        };
        SelfAttention {
            qkv: linear(self.d_model, 3 * size, self.qkv_bias),
            output: linear(size, self.d_model, self.output_bias),
            dropout: DropoutConfig::new(self.dropout).init(),
            n_heads: self.n_heads,
            causal: self.causal,
        }
    }

    fn size_of_head(&self) -> usize {
        let (d_model, n_heads) = (self.d_model, self.n_heads);
        assert!(n_heads > 0, "n_heads must be at least 1, but is {n_heads}");
        let size = self.d_head.unwrap_or_else(|| {
            assert!(
                d_model.is_multiple_of(n_heads),
                "n_heads must divide d_model, but they are {n_heads} and {d_model}"
            );
            d_model / n_heads
        });
        // Scores are divided by its root.
        assert!(
            size > 0,
            "d_head must be at least 1, but is {size} (with d_model {d_model})"
        );
        size
    }
}
