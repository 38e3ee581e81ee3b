use std::error::Error;
use std::time::{Duration, Instant};

use burn::optim::Optimizer;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{ElementConversion, Tensor};
use indicatif::ProgressBar;

use super::{Session, Task};

/// How a run does.
#[derive(Clone, Copy, Debug)]
pub struct Monitor {
    /// The number of steps taken.
    pub step: usize,
    /// The mean loss of the steps since the last time, in nats.
    pub train_loss: f64,
    /// The loss of what is not trained on, in nats.
    pub validation_loss: f64,
    /// The time of all steps since the run began or was resumed, without that of validation.
    pub seconds: f64,
}

/// The progress of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The number of steps taken.
    pub step: usize,
    /// The mean loss of the steps since the last time, in nats; none if a run is resumed that was finished.
    pub train_loss: Option<f64>,
    /// The loss of what is not trained on, in nats.
    pub validation_loss: f64,
    /// The time of all steps since the run began or was resumed, without that of validation.
    pub seconds: f64,
}

impl From<Monitor> for Progress {
    fn from(monitor: Monitor) -> Self {
        Self {
            step: monitor.step,
            train_loss: Some(monitor.train_loss),
            validation_loss: monitor.validation_loss,
            seconds: monitor.seconds,
        }
    }
}

/// The longest time without a line where there is no terminal for a bar.
const SILENCE: Duration = Duration::from_secs(60);

/// Takes the steps that are left, and calls `observe` after every `every` of them and after the last.
///
/// # Errors
/// The errors of `observe`, which end the training.
pub fn train<'a, B, T, O>(
    mut session: Session<'a, B, T, O>,
    every: usize,
    bar: &ProgressBar,
    mut observe: impl FnMut(&Session<'a, B, T, O>, Monitor) -> Result<(), Box<dyn Error>>,
) -> Result<Session<'a, B, T, O>, Box<dyn Error>>
where
    B: AutodiffBackend,
    T: Task<B>,
    O: Optimizer<T::Model, B>,
{
    let steps = session.schedule.steps;
    bar.set_length(steps as u64);
    bar.set_position(session.step as u64);
    let (mut seconds, mut start, mut told) = (0.0, Instant::now(), Instant::now());
    let mut losses: Vec<Tensor<B::InnerBackend, 1>> = Vec::new();
    while session.step < steps {
        let loss;
        (session, loss) = session.advance();
        losses.push(loss);
        bar.inc(1);
        if bar.is_hidden() && told.elapsed() >= SILENCE {
            eprintln!("step {} of {steps}", session.step);
            told = Instant::now();
        }
        if session.step.is_multiple_of(every) || session.step == steps {
            // Reading the losses waits for the steps.
            let train_loss = Tensor::cat(std::mem::take(&mut losses), 0).mean();
            let train_loss = train_loss.into_scalar().elem();
            seconds += start.elapsed().as_secs_f64();
            let monitor = Monitor {
                step: session.step,
                train_loss,
                validation_loss: session.validation_loss(),
                seconds,
            };
            observe(&session, monitor)?;
            start = Instant::now();
            told = start;
        }
    }
    bar.finish_and_clear();
    Ok(session)
}
