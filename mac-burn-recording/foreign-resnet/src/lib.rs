//! ResNet-18 as a crate of models has it: Burn's own layers in private fields, which nobody can convert or replace from outside.
//!
//! K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", 2015, [arXiv:1512.03385](https://arxiv.org/abs/1512.03385).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Configuration of a [`ResNet18`].
#[derive(Config, Debug)]
pub struct ResNet18Config {
    /// Number of classes.
    #[config(default = 1000)]
    num_classes: usize,
    /// Channels of the images.
    #[config(default = 3)]
    image_channels: usize,
    /// Channels of the first stage; each of the other three has twice those of the stage before.
    #[config(default = 64)]
    channels: usize,
}

impl ResNet18Config {
    /// Initializes a new [`ResNet18`].
    pub fn init<B: Backend>(&self, device: &B::Device) -> ResNet18<B> {
        let [first, second, third, fourth] = [1, 2, 4, 8].map(|times| times * self.channels);
        ResNet18 {
            conv1: convolution([self.image_channels, first], 7, 2, device),
            bn1: BatchNormConfig::new(first).init(device),
            relu: Relu::new(),
            maxpool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            layer1: blocks([first, first], 1, device),
            layer2: blocks([first, second], 2, device),
            layer3: blocks([second, third], 2, device),
            layer4: blocks([third, fourth], 2, device),
            avgpool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            fc: LinearConfig::new(fourth, self.num_classes).init(device),
        }
    }
}

/// ResNet-18 for images of ImageNet's size, or of any other.
///
/// Should be created with [`ResNet18Config`].
#[derive(Module, Debug)]
pub struct ResNet18<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm<B>,
    relu: Relu,
    maxpool: MaxPool2d,
    layer1: Vec<BasicBlock<B>>,
    layer2: Vec<BasicBlock<B>>,
    layer3: Vec<BasicBlock<B>>,
    layer4: Vec<BasicBlock<B>>,
    avgpool: AdaptiveAvgPool2d,
    fc: Linear<B>,
}

impl<B: Backend> ResNet18<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - images: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, num_classes]`
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self
            .relu
            .forward(self.bn1.forward(self.conv1.forward(images)));
        let x = self.maxpool.forward(x);
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let blocks = stages.into_iter().flatten();
        let x = blocks.fold(x, |x, block| block.forward(x));
        self.fc.forward(self.avgpool.forward(x).flatten(1, 3))
    }
}

/// Two 3×3 convolutions, and what comes in added to what comes out.
#[derive(Module, Debug)]
struct BasicBlock<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm<B>,
    relu: Relu,
    conv2: Conv2d<B>,
    bn2: BatchNorm<B>,
    downsample: Option<Downsample<B>>,
}

impl<B: Backend> BasicBlock<B> {
    /// `channels` is `[channels_in, channels_out]`.
    fn new(channels: [usize; 2], stride: usize, device: &B::Device) -> Self {
        let [channels_in, channels_out] = channels;
        let changes = stride != 1 || channels_in != channels_out;
        Self {
            conv1: convolution(channels, 3, stride, device),
            bn1: BatchNormConfig::new(channels_out).init(device),
            relu: Relu::new(),
            conv2: convolution([channels_out; 2], 3, 1, device),
            bn2: BatchNormConfig::new(channels_out).init(device),
            downsample: changes.then(|| Downsample {
                conv: convolution(channels, 1, stride, device),
                bn: BatchNormConfig::new(channels_out).init(device),
            }),
        }
    }

    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = self.bn1.forward(self.conv1.forward(input.clone()));
        let x = self.conv2.forward(self.relu.forward(x));
        let x = self.bn2.forward(x);
        let identity = match &self.downsample {
            Some(downsample) => downsample.forward(input),
            None => input,
        };
        self.relu.forward(x + identity)
    }
}

/// The way around a block that changes the shape.
#[derive(Module, Debug)]
struct Downsample<B: Backend> {
    conv: Conv2d<B>,
    bn: BatchNorm<B>,
}

impl<B: Backend> Downsample<B> {
    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.bn.forward(self.conv.forward(input))
    }
}

/// The two blocks of a stage.
fn blocks<B: Backend>(
    channels: [usize; 2],
    stride: usize,
    device: &B::Device,
) -> Vec<BasicBlock<B>> {
    vec![
        BasicBlock::new(channels, stride, device),
        BasicBlock::new([channels[1]; 2], 1, device),
    ]
}

fn convolution<B: Backend>(
    channels: [usize; 2],
    kernel_size: usize,
    stride: usize,
    device: &B::Device,
) -> Conv2d<B> {
    let padding = kernel_size / 2;
    Conv2dConfig::new(channels, [kernel_size; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(
            padding, padding, padding, padding,
        ))
        .with_bias(false)
        .init(device)
}
