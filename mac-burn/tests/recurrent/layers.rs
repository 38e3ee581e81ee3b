//! The layers, and one way to run all of them.

use crate::support::{filled, random};
use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::nn::{
    BiGru, BiGruConfig, BiLstm, BiLstmConfig, BiRnn, BiRnnConfig, Gru, GruConfig, Lstm, LstmConfig,
    LstmState, Rnn, RnnConfig, RnnState, SwiGlu, SwiGluConfig,
};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::Recorded;
use proptest::prelude::*;

/// The settings and the input of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) steps: usize,
    pub(crate) d_input: usize,
    pub(crate) d_hidden: usize,
    pub(crate) bias: bool,
    pub(crate) batch_first: bool,
    /// Also of the forward half of a layer of two directions.
    pub(crate) reverse: bool,
    pub(crate) input_forget: bool,
    pub(crate) reset_after: bool,
    pub(crate) clip: Option<f64>,
    pub(crate) other_activations: bool,
    pub(crate) has_state: bool,
    pub(crate) seed: u64,
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1..4usize, 1..5usize, 1..4usize, 1..4usize);
    let flags = any::<[bool; 7]>();
    let clip = prop::option::weighted(0.3, Just(0.4));
    (sizes, flags, clip, any::<u64>()).prop_map(|(sizes, flags, clip, seed)| {
        let (batch, steps, d_input, d_hidden) = sizes;
        let [
            bias,
            batch_first,
            reverse,
            input_forget,
            reset_after,
            other_activations,
            has_state,
        ] = flags;
        Case {
            batch,
            steps,
            d_input,
            d_hidden,
            bias,
            batch_first,
            reverse,
            input_forget,
            reset_after,
            clip,
            other_activations,
            has_state,
            seed,
        }
    })
}

impl Case {
    /// Activations of gates, of candidates and of hidden states.
    fn activations(&self) -> [ActivationConfig; 3] {
        use ActivationConfig::{Gelu, Sigmoid, Softsign, Tanh};
        match self.other_activations {
            true => [Tanh, Softsign, Gelu],
            false => [Sigmoid, Tanh, Tanh],
        }
    }

    fn filled<B: Backend, M: Module<B>>(&self, layer: M) -> M {
        filled(layer, self.seed)
    }

    pub(crate) fn lstm<B: Backend>(&self) -> Lstm<B> {
        let [gate, cell, hidden] = self.activations();
        let config = LstmConfig::new(self.d_input, self.d_hidden, self.bias)
            .with_batch_first(self.batch_first)
            .with_reverse(self.reverse)
            .with_clip(self.clip)
            .with_input_forget(self.input_forget)
            .with_gate_activation(gate)
            .with_cell_activation(cell)
            .with_hidden_activation(hidden);
        self.filled(config.init(&Default::default()))
    }

    pub(crate) fn bi_lstm<B: Backend>(&self) -> BiLstm<B> {
        let [gate, cell, hidden] = self.activations();
        let config = BiLstmConfig::new(self.d_input, self.d_hidden, self.bias)
            .with_batch_first(self.batch_first)
            .with_clip(self.clip)
            .with_input_forget(self.input_forget)
            .with_gate_activation(gate)
            .with_cell_activation(cell)
            .with_hidden_activation(hidden);
        let mut layer = config.init(&Default::default());
        layer.forward.reverse = self.reverse;
        self.filled(layer)
    }

    pub(crate) fn gru<B: Backend>(&self) -> Gru<B> {
        let [gate, _, hidden] = self.activations();
        let config = GruConfig::new(self.d_input, self.d_hidden, self.bias)
            .with_reset_after(self.reset_after)
            .with_clip(self.clip)
            .with_gate_activation(gate)
            .with_hidden_activation(hidden);
        self.filled(config.init(&Default::default()))
    }

    pub(crate) fn bi_gru<B: Backend>(&self) -> BiGru<B> {
        let [gate, _, hidden] = self.activations();
        let config = BiGruConfig::new(self.d_input, self.d_hidden, self.bias)
            .with_reset_after(self.reset_after)
            .with_batch_first(self.batch_first)
            .with_clip(self.clip)
            .with_gate_activation(gate)
            .with_hidden_activation(hidden);
        self.filled(config.init(&Default::default()))
    }

    pub(crate) fn rnn<B: Backend>(&self) -> Rnn<B> {
        let [_, _, hidden] = self.activations();
        let config = RnnConfig::new(self.d_input, self.d_hidden, self.bias)
            .with_batch_first(self.batch_first)
            .with_reverse(self.reverse)
            .with_clip(self.clip)
            .with_hidden_activation(hidden);
        self.filled(config.init(&Default::default()))
    }

    pub(crate) fn bi_rnn<B: Backend>(&self) -> BiRnn<B> {
        let [_, _, hidden] = self.activations();
        let config = BiRnnConfig::new(self.d_input, self.d_hidden, self.bias)
            .with_batch_first(self.batch_first)
            .with_clip(self.clip)
            .with_hidden_activation(hidden);
        let mut layer = config.init(&Default::default());
        layer.forward.reverse = self.reverse;
        self.filled(layer)
    }

    pub(crate) fn swiglu<B: Backend>(&self) -> SwiGlu<B> {
        let config = SwiGluConfig::new(self.d_input, self.d_hidden).with_bias(self.bias);
        self.filled(config.init(&Default::default()))
    }

    /// An input of a pass, and states of both directions if there are any.
    pub(crate) fn input<B: Backend, L: Runs<B>>(&self, pass: u64) -> Input<B> {
        let seed = self.seed.wrapping_add(100 * pass);
        let batch_first = self.batch_first || L::IS_BATCH_FIRST;
        let shape = match batch_first {
            true => [self.batch, self.steps, self.d_input],
            false => [self.steps, self.batch, self.d_input],
        };
        let states = [1, 2].map(|of| {
            let shape = [L::DIRECTIONS, self.batch, self.d_hidden];
            random(shape, seed.wrapping_add(of))
        });
        Input {
            sequence: random(shape, seed),
            states: self.has_state.then_some(states),
        }
    }

    /// The dimension of the steps in the output.
    pub(crate) fn steps_dimension<B: Backend, L: Runs<B>>(&self) -> usize {
        usize::from(self.batch_first || L::IS_BATCH_FIRST)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Input<B: Backend> {
    pub(crate) sequence: Tensor<B, 3>,
    /// Cell and hidden, `[directions, batch, d_hidden]`.
    pub(crate) states: Option<[Tensor<B, 3>; 2]>,
}

impl<B: Backend> Input<B> {
    pub(crate) fn hidden(&self) -> Option<Tensor<B, 3>> {
        Some(self.states.as_ref()?[1].clone())
    }

    fn lstm_states(&self) -> Option<LstmState<B, 3>> {
        let [cell, hidden] = self.states.clone()?;
        Some(LstmState::new(cell, hidden))
    }
}

fn lstm_state<B: Backend>(state: LstmState<B, 3>) -> LstmState<B, 2> {
    LstmState::new(state.cell.squeeze_dim(0), state.hidden.squeeze_dim(0))
}

/// A layer that runs, recorded or not.
pub(crate) trait Runs<B: Backend> {
    const DIRECTIONS: usize;
    /// Whether its input is always.
    const IS_BATCH_FIRST: bool;

    /// The output, and the last states if it has any: cell and hidden, `[directions, batch, d_hidden]`.
    fn run(&self, input: Input<B>) -> Vec<Tensor<B, 3>>;
}

macro_rules! runs {
    ($layer:ident, $directions:expr, $is_batch_first:expr, |$this:ident, $input:ident| $body:expr) => {
        impl<B: Backend> Runs<B> for $layer<B> {
            const DIRECTIONS: usize = $directions;
            const IS_BATCH_FIRST: bool = $is_batch_first;

            fn run(&self, $input: Input<B>) -> Vec<Tensor<B, 3>> {
                let $this = self;
                $body
            }
        }

        impl<B: Backend> Runs<B> for Recorded<$layer<B>, B> {
            const DIRECTIONS: usize = $directions;
            const IS_BATCH_FIRST: bool = $is_batch_first;

            fn run(&self, $input: Input<B>) -> Vec<Tensor<B, 3>> {
                let $this = self;
                $body
            }
        }
    };
}

runs!(Lstm, 1, false, |layer, input| {
    let states = input.lstm_states().map(lstm_state);
    let (output, state) = layer.forward(input.sequence, states);
    vec![output, state.cell.unsqueeze(), state.hidden.unsqueeze()]
});

runs!(BiLstm, 2, false, |layer, input| {
    let states = input.lstm_states();
    let (output, state) = layer.forward(input.sequence, states);
    vec![output, state.cell, state.hidden]
});

runs!(Rnn, 1, false, |layer, input| {
    let state = input
        .hidden()
        .map(|hidden| RnnState::new(hidden.squeeze_dim(0)));
    let (output, state) = layer.forward(input.sequence, state);
    vec![output, state.hidden.unsqueeze()]
});

runs!(BiRnn, 2, false, |layer, input| {
    let state = input.hidden().map(RnnState::new);
    let (output, state) = layer.forward(input.sequence, state);
    vec![output, state.hidden]
});

runs!(Gru, 1, true, |layer, input| {
    let state = input.hidden().map(|hidden| hidden.squeeze_dim(0));
    vec![layer.forward(input.sequence, state)]
});

runs!(BiGru, 2, false, |layer, input| {
    let state = input.hidden();
    let (output, state) = layer.forward(input.sequence, state);
    vec![output, state]
});

runs!(SwiGlu, 1, true, |layer, input| {
    vec![layer.forward(input.sequence)]
});
