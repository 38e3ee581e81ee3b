use super::attention::fitted_padding;
use super::recorded::sealed::{Function, LayerRecorders};
use super::{Recorded, RecordedLayer};
use crate::layer::{Layer, LayerKind};
use crate::statistics::{AttendedValues, Recorder};
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
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
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
    /// The initialization of the parameters. Default: Burn's for a `Linear`
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

/// Multi-head self-attention with one projection to queries, keys and values, as ViT and GPT have it
/// ("Attention Is All You Need", arXiv:1706.03762): `softmax(q kᵀ / √d_head) v`, where `d_head` is
/// `d_model / n_heads` unless the configuration has another.
///
/// Should be created with [`SelfAttentionConfig`](crate::SelfAttentionConfig).
#[derive(Module, Debug)]
pub struct SelfAttention<B: Backend> {
    /// The projection to queries, keys and values, `[d_model, 3 · n_heads · d_head]`: in this order, and
    /// within each head by head.
    pub qkv: Linear<B>,
    /// The projection of the heads' outputs, `[n_heads · d_head, d_model]`.
    pub output: Linear<B>,
    /// Drops attention probabilities.
    pub dropout: Dropout,
    /// The number of heads.
    pub n_heads: usize,
    /// Whether a token attends only to itself and to tokens before it.
    pub causal: bool,
}

impl<B: Backend> SelfAttention<B> {
    /// Applies the layer. Padded positions are not attended to; a token that has nothing to attend to
    /// attends to all tokens alike.
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    /// - mask_pad: `[batch, tokens]`, or `[1, tokens]` for all samples, true at padded positions
    ///
    /// # Panics
    ///
    /// If the mask has another shape.
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        self.masked(None, input, mask_pad)
    }

    /// Applies the layer with a bias on its scores, as window attention has it (Swin Transformer,
    /// arXiv:2103.14030): `softmax(q kᵀ / √d_head + bias) v`.
    ///
    /// The bias repeats along the batch: of `n` biases, sample `i` has that at `i mod n`. So windows of one
    /// image next to each other have each their own, whatever the number of images.
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    /// - bias: `[n, n_heads, tokens, tokens]`, where `n` divides the batch; 1 in place of a size is
    ///   broadcast
    ///
    /// # Panics
    ///
    /// If the number of biases does not divide the batch.
    pub fn forward_biased(&self, input: Tensor<B, 3>, bias: Tensor<B, 4>) -> Tensor<B, 3> {
        self.biased(None, input, bias, None)
    }

    fn masked(
        &self,
        recorders: Option<&SelfAttentionRecorders<B>>,
        input: Tensor<B, 3>,
        padded: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        let [batch, tokens, _] = input.dims();
        let padded = fitted_padding("mask_pad", padded, [batch, tokens]);
        let [query, key, value] = self.heads(recorders, input.clone(), padded.as_ref());
        let mut scores = self.scores(query, key);
        if let Some(mask) = padded.clone() {
            scores = scores.mask_fill(mask.reshape([batch, 1, 1, tokens]), MASKED);
        }
        let seen = Seen {
            recorders,
            input,
            uncounted: padded,
        };
        self.attend(scores, value, seen)
    }

    fn biased(
        &self,
        recorders: Option<&SelfAttentionRecorders<B>>,
        input: Tensor<B, 3>,
        bias: Tensor<B, 4>,
        uncounted: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        let [batch, tokens, _] = input.dims();
        let uncounted = fitted_padding("uncounted", uncounted, [batch, tokens]);
        let [query, key, value] = self.heads(recorders, input.clone(), uncounted.as_ref());
        let scores = with_bias(self.scores(query, key), bias);
        let seen = Seen {
            recorders,
            input,
            uncounted,
        };
        self.attend(scores, value, seen)
    }

    /// Queries, keys and values, each `[batch, heads, tokens, d_head]`.
    fn heads(
        &self,
        recorders: Option<&SelfAttentionRecorders<B>>,
        input: Tensor<B, 3>,
        uncounted: Option<&Tensor<B, 2, Bool>>,
    ) -> [Tensor<B, 4>; 3] {
        let [batch, tokens, d_model] = input.dims();
        // As one matrix: for each sample Burn 0.21 makes a product of its own, and a gradient of the weight's size.
        let all = self.qkv.forward(input.reshape([batch * tokens, d_model]));
        let size = all.dims()[1] / 3;
        let all = match recorders {
            Some(recorders) => {
                let (weight, bias) = (&self.qkv.weight, self.qkv.bias.as_ref());
                let all = all.reshape([batch, tokens, 3 * size]);
                let recorder = &recorders.qkv;
                let all = recorder.record_fused_output(weight, bias, size, uncounted, all);
                all.reshape([batch * tokens, 3 * size])
            }
            None => all,
        };
        [0, 1, 2].map(|part| {
            all.clone()
                .narrow(1, part * size, size)
                .reshape([batch, tokens, self.n_heads, size / self.n_heads])
                .swap_dims(1, 2)
        })
    }

    /// `q kᵀ / √d_head`, masked if the layer is causal, `[batch, heads, tokens, tokens]`.
    fn scores(&self, query: Tensor<B, 4>, key: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, tokens, d_head] = query.dims();
        // Not divided: the derivative of Burn 0.21's `div_scalar` rounds the scalar to `f32`.
        let scale = (d_head as f64).sqrt().recip();
        let scores = query.matmul(key.transpose()).mul_scalar(scale);
        if !self.causal {
            return scores;
        }
        let mask = generate_autoregressive_mask::<B>(1, tokens, &scores.device());
        scores.mask_fill(mask.reshape([1, 1, tokens, tokens]), MASKED)
    }

    /// Makes the output of scores and values, and records what the projections see.
    fn attend(&self, scores: Tensor<B, 4>, value: Tensor<B, 4>, seen: Seen<'_, B>) -> Tensor<B, 3> {
        let weights = self.dropout.forward(softmax(scores, 3));
        let uncounted = seen.uncounted.as_ref();
        let value = match seen.recorders {
            Some(recorders) => recorders.qkv.record_fused_attention(
                &self.qkv.weight,
                self.qkv.bias.as_ref(),
                self.qkv.weight.dims()[1] / 3,
                AttendedValues {
                    probabilities: &weights,
                    values: &seen.input,
                    queries_padded: uncounted,
                    keys_padded: uncounted,
                },
                value,
            ),
            None => value,
        };
        let context = weights.matmul(value).swap_dims(1, 2);
        let context = context.flatten::<3>(2, 3);
        let [batch, tokens, size] = context.dims();
        let output = self
            .output
            .forward(context.clone().reshape([batch * tokens, size]));
        let [_, d_model] = output.dims();
        let output = output.reshape([batch, tokens, d_model]);
        match seen.recorders {
            Some(recorders) => {
                let (weight, bias) = (&self.output.weight, self.output.bias.as_ref());
                let recorder = &recorders.output;
                recorder.record_tokens(weight, bias, &context, uncounted, output)
            }
            None => output,
        }
    }
}

/// The part of a forward pass that recorders need: the tokens, and the mask of those that count in no mean.
struct Seen<'a, B: Backend> {
    recorders: Option<&'a SelfAttentionRecorders<B>>,
    input: Tensor<B, 3>,
    uncounted: Option<Tensor<B, 2, Bool>>,
}

/// Adds biases to the scores, again and again along the batch.
fn with_bias<B: Backend>(scores: Tensor<B, 4>, bias: Tensor<B, 4>) -> Tensor<B, 4> {
    let shape = scores.dims();
    let [batch, heads, queries, keys] = shape;
    let biases = bias.dims()[0];
    assert!(
        batch.is_multiple_of(biases),
        "the number of score biases must divide the batch, but they are {biases} and {batch}"
    );
    let size = biases * heads * queries * keys;
    // Two axes, with one row for all: what CPU backends have a fast kernel for.
    let row = bias
        .expand([biases, heads, queries, keys])
        .reshape([1, size]);
    let rows = scores.reshape([batch / biases, size]);
    (rows + row).reshape(shape)
}

/// The recorders of a [`SelfAttention`], under the names of its projections.
#[derive(Clone, Debug, Default)]
pub struct SelfAttentionRecorders<B: Backend> {
    qkv: Recorder<B>,
    output: Recorder<B>,
}

impl<B: Backend> RecordedLayer<B> for SelfAttention<B> {
    type Recorders = SelfAttentionRecorders<B>;
}

impl<B: Backend> LayerRecorders<SelfAttention<B>, B> for SelfAttentionRecorders<B> {
    fn new(_layer: &SelfAttention<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &SelfAttention<B>, function: &mut Function<'_, B>) -> Self {
        let Linear { weight, bias, .. } = &layer.qkv;
        let qkv = Layer::matrix(LayerKind::FusedAttention, weight, bias.as_ref());
        Self {
            qkv: function.call(&self.qkv, qkv),
            output: function.call(&self.output, Layer::linear(&layer.output)),
        }
    }
}

impl<B: Backend> Recorded<SelfAttention<B>, B> {
    /// Records and applies the layer, see [`SelfAttention::forward`]. Padded positions count in no mean.
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    /// - mask_pad: `[batch, tokens]`, or `[1, tokens]` for all samples, true at padded positions
    ///
    /// # Panics
    ///
    /// If the mask has another shape.
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        mask_pad: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        self.masked(Some(&self.recorders), input, mask_pad)
    }

    /// Records and applies the layer with a bias on its scores, see [`SelfAttention::forward_biased`].
    ///
    /// Uncounted tokens are attended to as others are, and count in no mean: such are those that fill up a
    /// window. Use the bias to take them out of the attention as well.
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    /// - bias: `[n, n_heads, tokens, tokens]`, where `n` divides the batch; 1 in place of a size is
    ///   broadcast
    /// - uncounted: `[batch, tokens]`, or `[1, tokens]` for all samples, true at tokens that count in no mean
    ///
    /// # Panics
    ///
    /// If the number of biases does not divide the batch, or `uncounted` has another shape.
    pub fn forward_biased(
        &self,
        input: Tensor<B, 3>,
        bias: Tensor<B, 4>,
        uncounted: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        self.biased(Some(&self.recorders), input, bias, uncounted)
    }
}
