//! GPT-2, as nanoGPT has it: a transformer that gives the logits of each next token.
//!
//! A. Radford et al., ["Language Models are Unsupervised Multitask
//! Learners"](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf), 2019; A.
//! Karpathy, [nanoGPT](https://github.com/karpathy/nanoGPT), from whose definition the networks of the MAC paper are made.

mod block;
mod config;
mod model;
mod names;

pub use block::GptBlock;
pub use config::GptConfig;
pub use model::Gpt;
pub use names::authors_name;

#[cfg(test)]
mod tests;
