//! The cells written out step by step, with a leaf at the output of each linear map: its gradient is that of the output.

use crate::dense_curvatures::{F64, Matrix};
use crate::layers::{Case, Input, Runs};
use burn::module::ParamId;
use burn::nn::{BiGru, BiLstm, BiRnn, GateController, Gru, Linear, Lstm, Rnn, SwiGlu};
use burn::tensor::activation::silu;
use burn::tensor::{Tensor, backend::AutodiffBackend};

type Vector = Tensor<F64, 2>;
type Gradients = <F64 as AutodiffBackend>::Gradients;

/// A linear map, with what it saw at each step and the leaves at its outputs.
pub(crate) struct Map {
    pub(crate) linear: Linear<F64>,
    pub(crate) inputs: Vec<Vector>,
    leaves: Vec<Vector>,
}

impl Map {
    fn new(linear: &Linear<F64>) -> Self {
        Self {
            linear: linear.clone(),
            inputs: Vec::new(),
            leaves: Vec::new(),
        }
    }

    fn apply(&mut self, input: &Vector) -> Vector {
        let output = input.clone().matmul(self.linear.weight.val());
        let leaf = Tensor::zeros(output.dims(), &output.device()).require_grad();
        self.inputs.push(input.clone());
        self.leaves.push(leaf.clone());
        match &self.linear.bias {
            Some(bias) => output + bias.val().unsqueeze_dim(0) + leaf,
            None => output + leaf,
        }
    }

    pub(crate) fn weight(&self) -> ParamId {
        self.linear.weight.id
    }

    /// The inputs of each sample, a row for each step, with the 1 of a bias.
    pub(crate) fn samples_of_inputs(&self) -> Vec<Matrix> {
        let samples = by_sample(self.inputs.iter().map(host).collect());
        let has_bias = self.linear.bias.is_some();
        let with_one = |sample: Matrix| match has_bias {
            true => {
                let size = sample.ncols();
                sample.insert_column(size, 1.0)
            }
            false => sample,
        };
        samples.into_iter().map(with_one).collect()
    }

    /// The gradients at the outputs of each sample, a row for each step; none if there are no gradients at all.
    pub(crate) fn samples_of_gradients(&self, gradients: &Gradients) -> Option<Vec<Matrix>> {
        let found: Vec<_> = self
            .leaves
            .iter()
            .map(|leaf| leaf.grad(gradients))
            .collect();
        if found.iter().all(Option::is_none) {
            return None;
        }
        let steps = found.into_iter().zip(&self.leaves);
        let steps = steps.map(|(found, leaf)| match found {
            Some(gradient) => host(&Tensor::from_inner(gradient)),
            None => host(&leaf.zeros_like()),
        });
        Some(by_sample(steps.collect()))
    }
}

/// `[samples, size]`.
fn host(tensor: &Vector) -> Matrix {
    let [samples, size] = tensor.dims();
    let values: Vec<f64> = tensor.to_data().iter().collect();
    Matrix::from_row_slice(samples, size, &values)
}

/// From a matrix for each step to one for each sample.
fn by_sample(steps: Vec<Matrix>) -> Vec<Matrix> {
    let sample = |sample: usize| {
        let rows: Vec<_> = steps.iter().map(|step| step.row(sample)).collect();
        Matrix::from_rows(&rows)
    };
    (0..steps[0].nrows()).map(sample).collect()
}

struct Gate {
    input: Map,
    hidden: Map,
}

impl Gate {
    fn new(gate: &GateController<F64>) -> Self {
        Self {
            input: Map::new(&gate.input_transform),
            hidden: Map::new(&gate.hidden_transform),
        }
    }

    fn sum(&mut self, input: &Vector, hidden: &Vector) -> Vector {
        self.input.apply(input) + self.hidden.apply(hidden)
    }

    fn maps(self) -> [Map; 2] {
        [self.input, self.hidden]
    }
}

/// The results of one direction: the output `[batch, steps, d_hidden]` in the order of the sequence, the last states and the maps.
struct Direction {
    output: Tensor<F64, 3>,
    states: Vec<Vector>,
    maps: Vec<Map>,
}

/// The steps of `[batch, steps, size]`, in the order in which they are taken.
fn steps(sequence: &Tensor<F64, 3>, reverse: bool) -> Vec<Vector> {
    let [batch, steps, size] = sequence.dims();
    let step = |step| sequence.clone().narrow(1, step, 1).reshape([batch, size]);
    let mut all: Vec<_> = (0..steps).map(step).collect();
    if reverse {
        all.reverse();
    }
    all
}

fn in_order(mut outputs: Vec<Vector>, reverse: bool) -> Tensor<F64, 3> {
    if reverse {
        outputs.reverse();
    }
    Tensor::stack(outputs, 1)
}

fn clipped(state: Vector, clip: Option<f64>) -> Vector {
    match clip {
        Some(clip) => state.clamp(-clip, clip),
        None => state,
    }
}

fn one_minus(values: Vector) -> Vector {
    values.mul_scalar(-1.0).add_scalar(1.0)
}

fn zeros(sequence: &Tensor<F64, 3>, d_hidden: usize) -> Vector {
    Tensor::zeros([sequence.dims()[0], d_hidden], &sequence.device())
}

/// `c' = f ∘ c + i ∘ g`, `h' = o ∘ φ(c')`.
fn lstm(
    layer: &Lstm<F64>,
    sequence: &Tensor<F64, 3>,
    reverse: bool,
    [cell, hidden]: [Option<Vector>; 2],
) -> Direction {
    let gates = [
        &layer.input_gate,
        &layer.forget_gate,
        &layer.output_gate,
        &layer.cell_gate,
    ];
    let [mut i, mut f, mut o, mut g] = gates.map(Gate::new);
    let mut c = cell.unwrap_or_else(|| zeros(sequence, layer.d_hidden));
    let mut h = hidden.unwrap_or_else(|| zeros(sequence, layer.d_hidden));
    let mut outputs = Vec::new();
    let activation = |sum| layer.gate_activation.forward(sum);
    for x in steps(sequence, reverse) {
        let input = activation(i.sum(&x, &h));
        let forget = match layer.input_forget {
            true => one_minus(input.clone()),
            false => activation(f.sum(&x, &h)),
        };
        let output = activation(o.sum(&x, &h));
        let candidate = layer.cell_activation.forward(g.sum(&x, &h));
        c = clipped(forget * c + input * candidate, layer.clip);
        h = output * layer.hidden_activation.forward(c.clone());
        outputs.push(h.clone());
    }
    let used = [
        Some(i),
        (!layer.input_forget).then_some(f),
        Some(o),
        Some(g),
    ];
    Direction {
        output: in_order(outputs, reverse),
        states: vec![c, h],
        maps: used.into_iter().flatten().flat_map(Gate::maps).collect(),
    }
}

/// `h' = (1 − z) ∘ n + z ∘ h`.
fn gru(
    layer: &Gru<F64>,
    sequence: &Tensor<F64, 3>,
    reverse: bool,
    hidden: Option<Vector>,
) -> Direction {
    let gates = [&layer.update_gate, &layer.reset_gate, &layer.new_gate];
    let [mut update, mut reset, mut new] = gates.map(Gate::new);
    let mut h = hidden.unwrap_or_else(|| zeros(sequence, layer.d_hidden));
    let mut outputs = Vec::new();
    for x in steps(sequence, reverse) {
        let z = layer.gate_activation.forward(update.sum(&x, &h));
        let r = layer.gate_activation.forward(reset.sum(&x, &h));
        let sum = match layer.reset_after {
            true => new.input.apply(&x) + r * new.hidden.apply(&h),
            false => new.input.apply(&x) + new.hidden.apply(&(r * h.clone())),
        };
        let n = layer.hidden_activation.forward(sum);
        h = clipped(one_minus(z.clone()) * n + z * h, layer.clip);
        outputs.push(h.clone());
    }
    Direction {
        output: in_order(outputs, reverse),
        states: vec![h],
        maps: [update, reset, new]
            .into_iter()
            .flat_map(Gate::maps)
            .collect(),
    }
}

/// `h' = φ(W x + U h + b)`.
fn rnn(
    layer: &Rnn<F64>,
    sequence: &Tensor<F64, 3>,
    reverse: bool,
    hidden: Option<Vector>,
) -> Direction {
    let mut gate = Gate::new(&layer.gate);
    let mut h = hidden.unwrap_or_else(|| zeros(sequence, layer.d_hidden));
    let mut outputs = Vec::new();
    for x in steps(sequence, reverse) {
        h = clipped(
            layer.hidden_activation.forward(gate.sum(&x, &h)),
            layer.clip,
        );
        outputs.push(h.clone());
    }
    Direction {
        output: in_order(outputs, reverse),
        states: vec![h],
        maps: gate.maps().into(),
    }
}

/// A layer that is written out here.
pub(crate) trait Unrolls: Runs<F64> {
    /// The results of [`Runs::run`], and the maps.
    fn unroll(&self, case: &Case, input: Input<F64>) -> (Vec<Tensor<F64, 3>>, Vec<Map>);
}

/// The state of a direction.
fn state_of(states: Option<&Tensor<F64, 3>>, direction: usize) -> Option<Vector> {
    let [_, batch, size] = states?.dims();
    let state = states?.clone().narrow(0, direction, 1);
    Some(state.reshape([batch, size]))
}

/// Runs the forward half of a layer of two directions, which takes its input by a flag of its own.
fn by_own_flag(
    batch_first: bool,
    sequence: &Tensor<F64, 3>,
    run: impl Fn(&Tensor<F64, 3>) -> Direction,
) -> Direction {
    if batch_first {
        return run(sequence);
    }
    let direction = run(&sequence.clone().permute([1, 0, 2]));
    Direction {
        output: direction.output.permute([1, 0, 2]),
        ..direction
    }
}

/// Runs all directions of a layer.
fn unroll<L: Runs<F64>>(
    case: &Case,
    input: Input<F64>,
    run: impl Fn(usize, &Tensor<F64, 3>, [Option<Vector>; 2]) -> Direction,
) -> (Vec<Tensor<F64, 3>>, Vec<Map>) {
    let batch_first = case.steps_dimension::<F64, L>() == 1;
    let turned = |tensor: Tensor<F64, 3>| match batch_first {
        true => tensor,
        false => tensor.permute([1, 0, 2]),
    };
    let sequence = turned(input.sequence);
    let states = input.states.as_ref();
    let directions: Vec<_> = (0..L::DIRECTIONS)
        .map(|direction| {
            let of = |state: usize| state_of(states.map(|states| &states[state]), direction);
            run(direction, &sequence, [of(0), of(1)])
        })
        .collect();
    let outputs = directions.iter().map(|direction| direction.output.clone());
    let mut results = vec![turned(Tensor::cat(outputs.collect(), 2))];
    for state in 0..directions[0].states.len() {
        let states = directions
            .iter()
            .map(|direction| direction.states[state].clone());
        results.push(Tensor::stack(states.collect(), 0));
    }
    let maps = directions.into_iter().flat_map(|direction| direction.maps);
    (results, maps.collect())
}

impl Unrolls for Lstm<F64> {
    fn unroll(&self, case: &Case, input: Input<F64>) -> (Vec<Tensor<F64, 3>>, Vec<Map>) {
        unroll::<Self>(case, input, |_, sequence, states| {
            lstm(self, sequence, case.reverse, states)
        })
    }
}

impl Unrolls for BiLstm<F64> {
    fn unroll(&self, case: &Case, input: Input<F64>) -> (Vec<Tensor<F64, 3>>, Vec<Map>) {
        unroll::<Self>(case, input, |direction, sequence, states| match direction {
            0 => by_own_flag(self.forward.batch_first, sequence, |sequence| {
                lstm(&self.forward, sequence, case.reverse, states.clone())
            }),
            _ => lstm(&self.reverse, sequence, true, states),
        })
    }
}

impl Unrolls for Rnn<F64> {
    fn unroll(&self, case: &Case, input: Input<F64>) -> (Vec<Tensor<F64, 3>>, Vec<Map>) {
        unroll::<Self>(case, input, |_, sequence, [_, hidden]| {
            rnn(self, sequence, case.reverse, hidden)
        })
    }
}

impl Unrolls for BiRnn<F64> {
    fn unroll(&self, case: &Case, input: Input<F64>) -> (Vec<Tensor<F64, 3>>, Vec<Map>) {
        unroll::<Self>(
            case,
            input,
            |direction, sequence, [_, hidden]| match direction {
                0 => by_own_flag(self.forward.batch_first, sequence, |sequence| {
                    rnn(&self.forward, sequence, case.reverse, hidden.clone())
                }),
                _ => rnn(&self.reverse, sequence, true, hidden),
            },
        )
    }
}

impl Unrolls for Gru<F64> {
    fn unroll(&self, case: &Case, input: Input<F64>) -> (Vec<Tensor<F64, 3>>, Vec<Map>) {
        let (mut results, maps) = unroll::<Self>(case, input, |_, sequence, [_, hidden]| {
            gru(self, sequence, false, hidden)
        });
        // Burn's returns no state.
        results.truncate(1);
        (results, maps)
    }
}

impl Unrolls for BiGru<F64> {
    fn unroll(&self, case: &Case, input: Input<F64>) -> (Vec<Tensor<F64, 3>>, Vec<Map>) {
        unroll::<Self>(
            case,
            input,
            |direction, sequence, [_, hidden]| match direction {
                0 => gru(&self.forward, sequence, false, hidden),
                _ => gru(&self.reverse, sequence, true, hidden),
            },
        )
    }
}

impl Unrolls for SwiGlu<F64> {
    fn unroll(&self, _case: &Case, input: Input<F64>) -> (Vec<Tensor<F64, 3>>, Vec<Map>) {
        let (mut inner, mut outer) = (Map::new(&self.linear_inner), Map::new(&self.linear_outer));
        let outputs = steps(&input.sequence, false)
            .iter()
            .map(|x| silu(inner.apply(x)) * outer.apply(x))
            .collect();
        (vec![in_order(outputs, false)], vec![inner, outer])
    }
}
