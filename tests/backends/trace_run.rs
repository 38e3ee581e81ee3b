//! The authors' traces, by the replay of the test `traces`, of which this test needs a part.

use crate::case::{ArchitectureKind, Case, Trace, TraceError, case_folders, not_covered};
use crate::network::{Names, Network, Sequential};
use crate::replay::{Route, first_layer_covariance, loss};
use crate::run::{Bits, Kind, Parameters, Run, after_step};
use crate::vision_transformer::VisionTransformer;
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use mac_burn_tests::files::found;
use std::collections::BTreeMap;
use std::path::Path;

/// The runs of traces, by name.
#[derive(Default)]
pub(crate) struct TraceRuns {
    pub(crate) runs: BTreeMap<String, Run>,
    /// Traces of `MAC_TRACES` that are not covered, or that one `Mac` cannot run, and why.
    pub(crate) not_run: Vec<(String, String)>,
}

/// The parameters after each step of every trace, in the repository and in `MAC_TRACES`. Those of the
/// repository must all be run.
pub(crate) fn trace_runs<B: AutodiffBackend>() -> TraceRuns {
    let mut traces = TraceRuns::default();
    // Cargo runs a test in the folder of its package.
    traces.add::<B>(Path::new("fixtures/traces"));
    let of_repository = &traces.not_run;
    assert!(of_repository.is_empty(), "not run: {of_repository:?}");
    if let Some(more) = std::env::var_os("MAC_TRACES") {
        traces.add::<B>(&found(Path::new(&more)));
    }
    traces
}

impl TraceRuns {
    fn add<B: AutodiffBackend>(&mut self, folder: &Path) {
        for folder in case_folders(folder).unwrap_or_else(|error| panic!("{error}")) {
            let run = trace_run::<B>(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
            match run {
                (name, Ok(run)) => drop(self.runs.insert(name, run)),
                (name, Err(reason)) => self.not_run.push((name, reason)),
            }
        }
    }
}

/// The name of a trace, and its run or why there is none.
fn trace_run<B: AutodiffBackend>(
    folder: &Path,
) -> Result<(String, Result<Run, String>), TraceError> {
    let case = Case::read(folder)?;
    let name = format!("trace {}", case.name);
    if let Some(reason) = not_covered(&case)? {
        return Ok((name, Err(reason)));
    }
    let trace = Trace::read(folder)?;
    let parameters = match case.architecture.known()? {
        ArchitectureKind::Sequential => network_run::<B, Sequential<B>>(&case, &trace),
        ArchitectureKind::VisionTransformer => {
            network_run::<B, VisionTransformer<B>>(&case, &trace)
        }
    };
    let kind = Kind::Trace {
        takes_reciprocals: case.takes_reciprocals(),
    };
    let run = parameters?.map(|parameters| Run { kind, parameters });
    Ok((name, run.ok_or("more than one weight decay".into())))
}

fn network_run<B: AutodiffBackend, N: Network<B>>(
    case: &Case,
    trace: &Trace,
) -> Result<Option<Parameters>, TraceError> {
    let network = N::build(case, &Default::default())?;
    let names = Names::of(&network, case)?;
    let mut network = names.load(network, trace)?;
    let covariance = first_layer_covariance(case, trace, &network)?;
    let trainer = Route::Mac.trainer(case, &names, covariance.as_ref())?;
    let Some(mut trainer) = trainer else {
        return Ok(None);
    };
    let mut parameters = Parameters::new();
    for step in 0..case.steps {
        let loss = loss(&network, trace, step)?;
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        (network, _) = trainer.step(case.lr(step), network, grads);
        for (name, values) in names.parameters(&network) {
            let values = values.into_iter().map(Bits).collect();
            parameters.insert(after_step(step, &name), values);
        }
    }
    Ok(Some(parameters))
}
