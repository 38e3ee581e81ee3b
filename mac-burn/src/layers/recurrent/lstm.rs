use super::{
    GatePass, GateRecorders, Steps, samples_and_steps, state_of, swapped_unless, with_output,
};
use crate::layers::recorded::sealed::{Function, LayerRecorders};
use crate::layers::{Recorded, RecordedLayer};
use crate::statistics::SharedInput;
use burn::nn::{BiLstm, Lstm, LstmState};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Burn's [`Lstm`], recorded.
///
/// Each gate is a sum of two linear maps, and each of these is preconditioned by what it sees over all samples and steps, as a
/// [`MacLinear`](crate::MacLinear) is by its tokens:
///
/// ```text
/// input_transform:   x_t       (1 ≤ t ≤ steps)
/// hidden_transform:  h_(t-1)   (the initial state h_0 counts, even if it is zeros)
/// ```
///
/// Their outputs are added up, so both have the gradient at the gate's pre-activation. Curvatures that are made of gradients at outputs, those of SMAC, Eva
/// and K-FAC, keep the gradients of all steps until the backward pass is through. A map's rows are its steps; with
/// [`WeightSharing::Reduce`](crate::WeightSharing::Reduce) a sequence is one row.
///
/// With `input_forget` the forget gate is not used, and sees nothing.
///
/// ```
/// use burn::nn::LstmConfig;
/// use burn::tensor::Tensor;
/// use mac_burn::MacLstm;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
///
/// let lstm: MacLstm<B> = LstmConfig::new(8, 4, true).init(&device).into();
/// let (output, state) = lstm.forward(Tensor::ones([2, 5, 8], &device), None);
/// assert_eq!((output.dims(), state.cell.dims()), ([2, 5, 4], [2, 4]));
/// ```
pub type MacLstm<B> = Recorded<Lstm<B>, B>;

/// Burn's [`BiLstm`], recorded: each direction as [`MacLstm`]. Both see the same input, whose sums are made once.
pub type MacBiLstm<B> = Recorded<BiLstm<B>, B>;

/// The recorders of an LSTM, under the names of its gates.
#[derive(Clone, Debug, Default)]
pub struct LstmRecorders<B: Backend> {
    input_gate: GateRecorders<B>,
    forget_gate: GateRecorders<B>,
    output_gate: GateRecorders<B>,
    cell_gate: GateRecorders<B>,
}

impl<B: Backend> RecordedLayer<B> for Lstm<B> {
    type Recorders = LstmRecorders<B>;
}

impl<B: Backend> LayerRecorders<Lstm<B>, B> for LstmRecorders<B> {
    fn new(_layer: &Lstm<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &Lstm<B>, function: &mut Function<'_, B>) -> Self {
        Self {
            input_gate: self.input_gate.map(&layer.input_gate, function),
            forget_gate: self.forget_gate.map(&layer.forget_gate, function),
            output_gate: self.output_gate.map(&layer.output_gate, function),
            cell_gate: self.cell_gate.map(&layer.cell_gate, function),
        }
    }
}

two_directions!(BiLstm, LstmRecorders);

/// The recording of the gates in one pass.
struct LstmPass<B: Backend> {
    input: GatePass<B>,
    /// None where the gate is not used.
    forget: Option<GatePass<B>>,
    output: GatePass<B>,
    cell: GatePass<B>,
}

impl<B: Backend> LstmRecorders<B> {
    fn begin(&self, layer: &Lstm<B>, size: [usize; 2], device: &B::Device) -> LstmPass<B> {
        let begin = |recorders, gate| GatePass::begin(recorders, gate, size, device, false);
        let forget = || begin(&self.forget_gate, &layer.forget_gate);
        LstmPass {
            input: begin(&self.input_gate, &layer.input_gate),
            forget: (!layer.input_forget).then(forget),
            output: begin(&self.output_gate, &layer.output_gate),
            cell: begin(&self.cell_gate, &layer.cell_gate),
        }
    }
}

impl<B: Backend> LstmPass<B> {
    fn gates(&self) -> impl Iterator<Item = &GatePass<B>> {
        let others = [&self.input, &self.output, &self.cell];
        self.forget.iter().chain(others)
    }

    fn is_observed(&self) -> bool {
        self.gates().any(GatePass::is_observed)
    }
}

impl<B: Backend> Recorded<Lstm<B>, B> {
    /// Applies the layer and records what its gates see, see [`Lstm::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[batch, steps, d_input]`
    /// - state: cell and hidden `[batch, d_hidden]`, zeros if there is none
    /// - output: `[batch, steps, d_hidden]`, and the last state
    ///
    /// Without `batch_first`, steps are the first dimension of input and output.
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        state: Option<LstmState<B, 2>>,
    ) -> (Tensor<B, 3>, LstmState<B, 2>) {
        let layer: &Lstm<B> = self;
        let [first, second, _] = input.dims();
        let size = samples_and_steps([first, second], layer.batch_first);
        let pass = self.recorders.begin(layer, size, &input.device());
        if !pass.is_observed() || size.contains(&0) {
            return layer.forward(input, state);
        }
        run(layer, &pass, input, None, state)
    }
}

impl<B: Backend> Recorded<BiLstm<B>, B> {
    /// Applies the layer and records what the gates of both directions see, see [`BiLstm::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[batch, steps, d_input]`
    /// - state: cell and hidden `[2, batch, d_hidden]`, zeros if there is none
    /// - output: `[batch, steps, 2 · d_hidden]`, and the last states
    ///
    /// Without `batch_first`, steps are the first dimension of input and output.
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        state: Option<LstmState<B, 3>>,
    ) -> (Tensor<B, 3>, LstmState<B, 3>) {
        let layer: &BiLstm<B> = self;
        let (forward, reverse) = (&layer.forward, &layer.reverse);
        let [first, second, _] = input.dims();
        let size = samples_and_steps([first, second], layer.batch_first);
        let (recorders, device) = (&self.recorders, input.device());
        // The forward half takes the input by its own flags, the reverse half has none.
        let size_forward = samples_and_steps(size, forward.batch_first);
        let forward_pass = recorders.forward.begin(forward, size_forward, &device);
        let reverse_pass = recorders.reverse.begin(reverse, size, &device);
        let is_observed = forward_pass.is_observed() || reverse_pass.is_observed();
        if !is_observed || size.contains(&0) {
            return layer.forward(input, state);
        }

        let [start, reverse_start] = [0, 1].map(|direction| {
            let state = state.as_ref()?;
            let of = |states| state_of(direction, states, size[0], layer.d_hidden);
            Some(LstmState::new(of(&state.cell), of(&state.hidden)))
        });
        let input = swapped_unless(layer.batch_first, input);
        let mut seen = SharedInput::new(input.clone());
        let (output, state) = run(
            forward,
            &forward_pass,
            input.clone(),
            Some(&mut seen),
            start,
        );
        let steps = Steps::new(input, true);
        let (reverse_output, reverse_state) =
            run_steps(reverse, &reverse_pass, &steps, &mut seen, reverse_start);
        let output = Tensor::cat(vec![output, reverse_output], 2);
        let cell = Tensor::stack(vec![state.cell, reverse_state.cell], 0);
        let hidden = Tensor::stack(vec![state.hidden, reverse_state.hidden], 0);
        (
            swapped_unless(layer.batch_first, output),
            LstmState::new(cell, hidden),
        )
    }
}

/// Burn's forward pass, recorded. The sums of the input are those of `seen`, unless the layer sees it with other samples.
fn run<B: Backend>(
    layer: &Lstm<B>,
    pass: &LstmPass<B>,
    input: Tensor<B, 3>,
    seen: Option<&mut SharedInput<B, 3>>,
    state: Option<LstmState<B, 2>>,
) -> (Tensor<B, 3>, LstmState<B, 2>) {
    let input = swapped_unless(layer.batch_first, input);
    let mut own = SharedInput::new(input.clone());
    let seen = seen.filter(|_| layer.batch_first).unwrap_or(&mut own);
    let steps = Steps::new(input, layer.reverse);
    let (output, state) = run_steps(layer, pass, &steps, seen, state);
    (swapped_unless(layer.batch_first, output), state)
}

fn run_steps<B: Backend>(
    layer: &Lstm<B>,
    pass: &LstmPass<B>,
    steps: &Steps<B>,
    seen: &mut SharedInput<B, 3>,
    state: Option<LstmState<B, 2>>,
) -> (Tensor<B, 3>, LstmState<B, 2>) {
    let mut output = steps.no_output(layer.d_hidden);
    let (mut cell, initial) = match state {
        Some(state) => (state.cell, state.hidden),
        None => (
            steps.zero_state(layer.d_hidden),
            steps.zero_state(layer.d_hidden),
        ),
    };
    let mut hidden = initial.clone();
    for (step, (input, place)) in steps.iter().enumerate() {
        let product = pass.input.product(&layer.input_gate, step, &input, &hidden);
        let input_values = layer.gate_activation.forward(product);
        let forget_values = match &pass.forget {
            None => input_values.clone().neg().add_scalar(1.0),
            Some(pass) => {
                let product = pass.product(&layer.forget_gate, step, &input, &hidden);
                layer.gate_activation.forward(product)
            }
        };
        let product = pass
            .output
            .product(&layer.output_gate, step, &input, &hidden);
        let output_values = layer.gate_activation.forward(product);
        let product = pass.cell.product(&layer.cell_gate, step, &input, &hidden);
        let candidate = layer.cell_activation.forward(product);

        cell = forget_values * cell + input_values * candidate;
        if let Some(clip) = layer.clip {
            cell = cell.clamp(-clip, clip);
        }
        hidden = output_values * layer.hidden_activation.forward(cell.clone());
        output = with_output(output, place, &hidden);
    }
    let mut hidden_seen = steps.hidden_seen(&initial, &output);
    for gate in pass.gates() {
        gate.end(seen, &mut hidden_seen);
    }
    (output, LstmState::new(cell, hidden))
}
