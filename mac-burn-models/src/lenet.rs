//! LeNet: two convolutions with pooling, then three linear layers.

use burn::config::Config;
use burn::module::Module;
use burn::nn::LinearConfig;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

/// Each pooling halves height and width.
const POOLING: usize = 2;

/// Configuration of a [`LeNet`].
///
/// The defaults have 31 294 parameters for images of 8×8 and 204 094 for images of 28×28.
#[derive(Config, Debug)]
pub struct LeNetConfig {
    /// Height and width of the images, 4 or more.
    pub image_size: [usize; 2],
    /// Channels of the images.
    #[config(default = 1)]
    pub image_channels: usize,
    /// Number of classes.
    #[config(default = 10)]
    pub num_classes: usize,
    /// Channels of the two convolutions.
    #[config(default = "[16, 32]")]
    pub channels: [usize; 2],
    /// Height and width of the kernels; the convolutions pad to keep the size of the image.
    #[config(default = 3)]
    pub kernel_size: usize,
    /// Sizes of the two hidden linear layers.
    #[config(default = "[120, 84]")]
    pub hidden: [usize; 2],
}

/// The network of Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document
/// recognition", 1998, with today's parts: rectifiers, max pooling, a plain linear output, and padded kernels of 3×3, so
/// that images of 8×8 are not too small.
///
/// Should be created with [`LeNetConfig`].
#[derive(Module, Debug)]
pub struct LeNet<B: Backend> {
    /// The first convolution, which sees the image.
    pub conv1: MacConv2d<B>,
    /// The second convolution, which sees half the height and width.
    pub conv2: MacConv2d<B>,
    /// Pools after each convolution.
    pub pool: MaxPool2d,
    /// The first hidden linear layer, which sees a quarter of the height and width, flattened.
    pub fc1: MacLinear<B>,
    /// The second hidden linear layer.
    pub fc2: MacLinear<B>,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
}

impl LeNetConfig {
    /// Initializes a new [`LeNet`].
    ///
    /// # Panics
    /// If the images are smaller than 4×4: nothing would be left of them after two poolings.
    pub fn init<B: Backend>(&self, device: &B::Device) -> LeNet<B> {
        let [height, width] = self.image_size.map(|size| size / POOLING / POOLING);
        assert!(
            height > 0 && width > 0,
            "LeNet halves the image twice: image_size must be at least [4, 4], and is {:?}",
            self.image_size
        );
        let [channels1, channels2] = self.channels;
        let [hidden1, hidden2] = self.hidden;

        LeNet {
            conv1: self
                .convolution([self.image_channels, channels1])
                .init(device)
                .into(),
            conv2: self.convolution([channels1, channels2]).init(device).into(),
            pool: MaxPool2dConfig::new([POOLING, POOLING]).init(),
            fc1: LinearConfig::new(channels2 * height * width, hidden1)
                .init(device)
                .into(),
            fc2: LinearConfig::new(hidden1, hidden2).init(device).into(),
            head: LinearConfig::new(hidden2, self.num_classes)
                .init(device)
                .into(),
        }
    }

    fn convolution(&self, channels: [usize; 2]) -> Conv2dConfig {
        Conv2dConfig::new(channels, [self.kernel_size, self.kernel_size])
            .with_padding(PaddingConfig2d::Same)
    }
}

impl<B: Backend> LeNet<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - `images`: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, num_classes]`
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.pool.forward(relu(self.conv1.forward(images)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        let x = relu(self.fc1.forward(x.flatten(1, 3)));
        let x = relu(self.fc2.forward(x));
        self.head.forward(x)
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::Linear;
    use burn::nn::conv::Conv2d;
    use burn::tensor::Distribution;

    use super::*;
    use crate::testing::{TestBackend, through_a_file};

    /// The same network of plain layers.
    #[derive(Module, Debug)]
    struct PlainLeNet<B: Backend> {
        conv1: Conv2d<B>,
        conv2: Conv2d<B>,
        pool: MaxPool2d,
        fc1: Linear<B>,
        fc2: Linear<B>,
        head: Linear<B>,
    }

    impl<B: Backend> PlainLeNet<B> {
        fn init(config: &LeNetConfig, device: &B::Device) -> Self {
            let [channels1, channels2] = config.channels;
            let [hidden1, hidden2] = config.hidden;
            let flat = channels2
                * config
                    .image_size
                    .map(|size| size / 4)
                    .iter()
                    .product::<usize>();
            Self {
                conv1: config
                    .convolution([config.image_channels, channels1])
                    .init(device),
                conv2: config.convolution([channels1, channels2]).init(device),
                pool: MaxPool2dConfig::new([2, 2]).init(),
                fc1: LinearConfig::new(flat, hidden1).init(device),
                fc2: LinearConfig::new(hidden1, hidden2).init(device),
                head: LinearConfig::new(hidden2, config.num_classes).init(device),
            }
        }

        fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
            let x = self.pool.forward(relu(self.conv1.forward(images)));
            let x = self.pool.forward(relu(self.conv2.forward(x)));
            let x = relu(self.fc1.forward(x.flatten(1, 3)));
            let x = relu(self.fc2.forward(x));
            self.head.forward(x)
        }
    }

    #[test]
    fn the_defaults_have_the_documented_number_of_parameters() {
        let parameters = |size| {
            LeNetConfig::new([size, size])
                .init::<TestBackend>(&Default::default())
                .num_params()
        };

        assert_eq!(parameters(8), 31_294);
        assert_eq!(parameters(28), 204_094);
    }

    #[test]
    fn a_record_of_plain_layers_gives_the_same_logits_bit_for_bit() {
        let device = Default::default();
        let config = LeNetConfig::new([12, 10])
            .with_image_channels(3)
            .with_num_classes(7)
            .with_kernel_size(5);
        let plain = PlainLeNet::<TestBackend>::init(&config, &device);
        let images = Tensor::random([2, 3, 12, 10], Distribution::Default, &device);
        let expected = plain.forward(images.clone());

        let recorded: LeNet<TestBackend> = through_a_file(plain, config.init(&device));
        let logits = recorded.forward(images);

        assert_eq!(logits.dims(), [2, 7]);
        assert_eq!(logits.into_data(), expected.into_data());
    }

    #[test]
    #[should_panic(expected = "image_size must be at least [4, 4], and is [8, 3]")]
    fn an_image_of_which_nothing_is_left_is_refused() {
        LeNetConfig::new([8, 3]).init::<TestBackend>(&Default::default());
    }
}
