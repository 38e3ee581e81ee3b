use crate::attention_run::{AttentionMistake, attention_run};
use crate::bounds::Kind;
use crate::digits_run::{digits_run, mistaken_run};
use crate::half_run::{HalfRun, half_runs};
use crate::mistake::Mistake;
use crate::run::{MistakenRun, Run};
use crate::trace_run::{TraceRuns, trace_runs};
use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_ndarray::NdArray;
use mac_burn_examples::backend::{Selected, describe};
use mac_burn_examples::no_device::{NoDevice, probe};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The run of the digits network, by name.
const DIGITS: &str = "digits network, 30 steps";

/// The run of attention, by name.
const ATTENTION: &str = "attention under masks, 10 steps";

/// What a backend computed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// By case: [`DIGITS`], [`ATTENTION`], `trace mlp`, ….
    pub(crate) runs: BTreeMap<String, Run>,
    /// Runs with mistakes.
    pub(crate) mistakes: Vec<MistakenRun>,
    /// Training in half precision by its type; none where the backend or its device does not compute in it.
    pub(crate) half: Vec<(String, Option<HalfRun>)>,
    /// Traces that are not run, and why.
    pub(crate) not_run: Vec<(String, String)>,
    /// What [`Selected`](mac_burn_examples::backend::Selected) says that it is, where it should be this backend.
    pub(crate) selected: Option<String>,
}

/// A backend, and how to ask it.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) probe: fn() -> Result<(), NoDevice>,
    run: fn() -> Answer,
}

/// What all are compared with.
pub(crate) const ORACLE: Contender = Contender {
    name: "ndarray f64",
    probe: usable::<NdArray<f64>>,
    run: answer::<Autodiff<NdArray<f64>>>,
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
        probe: usable::<burn_wgpu::Wgpu>,
        run: answer::<Autodiff<burn_wgpu::Wgpu>>,
    },
    #[cfg(feature = "cuda")]
    Contender {
        name: "cuda",
        probe: usable::<burn_cuda::Cuda>,
        run: answer::<Autodiff<burn_cuda::Cuda>>,
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
        runs,
        mistakes: mistakes.into_iter().chain(of_attention).collect(),
        half: half_runs::<B>(),
        not_run,
        selected: None,
    }
}
