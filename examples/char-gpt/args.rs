//! The command line of the example.

use std::error::Error;
use std::ops::Bound::Excluded;
use std::path::PathBuf;

use clap::Parser;
use mac_burn_examples::command_line::ChoosesOptimizer;
use mac_burn_examples::fingerprint::fingerprint;
use mac_burn_examples::interval::{at_least_one, number_in};
use mac_burn_examples::optimizers::{
    LearningRates, OptimizerArgs, OptimizerChoice, OptimizerDefaults,
};
use mac_burn_examples::tasks::Characters;
use mac_burn_examples::training::{Course, RunArgs};
use mac_burn_models::GptConfig;
use serde::Serialize;

/// Trains a GPT on the characters of a text, and lets it write.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// A text file to learn, in place of Hamlet
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,

    /// Context length, in characters
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    pub(crate) context_size: usize,

    /// Embedding dimension
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    d_model: usize,

    /// Number of attention heads; it must divide --d-model
    #[arg(long, default_value_t = 4, value_parser = at_least_one())]
    heads: usize,

    /// Number of transformer blocks
    #[arg(long, default_value_t = 3, value_parser = at_least_one())]
    layers: usize,

    /// The optimizer.
    #[command(flatten)]
    pub(crate) optimizer: OptimizerArgs,

    /// The course of the run.
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Characters to write after training, drawn from the seed
    #[arg(long, default_value_t = 200)]
    pub(crate) generate: usize,

    /// Sampling temperature, in (0, inf); close to 0 the most probable character is always chosen
    #[arg(long, allow_hyphen_values = true, default_value_t = 0.8,
          value_parser = number_in((Excluded(0.0), Excluded(f64::INFINITY))))]
    pub(crate) temperature: f64,

    /// Beginning of the written text [default: a new line, or the first character of a text without one]
    #[arg(long)]
    prompt: Option<String>,
}

/// Where the command line gives none; `--example race` compares others.
const RATES: LearningRates = LearningRates {
    mac: 1.0,
    sgd: 0.3,
    adamw: 3e-3,
};

fn course() -> Course {
    Course {
        steps: 600,
        batch_size: 32,
        every: 100,
        artifacts: "target/char-gpt".into(),
    }
}

/// The settings that a run that continues must have in common with this one, besides the optimizer.
#[derive(Serialize)]
pub(crate) struct RunConfig {
    /// The fingerprint of the text.
    text: u64,
    network: GptConfig,
}

impl ChoosesOptimizer for Args {
    fn optimizer(&self) -> OptimizerChoice {
        self.optimizer.choice(&self.optimizer_defaults())
    }

    fn defaults() -> Vec<(&'static str, String)> {
        let optimizer = OptimizerDefaults::transformer(RATES).in_words();
        [course().in_words(), optimizer].concat()
    }
}

impl Args {
    pub(crate) fn optimizer_defaults(&self) -> OptimizerDefaults {
        OptimizerDefaults::transformer(RATES)
    }

    pub(crate) fn course(&self) -> Course {
        self.run.course(course())
    }

    /// The network for a number of characters.
    pub(crate) fn network(&self, characters: usize) -> Result<GptConfig, Box<dyn Error>> {
        if !self.d_model.is_multiple_of(self.heads) {
            let (d_model, heads) = (self.d_model, self.heads);
            return Err(format!(
                "--heads must divide --d-model, and {heads} does not divide {d_model}"
            )
            .into());
        }
        Ok(GptConfig::new(characters)
            .with_context_size(self.context_size)
            .with_n_layers(self.layers)
            .with_n_heads(self.heads)
            .with_d_model(self.d_model))
    }

    /// The beginning of what is written by a network that has learnt the characters of `text`.
    ///
    /// # Errors
    /// If it is empty, or has a character that does not occur in the text.
    pub(crate) fn prompt(
        &self,
        text: &str,
        characters: &Characters,
    ) -> Result<Vec<i64>, Box<dyn Error>> {
        let usual = || match text.contains('\n') {
            true => "\n".to_string(),
            false => text.chars().take(1).collect(),
        };
        let prompt = self.prompt.clone().unwrap_or_else(usual);
        let encoded = characters.encode(&prompt);
        encoded.filter(|encoded| !encoded.is_empty()).ok_or_else(|| {
            format!("--prompt {prompt:?} must have one or more characters, all of which occur in the text").into()
        })
    }
}

impl RunConfig {
    /// Of a run that learns a text.
    pub(crate) fn new(text: &str, network: GptConfig) -> Self {
        let text = fingerprint(text);
        Self { text, network }
    }
}

#[cfg(test)]
mod tests;
