use crate::bounds::Kind;
use crate::case::{ArchitectureKind, Case};
use crate::coverage::not_covered;
use crate::error::TraceError;
use crate::names::Names;
use crate::network::Network;
use crate::replay::{first_layer_covariance, loss};
use crate::run::{Parameters, Run};
use crate::sequential::Sequential;
use crate::suite::case_folders;
use crate::trace::Trace;
use crate::trainer::Route;
use crate::vision_transformer::VisionTransformer;
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use std::collections::BTreeMap;
use std::path::Path;

/// The parameters after each step of every trace of MAC, in the repository and in `MAC_TRACES`.
pub(crate) fn trace_runs<B: AutodiffBackend>() -> BTreeMap<String, Run> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/traces");
    let mut folders = case_folders(&fixtures).expect("the repository has cases");
    if let Some(more) = std::env::var_os("MAC_TRACES") {
        folders.extend(case_folders(Path::new(&more)).expect("MAC_TRACES has cases"));
    }
    let mut runs = BTreeMap::new();
    for folder in folders {
        let run = trace_run::<B>(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        runs.extend(run);
    }
    runs
}

fn trace_run<B: AutodiffBackend>(folder: &Path) -> Result<Option<(String, Run)>, TraceError> {
    let case = Case::read(folder)?;
    if not_covered(&case)?.is_some() {
        return Ok(None);
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
    let name = format!("trace {}", case.name);
    Ok(parameters?.map(|parameters| (name, Run { kind, parameters })))
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
            parameters.insert(format!("{step:03}.{name}"), values);
        }
    }
    Ok(Some(parameters))
}
