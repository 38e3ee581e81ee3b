//! Burn's recurrent layers, recorded.
//!
//! Burn's forward passes are repeated over the layers' public fields, operation by operation, since what they hand to the linear maps of their gates is
//! seen nowhere else. Where nobody wants to know it, Burn's own run.

/// The recorders of a layer of two directions, under the names of its parts.
#[derive(Clone, Debug)]
pub struct BiRecorders<R> {
    forward: R,
    reverse: R,
}

/// Declares the recorders of a layer of two directions, by those of a direction.
macro_rules! two_directions {
    ($layer:ident, $recorders:ident) => {
        impl<B: Backend> crate::layers::RecordedLayer<B> for $layer<B> {
            type Recorders = crate::layers::recurrent::BiRecorders<$recorders<B>>;
        }

        impl<B: Backend> LayerRecorders<$layer<B>, B>
            for crate::layers::recurrent::BiRecorders<$recorders<B>>
        {
            fn new(layer: &$layer<B>) -> Self {
                Self {
                    forward: $recorders::new(&layer.forward),
                    reverse: $recorders::new(&layer.reverse),
                }
            }

            fn map(&self, layer: &$layer<B>, function: &mut Function<'_, B>) -> Self {
                Self {
                    forward: self.forward.map(&layer.forward, function),
                    reverse: self.reverse.map(&layer.reverse, function),
                }
            }
        }
    };
}

mod gru;
mod lstm;
mod rnn;

pub use gru::{MacBiGru, MacGru};
pub use lstm::{MacBiLstm, MacLstm};
pub use rnn::{MacBiRnn, MacRnn};

use super::recorded::sealed::{Function, LayerRecorders};
use crate::layer::Layer;
use crate::statistics::{MapPass, Recorder, SharedInput, StepOutputs, untracked};
use burn::nn::GateController;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use std::sync::Arc;

/// The recorders of a gate, under the names of its linear maps.
#[derive(Clone, Debug, Default)]
pub(super) struct GateRecorders<B: Backend> {
    input_transform: Recorder<B>,
    hidden_transform: Recorder<B>,
}

impl<B: Backend> LayerRecorders<GateController<B>, B> for GateRecorders<B> {
    fn new(_gate: &GateController<B>) -> Self {
        Self::default()
    }

    fn map(&self, gate: &GateController<B>, function: &mut Function<'_, B>) -> Self {
        let (input, hidden) = (&gate.input_transform, &gate.hidden_transform);
        Self {
            input_transform: function.call(&self.input_transform, Layer::linear(input)),
            hidden_transform: function.call(&self.hidden_transform, Layer::linear(hidden)),
        }
    }
}

/// The recording of a gate in one pass.
struct GatePass<B: Backend> {
    input_transform: Arc<MapPass<B>>,
    hidden_transform: Arc<MapPass<B>>,
    /// The sums of both maps' outputs; of the first alone where the second's are used on their own.
    outputs: StepOutputs<B>,
    /// The second map's own outputs, where they are multiplied before they are added.
    hidden_outputs: Option<StepOutputs<B>>,
}

impl<B: Backend> GatePass<B> {
    /// The pass of a gate that is about to run.
    ///
    /// - size: samples and steps
    /// - hidden_is_apart: whether the output of the second map is multiplied before it is added to that of the first
    fn begin(
        recorders: &GateRecorders<B>,
        gate: &GateController<B>,
        size: [usize; 2],
        device: &B::Device,
        hidden_is_apart: bool,
    ) -> Self {
        let (input, hidden) = (&recorders.input_transform, &recorders.hidden_transform);
        let input = Arc::new(input.begin_steps(&gate.input_transform, device));
        let hidden = Arc::new(hidden.begin_steps(&gate.hidden_transform, device));
        let ([samples, steps], [_, outputs]) = (size, gate.input_transform.weight.dims());
        let outputs_of = |maps| StepOutputs::new(maps, [samples, steps, outputs]);
        let (outputs, hidden_outputs) = match hidden_is_apart {
            false => (outputs_of(vec![input.clone(), hidden.clone()]), None),
            true => {
                let hidden_outputs = outputs_of(vec![hidden.clone()]);
                (outputs_of(vec![input.clone()]), Some(hidden_outputs))
            }
        };
        Self {
            input_transform: input,
            hidden_transform: hidden,
            outputs,
            hidden_outputs,
        }
    }

    /// Whether anybody wants to know what the gate sees.
    fn is_observed(&self) -> bool {
        self.input_transform.is_observed() || self.hidden_transform.is_observed()
    }

    /// Burn's product of a gate at a step, recorded.
    fn product(
        &self,
        gate: &GateController<B>,
        step: usize,
        input: &Tensor<B, 2>,
        hidden: &Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let product = gate.gate_product(input.clone(), hidden.clone());
        self.outputs.observe(step, product)
    }

    /// Ends the forward pass with all that the gate's maps saw.
    fn end(&self, inputs: &mut SharedInput<B, 3>, hidden: &mut SharedInput<B, 3>) {
        self.input_transform.end(inputs);
        self.hidden_transform.end(hidden);
    }
}

/// The samples and steps of an input with these first dimensions.
fn samples_and_steps([first, second]: [usize; 2], batch_first: bool) -> [usize; 2] {
    match batch_first {
        true => [first, second],
        false => [second, first],
    }
}

/// The tensor as `[samples, steps, size]`, or such a one in the layer's own order.
fn swapped_unless<B: Backend>(batch_first: bool, tensor: Tensor<B, 3>) -> Tensor<B, 3> {
    match batch_first {
        true => tensor,
        false => tensor.swap_dims(0, 1),
    }
}

/// The state of a direction, `[samples, d_hidden]`, of those of both.
fn state_of<B: Backend>(
    direction: usize,
    states: &Tensor<B, 3>,
    samples: usize,
    d_hidden: usize,
) -> Tensor<B, 2> {
    let range = direction..direction + 1;
    let state = states.clone().slice([range, 0..samples, 0..d_hidden]);
    state.squeeze_dim(0)
}

/// The steps of a sequence, in the order in which a layer takes them.
struct Steps<B: Backend> {
    /// `[samples, steps, size]`.
    input: Tensor<B, 3>,
    reverse: bool,
}

/// The input of a step, `[samples, size]`, and its place in the sequence.
type Step<B> = (Tensor<B, 2>, usize);

impl<B: Backend> Steps<B> {
    fn new(input: Tensor<B, 3>, reverse: bool) -> Self {
        Self { input, reverse }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = Step<B>>> {
        let [_, steps, _] = self.input.dims();
        let inputs = self.input.clone().iter_dim(1);
        match self.reverse {
            false => Box::new(inputs.map(|input| input.squeeze_dim(1)).zip(0..steps)),
            true => {
                let inputs = inputs.rev().map(|input| input.squeeze_dim(1));
                Box::new(inputs.zip((0..steps).rev()))
            }
        }
    }

    /// The output before the first step, `[samples, steps, d_hidden]`.
    fn no_output(&self, d_hidden: usize) -> Tensor<B, 3> {
        let [samples, steps, _] = self.input.dims();
        Tensor::empty([samples, steps, d_hidden], &self.input.device())
    }

    /// The state where none is given.
    fn zero_state(&self, d_hidden: usize) -> Tensor<B, 2> {
        let [samples, ..] = self.input.dims();
        Tensor::zeros([samples, d_hidden], &self.input.device())
    }

    /// The hidden states that the steps saw: the initial one, and the output but for the step that was taken last. Their order is not that of the steps.
    fn hidden_seen(&self, initial: &Tensor<B, 2>, output: &Tensor<B, 3>) -> SharedInput<B, 3> {
        let [_, steps, _] = output.dims();
        let initial = untracked(initial).unsqueeze_dim(1);
        if steps == 1 {
            return SharedInput::new(initial);
        }
        let start = usize::from(self.reverse);
        let others = untracked(output).narrow(1, start, steps - 1);
        SharedInput::new(Tensor::cat(vec![initial, others], 1))
    }
}

/// The output with the hidden state of a place in the sequence.
fn with_output<B: Backend>(
    output: Tensor<B, 3>,
    place: usize,
    hidden: &Tensor<B, 2>,
) -> Tensor<B, 3> {
    let [samples, _, size] = output.dims();
    output.slice_assign(
        [0..samples, place..place + 1, 0..size],
        hidden.clone().unsqueeze_dim(1),
    )
}
