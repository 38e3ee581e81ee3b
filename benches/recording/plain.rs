use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use mac_burn::Recorded;
use mac_burn_models::{LeNet, Mlp};

/// An [`Mlp`] of Burn's own layers.
#[derive(Module, Debug)]
pub(crate) struct PlainMlp<B: Backend> {
    layers: Vec<Linear<B>>,
}

impl<B: Backend> From<Mlp<B>> for PlainMlp<B> {
    fn from(mlp: Mlp<B>) -> Self {
        Self {
            layers: mlp.layers.into_iter().map(Recorded::into_inner).collect(),
        }
    }
}

impl<B: Backend> PlainMlp<B> {
    /// See [`Mlp::forward`].
    pub(crate) fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let layers = self.layers.iter().enumerate();
        layers.fold(input, |x, (index, layer)| match index {
            0 => layer.forward(x),
            _ => layer.forward(relu(x)),
        })
    }
}

/// A [`LeNet`] of Burn's own layers.
#[derive(Module, Debug)]
pub(crate) struct PlainLeNet<B: Backend> {
    conv1: Conv2d<B>,
    conv2: Conv2d<B>,
    pool: MaxPool2d,
    fc1: Linear<B>,
    fc2: Linear<B>,
    head: Linear<B>,
}

impl<B: Backend> From<LeNet<B>> for PlainLeNet<B> {
    fn from(lenet: LeNet<B>) -> Self {
        Self {
            conv1: lenet.conv1.into_inner(),
            conv2: lenet.conv2.into_inner(),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc1: lenet.fc1.into_inner(),
            fc2: lenet.fc2.into_inner(),
            head: lenet.head.into_inner(),
        }
    }
}

impl<B: Backend> PlainLeNet<B> {
    /// See [`LeNet::forward`].
    pub(crate) fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.pool.forward(relu(self.conv1.forward(images)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        let x = relu(self.fc1.forward(x.flatten(1, 3)));
        let x = relu(self.fc2.forward(x));
        self.head.forward(x)
    }
}
