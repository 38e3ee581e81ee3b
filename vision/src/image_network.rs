//! Networks that tell the classes of images.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::InputCovariance;
use mac_burn_models::{DenseNet, LeNet, ResNet, Swin, VisionTransformer, WideResNet};

/// A network that gives the logits of the classes of images.
pub trait ImageNetwork<B: Backend>: Module<B> + ModuleDisplay {
    /// Applies the forward pass: the logits of the classes.
    ///
    /// # Shapes
    /// - `images`: `[batch_size, channels, height, width]`
    /// - output: `[batch_size, classes]`
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2>;

    /// The covariance of the inputs of the layer that sees the images, with no batch seen yet.
    fn input_covariance(&self) -> InputCovariance<B>;
}

impl<B: Backend> ImageNetwork<B> for LeNet<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        LeNet::forward(self, images)
    }

    fn input_covariance(&self) -> InputCovariance<B> {
        InputCovariance::of(&self.conv1)
    }
}

impl<B: Backend> ImageNetwork<B> for ResNet<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        ResNet::forward(self, images)
    }

    fn input_covariance(&self) -> InputCovariance<B> {
        InputCovariance::of(&self.stem.conv)
    }
}

impl<B: Backend> ImageNetwork<B> for DenseNet<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        DenseNet::forward(self, images)
    }

    fn input_covariance(&self) -> InputCovariance<B> {
        InputCovariance::of(&self.stem.conv)
    }
}

impl<B: Backend> ImageNetwork<B> for WideResNet<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        WideResNet::forward(self, images)
    }

    fn input_covariance(&self) -> InputCovariance<B> {
        InputCovariance::of(&self.stem)
    }
}

impl<B: Backend> ImageNetwork<B> for VisionTransformer<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        VisionTransformer::forward(self, images)
    }

    fn input_covariance(&self) -> InputCovariance<B> {
        InputCovariance::of(&self.patch_embedding.projection)
    }
}

impl<B: Backend> ImageNetwork<B> for Swin<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        Swin::forward(self, images)
    }

    fn input_covariance(&self) -> InputCovariance<B> {
        InputCovariance::of(&self.patch_embedding.projection)
    }
}
