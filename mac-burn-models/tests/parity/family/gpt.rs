//! GPT-2 by nanoGPT's definition, which the authors use.

use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};
use mac_burn_models::gpt::{Gpt, GptConfig, authors_name};
use serde::Deserialize;

use super::Built;
use crate::{
    batch::Signal,
    construction::Construction,
    error::ParityError,
    subject::{Named, Network, Subject},
};

/// The fields of nanoGPT's `GPTConfig`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    block_size: usize,
    vocab_size: usize,
    n_layer: usize,
    n_head: usize,
    n_embd: usize,
    dropout: f64,
    bias: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            block_size: 1024,
            vocab_size: 50_304,
            n_layer: 12,
            n_head: 12,
            n_embd: 768,
            dropout: 0.0,
            bias: true,
        }
    }
}

impl<B: Backend> Network<B> for Gpt<B> {
    fn logits(&self, input: Signal<B>) -> Result<Tensor<B, 2>, ParityError> {
        Ok(self.forward(input.tokens()?).flatten(0, 1))
    }
}

/// A network of this family, if the construction is one.
pub(super) fn build<B: AutodiffBackend>(
    construction: &Construction,
    device: &B::Device,
) -> Built<B> {
    match construction.source() {
        ("nanogpt/model.py", "GPT") => {
            let config = configuration(construction)?;
            let network = Named::new(config.init::<B>(device), authors_name);
            Ok(Some(Box::new(network)))
        }
        _ => Ok(None),
    }
}

/// A network of a configuration.
pub(crate) fn gpt<B: AutodiffBackend>(config: &GptConfig) -> Box<dyn Subject<B>> {
    Box::new(Named::new(
        config.init::<B>(&Default::default()),
        authors_name,
    ))
}

fn configuration(construction: &Construction) -> Result<GptConfig, ParityError> {
    let arguments: Arguments = construction.arguments()?;
    if arguments.dropout != 0.0 {
        return Err(construction.unsupported("drops at random"));
    }

    Ok(GptConfig::new(arguments.vocab_size)
        .with_context_size(arguments.block_size)
        .with_n_layers(arguments.n_layer)
        .with_n_heads(arguments.n_head)
        .with_d_model(arguments.n_embd)
        .with_bias(arguments.bias))
}
