use crate::digits_run::{STEPS, train};
use crate::half_gradient::roundings;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, FloatDType};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The digits network trained in half precision.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HalfRun {
    pub(crate) dtype: String,
    /// Why it was not run, if so.
    pub(crate) unsupported: Option<String>,
    pub(crate) first_loss: f64,
    pub(crate) last_loss: f64,
    /// The type of the parameters after training.
    pub(crate) parameters: String,
    /// The type of the statistics after training.
    pub(crate) statistics: String,
    /// The largest error of a preconditioned gradient, in units of half an epsilon of its largest element.
    pub(crate) roundings: f64,
}

/// Half-precision types, and the distance of 1 to the next larger number of each.
const TYPES: [(DType, f64); 2] = [(DType::F16, 1.0 / 1024.0), (DType::BF16, 1.0 / 128.0)];

pub(crate) fn half_runs<B: AutodiffBackend>() -> Vec<HalfRun> {
    // The oracle is asked for its f64 only.
    if FloatDType::from(element_dtype::<B>()) == FloatDType::F64 {
        return Vec::new();
    }
    TYPES
        .map(|(dtype, epsilon)| half_run::<B>(dtype, epsilon))
        .into()
}

fn element_dtype<B: Backend>() -> DType {
    use burn::tensor::Element;
    B::FloatElem::dtype()
}

fn half_run<B: AutodiffBackend>(dtype: DType, epsilon: f64) -> HalfRun {
    let mut run = HalfRun {
        dtype: format!("{dtype:?}"),
        unsupported: None,
        // Not NaN, which JSON does not carry to the process that asks.
        first_loss: 0.0,
        last_loss: 0.0,
        parameters: String::new(),
        statistics: String::new(),
        roundings: 0.0,
    };
    if !B::supports_dtype(&Default::default(), dtype) {
        run.unsupported = Some("the backend or its device does not compute in it".into());
        return run;
    }
    let (network, optim, losses) = train::<B>(dtype, None);
    let id = network.fc1.weight.id;
    let ema = optim.preconditioner().activation_ema(id);
    run.first_loss = losses[0];
    run.last_loss = losses[STEPS - 3..].iter().sum::<f64>() / 3.0;
    run.parameters = format!("{:?}", network.fc1.weight.val().dtype());
    run.statistics = ema.map_or(String::new(), |ema| format!("{:?}", ema.dtype()));
    run.roundings = roundings::<B>(dtype, epsilon);
    run
}

impl fmt::Display for HalfRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unsupported {
            Some(reason) => write!(f, "{}: not run, {reason}", self.dtype),
            None => write!(
                f,
                "{}: loss {:.3} to {:.3} in 30 steps, statistics in {}, preconditioned gradients off by {:.2} roundings",
                self.dtype, self.first_loss, self.last_loss, self.statistics, self.roundings
            ),
        }
    }
}
