//! The cases through networks of plain layers, on a backend that records: every number of every step is that of recorded layers.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{self, Write},
    path::Path,
};

use burn::{
    backend::Autodiff,
    optim::GradientsParams,
    tensor::{
        ElementConversion,
        backend::{AutodiffBackend, Backend},
    },
};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn::MacPreconditioner;
use mac_burn_recording::Recording;
use mac_burn_tests::{Asked, Process, files::found, this_executable};
use serde::{Deserialize, Serialize};

use crate::{
    FIXTURES,
    case::{
        ArchitectureKind, Case, Layers, QkvMeans, Trace, TraceError, case_folders, not_covered,
    },
    cases,
    network::{NamedValues, Names, Network, Sequential},
    replay::{Route, first_layer_covariance, loss},
    vision_transformer::VisionTransformer,
};

/// The numbers of a step.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    /// The bits of every number, by what they are of.
    numbers: BTreeMap<String, Vec<u64>>,
    /// The statistics of each layer, as a record has them.
    statistics: BTreeSet<String>,
}

impl Step {
    fn add(&mut self, kind: &str, values: NamedValues) {
        let numbers = values.into_iter().map(|(name, values)| {
            let bits = values.into_iter().map(f64::to_bits).collect();
            (format!("{kind} {name}"), bits)
        });
        self.numbers.extend(numbers);
    }

    /// The first difference from another step, if there is one.
    fn difference(&self, other: &Self) -> Option<String> {
        let names: BTreeSet<_> = self.numbers.keys().chain(other.numbers.keys()).collect();
        let mut names = names.into_iter();
        let different = names.find(|name| self.numbers.get(*name) != other.numbers.get(*name));
        let statistics = || {
            self.statistics
                .symmetric_difference(&other.statistics)
                .next()
        };

        different.or_else(statistics).cloned()
    }

    /// Leaves of each projection to queries, keys and values only the first of these three parts, and no statistics, which are of all of it.
    fn keep_of_projections(&mut self, parts: usize) {
        for (name, numbers) in &mut self.numbers {
            // Before preconditioning they are the same.
            if name.contains(QKV) && !name.starts_with(GRADIENT) {
                numbers.truncate(numbers.len() / 3 * parts);
            }
        }
        self.statistics.retain(|text| !text.contains(QKV));
    }
}

/// The projection to queries, keys and values, in the name of its parameters.
const QKV: &str = ".attn.qkv.";

/// The kind of the gradients before preconditioning.
const GRADIENT: &str = "gradient of";

/// The case through plain layers.
fn of_plain_layers(case: &Case) -> Case {
    Case {
        layers: Layers::Plain,
        ..case.clone()
    }
}

/// The steps of a case; none where the route cannot express it.
fn steps<B: AutodiffBackend>(
    case: &Case,
    trace: &Trace,
    route: Route,
) -> Result<Option<Vec<Step>>, TraceError> {
    match case.architecture.known()? {
        ArchitectureKind::Sequential => steps_of::<B, Sequential<B>>(case, trace, route),
        ArchitectureKind::VisionTransformer => {
            steps_of::<B, VisionTransformer<B>>(case, trace, route)
        }
    }
}

fn steps_of<B: AutodiffBackend, N: Network<B>>(
    case: &Case,
    trace: &Trace,
    route: Route,
) -> Result<Option<Vec<Step>>, TraceError> {
    let network = N::build(case, &Default::default())?;
    let names = Names::of(&network, case)?;
    let mut network = names.load(network, trace)?;
    let covariance = first_layer_covariance(case, trace, &network)?;
    let Some(mut trainer) = route.trainer(case, &names, covariance.as_ref())? else {
        return Ok(None);
    };

    let mut steps = Vec::new();
    for index in 0..case.steps {
        let mut step = Step::default();
        let loss = loss(&network, trace, index)?;
        let value: f64 = loss.clone().into_scalar().elem();
        step.numbers
            .insert("loss".to_owned(), vec![value.to_bits()]);

        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        step.add(GRADIENT, names.gradients(&network, &gradients));

        let preconditioned;
        (network, preconditioned) = trainer.step(case.lr(index), network, gradients);
        step.add(
            "preconditioned gradient of",
            preconditioned.unwrap_or_default(),
        );
        step.add("parameter", names.parameters(&network));
        step.statistics = statistics(trainer.preconditioner(), &names);
        steps.push(step);
    }

    Ok(Some(steps))
}

/// The statistics of all layers, with names for the ids that each network has of its own.
fn statistics<B: AutodiffBackend>(
    preconditioner: &MacPreconditioner<B>,
    names: &Names,
) -> BTreeSet<String> {
    let record = serde_json::to_value(preconditioner.to_record());
    let record = record.expect("a record can be written");
    let curvatures = record["curvatures"].as_array();
    let curvatures = curvatures.expect("a record has curvatures").iter();

    curvatures
        .map(|curvature| names.in_place_of_ids(curvature.to_string()))
        .collect()
}

/// The outcome of a comparison of all cases.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Compared {
    cases: usize,
    steps: usize,
    numbers: usize,
    differences: Vec<String>,
}

/// Compares the cases of the repository and of `MAC_TRACES`.
fn compare_all<B: Backend>() -> Compared {
    let mut compared = Compared::default();
    let mut folders = case_folders(Path::new(FIXTURES)).expect("the repository has cases");
    if let Some(more) = env::var_os("MAC_TRACES") {
        let more = case_folders(&found(Path::new(&more)));
        folders.extend(more.unwrap_or_else(|error| panic!("MAC_TRACES: {error}")));
    }
    for folder in folders {
        let added = compared.add::<B>(&folder);
        added.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    }

    compared
}

impl Compared {
    /// Compares the case of a folder, if it is one that is replayed.
    fn add<B: Backend>(&mut self, folder: &Path) -> Result<(), TraceError> {
        let mut case = Case::read(folder)?;
        if not_covered(&case)?.is_some() {
            return Ok(());
        }
        // What a backend sees of attention is the tokens.
        case.qkv_means = QkvMeans::Tokens;
        let trace = Trace::read(folder)?;
        for route in [Route::Mac, Route::ByHand] {
            let expected = steps::<Autodiff<B>>(&case, &trace, route)?;
            let found = steps::<Recording<Autodiff<B>>>(&of_plain_layers(&case), &trace, route)?;
            let [expected, found] = [expected, found].map(Option::unwrap_or_default);
            assert_eq!(expected.len(), found.len());
            for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
                self.steps += 1;
                self.numbers += expected.numbers.values().map(Vec::len).sum::<usize>();
                if let Some(what) = found.difference(expected) {
                    let (case, route) = (&case.name, route.label());
                    let difference = format!("{case}, {route}, step {index}: {what}");
                    self.differences.push(difference);
                }
            }
        }
        self.cases += 1;

        Ok(())
    }
}

/// Breaks when a backend that records sees other inputs, another bias or other gradients at an output than a recorded layer does; when it leaves a
/// pass out; or when a layer is found under another parameter than its own. Attention has the tokens' mean for all of its projection in both.
///
/// A pass that is counted twice goes unnoticed here: each step of a case has one pass, whose sums and count it doubles, so that no mean changes.
#[test]
fn plain_layers_on_a_backend_that_records_are_recorded_layers() {
    if let Some(asked) = Asked::here() {
        return asked.give(&compare_all::<NdArray<f64>>());
    }
    let mut again = this_executable();
    let test = "plain::plain_layers_on_a_backend_that_records_are_recorded_layers";
    let double = Process::start(again.args(["--exact", test]));
    let single = compare_all::<Flex>();
    let double: Compared = double
        .answer()
        .unwrap_or_else(|error| panic!("f64: {error}"))
        .answer;

    for (backend, compared) in [("flex f32", single), ("ndarray f64", double)] {
        let Compared {
            cases,
            steps,
            numbers,
            differences,
        } = compared;
        writeln!(
            io::stdout().lock(),
            "plain layers, {backend}: {cases} cases, {steps} steps, {numbers} numbers"
        )
        .expect("standard output is open");
        assert!(cases > 0);
        assert!(differences.is_empty(), "{backend}: {differences:#?}");
    }
}

/// Breaks when more of attention's first step is another one than the values' share of the projection, or than all of it in SMAC, which has no
/// output side there where the values have a mean of their own.
#[test]
fn recorded_attention_differs_in_its_values_alone() {
    let mut compared = 0;
    for (mut case, trace) in cases() {
        if case.architecture.known().ok() != Some(ArchitectureKind::VisionTransformer) {
            continue;
        }
        case.steps = 1;
        for route in [Route::Mac, Route::ByHand] {
            let expected = steps::<Autodiff<Flex>>(&case, &trace, route);
            let found = steps::<Recording<Autodiff<Flex>>>(&of_plain_layers(&case), &trace, route);
            let [expected, found] = [expected, found]
                .map(|steps| steps.expect("the case can be replayed").unwrap_or_default());
            for (mut expected, mut found) in expected.into_iter().zip(found) {
                compared += 1;
                let of = format!("{}, {}", case.name, route.label());
                let difference = found.difference(&expected);
                assert!(difference.is_some_and(|what| what.contains(QKV)), "{of}");

                let parts = if case.official.cls == "SMAC" { 0 } else { 2 };
                expected.keep_of_projections(parts);
                found.keep_of_projections(parts);
                assert_eq!(found.difference(&expected), None, "{of}");
            }
        }
    }
    assert!(compared > 0, "no case has attention");
}
