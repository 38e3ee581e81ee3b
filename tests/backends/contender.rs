//! The backends, each of which runs in a process of its own.
//!
//! Burn has one default float type for a device and a process, which `NdArray<f32>` and
//! `NdArray<f64>` would share; and a driver that ends a process must not end the test.

use crate::attention_run::{AttentionMistake, METHODS, attention_run};
use crate::digits_run::{Mistake, digits_run, mistaken_run};
use crate::half::{HalfRun, half_runs, single_roundings};
use crate::layer_run;
use crate::run::{Bits, Kind, MistakenRun, Run};
use crate::trace_run::{TraceRuns, trace_runs};
use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_ndarray::NdArray;
use mac_burn_examples::backend::{Selected, describe};
use mac_burn_examples::no_device::{NoDevice, probe};
use mac_burn_tests::{Answered, Asked, Process, this_executable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

/// The run of the digits network, by name.
const DIGITS: &str = "digits network, 30 steps";

/// The results of a backend.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// By case: [`DIGITS`], those of [`METHODS`], of [`layer_run`], `trace mlp`, ….
    pub(crate) runs: BTreeMap<String, Run>,
    /// Runs with mistakes; none of the oracle.
    pub(crate) mistakes: Vec<MistakenRun>,
    /// Training in half precision by its type; none where the backend or its device does not compute in it.
    pub(crate) half: Vec<(String, Option<HalfRun>)>,
    /// The errors of gradients that were preconditioned in `f32`, in units of half an epsilon of the largest element, by
    /// layer; none of the oracle.
    pub(crate) single: BTreeMap<String, Bits>,
    /// Traces that are not run, and why.
    pub(crate) not_run: Vec<(String, String)>,
    /// The description of [`Selected`](mac_burn_examples::backend::Selected), where it should be this backend.
    pub(crate) selected: Option<String>,
}

/// A backend, and how to ask it.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) probe: fn() -> Result<(), NoDevice>,
    run: fn() -> Answer,
}

/// The backend that all are compared with.
pub(crate) const ORACLE: Contender = Contender {
    name: "ndarray f64",
    probe: usable::<NdArray<f64>>,
    run: right_answer::<Autodiff<NdArray<f64>>>,
};

/// The backends that are compiled in.
pub(crate) const CONTENDERS: &[Contender] = &[
    #[cfg(feature = "flex")]
    Contender {
        name: "flex",
        probe: usable::<burn_flex::Flex>,
        run: answer::<Autodiff<burn_flex::Flex>>,
    },
    #[cfg(feature = "ndarray")]
    Contender {
        name: "ndarray",
        probe: usable::<NdArray<f32>>,
        run: answer::<Autodiff<NdArray<f32>>>,
    },
    #[cfg(feature = "wgpu")]
    Contender {
        name: "wgpu",
        probe: usable::<mac_burn_examples::backend::Wgpu>,
        run: answer::<Autodiff<mac_burn_examples::backend::Wgpu>>,
    },
    #[cfg(feature = "cuda")]
    Contender {
        name: "cuda",
        probe: usable::<mac_burn_examples::backend::Cuda>,
        run: answer::<Autodiff<mac_burn_examples::backend::Cuda>>,
    },
];

fn usable<B: Backend>() -> Result<(), NoDevice> {
    probe::<B>(&B::Device::default())
}

/// The first of these that is compiled in is the one to be selected.
const PREFERENCE: [&str; 4] = ["cuda", "wgpu", "ndarray", "flex"];

impl Contender {
    /// Runs it.
    pub(crate) fn answer(&self) -> Answer {
        let compiled_in = |name: &&str| CONTENDERS.iter().any(|contender| contender.name == *name);
        let preferred = PREFERENCE.into_iter().find(compiled_in);
        Answer {
            selected: (preferred == Some(self.name))
                .then(|| describe::<Selected>(&Default::default())),
            ..(self.run)()
        }
    }
}

fn answer<B: AutodiffBackend>() -> Answer {
    let mistakes = Mistake::ALL.map(|mistake| MistakenRun {
        case: DIGITS.into(),
        what: mistake.what().into(),
        parameters: mistaken_run::<B>(mistake),
    });
    let of_attention = METHODS.into_iter().flat_map(|(method, case)| {
        AttentionMistake::ALL.map(|mistake| MistakenRun {
            case: case.into(),
            what: mistake.what().into(),
            parameters: attention_run::<B>(method, Some(mistake)),
        })
    });
    let of_layers = layer_run::cases().map(|case| MistakenRun {
        case: layer_run::name(case),
        what: layer_run::MISTAKE.into(),
        parameters: layer_run::layer_run::<B>(case, true),
    });
    let mistakes = mistakes.into_iter().chain(of_attention).chain(of_layers);
    Answer {
        mistakes: mistakes.collect(),
        half: half_runs::<B>(),
        single: single_roundings::<B>(),
        ..right_answer::<B>()
    }
}

/// The runs as they should be, which are all that others are compared with.
fn right_answer<B: AutodiffBackend>() -> Answer {
    let TraceRuns { mut runs, not_run } = trace_runs::<B>();
    let digits = Run {
        kind: Kind::Digits,
        parameters: digits_run::<B>(),
    };
    runs.insert(DIGITS.into(), digits);
    for (method, case) in METHODS {
        let attention = Run {
            kind: method.kind(),
            parameters: attention_run::<B>(method, None),
        };
        runs.insert(case.into(), attention);
    }
    for case in layer_run::cases() {
        let run = Run {
            kind: layer_run::KIND,
            parameters: layer_run::layer_run::<B>(case, false),
        };
        runs.insert(layer_run::name(case), run);
    }
    Answer {
        runs,
        not_run,
        ..Answer::default()
    }
}

/// Names the backend that a process is to run.
const BACKEND: &str = "MAC_BACKENDS_RUN";

/// The outcome of a backend's process.
pub(crate) enum Outcome {
    Answered(Box<Answer>),
    /// There is no device; the reason.
    Skipped(String),
    /// The fault of its answer, how it ended, and what it wrote as errors.
    Failed(String),
}

/// The variables that tell Vulkan's loader where drivers are, by its present and its former name.
const DRIVERS: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Runs a backend in a new process.
pub(crate) fn ask(contender: &Contender) -> Outcome {
    run(contender, &[])
}

/// The same where no driver of Vulkan is found.
pub(crate) fn ask_without_vulkan(contender: &Contender) -> Outcome {
    run(contender, &DRIVERS)
}

fn run(contender: &Contender, without: &[&str]) -> Outcome {
    let mut command = this_executable();
    command.env(BACKEND, contender.name);
    command.envs(without.iter().map(|name| (name, "/dev/null")));
    match Process::start(&mut command).answer::<Answers>() {
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(Answered { answer, errors }) => match answer {
            Ok(answer) => Outcome::Answered(Box::new(answer)),
            // A missing device is told in one sentence, without a trace of a panic beside it.
            Err(reason) if errors.contains("panicked") => {
                Outcome::Failed(format!("it panicked and said {reason:?}: {errors}"))
            }
            Err(reason) => Outcome::Skipped(reason),
        },
    }
}

/// The results of a backend, or why it has no device.
type Answers = Result<Answer, String>;

/// In a process that was started for a backend, runs it.
pub(crate) fn answer_if_asked() -> Option<ExitCode> {
    let (name, asked) = (env::var(BACKEND).ok()?, Asked::here()?);
    let contender = [&ORACLE].into_iter().chain(CONTENDERS);
    let contender = contender
        .into_iter()
        .find(|contender| contender.name == name)
        .expect("the parent runs what is compiled in");
    let probed = (contender.probe)().map_err(|missing| missing.to_string());
    let answers: Answers = probed.map(|()| contender.answer());
    asked.give(&answers);
    Some(ExitCode::SUCCESS)
}
