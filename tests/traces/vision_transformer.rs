//! timm's `VisionTransformer`: pre-norm blocks over patches and a class token.

use burn::{
    module::{AutodiffModule, Initializer, Module, Param},
    nn::LayerNorm,
    tensor::{
        Tensor,
        backend::{AutodiffBackend, Backend},
    },
};
use mac_burn::{InputCovariance, MacConv2d, MacLinear};
use serde_json::Value;

use crate::{
    attention::Attention, case::Case, error::TraceError, layer::Layer, named_layers::NamedLayers,
    names::NamedValues, network::Network, signal::Signal,
};

/// The heads of timm's `VisionTransformer` where its arguments do not say.
const DEFAULT_HEADS: u64 = 12;

/// The fields are named as timm names them.
#[derive(Module, Debug)]
pub(crate) struct VisionTransformer<B: Backend> {
    cls_token: Param<Tensor<B, 3>>,
    pos_embed: Param<Tensor<B, 3>>,
    patch_embed: PatchEmbed<B>,
    blocks: Vec<Block<B>>,
    norm: LayerNorm<B>,
    head: MacLinear<B>,
}

#[derive(Module, Debug)]
struct PatchEmbed<B: Backend> {
    proj: MacConv2d<B>,
}

#[derive(Module, Debug)]
struct Block<B: Backend> {
    norm1: LayerNorm<B>,
    attn: Attention<B>,
    norm2: LayerNorm<B>,
    mlp: Mlp<B>,
}

#[derive(Module, Debug)]
struct Mlp<B: Backend> {
    fc1: MacLinear<B>,
    act: Layer<B>,
    fc2: MacLinear<B>,
}

impl<B: Backend> VisionTransformer<B> {
    /// The tokens that enter the first block, `[batch, 1 + patches, d_model]`.
    fn embed(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let patches = self.patch_embed.proj.forward(images);
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2);
        let [batch, _, d_model] = patches.dims();
        let class = self.cls_token.val().expand([batch, 1, d_model]);

        Tensor::cat(vec![class, patches], 1) + self.pos_embed.val()
    }

    fn averaged_attention(&self, images: Tensor<B, 4>) -> NamedValues {
        let mut tokens = self.embed(images);
        let mut found = NamedValues::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let attention = block.attn.averaged(block.norm1.forward(tokens.clone()));
            let values = attention.into_data().iter::<f64>().collect();
            found.insert(format!("blocks.{index}.attn.qkv"), values);
            tokens = block.forward(tokens);
        }

        found
    }
}

impl<B: AutodiffBackend> Network<B> for VisionTransformer<B> {
    fn build(case: &Case, device: &B::Device) -> Result<Self, TraceError> {
        let heads = heads(case)?;
        let mut layers = NamedLayers::build(case, device)?;
        let mut blocks = Vec::new();
        while layers.contains(&format!("blocks.{}.norm1", blocks.len())) {
            let name = format!("blocks.{}", blocks.len());
            blocks.push(Block::build(&name, heads, case, &mut layers, device)?);
        }
        let network = Self {
            cls_token: parameter("cls_token", case, device)?,
            pos_embed: parameter("pos_embed", case, device)?,
            patch_embed: PatchEmbed {
                proj: layers.take_conv2d("patch_embed.proj")?,
            },
            blocks,
            norm: layers.take_layer_norm("norm")?,
            head: layers.take_linear("head")?,
        };
        layers.finish()?;

        Ok(network)
    }

    fn forward(&self, input: Signal<B>) -> Tensor<B, 2> {
        let tokens = self.embed(input.into_images());
        let tokens = self
            .blocks
            .iter()
            .fold(tokens, |tokens, block| block.forward(tokens));
        let class = self.norm.forward(tokens).narrow(1, 0, 1);

        self.head.forward(class.squeeze_dim::<2>(1))
    }

    /// Turns `blocks.0.attn.Recorded.output.weight` into `blocks.0.attn.proj.weight`.
    fn pytorch_name(&self, path: &[String]) -> String {
        let names = path.iter().filter_map(|name| match name.as_str() {
            "gamma" => Some("weight"),
            "beta" => Some("bias"),
            "output" => Some("proj"),
            // A variant, which has no name in PyTorch.
            variant if variant.starts_with(char::is_uppercase) => None,
            same => Some(same),
        });

        names.collect::<Vec<_>>().join(".")
    }

    fn input_covariance(&self, layer: &str) -> Result<InputCovariance<B>, TraceError> {
        if layer == "patch_embed.proj" {
            return Ok(InputCovariance::of(&self.patch_embed.proj));
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

impl<B: Backend> Block<B> {
    fn build(
        name: &str,
        heads: usize,
        case: &Case,
        layers: &mut NamedLayers<B>,
        device: &B::Device,
    ) -> Result<Self, TraceError> {
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

        Ok(Self {
            norm1: layers.take_layer_norm(&of("norm1"))?,
            attn: Attention::new([qkv, output], heads, case.qkv_means, device),
            norm2: layers.take_layer_norm(&of("norm2"))?,
            mlp: Mlp {
                fc1: layers.take_linear(&of("mlp.fc1"))?,
                act: layers.take(&of("mlp.act"))?,
                fc2: layers.take_linear(&of("mlp.fc2"))?,
            },
        })
    }

    fn forward(&self, tokens: Tensor<B, 3>) -> Tensor<B, 3> {
        let attended = self.attn.forward(self.norm1.forward(tokens.clone()));
        let tokens = tokens + attended;
        let mapped = self.mlp.forward(self.norm2.forward(tokens.clone()));

        tokens + mapped
    }
}

impl<B: Backend> Mlp<B> {
    fn forward(&self, tokens: Tensor<B, 3>) -> Tensor<B, 3> {
        let hidden = self.fc1.forward(tokens);
        let hidden = self.act.forward(Signal::Sequences(hidden));

        self.fc2.forward(hidden.into_sequences())
    }
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

/// The number of heads, which only the arguments say. Those that decide over the form of the network,
/// and not over a layer or a shape, must have the value that is replayed.
fn heads(case: &Case) -> Result<usize, TraceError> {
    let mut heads = DEFAULT_HEADS;
    for (name, value) in &case.architecture.timm_args {
        let known = match name.as_str() {
            "num_heads" => value.as_u64().map(|found| heads = found).is_some(),
            "global_pool" => value == "token",
            "class_token" => *value == Value::Bool(true),
            // These are seen in the layers and in the shapes of the parameters.
            "img_size" | "patch_size" | "in_chans" | "num_classes" | "embed_dim" | "depth"
            | "mlp_ratio" | "qkv_bias" | "proj_bias" => true,
            _ => false,
        };
        if !known {
            return Err(TraceError::Unsupported(format!(
                "the argument `{name}={value}` of timm's VisionTransformer is not known"
            )));
        }
    }

    usize::try_from(heads).map_err(|error| TraceError::Unsupported(format!("num_heads: {error}")))
}
