use super::{
    GatePass, GateRecorders, Steps, samples_and_steps, state_of, swapped_unless, with_output,
};
use crate::layers::recorded::sealed::{Function, LayerRecorders};
use crate::layers::{Recorded, RecordedLayer};
use crate::statistics::{SharedInput, untracked};
use burn::nn::{BiGru, GateController, Gru, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Burn's [`Gru`], recorded: the linear maps of its gates as those of a [`MacLstm`](crate::MacLstm), but for the new gate's hidden transform. With
/// the reset gate's values `r`, its input and the gradient at its output are, at each step,
///
/// ```text
/// reset_after:       h          and the gradient  r ∘ δ
/// not reset_after:   r ∘ h      and the gradient  δ
/// ```
///
/// where `δ` is the gradient at the gate's pre-activation.
///
/// ```
/// use burn::nn::GruConfig;
/// use burn::tensor::Tensor;
/// use mac_burn::MacGru;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
///
/// let gru: MacGru<B> = GruConfig::new(8, 4, true).init(&device).into();
/// let output = gru.forward(Tensor::ones([2, 5, 8], &device), None);
/// assert_eq!(output.dims(), [2, 5, 4]);
/// ```
pub type MacGru<B> = Recorded<Gru<B>, B>;

/// Burn's [`BiGru`], recorded: each direction as [`MacGru`]. Both see the same input, whose sums are made once.
pub type MacBiGru<B> = Recorded<BiGru<B>, B>;

/// The recorders of a GRU, under the names of its gates.
#[derive(Clone, Debug, Default)]
pub struct GruRecorders<B: Backend> {
    update_gate: GateRecorders<B>,
    reset_gate: GateRecorders<B>,
    new_gate: GateRecorders<B>,
}

impl<B: Backend> RecordedLayer<B> for Gru<B> {
    type Recorders = GruRecorders<B>;
}

impl<B: Backend> LayerRecorders<Gru<B>, B> for GruRecorders<B> {
    fn new(_layer: &Gru<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &Gru<B>, function: &mut Function<'_, B>) -> Self {
        Self {
            update_gate: self.update_gate.map(&layer.update_gate, function),
            reset_gate: self.reset_gate.map(&layer.reset_gate, function),
            new_gate: self.new_gate.map(&layer.new_gate, function),
        }
    }
}

two_directions!(BiGru, GruRecorders);

/// The recording of the gates in one pass.
struct GruPass<B: Backend> {
    update: GatePass<B>,
    reset: GatePass<B>,
    new: GatePass<B>,
}

impl<B: Backend> GruRecorders<B> {
    fn begin(&self, layer: &Gru<B>, size: [usize; 2], device: &B::Device) -> GruPass<B> {
        let begin = |recorders, gate, hidden_is_apart| {
            GatePass::begin(recorders, gate, size, device, hidden_is_apart)
        };
        GruPass {
            update: begin(&self.update_gate, &layer.update_gate, false),
            reset: begin(&self.reset_gate, &layer.reset_gate, false),
            new: begin(&self.new_gate, &layer.new_gate, layer.reset_after),
        }
    }
}

impl<B: Backend> GruPass<B> {
    fn is_observed(&self) -> bool {
        let gates = [&self.update, &self.reset, &self.new];
        gates.into_iter().any(GatePass::is_observed)
    }
}

impl<B: Backend> Recorded<Gru<B>, B> {
    /// Applies the layer and records what its gates see, see [`Gru::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[batch, steps, d_input]`
    /// - state: `[batch, d_hidden]`, zeros if there is none
    /// - output: `[batch, steps, d_hidden]`
    pub fn forward(&self, input: Tensor<B, 3>, state: Option<Tensor<B, 2>>) -> Tensor<B, 3> {
        let layer: &Gru<B> = self;
        let [samples, steps, _] = input.dims();
        let size = [samples, steps];
        let pass = self.recorders.begin(layer, size, &input.device());
        if !pass.is_observed() || size.contains(&0) {
            return layer.forward(input, state);
        }
        let mut seen = SharedInput::new(input.clone());
        run_steps(layer, &pass, &Steps::new(input, false), &mut seen, state).0
    }
}

impl<B: Backend> Recorded<BiGru<B>, B> {
    /// Applies the layer and records what the gates of both directions see, see [`BiGru::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[batch, steps, d_input]`
    /// - state: `[2, batch, d_hidden]`, zeros if there is none
    /// - output: `[batch, steps, 2 · d_hidden]`, and the last states
    ///
    /// Without `batch_first`, steps are the first dimension of input and output.
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        state: Option<Tensor<B, 3>>,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let layer: &BiGru<B> = self;
        let (forward, reverse) = (&layer.forward, &layer.reverse);
        let [first, second, _] = input.dims();
        let size = samples_and_steps([first, second], layer.batch_first);
        let (recorders, device) = (&self.recorders, input.device());
        let forward_pass = recorders.forward.begin(forward, size, &device);
        let reverse_pass = recorders.reverse.begin(reverse, size, &device);
        let is_observed = forward_pass.is_observed() || reverse_pass.is_observed();
        if !is_observed || size.contains(&0) {
            return layer.forward(input, state);
        }

        let [start, reverse_start] = [0, 1].map(|direction| {
            let states = state.as_ref()?;
            Some(state_of(direction, states, size[0], layer.d_hidden))
        });
        let input = swapped_unless(layer.batch_first, input);
        let mut seen = SharedInput::new(input.clone());
        let steps = Steps::new(input.clone(), false);
        let (output, state) = run_steps(forward, &forward_pass, &steps, &mut seen, start);
        let steps = Steps::new(input, true);
        let (reverse_output, reverse_state) =
            run_steps(reverse, &reverse_pass, &steps, &mut seen, reverse_start);
        let output = Tensor::cat(vec![output, reverse_output], 2);
        (
            swapped_unless(layer.batch_first, output),
            Tensor::stack(vec![state, reverse_state], 0),
        )
    }
}

/// Burn's forward pass, recorded.
fn run_steps<B: Backend>(
    layer: &Gru<B>,
    pass: &GruPass<B>,
    steps: &Steps<B>,
    seen: &mut SharedInput<B, 3>,
    state: Option<Tensor<B, 2>>,
) -> (Tensor<B, 3>, Tensor<B, 2>) {
    let mut output = steps.no_output(layer.d_hidden);
    let initial = state.unwrap_or_else(|| steps.zero_state(layer.d_hidden));
    let mut hidden = initial.clone();
    // What the new gate sees of the hidden states, where they are reset before.
    let mut all_reset = Vec::new();
    for (step, (input, place)) in steps.iter().enumerate() {
        let product = gate_product(
            &layer.update_gate,
            &pass.update,
            step,
            &input,
            &hidden,
            None,
        );
        let update_values = layer.gate_activation.forward(product);
        let product = gate_product(&layer.reset_gate, &pass.reset, step, &input, &hidden, None);
        let reset_values = layer.gate_activation.forward(product);
        let (gate, pass) = (&layer.new_gate, &pass.new);
        let product = match layer.reset_after {
            true => gate_product(gate, pass, step, &input, &hidden, Some(reset_values)),
            false => {
                let reset = hidden.clone().mul(reset_values);
                all_reset.push(untracked(&reset));
                gate_product(gate, pass, step, &input, &reset, None)
            }
        };
        let candidate = layer.hidden_activation.forward(product);

        let one_minus_update = update_values.clone().neg().add_scalar(1.0);
        hidden = candidate.mul(one_minus_update) + update_values.mul(hidden);
        if let Some(clip) = layer.clip {
            hidden = hidden.clamp(-clip, clip);
        }
        output = with_output(output, place, &hidden);
    }
    let mut hidden_seen = steps.hidden_seen(&initial, &output);
    pass.update.end(seen, &mut hidden_seen);
    pass.reset.end(seen, &mut hidden_seen);
    match layer.reset_after {
        true => pass.new.end(seen, &mut hidden_seen),
        false => {
            let reset = Tensor::stack(all_reset, 1);
            pass.new.end(seen, &mut SharedInput::new(reset));
        }
    }
    (output, hidden)
}

/// Burn's product of a gate at a step, recorded. It is not that of [`GateController`], whose operations differ.
fn gate_product<B: Backend>(
    gate: &GateController<B>,
    pass: &GatePass<B>,
    step: usize,
    input: &Tensor<B, 2>,
    hidden: &Tensor<B, 2>,
    reset: Option<Tensor<B, 2>>,
) -> Tensor<B, 2> {
    let part = |linear: &Linear<B>, input: &Tensor<B, 2>| {
        let product = input.clone().matmul(linear.weight.val());
        match &linear.bias {
            Some(bias) => product + bias.val().unsqueeze(),
            None => product,
        }
    };
    let input_part = part(&gate.input_transform, input);
    let hidden_part = part(&gate.hidden_transform, hidden);
    let hidden_part = match &pass.hidden_outputs {
        Some(outputs) => outputs.observe(step, hidden_part),
        None => hidden_part,
    };
    let product = match reset {
        Some(reset) => input_part + reset.mul(hidden_part),
        None => input_part + hidden_part,
    };
    pass.outputs.observe(step, product)
}
