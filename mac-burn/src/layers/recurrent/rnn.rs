use super::{
    GatePass, GateRecorders, Steps, samples_and_steps, state_of, swapped_unless, with_output,
};
use crate::layers::recorded::sealed::{Function, LayerRecorders};
use crate::layers::{Recorded, RecordedLayer};
use crate::statistics::SharedInput;
use burn::nn::{BiRnn, Rnn, RnnState};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Burn's [`Rnn`], recorded: the linear maps of its gate as those of a [`MacLstm`](crate::MacLstm).
///
/// ```
/// use burn::nn::RnnConfig;
/// use burn::tensor::Tensor;
/// use mac_burn::MacRnn;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
///
/// let rnn: MacRnn<B> = RnnConfig::new(8, 4, true).init(&device).into();
/// let (output, state) = rnn.forward(Tensor::ones([2, 5, 8], &device), None);
/// assert_eq!((output.dims(), state.hidden.dims()), ([2, 5, 4], [2, 4]));
/// ```
pub type MacRnn<B> = Recorded<Rnn<B>, B>;

/// Burn's [`BiRnn`], recorded: each direction as [`MacRnn`].
pub type MacBiRnn<B> = Recorded<BiRnn<B>, B>;

/// The recorders of an RNN, under the name of its gate.
#[derive(Clone, Debug, Default)]
pub struct RnnRecorders<B: Backend> {
    gate: GateRecorders<B>,
}

impl<B: Backend> RecordedLayer<B> for Rnn<B> {
    type Recorders = RnnRecorders<B>;
}

impl<B: Backend> LayerRecorders<Rnn<B>, B> for RnnRecorders<B> {
    fn new(_layer: &Rnn<B>) -> Self {
        Self::default()
    }

    fn map(&self, layer: &Rnn<B>, function: &mut Function<'_, B>) -> Self {
        Self {
            gate: self.gate.map(&layer.gate, function),
        }
    }
}

two_directions!(BiRnn, RnnRecorders);

impl<B: Backend> RnnRecorders<B> {
    fn begin(&self, layer: &Rnn<B>, size: [usize; 2], device: &B::Device) -> GatePass<B> {
        GatePass::begin(&self.gate, &layer.gate, size, device, false)
    }
}

impl<B: Backend> Recorded<Rnn<B>, B> {
    /// Applies the layer and records what its gate sees, see [`Rnn::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[batch, steps, d_input]`
    /// - state: `[batch, d_hidden]`, zeros if there is none
    /// - output: `[batch, steps, d_hidden]`, and the last state
    ///
    /// Without `batch_first`, steps are the first dimension of input and output.
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        state: Option<RnnState<B, 2>>,
    ) -> (Tensor<B, 3>, RnnState<B, 2>) {
        let layer: &Rnn<B> = self;
        let [first, second, _] = input.dims();
        let size = samples_and_steps([first, second], layer.batch_first);
        let pass = self.recorders.begin(layer, size, &input.device());
        if !pass.is_observed() || size.contains(&0) {
            return layer.forward(input, state);
        }
        run(layer, &pass, input, None, state)
    }
}

impl<B: Backend> Recorded<BiRnn<B>, B> {
    /// Applies the layer and records what the gates of both directions see, see [`BiRnn::forward`].
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
        state: Option<RnnState<B, 3>>,
    ) -> (Tensor<B, 3>, RnnState<B, 3>) {
        let layer: &BiRnn<B> = self;
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
            let hidden = &state.as_ref()?.hidden;
            let hidden = state_of(direction, hidden, size[0], layer.d_hidden);
            Some(RnnState::new(hidden))
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
        (
            swapped_unless(layer.batch_first, output),
            RnnState::new(Tensor::stack(vec![state.hidden, reverse_state.hidden], 0)),
        )
    }
}

/// Burn's forward pass, recorded. The sums of the input are those of `seen`, unless the layer sees it with other samples.
fn run<B: Backend>(
    layer: &Rnn<B>,
    pass: &GatePass<B>,
    input: Tensor<B, 3>,
    seen: Option<&mut SharedInput<B, 3>>,
    state: Option<RnnState<B, 2>>,
) -> (Tensor<B, 3>, RnnState<B, 2>) {
    let input = swapped_unless(layer.batch_first, input);
    let mut own = SharedInput::new(input.clone());
    let seen = seen.filter(|_| layer.batch_first).unwrap_or(&mut own);
    let steps = Steps::new(input, layer.reverse);
    let (output, state) = run_steps(layer, pass, &steps, seen, state);
    (swapped_unless(layer.batch_first, output), state)
}

fn run_steps<B: Backend>(
    layer: &Rnn<B>,
    pass: &GatePass<B>,
    steps: &Steps<B>,
    seen: &mut SharedInput<B, 3>,
    state: Option<RnnState<B, 2>>,
) -> (Tensor<B, 3>, RnnState<B, 2>) {
    let mut output = steps.no_output(layer.d_hidden);
    let initial = match state {
        Some(state) => state.hidden,
        None => steps.zero_state(layer.d_hidden),
    };
    let mut hidden = initial.clone();
    for (step, (input, place)) in steps.iter().enumerate() {
        let product = pass.product(&layer.gate, step, &input, &hidden);
        hidden = layer.hidden_activation.forward(product);
        if let Some(clip) = layer.clip {
            hidden = hidden.clamp(-clip, clip);
        }
        output = with_output(output, place, &hidden);
    }
    pass.end(seen, &mut steps.hidden_seen(&initial, &output));
    (output, RnnState::new(hidden))
}
