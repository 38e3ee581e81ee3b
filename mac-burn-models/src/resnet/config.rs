use std::f64::consts::SQRT_2;

use burn::config::Config;
use burn::module::Initializer;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::backend::Backend;

use super::bottleneck::EXPANSION;
use super::{BlockKind, ResNet, ShortcutKind, Stage, Stem, StemKind};

/// Configuration of a [`ResNet`].
///
/// The networks of the paper have constructors:
///
/// | | for | blocks | stem | shortcut |
/// |---|---|---|---|---|
/// | [`resnet18`](Self::resnet18), [`34`](Self::resnet34) | ImageNet | basic | large | projection |
/// | [`resnet50`](Self::resnet50), [`101`](Self::resnet101), [`152`](Self::resnet152) | ImageNet | bottleneck | large | projection |
/// | [`resnet20`](Self::resnet20), [`32`](Self::resnet32), [`44`](Self::resnet44), [`56`](Self::resnet56), [`110`](Self::resnet110) | CIFAR | basic, three stages from 16 channels | small | padding |
/// | [`resnet18_cifar`](Self::resnet18_cifar), [`34`](Self::resnet34_cifar) | ImageNet's for CIFAR | basic | small | projection |
/// | [`resnet50_cifar`](Self::resnet50_cifar), [`101`](Self::resnet101_cifar), [`152`](Self::resnet152_cifar) | ImageNet's for CIFAR | bottleneck | small | projection |
///
/// # Example
/// ```
/// use burn::tensor::Tensor;
/// use mac_burn_models::{ResNet, ResNetConfig};
/// # type B = burn_ndarray::NdArray<f32>;
/// # let device = Default::default();
///
/// let resnet: ResNet<B> = ResNetConfig::resnet20(10).init(&device);
/// let logits = resnet.forward(Tensor::ones([2, 3, 32, 32], &device));
/// assert_eq!(logits.dims(), [2, 10]);
/// ```
#[derive(Config, Debug)]
pub struct ResNetConfig {
    /// The number of blocks of each stage. Each stage but the first halves the height and width of its input and has twice
    /// the channels.
    pub blocks: Vec<usize>,
    /// What the blocks are.
    pub block: BlockKind,
    /// What comes before the blocks.
    #[config(default = "StemKind::Large")]
    pub stem: StemKind,
    /// What shortcuts do where the shape changes.
    #[config(default = "ShortcutKind::Projection")]
    pub shortcut: ShortcutKind,
    /// Channels of the stem, and of the 3×3 convolutions of the first stage.
    #[config(default = 64)]
    pub channels: usize,
    /// Channels of the images.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Number of classes.
    #[config(default = 1000)]
    pub num_classes: usize,
    /// What the convolutions start with; the default is normal with a variance of 2 / fan-out.
    #[config(default = "NORMAL_BY_FAN_OUT")]
    pub initializer: Initializer,
    /// What the weights of the head start with; the default is uniform in ±1/√fan-in, as its bias always is.
    #[config(default = "UNIFORM_BY_FAN_IN")]
    pub head_initializer: Initializer,
}

/// Of K. He et al., arXiv:1502.01852, for the backward pass: what torchvision's ResNets start with.
const NORMAL_BY_FAN_OUT: Initializer = Initializer::KaimingNormal {
    gain: SQRT_2,
    fan_out_only: true,
};

/// The same for the forward pass: what the definition of the CIFAR networks starts with.
pub(super) const NORMAL_BY_FAN_IN: Initializer = Initializer::KaimingNormal {
    gain: SQRT_2,
    fan_out_only: false,
};

/// PyTorch's own default and Burn's, in ±1/√fan-in: the gain is 1/√3.
pub(super) const UNIFORM_BY_FAN_IN: Initializer = Initializer::KaimingUniform {
    gain: 0.577_350_269_189_625_8,
    fan_out_only: false,
};

impl ResNetConfig {
    /// Initializes a new [`ResNet`].
    ///
    /// # Panics
    /// If there is no stage, or a stage has no block.
    pub fn init<B: Backend>(&self, device: &B::Device) -> ResNet<B> {
        assert!(
            !self.blocks.is_empty() && !self.blocks.contains(&0),
            "a ResNet has stages, and each has blocks: blocks is {:?}",
            self.blocks
        );
        let stages = 0..self.blocks.len();
        ResNet {
            stem: Stem::new(self, device),
            stages: stages
                .map(|stage| Stage::new(self, stage, device))
                .collect(),
            head: self.head(device).into(),
        }
    }

    /// The channels that come out of the stage of this index, counted from 0.
    pub(super) fn channels_of_stage(&self, index: usize) -> usize {
        let channels = self.channels << index;
        match self.block {
            BlockKind::Basic => channels,
            BlockKind::Bottleneck => EXPANSION * channels,
        }
    }

    fn head<B: Backend>(&self, device: &B::Device) -> Linear<B> {
        let size = [
            self.channels_of_stage(self.blocks.len() - 1),
            self.num_classes,
        ];
        let [size_input, size_output] = size;
        let mut head = LinearConfig::new(size_input, size_output).init(device);
        head.weight =
            self.head_initializer
                .init_with(size, Some(size_input), Some(size_output), device);
        head
    }
}
