//! The backends, each of which runs in a process of its own.
//!
//! Burn has one default float type for a device and a process, which `NdArray<f32>` and
//! `NdArray<f64>` would share; and a driver that ends a process must not end the test.

use crate::attention_run::{AttentionMistake, attention_run};
use crate::digits_run::{Mistake, digits_run, mistaken_run};
use crate::half::{HalfRun, half_runs};
use crate::run::{Kind, MistakenRun, Run};
use crate::trace_run::{TraceRuns, trace_runs};
use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_ndarray::NdArray;
use mac_burn_examples::backend::{Selected, describe};
use mac_burn_examples::no_device::{NoDevice, probe};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

/// The run of the digits network, by name.
const DIGITS: &str = "digits network, 30 steps";

/// The run of attention, by name.
const ATTENTION: &str = "attention under masks, 10 steps";

/// The results of a backend.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// By case: [`DIGITS`], [`ATTENTION`], `trace mlp`, ….
    pub(crate) runs: BTreeMap<String, Run>,
    /// Runs with mistakes; none of the oracle.
    pub(crate) mistakes: Vec<MistakenRun>,
    /// Training in half precision by its type; none where the backend or its device does not compute in it.
    pub(crate) half: Vec<(String, Option<HalfRun>)>,
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
    let of_attention = AttentionMistake::ALL.map(|mistake| MistakenRun {
        case: ATTENTION.into(),
        what: mistake.what().into(),
        parameters: attention_run::<B>(Some(mistake)),
    });
    Answer {
        mistakes: mistakes.into_iter().chain(of_attention).collect(),
        half: half_runs::<B>(),
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
    let attention = Run {
        kind: Kind::Attention,
        parameters: attention_run::<B>(None),
    };
    runs.insert(ATTENTION.into(), attention);
    Answer {
        runs,
        not_run,
        ..Answer::default()
    }
}

/// Names the backend that a process is to run.
const BACKEND: &str = "MAC_BACKENDS_RUN";

/// Names the file that the process answers in.
const ANSWER: &str = "MAC_BACKENDS_ANSWER";

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
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("answer.json");
    let output = Command::new(env::current_exe().expect("the test runs from a file"))
        .env(BACKEND, contender.name)
        .env(ANSWER, &file)
        .envs(without.iter().map(|name| (name, "/dev/null")))
        .output()
        .expect("this executable can be run again");
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = |wrong: String| Outcome::Failed(format!("{wrong}, {}: {said}", output.status));
    if let Ok(reason) = fs::read_to_string(file.with_extension("skipped")) {
        // A missing device is told in one sentence, without a trace of a panic beside it.
        return match said.contains("panicked") {
            true => failed(format!("it panicked and said {reason:?}")),
            false => Outcome::Skipped(reason),
        };
    }
    let answer = fs::read(&file).map_err(|error| format!("no answer ({error})"));
    let answer = answer.and_then(|text| {
        serde_json::from_slice(&text).map_err(|error| format!("an answer that is none ({error})"))
    });
    match answer {
        Ok(answer) if output.status.success() => Outcome::Answered(Box::new(answer)),
        Ok(_) => failed("an answer".into()),
        Err(wrong) => failed(wrong),
    }
}

/// In a process that was started for a backend, runs it.
pub(crate) fn answer_if_asked() -> Option<ExitCode> {
    let name = env::var(BACKEND).ok()?;
    let file = env::var_os(ANSWER)?;
    let file = Path::new(&file);
    let contender = [&ORACLE].into_iter().chain(CONTENDERS);
    let contender = contender
        .into_iter()
        .find(|contender| contender.name == name)
        .expect("the parent runs what is compiled in");
    match (contender.probe)() {
        Err(missing) => {
            let reason = missing.to_string();
            fs::write(file.with_extension("skipped"), reason).expect("the folder is there");
        }
        Ok(()) => {
            let answer = contender.answer();
            let text = serde_json::to_vec(&answer).expect("an answer can be written");
            fs::write(file, text).expect("the folder is there");
        }
    }
    Some(ExitCode::SUCCESS)
}
