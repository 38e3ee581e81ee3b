//! DenseNet: layers that see the outputs of all layers before them.
//!
//! G. Huang, Z. Liu, L. van der Maaten and K. Q. Weinberger, "Densely Connected Convolutional Networks", 2016,
//! [arXiv:1608.06993](https://arxiv.org/abs/1608.06993), in the form DenseNet-BC: a layer has a bottleneck, and a transition
//! between two blocks has fewer channels than go into it.

mod blocks;
mod names;

use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

pub use blocks::{Concatenation, DenseBlock, DenseLayer, Transition};
pub use names::{authors_name, timm_name};

use crate::convolution::{
    NORMAL_BY_FAN_IN, Stem, StemKind, UNIFORM_BY_FAN_IN, linear, mean_over_positions,
};
use crate::limits::{assert_at_least_one, assert_rate};

#[cfg(test)]
mod tests;

/// Configuration of a [`DenseNet`].
///
/// The networks of the paper have constructors for ImageNet, with these parameters for 1000 classes, and for CIFAR, with these
/// for 10:
///
/// | | growth | layers | parameters | for CIFAR |
/// |---|---|---|---|---|
/// | [`densenet121`](Self::densenet121), [`densenet121_cifar`](Self::densenet121_cifar) | 32 | 6, 12, 24, 16 | 7 978 856 | 6 956 298 |
/// | [`densenet169`](Self::densenet169), [`densenet169_cifar`](Self::densenet169_cifar) | 32 | 6, 12, 32, 32 | 14 149 480 | 12 493 322 |
/// | [`densenet201`](Self::densenet201), [`densenet201_cifar`](Self::densenet201_cifar) | 32 | 6, 12, 48, 32 | 20 013 928 | 18 104 330 |
/// | [`densenet161`](Self::densenet161), [`densenet161_cifar`](Self::densenet161_cifar) | 48 | 6, 12, 36, 24 | 28 681 000 | 26 482 378 |
/// | [`thin_cifar`](Self::thin_cifar) | 12 | 6, 12, 24, 16 | | 1 000 618 |
///
/// # Example
/// ```
/// use burn::tensor::Tensor;
/// use mac_burn_models::convolution::StemKind;
/// use mac_burn_models::{DenseNet, DenseNetConfig};
/// # type B = burn::backend::Flex;
/// # let device = Default::default();
///
/// let config = DenseNetConfig::new(8, vec![2, 3]).with_stem(StemKind::Bare);
/// let network: DenseNet<B> = config.with_num_classes(10).init(&device);
/// let logits = network.forward(Tensor::ones([2, 3, 32, 32], &device));
/// assert_eq!(logits.dims(), [2, 10]);
/// ```
#[derive(Config, Debug)]
pub struct DenseNetConfig {
    /// The channels of the output of each layer: the paper's growth rate `k`.
    pub growth: usize,
    /// The number of layers of each block. Between two blocks a transition halves the height and width.
    pub blocks: Vec<usize>,
    /// The part before the blocks.
    #[config(default = "StemKind::Large")]
    pub stem: StemKind,
    /// Channels of the stem; if none are given, twice the growth.
    #[config(default = "None")]
    pub stem_channels: Option<usize>,
    /// The channels within the bottleneck of a layer, in multiples of the growth.
    #[config(default = 4)]
    pub bottleneck: usize,
    /// The part of the channels that a transition leaves, in (0, 1]: the paper's compression `θ`, which code of today calls
    /// reduction.
    #[config(default = 0.5)]
    pub compression: f64,
    /// The place of a layer's output among the channels.
    #[config(default = "Concatenation::OldFirst")]
    pub concatenation: Concatenation,
    /// Channels of the images.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// The dropout rate of the output of each convolution but the stem's, in [0, 1): of both of a layer, and of a
    /// transition's, before its pooling. So it is in the paper, at 0.2 where images are not augmented. torchvision's
    /// `drop_rate`, which is timm's `proj_drop_rate`, drops only what a layer's last convolution gives; the networks of the
    /// authors of MAC drop nothing.
    #[config(default = 0.0)]
    pub dropout: f64,
    /// Initializer of the convolutions; the default is normal with a variance of 2 / fan-in.
    #[config(default = "NORMAL_BY_FAN_IN")]
    pub initializer: Initializer,
    /// Initializer of the head's bias; its weights are always uniform in ±1/√fan-in.
    #[config(default = "Initializer::Zeros")]
    pub head_bias_initializer: Initializer,
}

impl DenseNetConfig {
    /// Initializes a new [`DenseNet`].
    ///
    /// # Panics
    /// If there is no block, the compression or the dropout rate is out of its range, a transition leaves no channel, or a
    /// number of channels or classes, the growth or the bottleneck is 0.
    pub fn init<B: Backend>(&self, device: &B::Device) -> DenseNet<B> {
        self.check();
        let stem_channels = self.stem_channels.unwrap_or(2 * self.growth);
        let stem = [self.image_channels, stem_channels];
        let mut channels = stem_channels;
        let mut blocks = Vec::new();
        let mut transitions = Vec::new();
        for (index, layers) in self.blocks.iter().enumerate() {
            if index > 0 {
                transitions.push(self.transition(&mut channels, device));
            }
            blocks.push(DenseBlock::new(self, channels, *layers, device));
            channels += layers * self.growth;
        }
        let head = [channels, self.num_classes];
        DenseNet {
            stem: Stem::new(self.stem, stem, &self.initializer, device),
            blocks,
            transitions,
            norm: BatchNormConfig::new(channels).init(device),
            head: linear(
                head,
                &UNIFORM_BY_FAN_IN,
                &self.head_bias_initializer,
                device,
            )
            .into(),
        }
    }

    fn check(&self) {
        assert!(
            !self.blocks.is_empty() && self.compression > 0.0 && self.compression <= 1.0,
            "a DenseNet has blocks, and a compression in (0, 1]: these are {:?} and {}",
            self.blocks,
            self.compression
        );
        assert_at_least_one("growth", self.growth);
        assert_at_least_one("bottleneck", self.bottleneck);
        assert_at_least_one(
            "stem_channels",
            self.stem_channels.unwrap_or(2 * self.growth),
        );
        assert_at_least_one("image_channels", self.image_channels);
        assert_at_least_one("num_classes", self.num_classes);
        assert_rate("dropout", self.dropout);
    }

    /// A transition from these channels, which become those that it leaves.
    fn transition<B: Backend>(&self, channels: &mut usize, device: &B::Device) -> Transition<B> {
        let left = (*channels as f64 * self.compression).floor() as usize;
        assert!(
            left > 0,
            "a compression of {} leaves none of {channels} channels",
            self.compression
        );
        let transition = Transition::new(self, [*channels, left], device);
        *channels = left;
        transition
    }
}

/// For ImageNet: images of 224×224 in 1000 classes. Convolutions start normal with a variance of 2 / fan-in and the bias of the
/// head at 0, as torchvision's do.
impl DenseNetConfig {
    /// DenseNet-121, with 7 978 856 parameters.
    pub fn densenet121() -> Self {
        Self::new(32, vec![6, 12, 24, 16])
    }

    /// DenseNet-169, with 14 149 480 parameters.
    pub fn densenet169() -> Self {
        Self::new(32, vec![6, 12, 32, 32])
    }

    /// DenseNet-201, with 20 013 928 parameters.
    pub fn densenet201() -> Self {
        Self::new(32, vec![6, 12, 48, 32])
    }

    /// DenseNet-161, with 28 681 000 parameters.
    pub fn densenet161() -> Self {
        Self::new(48, vec![6, 12, 36, 24])
    }
}

/// ImageNet's networks for images of 32×32, as the authors of MAC have them: a 3×3 convolution is the stem, and a layer puts
/// its output before its input. The definition leaves the weights to PyTorch, uniform in ±1/√fan-in. It pools the last map by a
/// kernel of 4×4, for images of 32×32, of which larger ones would be cut; here the mean is over all positions, of images of any
/// size.
impl DenseNetConfig {
    /// DenseNet-121 for small images, with 6 956 298 parameters for 10 classes.
    pub fn densenet121_cifar(num_classes: usize) -> Self {
        Self::densenet121().for_small_images(num_classes)
    }

    /// DenseNet-169 for small images, with 12 493 322 parameters for 10 classes.
    pub fn densenet169_cifar(num_classes: usize) -> Self {
        Self::densenet169().for_small_images(num_classes)
    }

    /// DenseNet-201 for small images, with 18 104 330 parameters for 10 classes.
    pub fn densenet201_cifar(num_classes: usize) -> Self {
        Self::densenet201().for_small_images(num_classes)
    }

    /// DenseNet-161 for small images, with 26 482 378 parameters for 10 classes.
    pub fn densenet161_cifar(num_classes: usize) -> Self {
        Self::densenet161().for_small_images(num_classes)
    }

    /// DenseNet-121 with a growth of 12, for small images, with 1 000 618 parameters for 10 classes: what the authors call
    /// densenet_cifar.
    pub fn thin_cifar(num_classes: usize) -> Self {
        Self::new(12, vec![6, 12, 24, 16]).for_small_images(num_classes)
    }

    fn for_small_images(self, num_classes: usize) -> Self {
        self.with_stem(StemKind::Bare)
            .with_concatenation(Concatenation::NewFirst)
            .with_num_classes(num_classes)
            .with_initializer(UNIFORM_BY_FAN_IN)
            .with_head_bias_initializer(UNIFORM_BY_FAN_IN)
    }
}

/// The densely connected network: a stem, blocks with a transition between every two, a norm, the mean over all positions, and
/// a linear layer.
///
/// Convolutions and head are recorded. The norms are Burn's, see [`convolution`](crate::convolution) for their one difference
/// from PyTorch's. Should be created with [`DenseNetConfig`].
#[derive(Module, Debug)]
pub struct DenseNet<B: Backend> {
    /// The part before the blocks.
    pub stem: Stem<B>,
    /// The blocks, from the input to the output.
    pub blocks: Vec<DenseBlock<B>>,
    /// The transitions after each block but the last.
    pub transitions: Vec<Transition<B>>,
    /// The norm after the last block, with a rectifier after it.
    pub norm: BatchNorm<B>,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
}

impl<B: Backend> DenseNet<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`, of any height and width of which the transitions leave
    ///   something
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another number of channels than the configuration, or a transition leaves nothing of them.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let mut x = self.stem.forward(images);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(x);
            if let Some(transition) = self.transitions.get(index) {
                x = transition.forward(x);
            }
        }
        let x = relu(self.norm.forward(x));
        self.head.forward(mean_over_positions(x))
    }

    /// The layer that sees the images, for an [`InputCovariance`](mac_burn::InputCovariance).
    pub fn first_layer(&self) -> &MacConv2d<B> {
        &self.stem.conv
    }
}
