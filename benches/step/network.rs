use burn::module::{AutodiffModule, ParamId};
use burn::nn::LinearConfig;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Distribution, Tensor};
use mac_burn::MacLinear;
use mac_burn_models::vision_transformer::VisionTransformerBlock;
use mac_burn_models::{
    LeNet, LeNetConfig, Mlp, MlpConfig, VisionTransformer, VisionTransformerConfig,
};

/// A network whose step is measured.
pub(crate) trait Network<B: AutodiffBackend>: AutodiffModule<B> {
    fn make(quick: bool, device: &B::Device) -> Self;

    /// A forward pass of `batch` random inputs.
    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2>;

    /// The weights that Muon is made for: matrices of hidden layers.
    fn hidden_matrices(&self) -> Vec<ParamId>;
}

/// One linear layer from 1024 to 4096.
impl<B: AutodiffBackend> Network<B> for MacLinear<B> {
    fn make(quick: bool, device: &B::Device) -> Self {
        let [size, size_output] = if quick { [64, 256] } else { [1024, 4096] };
        LinearConfig::new(size, size_output).init(device).into()
    }

    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2> {
        let [size, _] = self.weight.dims();
        self.forward(random([batch, size], device))
    }

    fn hidden_matrices(&self) -> Vec<ParamId> {
        vec![self.weight.id]
    }
}

/// The perceptron 784-512-512-10.
impl<B: AutodiffBackend> Network<B> for Mlp<B> {
    fn make(_quick: bool, device: &B::Device) -> Self {
        MlpConfig::new(vec![784, 512, 512, 10]).init(device)
    }

    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2> {
        self.forward(random([batch, 784], device))
    }

    fn hidden_matrices(&self) -> Vec<ParamId> {
        let hidden = self.layers.len() - 1;
        self.layers[..hidden]
            .iter()
            .map(|layer| layer.weight.id)
            .collect()
    }
}

/// The LeNet for images of 28×28.
impl<B: AutodiffBackend> Network<B> for LeNet<B> {
    fn make(_quick: bool, device: &B::Device) -> Self {
        LeNetConfig::new([28, 28]).init(device)
    }

    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2> {
        self.forward(random([batch, 1, 28, 28], device))
    }

    fn hidden_matrices(&self) -> Vec<ParamId> {
        vec![self.fc1.weight.id, self.fc2.weight.id]
    }
}

/// Inputs like pixels: their mean is not 0, so the rank-one update has something to do.
fn random<B: AutodiffBackend, const D: usize>(
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device)
}

/// The vision transformer of DeiT-Ti's width for images of 32×32.
impl<B: AutodiffBackend> Network<B> for VisionTransformer<B> {
    fn make(quick: bool, device: &B::Device) -> Self {
        let blocks = if quick { 1 } else { 12 };
        VisionTransformerConfig::deit_tiny_cifar(10)
            .with_n_layers(blocks)
            .init(device)
    }

    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2> {
        // Each image has 65 tokens.
        self.forward(random([batch.div_ceil(64), 3, 32, 32], device))
    }

    fn hidden_matrices(&self) -> Vec<ParamId> {
        let of_block = |block: &VisionTransformerBlock<B>| {
            let (attention, mlp) = (&block.attention, &block.mlp);
            [&attention.qkv, &attention.output, &mlp.fc1, &mlp.fc2].map(|layer| layer.weight.id)
        };
        self.blocks.iter().flat_map(of_block).collect()
    }
}
