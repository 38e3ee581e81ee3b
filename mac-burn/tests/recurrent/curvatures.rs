//! Gradients preconditioned by MAC, SMAC, FOOF, Eva and K-FAC against dense matrices of what each linear map sees, step by step.

use crate::dense_curvatures::{Curvature, F64, Matrix, Seen, curvatures};
use crate::layers::{Case, Runs, cases};
use crate::support::random;
use crate::unrolled::{Map, Unrolls};
use burn::module::{AutodiffModule, ModuleMapper, Param, ParamId};
use burn::nn::Linear;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn_ndarray::NdArray;
use mac_burn::{Recorded, RecordedLayer};
use nalgebra::DVector;
use proptest::prelude::*;

type Inner = NdArray<f64>;

/// Of a preconditioned gradient, relative to its largest element; the largest difference seen is 1.2e-10, by K-FAC with little damping. A step more or less, a transposed factor or the gradient at another place
/// shows at 1e-3.
const ROUNDING: f64 = 1e-8;

/// Whether `π` of K-FAC, and with it everything, is 0/0 or infinite, where a factor is zero.
fn is_undefined(curvature: &Curvature, seen: &Seen) -> bool {
    let is_zero = |samples: &[Matrix]| samples.iter().all(|sample| sample.amax() == 0.0);
    matches!(curvature, Curvature::Kfac(_)) && (is_zero(&seen.inputs) || is_zero(&seen.outputs))
}

/// The results that a loss is made of.
#[derive(Debug, Clone, Copy)]
enum Loss {
    All,
    Output,
    /// The output of a step, `part` of the way through the sequence.
    Step {
        part: f64,
    },
    /// The last hidden state, or the cell.
    State {
        cell: bool,
    },
}

fn losses() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::All),
        Just(Loss::Output),
        (0.0..1.0f64).prop_map(|part| Loss::Step { part }),
        any::<bool>().prop_map(|cell| Loss::State { cell }),
    ]
}

impl Loss {
    /// `Σ w · results` with random weights. A layer without a state has the output in its place.
    fn of(self, results: &[Tensor<F64, 3>], steps_dimension: usize, seed: u64) -> Tensor<F64, 1> {
        let parts = match self {
            Self::All => results.to_vec(),
            Self::Output => vec![results[0].clone()],
            Self::Step { part } => {
                let steps = results[0].dims()[steps_dimension];
                let step = (part * steps as f64) as usize;
                vec![results[0].clone().narrow(steps_dimension, step, 1)]
            }
            Self::State { cell } => {
                let of_cell = usize::from(cell && results.len() > 2);
                vec![results[results.len() - 1 - of_cell].clone()]
            }
        };
        let sums = parts.into_iter().zip(0..).map(|(part, index)| {
            let weights = random(part.dims(), seed.wrapping_add(index));
            (part * weights).sum()
        });
        sums.reduce(|left, right| left + right)
            .expect("there are results")
    }
}

/// The gradients of a linear map, `[outputs, inputs (+ 1)]`; none where there are none.
fn gradient_of(grads: &GradientsParams, linear: &Linear<F64>) -> Option<Matrix> {
    let weight = grads.get::<Inner, 2>(linear.weight.id)?;
    let [inputs, outputs] = weight.dims();
    let values: Vec<f64> = weight.into_data().iter().collect();
    let matrix = Matrix::from_row_slice(inputs, outputs, &values).transpose();
    let Some(bias) = &linear.bias else {
        return Some(matrix);
    };
    let bias = grads.get::<Inner, 1>(bias.id).expect("it has a gradient");
    let bias: Vec<f64> = bias.into_data().iter().collect();
    let mut joined = matrix.insert_column(inputs, 0.0);
    joined.set_column(inputs, &DVector::from_vec(bias));
    Some(joined)
}

/// Stops training a weight.
struct Freeze(ParamId);

impl ModuleMapper<F64> for Freeze {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<F64, D>>) -> Param<Tensor<F64, D>> {
        match param.id == self.0 {
            true => param.set_require_grad(false),
            false => param,
        }
    }
}

fn assert_close(found: &Matrix, expected: &Matrix, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let largest = expected.amax();
    let difference = (found - expected).amax();
    assert!(
        difference <= ROUNDING * largest,
        "{what}: {difference:e} of {largest:e}"
    );
}

/// How a layer is trained.
#[derive(Debug, Clone)]
struct Training {
    loss: Loss,
    passes: u64,
    /// A map whose weight is not trained.
    frozen: Option<usize>,
}

fn trainings() -> impl Strategy<Value = Training> {
    let frozen = prop::option::weighted(0.2, 0..16usize);
    (losses(), 1..3u64, frozen).prop_map(|(loss, passes, frozen)| Training {
        loss,
        passes,
        frozen,
    })
}

/// Compares a step after some passes with forward and backward, and one with forward alone that does not count.
fn check<L>(layer: L, case: &Case, training: &Training, curvature: &Curvature)
where
    L: RecordedLayer<F64> + AutodiffModule<F64> + Unrolls,
    L::InnerModule: RecordedLayer<Inner>,
    Recorded<L, F64>: Runs<F64> + AutodiffModule<F64>,
{
    let steps_dimension = case.steps_dimension::<F64, L>();
    let names = layer.unroll(case, case.input::<F64, L>(9)).1;
    let frozen = training
        .frozen
        .map(|index| names[index % names.len()].weight());
    let layer = match frozen {
        Some(id) => layer.map(&mut Freeze(id)),
        None => layer,
    };

    let mut preconditioner = curvature.preconditioner();
    let recorded = Recorded::from(layer.clone());
    recorded.run(case.input::<F64, L>(9));
    let mut all: Vec<(Map, Vec<Matrix>, Option<Vec<Matrix>>)> = Vec::new();
    let mut grads = GradientsParams::new();
    for pass in 0..training.passes {
        let input = || case.input::<F64, L>(pass);
        let seed = case.seed ^ (7 + pass);
        let loss = training
            .loss
            .of(&recorded.run(input()), steps_dimension, seed);
        grads = GradientsParams::from_grads(loss.backward(), &recorded);

        let (results, maps) = layer.unroll(case, input());
        let leaves = training.loss.of(&results, steps_dimension, seed).backward();
        for (index, map) in maps.into_iter().enumerate() {
            let inputs = map.samples_of_inputs();
            let outputs = map.samples_of_gradients(&leaves);
            match all.get_mut(index) {
                None => all.push((map, inputs, outputs)),
                Some(known) => {
                    known.0 = map;
                    known.1.extend(inputs);
                    if let (Some(known), Some(new)) = (&mut known.2, outputs) {
                        known.extend(new);
                    }
                }
            }
        }
    }
    let plain = all.iter().map(|(map, ..)| gradient_of(&grads, &map.linear));
    let plain: Vec<_> = plain.collect();
    let grads = preconditioner.precondition(&recorded, grads);
    let recorded_maps: Vec<_> = all
        .iter()
        .zip(plain)
        .filter(|((map, ..), _)| Some(map.weight()) != frozen)
        .collect();
    assert!(!recorded_maps.is_empty());
    for (index, ((map, inputs, outputs), plain)) in recorded_maps.into_iter().enumerate() {
        let what = format!("map {index}, {curvature:?}, {training:?}, {case:?}");
        let found = gradient_of(&grads, &map.linear);
        let (Some(found), Some(plain), Some(outputs)) = (found, plain, outputs) else {
            assert!(outputs.is_none(), "{what}: it has a gradient");
            continue;
        };
        let seen = Seen {
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            attended: None,
            places: case.steps,
            has_fixed_bias: false,
        };
        let last = inputs.len() - case.batch;
        let of_last = Seen {
            inputs: inputs[last..].to_vec(),
            outputs: outputs[last..].to_vec(),
            ..seen
        };
        let gradient = of_last.gradient();
        assert_close(&plain, &gradient, &what);
        let seen = Seen {
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            ..of_last
        };
        if !is_undefined(curvature, &seen) {
            assert_close(&found, &curvature.applied(gradient, &seen, false), &what);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Breaks when a gate has another gate's gradients, the forget gate counts where it is not used, or any of what is below.
    #[test]
    fn an_lstm_has_the_formula(case in cases(), training in trainings(), curvature in curvatures()) {
        check(case.lstm(), &case, &training, &curvature);
    }

    /// Breaks when a direction has the hidden states, the states or the order of the other, or the forward half does not obey its own flag.
    #[test]
    fn a_bi_lstm_has_the_formula(case in cases(), training in trainings(), curvature in curvatures()) {
        check(case.bi_lstm(), &case, &training, &curvature);
    }

    /// Breaks when the new gate's hidden map sees or has another than with its form of the reset.
    #[test]
    fn a_gru_has_the_formula(case in cases(), training in trainings(), curvature in curvatures()) {
        check(case.gru(), &case, &training, &curvature);
    }

    /// Breaks as the two before.
    #[test]
    fn a_bi_gru_has_the_formula(case in cases(), training in trainings(), curvature in curvatures()) {
        check(case.bi_gru(), &case, &training, &curvature);
    }

    /// Breaks when the initial state is left out, the output of the last step counts as an input, a step's gradient is lost, or a pass without
    /// gradients counts.
    #[test]
    fn an_rnn_has_the_formula(case in cases(), training in trainings(), curvature in curvatures()) {
        check(case.rnn(), &case, &training, &curvature);
    }

    /// Breaks as those before.
    #[test]
    fn a_bi_rnn_has_the_formula(case in cases(), training in trainings(), curvature in curvatures()) {
        check(case.bi_rnn(), &case, &training, &curvature);
    }

    /// Breaks when the forward half, where its own flag has it read steps as samples, records the input as the reverse half reads it.
    #[test]
    fn halves_have_the_formula_by_their_own_flags(
        case in cases(),
        (forward, reverse) in any::<(bool, bool)>(),
        training in trainings(),
        curvature in curvatures(),
    ) {
        // Burn puts the outputs of both side by side.
        let case = Case { batch: case.steps, ..case };
        let mut layer = case.bi_lstm();
        layer.forward.batch_first = forward;
        layer.reverse.batch_first = reverse;
        check(layer, &case, &training, &curvature);
        let mut layer = case.bi_rnn();
        layer.forward.batch_first = forward;
        layer.reverse.batch_first = reverse;
        check(layer, &case, &training, &curvature);
    }

    /// Breaks when one of the maps has the gradients of the other.
    #[test]
    fn a_swiglu_has_the_formula(case in cases(), training in trainings(), curvature in curvatures()) {
        check(case.swiglu(), &case, &training, &curvature);
    }
}
