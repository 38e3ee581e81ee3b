//! timm's `VisionTransformer`: the vision transformer of `mac-burn-models`, of a case's layers; with attention that tests make
//! mistakes with.

use burn::{
    module::{AutodiffModule, Initializer, Module, Param},
    nn::{DropoutConfig, Linear},
    tensor::{
        Tensor,
        activation::softmax,
        backend::{AutodiffBackend, Backend},
    },
};
use mac_burn::{InputCovariance, Recorder, SelfAttention, unrecorded};
use mac_burn_models::{
    transformer::{DropPath, FeedForward, Gelu},
    vision_transformer::{
        PatchEmbedding, VisionTransformer as Deit, VisionTransformerBlock, timm_name,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    case::{Case, Layers, QkvMeans, TraceError},
    layer::{Layer, NamedLayers, Signal},
    layer_spec::Extent,
    network::{NamedValues, Network},
};

#[derive(Module, Debug)]
pub(crate) struct VisionTransformer<B: Backend> {
    deit: Deit<B>,
    /// In place of the blocks' attention where a test makes a mistake.
    mistaken: Vec<OneMeanAttention<B>>,
}

impl<B: Backend> VisionTransformer<B> {
    fn averaged_attention(&self, images: Tensor<B, 4>) -> NamedValues {
        let mut tokens = embed(&self.deit, images);
        let mut found = NamedValues::new();
        for (index, block) in self.deit.blocks.iter().enumerate() {
            let input = block.norm1.forward(tokens.clone());
            let attention = averaged_attention(&block.attention, input);
            let values = attention.into_data().iter::<f64>().collect();
            found.insert(format!("blocks.{index}.attn.qkv"), values);
            tokens = block.forward(tokens);
        }

        found
    }

    /// The forward pass of the network with the mistaken attention.
    fn mistaken(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let mut tokens = embed(&self.deit, images);
        for (block, attention) in self.deit.blocks.iter().zip(&self.mistaken) {
            let input = block.norm1.forward(tokens.clone());
            tokens = tokens + attention.forward(&block.attention, input);
            let mapped = block.mlp.forward(block.norm2.forward(tokens.clone()));
            tokens = tokens + mapped;
        }
        let class = self.deit.norm.forward(tokens).narrow(1, 0, 1);

        self.deit.head.forward(class.squeeze_dim::<2>(1))
    }
}

/// The tokens that enter the first block, `[batch, 1 + patches, d_model]`.
fn embed<B: Backend>(deit: &Deit<B>, images: Tensor<B, 4>) -> Tensor<B, 3> {
    let patches = deit.patch_embedding.forward(images);
    let [batch, _, d_model] = patches.dims();
    let class = deit.class_token.val().expand([batch, 1, d_model]);

    Tensor::cat(vec![class, patches], 1) + deit.position_embedding.val()
}

impl<B: AutodiffBackend> Network<B> for VisionTransformer<B> {
    fn build(case: &Case, device: &B::Device) -> Result<Self, TraceError> {
        let arguments = Arguments::of(case)?;
        let mut layers = NamedLayers::build(case, device)?;
        let mut blocks = Vec::new();
        while layers.contains(&format!("blocks.{}.norm1", blocks.len())) {
            let name = format!("blocks.{}", blocks.len());
            blocks.push(block(&name, arguments.num_heads, &mut layers)?);
        }
        let mut deit = Deit {
            patch_embedding: PatchEmbedding {
                projection: layers.take_conv2d("patch_embed.proj")?,
            },
            class_token: parameter("cls_token", case, device)?,
            position_embedding: parameter("pos_embed", case, device)?,
            dropout: DropoutConfig::new(0.0).init(),
            blocks,
            norm: layers.take_layer_norm("norm")?,
            head_dropout: DropoutConfig::new(0.0).init(),
            head: layers.take_linear("head")?,
            image_size: arguments.img_size.sides(),
        };
        layers.finish()?;
        let mut mistaken = Vec::new();
        if case.qkv_means != QkvMeans::TokensAndAttended {
            for block in &mut deit.blocks {
                block.attention = unrecorded(block.attention.clone());
                mistaken.push(OneMeanAttention::new(case.qkv_means));
            }
        }

        let network = Self { deit, mistaken };

        Ok(match case.layers {
            Layers::Recorded => network,
            // Its fields have the types of recorded layers. One whose recorders are off is Burn's layer that it holds.
            Layers::Plain => unrecorded(network),
        })
    }

    fn forward(&self, input: Signal<B>) -> Tensor<B, 2> {
        let images = input.into_images();
        match self.mistaken.is_empty() {
            true => self.deit.forward(images),
            false => self.mistaken(images),
        }
    }

    /// Turns `deit.blocks.0.attention.output.weight` into `blocks.0.attn.proj.weight`.
    fn pytorch_name(&self, path: &[String]) -> String {
        timm_name(&path[1..].join("."))
    }

    fn input_covariance(&self, layer: &str) -> Result<InputCovariance<B>, TraceError> {
        if layer == "patch_embed.proj" {
            return Ok(InputCovariance::of(&self.deit.patch_embedding.projection));
        }

        Err(TraceError::Layer {
            layer: layer.to_owned(),
            reason: "only `patch_embed.proj` is the first layer of this network".to_owned(),
        })
    }

    fn averaged_attention(&self, input: Signal<B::InnerBackend>) -> NamedValues {
        self.valid().averaged_attention(input.into_images())
    }
}

/// The block of a name.
fn block<B: Backend>(
    name: &str,
    heads: usize,
    layers: &mut NamedLayers<B>,
) -> Result<VisionTransformerBlock<B>, TraceError> {
    let of = |layer: &str| format!("{name}.{layer}");
    let qkv = layers.take_linear(&of("attn.qkv"))?;
    let output = layers.take_linear(&of("attn.proj"))?;
    let [d_model, columns] = qkv.weight.dims();
    if heads == 0 || !d_model.is_multiple_of(heads) || columns != 3 * d_model {
        return Err(TraceError::Layer {
            layer: of("attn.qkv"),
            reason: format!(
                "{columns} columns are not queries, keys and values of {heads} heads \
                 for tokens of size {d_model}"
            ),
        });
    }
    let no_dropout = DropoutConfig::new(0.0).init();
    let attention = SelfAttention {
        qkv: qkv.into_inner(),
        output: output.into_inner(),
        dropout: no_dropout.clone(),
        n_heads: heads,
        causal: false,
    };

    Ok(VisionTransformerBlock {
        norm1: layers.take_layer_norm(&of("norm1"))?,
        attention: attention.into(),
        norm2: layers.take_layer_norm(&of("norm2"))?,
        mlp: FeedForward {
            fc1: layers.take_linear(&of("mlp.fc1"))?,
            gelu: gelu(&of("mlp.act"), layers)?,
            dropout: no_dropout.clone(),
            fc2: layers.take_linear(&of("mlp.fc2"))?,
        },
        dropout: no_dropout,
        drop_path: DropPath::new(0.0),
    })
}

fn gelu<B: Backend>(name: &str, layers: &mut NamedLayers<B>) -> Result<Gelu, TraceError> {
    let approximate = match layers.take(name)? {
        Layer::Gelu(_) => false,
        Layer::TanhGelu(_) => true,
        _ => {
            return Err(TraceError::Layer {
                layer: name.to_owned(),
                reason: "the network needs a GELU here".to_owned(),
            });
        }
    };

    Ok(Gelu { approximate })
}

/// A parameter that is in no layer, with the shape that the case gives it.
fn parameter<B: Backend>(
    name: &str,
    case: &Case,
    device: &B::Device,
) -> Result<Param<Tensor<B, 3>>, TraceError> {
    let shape = case
        .param_shapes
        .get(name)
        .ok_or_else(|| TraceError::ExtraParameter(name.to_owned()))?;
    let shape: [usize; 3] = shape[..].try_into().map_err(|_| {
        TraceError::Unsupported(format!("`{name}` of shape {shape:?}, where rank 3 is read"))
    })?;

    Ok(Initializer::Zeros.init(shape, device))
}

/// The settings that only the arguments have, with timm's defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Arguments {
    num_heads: usize,
    img_size: Extent,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            num_heads: 12,
            img_size: Extent::Square(224),
        }
    }
}

impl Arguments {
    /// The settings of a case. What decides over the form of the network, and not over a layer or a shape, must have the
    /// value that is replayed.
    fn of(case: &Case) -> Result<Self, TraceError> {
        let (arguments, neutral) = (&case.architecture.timm_args, neutral_arguments());
        for (name, value) in arguments {
            let known = match name.as_str() {
                "num_heads" | "img_size" => true,
                // These are seen in the layers and in the shapes of the parameters.
                "patch_size" | "in_chans" | "num_classes" | "embed_dim" | "depth" | "mlp_ratio"
                | "qkv_bias" | "proj_bias" => true,
                rate if rate.ends_with("_rate") => value.as_f64() == Some(0.0),
                other => neutral.get(other) == Some(value),
            };
            if !known {
                return Err(TraceError::Unsupported(format!(
                    "the argument `{name}={value}` of timm's VisionTransformer is not known"
                )));
            }
        }

        serde_json::from_value(Value::Object(arguments.clone())).map_err(|error| {
            TraceError::Unsupported(format!(
                "the arguments of timm's VisionTransformer: {error}"
            ))
        })
    }
}

/// The defaults of timm's `VisionTransformer` with which it is the network that is replayed.
fn neutral_arguments() -> Value {
    json!({
        "global_pool": "token", "class_token": true, "pos_embed": "learn", "no_embed_class": false, "reg_tokens": 0,
        "qk_norm": false, "scale_attn_norm": false, "scale_mlp_norm": false, "init_values": null,
        "pre_norm": false, "final_norm": true, "fc_norm": null, "pool_include_prefix": false,
        "dynamic_img_size": false, "dynamic_img_pad": false, "weight_init": "", "fix_init": false,
        "embed_norm_layer": null, "norm_layer": null, "act_layer": null,
    })
}

/// Records the fused projection of a self-attention as an ordinary `Linear`, with one mean for all of its
/// columns; with that of the tokens it is what a backend that records makes of the projection.
#[derive(Module, Debug)]
pub(crate) struct OneMeanAttention<B: Backend> {
    qkv: Recorder<B>,
    output: Recorder<B>,
    #[module(skip)]
    means: QkvMeans,
}

impl<B: Backend> OneMeanAttention<B> {
    pub(crate) fn new(means: QkvMeans) -> Self {
        Self {
            qkv: Recorder::new(),
            output: Recorder::new(),
            means,
        }
    }

    /// # Shapes
    ///
    /// - input and output: `[batch, tokens, d_model]`
    pub(crate) fn forward(&self, layer: &SelfAttention<B>, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let mut projected = layer.qkv.forward(input.clone());
        if self.means == QkvMeans::Tokens {
            projected = record(&self.qkv, &layer.qkv, &input, projected);
        }
        let [query, key, mut value] = heads(projected, layer.n_heads);
        let probabilities = probabilities(query, key);
        if self.means == QkvMeans::Attended {
            let seen = attended(averaged(probabilities.clone()), input.clone());
            // Not of the projection, whose output the probabilities are made of.
            value = record(&self.qkv, &layer.qkv, &seen, value);
        }

        let context = probabilities.matmul(value).swap_dims(1, 2);
        let context = context.reshape(input.shape());
        let output = layer.output.forward(context.clone());
        record(&self.output, &layer.output, &context, output)
    }
}

/// The probability that a key gets, averaged over batch, heads and queries.
///
/// # Shapes
///
/// - input: `[batch, tokens, d_model]`
/// - output: `[tokens]`
pub(crate) fn averaged_attention<B: Backend>(
    layer: &SelfAttention<B>,
    input: Tensor<B, 3>,
) -> Tensor<B, 1> {
    let [query, key, _] = heads(layer.qkv.forward(input), layer.n_heads);

    averaged(probabilities(query, key))
}

fn record<B: Backend, const D: usize>(
    recorder: &Recorder<B>,
    layer: &Linear<B>,
    input: &Tensor<B, 3>,
    output: Tensor<B, D>,
) -> Tensor<B, D> {
    recorder.record_linear(&layer.weight, layer.bias.as_ref(), input, output)
}

/// Queries, keys and values, each `[batch, heads, tokens, d_head]`, of the projection to all three.
fn heads<B: Backend>(projected: Tensor<B, 3>, n_heads: usize) -> [Tensor<B, 4>; 3] {
    let [batch, tokens, columns] = projected.dims();
    let all = projected.reshape([batch, tokens, 3, n_heads, columns / 3 / n_heads]);

    [0, 1, 2].map(|part| {
        let part = all.clone().narrow(2, part, 1).squeeze_dim::<4>(2);
        part.swap_dims(1, 2)
    })
}

/// `softmax(q kᵀ / √d_head)`, `[batch, heads, queries, keys]`.
fn probabilities<B: Backend>(query: Tensor<B, 4>, key: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, _, d_head] = query.dims();
    // Not divided: the derivative of Burn 0.21's `div_scalar` rounds the scalar to `f32`.
    let scores = query
        .matmul(key.transpose())
        .mul_scalar((d_head as f64).sqrt().recip());

    softmax(scores, 3)
}

/// The mean over batch, heads and queries, `[keys]`.
fn averaged<B: Backend>(probabilities: Tensor<B, 4>) -> Tensor<B, 1> {
    let [batch, heads, queries, keys] = probabilities.dims();
    let rows = probabilities.reshape([batch * heads * queries, keys]);

    rows.mean_dim(0).squeeze_dim(0)
}

/// The mean that the value columns of the method have, as an input of one token.
fn attended<B: Backend>(attention: Tensor<B, 1>, input: Tensor<B, 3>) -> Tensor<B, 3> {
    let [_, tokens, _] = input.dims();

    attention.reshape([1, 1, tokens]).matmul(input.mean_dim(0))
}
