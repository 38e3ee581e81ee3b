use super::Adaptor;
use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::optim::Optimizer;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

/// Adds up the bytes of the momentum buffers that optimizers keep for a module.
pub(super) fn momentum_bytes<M, B>(optimizers: [&Adaptor<M, B>; 2], module: &M) -> usize
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    let mut bytes = MomentumBytes::<M, B> {
        records: optimizers.map(Optimizer::to_record),
        bytes: 0,
    };
    module.visit(&mut bytes);
    bytes.bytes
}

struct MomentumBytes<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    records: [<Adaptor<M, B> as Optimizer<M, B>>::Record; 2],
    bytes: usize,
}

impl<M, B> ModuleVisitor<B> for MomentumBytes<M, B>
where
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        for record in &self.records {
            if let Some(record) = record.get(&param.id) {
                let velocity = record.clone().into_state::<D>().velocity;
                self.bytes += velocity.shape().num_elements() * velocity.dtype().size();
            }
        }
    }
}
