//! The vision transformer (ViT): a transformer over the patches of an image, in the sizes of DeiT.
//!
//! A. Dosovitskiy et al., "An Image is Worth 16x16 Words", [arXiv:2010.11929](https://arxiv.org/abs/2010.11929); H. Touvron et
//! al., "Training data-efficient image transformers", [arXiv:2012.12877](https://arxiv.org/abs/2012.12877), without the
//! distillation token. The parts are those of timm's `VisionTransformer`, from which the networks of the MAC paper are made.

mod blocks;

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

pub use blocks::{PatchEmbedding, VisionTransformerBlock};

use crate::limits::{assert_at_least_one, assert_image_size, assert_rate};
use crate::transformer::normal_linear;

#[cfg(test)]
mod tests;

/// The standard deviation of linear weights and positions. timm draws them from a normal distribution that it truncates at
/// ±2, which is a hundred of these: no draw of it is ever truncated.
const STD: f64 = 0.02;

/// The standard deviation of the class token, so that it starts as little more than its position.
const CLASS_TOKEN_STD: f64 = 1e-6;

/// Configuration of a [`VisionTransformer`].
///
/// The constructors have these parameters, `p` being the size of a patch:
///
/// | | images | classes | p | d_model | heads | parameters |
/// |---|---|---|---|---|---|---|
/// | [`deit_tiny`](Self::deit_tiny) | 224×224 | 1000 | 16 | 192 | 3 | 5 717 416 |
/// | [`deit_small`](Self::deit_small) | 224×224 | 1000 | 16 | 384 | 6 | 22 050 664 |
/// | [`deit_base`](Self::deit_base) | 224×224 | 1000 | 16 | 768 | 12 | 86 567 656 |
/// | [`deit_tiny_cifar`](Self::deit_tiny_cifar)`(100)` | 32×32 | 100 | 4 | 192 | 3 | 5 380 132 |
/// | [`deit_tiny_cifar`](Self::deit_tiny_cifar)`(10)` | 32×32 | 10 | 4 | 192 | 3 | 5 362 762 |
///
/// Everything starts as in timm: linear weights and positions normal with a standard deviation of 0.02, the class token with
/// one of 1e-6 (0.02 in the code of DeiT itself), biases at 0, norms at 1, and the patch embedding as any convolution of
/// PyTorch and Burn.
///
/// The rates are those of timm from version 0.9 on, all 0 unless given:
///
/// | | timm's name |
/// |---|---|
/// | [`dropout`](Self::dropout) | `pos_drop_rate` and `proj_drop_rate`, as one |
/// | [`attention_dropout`](Self::attention_dropout) | `attn_drop_rate` |
/// | [`head_dropout`](Self::head_dropout) | `drop_rate`; in the code of DeiT itself that is `dropout` |
/// | [`drop_path`](Self::drop_path) | `drop_path_rate` |
///
/// timm's `patch_drop_rate`, which leaves out whole tokens, is not here.
#[derive(Config, Debug)]
pub struct VisionTransformerConfig {
    /// The size of a token.
    pub d_model: usize,
    /// The number of attention heads; it divides the size of a token.
    pub n_heads: usize,
    /// Height and width of the images. Rows and columns at the end that fill no patch are not seen, as in timm's network.
    #[config(default = "[224, 224]")]
    pub image_size: [usize; 2],
    /// Channels of the images.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Height and width of the patches that become tokens.
    #[config(default = 16)]
    pub patch_size: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// The number of blocks.
    #[config(default = 12)]
    pub n_layers: usize,
    /// The hidden size of the feed-forward layers, in multiples of the size of a token.
    #[config(default = 4.0)]
    pub mlp_ratio: f64,
    /// Whether the projection to queries, keys and values has a bias.
    #[config(default = true)]
    pub qkv_bias: bool,
    /// The ε of the layer norms: 1e-6, a tenth of Burn's own default.
    #[config(default = 1e-6)]
    pub norm_epsilon: f64,
    /// The dropout rate of embedded tokens, hidden values and outputs of the branches, in [0, 1).
    #[config(default = 0.0)]
    pub dropout: f64,
    /// The dropout rate of attention probabilities, in [0, 1).
    #[config(default = 0.0)]
    pub attention_dropout: f64,
    /// The dropout rate of what the head sees, in [0, 1).
    #[config(default = 0.0)]
    pub head_dropout: f64,
    /// The rate at which the last block's branches are dropped, in [0, 1); it grows linearly from 0 at the first block. In
    /// DeiT's paper it is 0.1, and 0, the default, in the recipe of the authors of MAC.
    #[config(default = 0.0)]
    pub drop_path: f64,
}

impl VisionTransformerConfig {
    /// DeiT-Ti for images of 224×224 and 1000 classes.
    pub fn deit_tiny() -> Self {
        Self::new(192, 3)
    }

    /// DeiT-S for images of 224×224 and 1000 classes.
    pub fn deit_small() -> Self {
        Self::new(384, 6)
    }

    /// DeiT-B for images of 224×224 and 1000 classes.
    pub fn deit_base() -> Self {
        Self::new(768, 12)
    }

    /// DeiT-Ti for images of 32×32 with patches of 4×4: the network that the authors of MAC call DeiT32Tiny.
    pub fn deit_tiny_cifar(num_classes: usize) -> Self {
        Self::deit_tiny()
            .with_image_size([32, 32])
            .with_patch_size(4)
            .with_num_classes(num_classes)
    }

    /// Initializes a new [`VisionTransformer`].
    ///
    /// # Panics
    /// If the images have no patch, the number of heads does not divide the size of a token, the size of a token or a number
    /// of channels or classes is 0, or a rate is out of its range.
    pub fn init<B: Backend>(&self, device: &B::Device) -> VisionTransformer<B> {
        self.check();
        let positions = 1 + self.num_patches();
        let normal = |std| Initializer::Normal { mean: 0.0, std };
        VisionTransformer {
            patch_embedding: PatchEmbedding::new(self, device),
            class_token: normal(CLASS_TOKEN_STD).init([1, 1, self.d_model], device),
            position_embedding: normal(STD).init([1, positions, self.d_model], device),
            dropout: DropoutConfig::new(self.dropout).init(),
            blocks: (0..self.n_layers)
                .map(|index| VisionTransformerBlock::new(self, self.drop_path_of(index), device))
                .collect(),
            norm: self.norm().init(device),
            head_dropout: DropoutConfig::new(self.head_dropout).init(),
            head: normal_linear([self.d_model, self.num_classes], true, STD, device).into(),
            image_size: self.image_size,
        }
    }

    fn check(&self) {
        assert_at_least_one("d_model", self.d_model);
        assert_at_least_one("image_channels", self.image_channels);
        assert_at_least_one("num_classes", self.num_classes);
        assert_rate("dropout", self.dropout);
        assert_rate("attention_dropout", self.attention_dropout);
        assert_rate("head_dropout", self.head_dropout);
        assert_rate("drop_path", self.drop_path);
    }

    fn norm(&self) -> LayerNormConfig {
        LayerNormConfig::new(self.d_model).with_epsilon(self.norm_epsilon)
    }

    fn num_patches(&self) -> usize {
        let along = |size: usize| size.checked_div(self.patch_size).unwrap_or_default();
        let patches = self.image_size.map(along).iter().product();
        assert!(
            patches > 0,
            "an image must have at least one patch, but image_size is {:?} and patch_size is {}",
            self.image_size,
            self.patch_size
        );
        patches
    }

    fn drop_path_of(&self, block: usize) -> f64 {
        match self.n_layers {
            0 | 1 => 0.0,
            layers => self.drop_path * block as f64 / (layers - 1) as f64,
        }
    }
}

/// The vision transformer, as in DeiT without distillation: patches become tokens, a class token is put before them,
/// positions are added, and after the blocks the class token gives the logits.
///
/// The layers are recorded; the class token, the positions and the norms have no inputs that a mean could be taken of.
/// Should be created with [`VisionTransformerConfig`].
#[derive(Module, Debug)]
pub struct VisionTransformer<B: Backend> {
    /// Makes tokens of patches.
    pub patch_embedding: PatchEmbedding<B>,
    /// The first token of every image, `[1, 1, d_model]`.
    pub class_token: Param<Tensor<B, 3>>,
    /// The vectors that are added to the tokens, the class token's first, `[1, 1 + patches, d_model]`.
    pub position_embedding: Param<Tensor<B, 3>>,
    /// Drops values of embedded tokens.
    pub dropout: Dropout,
    /// The blocks, from the input to the output.
    pub blocks: Vec<VisionTransformerBlock<B>>,
    /// The norm after the last block.
    pub norm: LayerNorm<B>,
    /// Drops values of the class token that the head sees.
    pub head_dropout: Dropout,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
    /// Height and width of the images, for which there are positions.
    pub image_size: [usize; 2],
}

impl<B: Backend> VisionTransformer<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another height, width or number of channels than the configuration.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        assert_image_size(&images, self.image_size);
        let tokens = self.embed(images);
        let tokens = self.blocks.iter().fold(tokens, |x, block| block.forward(x));
        // A norm acts on each token by itself, and only one is read.
        let class = self.norm.forward(tokens.narrow(1, 0, 1));
        let class = self.head_dropout.forward(class);
        self.head.forward(class.flatten(1, 2))
    }

    /// The layer that sees the images, for an [`InputCovariance`](mac_burn::InputCovariance).
    pub fn first_layer(&self) -> &MacConv2d<B> {
        &self.patch_embedding.projection
    }

    /// The tokens that the first block sees, `[batch_size, 1 + patches, d_model]`.
    fn embed(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let patches = self.patch_embedding.forward(images);
        let [batch_size, _, d_model] = patches.dims();
        let class = self.class_token.val().expand([batch_size, 1, d_model]);
        let tokens = Tensor::cat(vec![class, patches], 1) + self.position_embedding.val();
        self.dropout.forward(tokens)
    }
}

/// The name in the `state_dict` of timm's `VisionTransformer` of the parameter at a path of a [`VisionTransformer`].
///
/// ```
/// use mac_burn_models::vision_transformer::timm_name;
///
/// let path = "blocks.0.attention.output.weight";
/// assert_eq!(timm_name(path), "blocks.0.attn.proj.weight");
/// ```
pub fn timm_name(path: &str) -> String {
    let names = path.split('.').map(|name| match name {
        "class_token" => "cls_token",
        "position_embedding" => "pos_embed",
        "patch_embedding" => "patch_embed",
        "projection" | "output" => "proj",
        "attention" => "attn",
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    });

    names.collect::<Vec<_>>().join(".")
}

/// The name in the `state_dict` of the authors' `DeiT32Tiny`, which holds timm's network as `deit`, of the parameter at a path
/// of a [`VisionTransformer`]. The patch embedding, which is listed as `patch_embed` too, goes by its name within `deit`.
///
/// ```
/// use mac_burn_models::vision_transformer::authors_name;
///
/// let path = "patch_embedding.projection.bias";
/// assert_eq!(authors_name(path), "deit.patch_embed.proj.bias");
/// ```
pub fn authors_name(path: &str) -> String {
    format!("deit.{}", timm_name(path))
}
