use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{MacConv2d, MacLinear};

use super::{LeNetActivation, LeNetPooling};
use crate::image_size::assert_image_size;

/// The network of LeCun et al.: each of two convolutions is followed by a pooling, and three linear layers make logits of
/// what is left of the image.
///
/// Should be created with [`LeNetConfig`](super::LeNetConfig).
#[derive(Module, Debug)]
pub struct LeNet<B: Backend> {
    /// The first convolution, which sees the image.
    pub conv1: MacConv2d<B>,
    /// The second convolution, which sees half the height and width.
    pub conv2: MacConv2d<B>,
    /// Pools after each convolution.
    pub pooling: LeNetPooling,
    /// The function after each layer but the last.
    pub activation: LeNetActivation,
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
}
