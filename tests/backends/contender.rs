//! The backends, each of which runs in processes of its own.
//!
//! Burn has one default float type for a device and a process, which `NdArray<f32>` and
//! `NdArray<f64>` would share; and a driver that ends a process must not end the test. A backend's runs are in several parts, which several
//! processes share: where there is a GPU, most of their time is one core's, which compiles kernels.

use crate::attention_run::{AttentionMistake, METHODS, Method, attention_run};
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
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::{self, available_parallelism};

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

impl Answer {
    /// Adds another part.
    fn extend(&mut self, other: Self) {
        self.runs.extend(other.runs);
        self.mistakes.extend(other.mistakes);
        self.half.extend(other.half);
        self.single.extend(other.single);
        self.not_run.extend(other.not_run);
        self.selected = self.selected.take().or(other.selected);
    }
}

/// A part of a backend's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    Traces,
    Digits,
    /// Two of [`METHODS`].
    Attention(usize),
    /// Ten of [`layer_run::cases`].
    Layers(usize),
    /// Half precision, and the errors of single precision.
    Types,
}

const METHODS_OF_A_PART: usize = 2;
const LAYERS_OF_A_PART: usize = 10;

impl Part {
    fn all() -> Vec<Self> {
        let attention = METHODS.len().div_ceil(METHODS_OF_A_PART);
        let layers = layer_run::cases().count().div_ceil(LAYERS_OF_A_PART);
        let mut parts = vec![Self::Traces, Self::Digits, Self::Types];
        parts.extend((0..attention).map(Self::Attention));
        parts.extend((0..layers).map(Self::Layers));
        parts
    }

    /// The methods of attention in it.
    fn methods(self) -> impl Iterator<Item = (Method, &'static str)> {
        let methods = METHODS.into_iter().enumerate();
        let own = move |index| self == Self::Attention(index / METHODS_OF_A_PART);
        methods.filter_map(move |(index, method)| own(index).then_some(method))
    }

    /// The cases of layers in it.
    fn layers(self) -> impl Iterator<Item = (layer_run::Recorded, layer_run::Curvature)> {
        let cases = layer_run::cases().enumerate();
        let own = move |index| self == Self::Layers(index / LAYERS_OF_A_PART);
        cases.filter_map(move |(index, case)| own(index).then_some(case))
    }
}

/// A backend, and how to ask it.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) probe: fn() -> Result<(), NoDevice>,
    run: fn(Part) -> Answer,
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
    /// Runs some parts.
    fn answer(&self, parts: &[Part]) -> Answer {
        let compiled_in = |name: &&str| CONTENDERS.iter().any(|contender| contender.name == *name);
        let preferred = PREFERENCE.into_iter().find(compiled_in);
        let mut answer = Answer {
            selected: (preferred == Some(self.name))
                .then(|| describe::<Selected>(&Default::default())),
            ..Answer::default()
        };
        for part in parts {
            answer.extend((self.run)(*part));
        }
        answer
    }
}

/// The runs as they should be and with mistakes, and what is computed in other types than the backend's own.
fn answer<B: AutodiffBackend>(part: Part) -> Answer {
    if part == Part::Types {
        return Answer {
            half: half_runs::<B>(),
            single: single_roundings::<B>(),
            ..Answer::default()
        };
    }
    let digits = (part == Part::Digits).then_some(Mistake::ALL);
    let digits = digits.into_iter().flatten().map(|mistake| MistakenRun {
        case: DIGITS.into(),
        what: mistake.what().into(),
        parameters: mistaken_run::<B>(mistake),
    });
    let attention = part.methods().flat_map(|(method, case)| {
        AttentionMistake::ALL.map(|mistake| MistakenRun {
            case: case.into(),
            what: mistake.what().into(),
            parameters: attention_run::<B>(method, Some(mistake)),
        })
    });
    let layers = part.layers().map(|case| MistakenRun {
        case: layer_run::name(case),
        what: layer_run::MISTAKE.into(),
        parameters: layer_run::layer_run::<B>(case, true),
    });
    Answer {
        mistakes: digits.chain(attention).chain(layers).collect(),
        ..right_answer::<B>(part)
    }
}

/// The runs as they should be, which are all that others are compared with.
fn right_answer<B: AutodiffBackend>(part: Part) -> Answer {
    let TraceRuns { mut runs, not_run } = match part {
        Part::Traces => trace_runs::<B>(),
        _ => TraceRuns::default(),
    };
    if part == Part::Digits {
        let digits = Run {
            kind: Kind::Digits,
            parameters: digits_run::<B>(),
        };
        runs.insert(DIGITS.into(), digits);
    }
    for (method, case) in part.methods() {
        let attention = Run {
            kind: method.kind(),
            parameters: attention_run::<B>(method, None),
        };
        runs.insert(case.into(), attention);
    }
    for case in part.layers() {
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
/// The parts of it.
const PARTS: &str = "MAC_BACKENDS_PARTS";

/// The outcome of a backend's processes.
pub(crate) enum Outcome {
    Answered(Box<Answer>),
    /// There is no device; the reason.
    Skipped(String),
    /// The fault of its answer, how it ended, and what it wrote as errors.
    Failed(String),
}

impl Outcome {
    /// With that of another part: a failure is one of the whole, then a missing device.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Answered(mut all), Self::Answered(part)) => {
                all.extend(*part);
                Self::Answered(all)
            }
            (failed @ Self::Failed(_), _) | (_, failed @ Self::Failed(_)) => failed,
            (skipped @ Self::Skipped(_), _) | (_, skipped @ Self::Skipped(_)) => skipped,
        }
    }
}

/// The variables that tell Vulkan's loader where drivers are, by its present and its former name.
const DRIVERS: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Runs some backends in new processes, as many at a time as there are cores. Several parts share a process, and what it compiles, where
/// cores are few.
pub(crate) fn ask(contenders: &[&Contender]) -> Vec<Outcome> {
    let cores = available_parallelism().map_or(1, NonZero::get);
    let parts = Part::all();
    let shares: Vec<_> = parts
        .chunks(parts.len().div_ceil(cores.div_ceil(2)))
        .collect();
    let questions = contenders
        .iter()
        .flat_map(|contender| shares.iter().map(move |share| (*contender, *share)));
    let questions = Mutex::new(questions.enumerate());
    let answers = Mutex::new(BTreeMap::new());
    let next = || questions.lock().expect("no thread panics").next();
    let work = || {
        while let Some((index, (contender, share))) = next() {
            let outcome = run(contender, share, &[]);
            let mut answers = answers.lock().expect("no thread panics");
            answers.insert(index, outcome);
        }
    };
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let answers = answers.into_inner().expect("no thread panics");
    let mut answers = answers.into_values();
    let whole = |_: &&Contender| {
        let answers = answers.by_ref().take(shares.len());
        answers.reduce(Outcome::with).expect("there are parts")
    };
    contenders.iter().map(whole).collect()
}

/// The outcome where no driver of Vulkan is found.
pub(crate) fn ask_without_vulkan(contender: &Contender) -> Outcome {
    run(contender, &[Part::Digits], &DRIVERS)
}

fn run(contender: &Contender, parts: &[Part], without: &[&str]) -> Outcome {
    let mut command = this_executable();
    let parts = serde_json::to_string(parts).expect("parts can be written");
    command.env(BACKEND, contender.name).env(PARTS, parts);
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
    let (name, parts) = (env::var(BACKEND).ok()?, env::var(PARTS).ok()?);
    let asked = Asked::here()?;
    let contender = [&ORACLE].into_iter().chain(CONTENDERS);
    let contender = contender
        .into_iter()
        .find(|contender| contender.name == name)
        .expect("the parent runs what is compiled in");
    let parts: Vec<Part> = serde_json::from_str(&parts).expect("the parent names parts");
    let probed = (contender.probe)().map_err(|missing| missing.to_string());
    let answers: Answers = probed.map(|()| contender.answer(&parts));
    asked.give(&answers);
    Some(ExitCode::SUCCESS)
}
