use burn::module::{AutodiffModule, ParamId};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Distribution, Tensor};
use mac_burn::MacLinear;
use mac_burn_models::vision_transformer::VisionTransformerBlock;
use mac_burn_models::{LeNet, Mlp, ResNet, VisionTransformer};

/// A network whose step is measured.
pub(crate) trait Network<B: AutodiffBackend>: AutodiffModule<B> {
    /// A forward pass of `batch` random inputs.
    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2>;

    /// The weights that Muon is made for: matrices of hidden layers.
    fn hidden_matrices(&self) -> Vec<ParamId>;
}

/// One linear layer.
impl<B: AutodiffBackend> Network<B> for MacLinear<B> {
    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2> {
        let [size, _] = self.weight.dims();
        self.forward(random([batch, size], device))
    }

    fn hidden_matrices(&self) -> Vec<ParamId> {
        vec![self.weight.id]
    }
}

impl<B: AutodiffBackend> Network<B> for Mlp<B> {
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

impl<B: AutodiffBackend> Network<B> for LeNet<B> {
    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2> {
        self.forward(random([batch, 1, 28, 28], device))
    }

    fn hidden_matrices(&self) -> Vec<ParamId> {
        vec![self.fc1.weight.id, self.fc2.weight.id]
    }
}

impl<B: AutodiffBackend> Network<B> for ResNet<B> {
    fn forward_random(&self, batch: usize, device: &B::Device) -> Tensor<B, 2> {
        self.forward(random([batch.div_ceil(64), 3, 32, 32], device))
    }

    /// None of its matrices is of a hidden layer.
    fn hidden_matrices(&self) -> Vec<ParamId> {
        Vec::new()
    }
}

/// Inputs like pixels: their mean is not 0, so the rank-one update has something to do.
fn random<B: AutodiffBackend, const D: usize>(
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device)
}

impl<B: AutodiffBackend> Network<B> for VisionTransformer<B> {
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
