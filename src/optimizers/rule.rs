use burn::optim::{
    AdamW, AdamWState, LearningRate, Muon, MuonState, Sgd, SgdState, SimpleOptimizer,
};
use burn::record::Record;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// One of Burn's optimizers.
#[derive(Clone)]
pub enum Rule<B: Backend> {
    /// SGD with momentum, after decoupled weight decay.
    Momentum {
        /// SGD, with coupled weight decay or without.
        sgd: Sgd<B>,
        /// The decoupled weight decay.
        decay: f64,
    },
    /// AdamW.
    AdamW(AdamW),
    /// Muon, which takes matrices. Of a convolution's weight each output channel is a row; the weight of several projections in
    /// one, `[in, projections · out]`, is as many matrices.
    Muon {
        /// Muon.
        muon: Muon<B>,
        /// The number of projections.
        projections: usize,
    },
}

/// The state of a parameter.
#[derive(Record, Clone)]
pub enum RuleState<B: Backend, const D: usize> {
    /// SGD's.
    Momentum(SgdState<B, D>),
    /// AdamW's.
    AdamW(AdamWState<B, D>),
    /// Muon's of each matrix.
    Muon(Vec<MuonState<B, 2>>),
}

impl<B: Backend> SimpleOptimizer<B> for Rule<B> {
    type State<const D: usize> = RuleState<B, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Option<RuleState<B, D>>,
    ) -> (Tensor<B, D>, Option<RuleState<B, D>>) {
        match (self, state) {
            (Self::Momentum { sgd, decay }, state) => {
                let state = match state {
                    Some(RuleState::Momentum(state)) => Some(state),
                    _ => None,
                };
                let tensor = match *decay {
                    0.0 => tensor,
                    decay => tensor * (1.0 - lr * decay),
                };
                let (tensor, state) = sgd.step(lr, tensor, grad, state);
                (tensor, state.map(RuleState::Momentum))
            }
            (Self::AdamW(adamw), state) => {
                let state = match state {
                    Some(RuleState::AdamW(state)) => Some(state),
                    _ => None,
                };
                let (tensor, state) = adamw.step(lr, tensor, grad, state);
                (tensor, state.map(RuleState::AdamW))
            }
            (Self::Muon { muon, projections }, state) => {
                let states = match state {
                    Some(RuleState::Muon(states)) => states,
                    _ => Vec::new(),
                };
                let dims = tensor.dims();
                let matrices = |tensor| matrices(tensor, *projections);
                let mut states = states.into_iter();
                let parts = matrices(tensor).into_iter().zip(matrices(grad));
                let (parts, states): (Vec<_>, Vec<_>) = parts
                    .map(|(part, grad)| muon.step(lr, part, grad, states.next()))
                    .unzip();
                let tensor = Tensor::cat(parts, 1).reshape(dims);
                let states = states.into_iter().flatten().collect();
                (tensor, Some(RuleState::Muon(states)))
            }
        }
    }

    fn to_device<const D: usize>(state: RuleState<B, D>, device: &B::Device) -> RuleState<B, D> {
        match state {
            RuleState::Momentum(state) => RuleState::Momentum(Sgd::to_device(state, device)),
            RuleState::AdamW(state) => RuleState::AdamW(AdamW::to_device(state, device)),
            RuleState::Muon(states) => {
                let moved = states
                    .into_iter()
                    .map(|state| Muon::to_device(state, device));
                RuleState::Muon(moved.collect())
            }
        }
    }
}

/// The matrices of a weight: all axes but the first as one, cut into as many of the same width.
fn matrices<B: Backend, const D: usize>(tensor: Tensor<B, D>, count: usize) -> Vec<Tensor<B, 2>> {
    let rows = tensor.dims()[0] as i32;
    tensor.reshape([rows, -1]).chunk(count, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Selected;
    use burn::optim::{AdjustLrFn, MuonConfig};
    use burn::tensor::Distribution;

    type State<const D: usize> = RuleState<Selected, D>;

    fn muon() -> Muon<Selected> {
        let config = MuonConfig::new();
        config.with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW).build()
    }

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<Selected, D> {
        Tensor::random(shape, Distribution::Default, &Default::default())
    }

    /// Breaks when a projection is orthogonalized with the others, or has the momentum of another.
    #[test]
    fn each_of_three_projections_in_one_is_a_matrix() {
        let rule = Rule::Muon {
            muon: muon(),
            projections: 3,
        };
        let (mut weight, mut state) = (random([4, 12]), None);
        let mut parts: Vec<_> = weight.clone().chunk(3, 1);
        let mut states = vec![None; 3];
        for _ in 0..2 {
            let grad = random([4, 12]);
            (weight, state) = rule.step(0.1, weight, grad.clone(), state);
            for ((part, grad), state) in parts.iter_mut().zip(grad.chunk(3, 1)).zip(&mut states) {
                (*part, *state) = muon().step(0.1, part.clone(), grad, state.take());
            }
        }
        let expected = Tensor::cat(parts, 1);
        assert_eq!(weight.into_data(), expected.into_data());
    }

    /// Breaks when a convolution's matrix is made of other axes.
    #[test]
    fn each_output_channel_of_a_convolution_is_a_row() {
        let rule = Rule::Muon {
            muon: muon(),
            projections: 1,
        };
        let (weight, grad) = (random([5, 2, 3, 3]), random([5, 2, 3, 3]));
        let none: Option<State<4>> = None;
        let (found, _) = rule.step(0.1, weight.clone(), grad.clone(), none);
        let flat = |tensor: Tensor<Selected, 4>| tensor.reshape([5, 18]);
        let (expected, _) = muon().step(0.1, flat(weight), flat(grad), None);
        assert_eq!(flat(found).into_data(), expected.into_data());
    }
}
