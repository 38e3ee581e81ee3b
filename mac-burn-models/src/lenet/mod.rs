//! LeNet: two convolutions with pooling, then three linear layers.
//!
//! Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", Proceedings
//! of the IEEE 86(11), 1998, [doi:10.1109/5.726791](https://doi.org/10.1109/5.726791).

mod pooling;

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{LinearConfig, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

pub use pooling::LeNetPooling;

use crate::Activation;
use crate::limits::{assert_at_least_one, assert_image_size};

#[cfg(test)]
mod tests;

/// Configuration of a [`LeNet`].
///
/// The defaults are today's parts: rectifiers, max pooling, a plain linear output, and padded kernels of 3×3, so that
/// images of 8×8 are not too small. The parameters of defaults and constructors:
///
/// | | images | activation | pooling | parameters |
/// |---|---|---|---|---|
/// | [`new`](Self::new)`([8, 8])` | 1×8×8 | rectifier | max | 31 294 |
/// | [`new`](Self::new)`([28, 28])` | 1×28×28 | rectifier | max | 204 094 |
/// | [`lenet5`](Self::lenet5) | 1×32×32 | tanh | average | 61 706 |
/// | [`mac_lenet5`](Self::mac_lenet5) | 3×32×32 | rectifier | max | 62 006 |
///
/// All weights and biases start uniform in ±1/√fan-in, PyTorch's own default and Burn's.
#[derive(Config, Debug)]
pub struct LeNetConfig {
    /// Height and width of the images, so large that something is left after both poolings: with padded convolutions 4
    /// or more.
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
    /// Height and width of the kernels.
    #[config(default = 3)]
    pub kernel_size: usize,
    /// Whether the convolutions pad to keep the size of the image.
    #[config(default = true)]
    pub padded: bool,
    /// Sizes of the two hidden linear layers.
    #[config(default = "[120, 84]")]
    pub hidden: [usize; 2],
    /// The function after each layer but the last.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
    /// The pooling after each convolution and its activation.
    #[config(default = "LeNetPooling::Max")]
    pub pooling: LeNetPooling,
}

impl LeNetConfig {
    /// LeNet-5 for gray images of 32×32, as it is commonly built: kernels of 5×5 without padding, tanh and average
    /// pooling.
    ///
    /// The paper's has in addition weights of its poolings, a second convolution that does not see all channels, and an
    /// output that measures distances; its tanh is scaled.
    pub fn lenet5() -> Self {
        Self::new([32, 32])
            .with_channels([6, 16])
            .with_kernel_size(5)
            .with_padded(false)
            .with_activation(Activation::Tanh)
            .with_pooling(LeNetPooling::Average)
    }

    /// The LeNet-5 that the authors of MAC study, with their configuration's rectifiers and max pooling, for colour
    /// images of 32×32.
    pub fn mac_lenet5() -> Self {
        Self::lenet5()
            .with_image_channels(3)
            .with_activation(Activation::Relu)
            .with_pooling(LeNetPooling::Max)
    }

    /// Sets height and width of the images, for a constructor that chose them.
    pub fn with_image_size(mut self, image_size: [usize; 2]) -> Self {
        self.image_size = image_size;
        self
    }

    /// Initializes a new [`LeNet`].
    ///
    /// # Panics
    /// If the images are so small that nothing would be left of them after two poolings, or a number of channels or classes,
    /// the size of the kernels or that of a hidden layer is 0.
    pub fn init<B: Backend>(&self, device: &B::Device) -> LeNet<B> {
        self.check();
        let [height, width] = self.image_size.map(|size| self.pooled(self.pooled(size)));
        assert!(
            height > 0 && width > 0,
            "LeNet halves the image twice: image_size must be at least {:?}, and is {:?}",
            [self.smallest(); 2],
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
            pooling: self.pooling,
            activation: self.activation,
            fc1: LinearConfig::new(channels2 * height * width, hidden1)
                .init(device)
                .into(),
            fc2: LinearConfig::new(hidden1, hidden2).init(device).into(),
            head: LinearConfig::new(hidden2, self.num_classes)
                .init(device)
                .into(),
            image_size: self.image_size,
        }
    }

    fn check(&self) {
        let [channels1, channels2] = self.channels;
        let [hidden1, hidden2] = self.hidden;
        for (field, value) in [
            ("image_channels", self.image_channels),
            ("num_classes", self.num_classes),
            ("channels[0]", channels1),
            ("channels[1]", channels2),
            ("kernel_size", self.kernel_size),
            ("hidden[0]", hidden1),
            ("hidden[1]", hidden2),
        ] {
            assert_at_least_one(field, value);
        }
    }

    fn convolution(&self, channels: [usize; 2]) -> Conv2dConfig {
        let padding = match self.padded {
            true => PaddingConfig2d::Same,
            false => PaddingConfig2d::Valid,
        };
        Conv2dConfig::new(channels, [self.kernel_size; 2]).with_padding(padding)
    }

    /// The height or width that a convolution and a pooling leave.
    fn pooled(&self, size: usize) -> usize {
        size.saturating_sub(self.lost()) / LeNetPooling::SIZE
    }

    /// The least height and width of which something is left.
    fn smallest(&self) -> usize {
        let before = |size: usize| LeNetPooling::SIZE * size + self.lost();
        before(before(1))
    }

    /// The rows or columns that a convolution takes off.
    fn lost(&self) -> usize {
        match self.padded {
            true => 0,
            false => self.kernel_size - 1,
        }
    }
}

/// The network of LeCun et al.: each of two convolutions is followed by a pooling, and three linear layers make logits of
/// what is left of the image.
///
/// Should be created with [`LeNetConfig`].
#[derive(Module, Debug)]
pub struct LeNet<B: Backend> {
    /// The first convolution, which sees the image.
    pub conv1: MacConv2d<B>,
    /// The second convolution, which sees half the height and width.
    pub conv2: MacConv2d<B>,
    /// Pools after each convolution.
    pub pooling: LeNetPooling,
    /// The function after each layer but the last.
    pub activation: Activation,
    /// The first hidden linear layer, which sees a quarter of the height and width, flattened.
    pub fc1: MacLinear<B>,
    /// The second hidden linear layer.
    pub fc2: MacLinear<B>,
    /// The linear layer that gives the logits.
    pub head: MacLinear<B>,
    /// Height and width of the images.
    pub image_size: [usize; 2],
}

impl<B: Backend> LeNet<B> {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - `images`: `[batch_size, image_channels, height, width]`
    /// - output: `[batch_size, num_classes]`
    ///
    /// # Panics
    /// If the images have another height, width or number of channels than the configuration.
    pub fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        assert_image_size(&images, self.image_size);
        let activation = self.activation;
        let x = activation.forward(self.conv1.forward(images));
        let x = activation.forward(self.conv2.forward(self.pooling.forward(x)));
        let x = self.pooling.forward(x).flatten(1, 3);
        let x = activation.forward(self.fc1.forward(x));
        let x = activation.forward(self.fc2.forward(x));
        self.head.forward(x)
    }

    /// The layer that sees the images, for an [`InputCovariance`](mac_burn::InputCovariance).
    pub fn first_layer(&self) -> &MacConv2d<B> {
        &self.conv1
    }
}

/// The name in the `state_dict` of the authors' `LeNet5` of the parameter at a path of a [`LeNet`].
///
/// ```
/// use mac_burn_models::lenet::authors_name;
///
/// assert_eq!(authors_name("fc1.weight"), "L1.weight");
/// ```
pub fn authors_name(path: &str) -> String {
    let names = path.split('.').map(|name| match name {
        "fc1" => "L1",
        "fc2" => "L2",
        "head" => "L3",
        other => other,
    });

    names.collect::<Vec<_>>().join(".")
}
