//! The rank-one preconditioner by its definition, in loops over `f64` on the host.

use burn::nn::Linear;
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use std::ops::Range;

/// The gradients of a linear layer on the host; those of the weight are `[inputs, outputs]`.
pub struct Gradients {
    outputs: usize,
    pub weight: Vec<f64>,
    pub bias: Option<Vec<f64>>,
}

impl Gradients {
    pub fn of<B: AutodiffBackend>(grads: &GradientsParams, layer: &Linear<B>) -> Self {
        let weight = grads.get::<B::InnerBackend, 2>(layer.weight.id);
        let weight = weight.expect("the weight has a gradient");
        let bias = layer.bias.as_ref().map(|bias| {
            let bias = grads.get::<B::InnerBackend, 1>(bias.id);
            bias.expect("the bias has a gradient")
        });
        Self {
            outputs: weight.dims()[1],
            weight: weight.into_data().iter().collect(),
            bias: bias.map(|bias| bias.into_data().iter().collect()),
        }
    }

    /// The gradients of some of the outputs.
    pub fn columns(&self, columns: Range<usize>) -> Self {
        let rows = self.weight.chunks(self.outputs);
        Self {
            outputs: columns.len(),
            weight: rows.flat_map(|row| row[columns.clone()].to_vec()).collect(),
            bias: self.bias.as_ref().map(|bias| bias[columns].to_vec()),
        }
    }

    /// The largest difference of an element.
    pub fn difference(&self, other: &Self) -> f64 {
        let all = |gradients: &Self| {
            let bias = gradients.bias.clone().unwrap_or_default();
            [gradients.weight.clone(), bias].concat()
        };
        let pairs = all(self).into_iter().zip(all(other));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }
}

/// `G (I − ā āᵀ / (ρ + ‖ā‖²))` with `mean = [x̄ ; 1]`, of which a layer without a bias has no 1.
pub fn expected(gradients: &Gradients, mean: &[f64], damping: f64) -> Gradients {
    let outputs = gradients.outputs;
    let bias = gradients.bias.as_ref();
    let inputs = mean.len() - usize::from(bias.is_none());
    // Row n of the gradient belongs to input n, the bias to the last one.
    let mut rows: Vec<Vec<f64>> = gradients
        .weight
        .chunks(outputs)
        .map(<[f64]>::to_vec)
        .collect();
    rows.extend(bias.cloned());
    assert_eq!(rows.len(), inputs);

    let mean = &mean[..inputs];
    let norm: f64 = mean.iter().map(|value| value * value).sum();
    for output in 0..outputs {
        let along: f64 = rows.iter().zip(mean).map(|(row, a)| row[output] * a).sum();
        for (row, a) in rows.iter_mut().zip(mean) {
            row[output] -= along * a / (damping + norm);
        }
    }
    let bias = bias.and_then(|_| rows.pop());
    Gradients {
        outputs,
        weight: rows.concat(),
        bias,
    }
}
