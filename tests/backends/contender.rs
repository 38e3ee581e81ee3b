use crate::bounds::Kind;
use crate::digits_run::digits_run;
use crate::half_run::{HalfRun, half_runs};
use crate::mistake::Mistake;
use crate::run::{Parameters, Run};
use crate::trace_run::trace_runs;
use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_ndarray::NdArray;
use mac_burn_examples::no_device::{NoDevice, probe};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The run of the digits network, by name.
pub(crate) const DIGITS: &str = "digits network, 30 steps";

/// What a backend computed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// By case: [`DIGITS`], `trace mlp`, ….
    pub(crate) runs: BTreeMap<String, Run>,
    /// The digits network with a mistake, and what it is.
    pub(crate) mistakes: Vec<(String, Parameters)>,
    pub(crate) half: Vec<HalfRun>,
}

/// A backend, and how to ask it.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) probe: fn() -> Result<(), NoDevice>,
    pub(crate) run: fn() -> Answer,
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

fn answer<B: AutodiffBackend>() -> Answer {
    let mut runs = trace_runs::<B>();
    let digits = Run {
        kind: Kind::Digits,
        parameters: digits_run::<B>(None),
    };
    runs.insert(DIGITS.into(), digits);
    let mistakes = Mistake::ALL.map(|mistake| {
        let run = digits_run::<B>(Some(mistake));
        (format!("the same {}", mistake.what()), run)
    });
    Answer {
        runs,
        mistakes: mistakes.into(),
        half: half_runs::<B>(),
    }
}
