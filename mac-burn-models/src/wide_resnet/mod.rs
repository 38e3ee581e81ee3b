//! Wide ResNet: residual networks that are less deep and wider.
//!
//! S. Zagoruyko and N. Komodakis, "Wide Residual Networks", 2016, [arXiv:1605.07146](https://arxiv.org/abs/1605.07146). A
//! network WRN-d-k has `d` layers and `k` times the channels of a [`ResNet`](crate::ResNet) for CIFAR. Its blocks normalize
//! first, as in K. He et al., "Identity Mappings in Deep Residual Networks",
//! [arXiv:1603.05027](https://arxiv.org/abs/1603.05027).
//!
//! These are the paper's networks for CIFAR. Its WRN-50-2 for ImageNet is a [`ResNet`](crate::ResNet) with a
//! [`width`](crate::ResNetConfig::width).

mod blocks;

use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

pub use blocks::{WideBlock, WideGroup};

use crate::convolution::{
    NORMAL_BY_FAN_OUT, SquareConv, UNIFORM_BY_FAN_IN, linear, mean_over_positions,
};
use crate::limits::{assert_at_least_one, assert_rate};
use crate::pytorch::{next_number, tensor_name};

#[cfg(test)]
mod tests;

/// Channels of the stem, and of the first group for each unit of the width.
const CHANNELS: usize = 16;

/// The groups; each but the first halves the height and width of its input and has twice the channels.
const GROUPS: usize = 3;

/// Configuration of a [`WideResNet`].
///
/// The constructors have these parameters, for 10 classes:
///
/// | | depth | width | parameters |
/// |---|---|---|---|
/// | [`wrn_28_10`](Self::wrn_28_10) | 28 | 10 | 36 479 194 |
/// | [`wrn_28_20`](Self::wrn_28_20) | 28 | 20 | 145 815 514 |
/// | [`wrn_16_8`](Self::wrn_16_8) | 16 | 8 | 10 961 370 |
/// | [`wrn_40_4`](Self::wrn_40_4) | 40 | 4 | 8 949 210 |
///
/// Convolutions start normal with a variance of 2 / fan-out, norms at 1 and 0, the weights of the head uniform in
/// ±1/√fan-in, and its bias at 0.
///
/// The definition of the authors of MAC pools the last map by a kernel of 8×8, for images of 32×32, of which larger ones would
/// be cut; here the mean is over all positions, of images of any size.
///
/// # Example
/// ```
/// use burn::tensor::Tensor;
/// use mac_burn_models::{WideResNet, WideResNetConfig};
/// # type B = burn::backend::Flex;
/// # let device = Default::default();
///
/// let network: WideResNet<B> = WideResNetConfig::new(10, 2).init(&device);
/// let logits = network.forward(Tensor::ones([2, 3, 32, 32], &device));
/// assert_eq!(logits.dims(), [2, 10]);
/// ```
#[derive(Config, Debug)]
pub struct WideResNetConfig {
    /// The number of convolutions, `6 n + 4`: the stem, three groups of `n` blocks of two, and three shortcuts.
    pub depth: usize,
    /// The channels, in multiples of 16, 32 and 64.
    pub width: usize,
    /// Channels of the images.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Number of classes.
    #[config(default = 10)]
    pub num_classes: usize,
    /// The dropout rate between the convolutions of a block, in [0, 1); where the paper has dropout it is 0.3.
    #[config(default = 0.0)]
    pub dropout: f64,
}

impl WideResNetConfig {
    /// WRN-28-10, the network that the paper recommends for CIFAR.
    pub fn wrn_28_10(num_classes: usize) -> Self {
        Self::new(28, 10).with_num_classes(num_classes)
    }

    /// WRN-28-20, twice as wide; it is not in the paper, but among the networks of the authors of MAC.
    pub fn wrn_28_20(num_classes: usize) -> Self {
        Self::new(28, 20).with_num_classes(num_classes)
    }

    /// WRN-16-8.
    pub fn wrn_16_8(num_classes: usize) -> Self {
        Self::new(16, 8).with_num_classes(num_classes)
    }

    /// WRN-40-4.
    pub fn wrn_40_4(num_classes: usize) -> Self {
        Self::new(40, 4).with_num_classes(num_classes)
    }

    /// Initializes a new [`WideResNet`].
    ///
    /// # Panics
    /// If the depth is not 10, 16, 22, …, the width or a number of channels or classes is 0, or the dropout rate is out of its
    /// range.
    pub fn init<B: Backend>(&self, device: &B::Device) -> WideResNet<B> {
        assert!(
            self.depth > 4 && self.depth % 6 == 4 && self.width > 0,
            "depth must be 6 n + 4 and width at least 1, and they are {} and {}",
            self.depth,
            self.width
        );
        assert_at_least_one("image_channels", self.image_channels);
        assert_at_least_one("num_classes", self.num_classes);
        assert_rate("dropout", self.dropout);
        let channels = self.channels_of_group(GROUPS - 1);
        let stem = [self.image_channels, CHANNELS];
        let head = [channels, self.num_classes];
        WideResNet {
            stem: SquareConv::new(stem, 3, &NORMAL_BY_FAN_OUT).init(device),
            groups: (0..GROUPS)
                .map(|index| WideGroup::new(self, index, device))
                .collect(),
            norm: BatchNormConfig::new(channels).init(device),
            head: linear(head, &UNIFORM_BY_FAN_IN, &Initializer::Zeros, device).into(),
        }
    }

    /// The number of blocks of a group.
    fn blocks(&self) -> usize {
        (self.depth - 4) / 6
    }

    /// The channels that go into the group of this index, counted from 0.
    fn channels_into_group(&self, index: usize) -> usize {
        match index {
            0 => CHANNELS,
            _ => self.channels_of_group(index - 1),
        }
    }

    /// The channels that come out of the group of this index, counted from 0.
    fn channels_of_group(&self, index: usize) -> usize {
        (CHANNELS * self.width) << index
    }
}

/// The wide residual network: a 3×3 convolution, three groups of blocks, a norm, the mean over all positions, and a linear
/// layer.
///
/// Convolutions and head are recorded. The norms are Burn's, see [`convolution`](crate::convolution) for their one difference
/// from PyTorch's. Should be created with [`WideResNetConfig`].
#[derive(Module, Debug)]
pub struct WideResNet<B: Backend> {
    /// The convolution that sees the image.
    pub stem: MacConv2d<B>,
    /// The groups, from the input to the output.
    pub groups: Vec<WideGroup<B>>,
    /// The norm after the last block, with a rectifier after it.
    pub norm: BatchNorm<B>,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
}

impl<B: Backend> WideResNet<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`, of any height and width
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another number of channels than the configuration.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.stem.forward(images);
        let x = self.groups.iter().fold(x, |x, group| group.forward(x));
        let x = relu(self.norm.forward(x));
        self.head.forward(mean_over_positions(x))
    }

    /// The layer that sees the images, for an [`InputCovariance`](mac_burn::InputCovariance).
    pub fn first_layer(&self) -> &MacConv2d<B> {
        &self.stem
    }
}

/// The name in the `state_dict` of the authors' `WideResNet` of the parameter at a path of a
/// [`WideResNet`].
///
/// ```
/// use mac_burn_models::wide_resnet::authors_name;
///
/// let path = "groups.1.blocks.0.norm2.running_var";
/// assert_eq!(authors_name(path), "block2.layer.0.bn2.running_var");
/// let path = "groups.0.blocks.0.shortcut.weight";
/// assert_eq!(authors_name(path), "block1.layer.0.convShortcut.weight");
/// ```
pub fn authors_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match parts.as_slice() {
        ["stem", tensor] => format!("conv1.{tensor}"),
        ["groups", group, "blocks", block, layer, tensor] => {
            let layer = match *layer {
                "norm1" => "bn1",
                "norm2" => "bn2",
                "shortcut" => "convShortcut",
                other => other,
            };
            let (group, tensor) = (next_number(group), tensor_name(tensor));
            format!("block{group}.layer.{block}.{layer}.{tensor}")
        }
        ["norm", tensor] => format!("bn1.{}", tensor_name(tensor)),
        ["head", tensor] => format!("fc.{tensor}"),
        _ => path.to_owned(),
    }
}
