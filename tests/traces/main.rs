//! Replays recorded runs of the authors' PyTorch code and compares every number that they left.
//!
//! Each case is read from its folder, network and settings included; nothing about a case is
//! written here. `MAC_TRACES` names a further folder of cases, replayed with those of the
//! repository:
//!
//! ```sh
//! MAC_TRACES=path/to/cases cargo test --workspace --test traces
//! ```

mod case;
mod comparison;
mod coverage;
mod layer;
mod layer_spec;
mod mistakes;
mod network;
mod optimizer;
mod plain;
mod replay;
mod suite;
mod update_rule;
mod vision_transformer;

use std::{
    env,
    io::{self, Write},
    path::Path,
};

use burn::{backend::Autodiff, tensor::backend::AutodiffBackend};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn_tests::{Asked, Process, Worst, files::found, this_executable};
use serde_json::{Value, json};

use crate::{
    case::{
        ArchitectureKind::VisionTransformer, Case, Trace, TraceError, case_folders, not_covered,
    },
    comparison::Quantity,
    mistakes::{MISTAKES, decays, other_first_layer},
    replay::{Route, replay},
    suite::{Backend, DOUBLE, SINGLE, Suite},
};

/// The cases of the repository; Cargo runs a test in the folder of its package.
const FIXTURES: &str = "fixtures/traces";

/// Cases that show what the authors' code does wrong.
const DEFECTS: &str = "fixtures/defects";

/// Writes past the test harness, which keeps what a passing test prints to itself.
fn show(suite: &Suite) {
    writeln!(io::stdout().lock(), "\n{suite}\n").expect("standard output is open");
}

/// Every case of the repository, to be replayed with other settings than its own.
fn cases() -> impl Iterator<Item = (Case, Trace)> {
    let folders = case_folders(Path::new(FIXTURES)).expect("the repository has cases");

    folders.into_iter().map(|folder| {
        let case = Case::read(&folder).expect("a case of the repository can be read");
        let trace = Trace::read(&folder).expect("a trace of the repository can be read");

        (case, trace)
    })
}

/// How far the parameters get from the trace, on the backend that all cases are replayed on in `f32`.
fn parameter_difference(case: &Case, trace: &Trace, route: Route) -> Option<Worst> {
    parameter_difference_on::<Autodiff<Flex>>(case, trace, route)
}

fn parameter_difference_on<B: AutodiffBackend>(
    case: &Case,
    trace: &Trace,
    route: Route,
) -> Option<Worst> {
    replay::<B>(case, trace, route)
        .expect("the case can be replayed")
        .map(|differences| {
            let worst = differences.worst(Quantity::Parameter);
            worst.expect("parameters are compared").clone()
        })
}

/// The cases of the repository and of `MAC_TRACES`.
fn replay_all(backends: &[Backend]) -> Suite {
    let mut suite = Suite::run(Path::new(FIXTURES), backends).expect("the repository has cases");
    assert!(suite.not_covered.is_empty(), "{suite}");
    if let Some(folder) = env::var_os("MAC_TRACES") {
        let more = Suite::run(&found(Path::new(&folder)), backends);
        let more = more.unwrap_or_else(|error| panic!("MAC_TRACES: {error}"));
        assert!(
            more.replayed > 0,
            "MAC_TRACES has nothing to compare:\n{more}"
        );
        suite.join_cases(more);
    }

    suite
}

/// Breaks when any number of a run is not the authors': a mean or second moment of inputs or of gradients at outputs, or its average,
/// attention's second mean or the columns that it is for, the bias correction, the order of recording, refreshing and stepping, the side, the
/// scale or the damping of a preconditioner, the KL clip, the first layer's curvature, momentum with or without Nesterov, or the form of
/// weight decay.
#[test]
fn the_authors_runs_are_reproduced() {
    if let Some(asked) = Asked::here() {
        return asked.give(&replay_all(DOUBLE));
    }
    let mut again = this_executable();
    let double = Process::start(again.args(["--exact", "the_authors_runs_are_reproduced"]));
    let mut suite = replay_all(SINGLE);
    let double = double
        .answer()
        .unwrap_or_else(|error| panic!("f64: {error}"));
    suite.join_backends(double.answer);
    show(&suite);

    let failures = suite.failures();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Breaks when a tolerance grows to the size of a mistake, or when a setting of a case stops reaching
/// the optimizer: every one of these replays must leave the tolerance.
#[test]
fn another_setting_is_noticed() {
    for mistake in MISTAKES {
        let mut applied = 0;
        for (mut case, trace) in cases() {
            if !(mistake.make)(&mut case) {
                continue;
            }
            applied += 1;
            for route in [Route::Mac, Route::ByHand] {
                let worst = parameter_difference(&case, &trace, route);
                assert!(
                    worst.as_ref().is_some_and(Worst::exceeds),
                    "{} in {}, {}: {worst:?}",
                    mistake.what,
                    case.name,
                    route.label()
                );
            }
        }
        assert!(applied > 0, "no case has what {} needs", mistake.what);
    }
}

/// Breaks when the output side of SMAC's first layer is taken for one that `f32` shows: with the damping of 1 that a case has it is a factor of
/// `1 / (1 + z)`, where `z` is of the size of 1e-8.
#[test]
fn the_output_side_of_a_first_layer_is_noticed_in_double_precision() {
    if let Some(asked) = Asked::here() {
        return asked.give(&other_first_layers());
    }
    let mut again = this_executable();
    let test = "the_output_side_of_a_first_layer_is_noticed_in_double_precision";
    let double = Process::start(again.args(["--exact", test])).answer();
    let differences: Vec<(String, Worst)> =
        double.unwrap_or_else(|error| panic!("f64: {error}")).answer;

    assert!(!differences.is_empty(), "no case has a first layer of SMAC");
    for (case, worst) in differences {
        assert!(worst.exceeds(), "{case}: {worst}");
    }
}

/// How far the parameters get from the trace in `f64` with and without an output side where it is the other way round.
fn other_first_layers() -> Vec<(String, Worst)> {
    let mut differences = Vec::new();
    for (mut case, trace) in cases() {
        if !other_first_layer(&mut case) {
            continue;
        }
        for route in [Route::Mac, Route::ByHand] {
            let worst = parameter_difference_on::<Autodiff<NdArray<f64>>>(&case, &trace, route);
            let worst = worst.expect("the route can express the case");
            differences.push((format!("{}, {}", case.name, route.label()), worst));
        }
    }

    differences
}

/// The largest difference of a parameter that the authors' bias correction makes in the case that shows it, by the README of the traces.
const COUNTED_REFRESHES: f64 = 1.3e-2;

/// Breaks when the bias correction counts refreshes in place of recordings, as the authors' code does here: until the second refresh both are
/// 1 and every number must be theirs, and after it the parameters must go as far from theirs as the README finds the right count.
#[test]
fn a_bias_correction_by_refreshes_is_not_reproduced() {
    let folder = Path::new(DEFECTS).join("smac-cnn-emastep");
    let case = Case::read(&folder).expect("the case can be read");
    let trace = Trace::read(&folder).expect("the trace can be read");
    let reason = not_covered(&case).expect("the case can be built");
    assert!(reason.is_some_and(|reason| reason.contains("bias correction")));

    for route in [Route::Mac, Route::ByHand] {
        let mut beginning = case.clone();
        beginning.steps = case.hyper.tinv;
        let differences = replay::<Autodiff<Flex>>(&beginning, &trace, route);
        let differences = differences.expect("the case can be replayed");
        let differences = differences.expect("the route can express the case");
        let exceeding: Vec<_> = differences.exceeding().collect();
        assert!(exceeding.is_empty(), "{}: {exceeding:?}", route.label());

        let worst = parameter_difference(&case, &trace, route);
        let worst = worst.expect("the route can express the case");
        let ratio = worst.difference / COUNTED_REFRESHES;
        assert!((0.5..2.0).contains(&ratio), "{}: {worst}", route.label());
    }
}

/// Breaks when an exemption from weight decay misses its parameter or takes in another: `Mac`, which
/// exempts by path, must go exactly where a group of its own takes the parameter, away from the trace.
#[test]
fn an_exempt_parameter_is_a_group_without_decay() {
    for (case, trace) in cases().filter(|(case, _)| decays(case)) {
        for exempt in case.param_shapes.keys() {
            if case.weight_decay(exempt).ok() == Some(0.0) {
                continue;
            }
            let mut case = case.clone();
            case.put_in_group(exempt, 0.0);

            let mac = parameter_difference(&case, &trace, Route::Mac).expect("one weight decay");
            let by_hand = parameter_difference(&case, &trace, Route::ByHand);
            assert!(mac.exceeds(), "{exempt} of {}: {mac}", case.name);
            assert_eq!(Some(mac), by_hand, "{exempt} of {}", case.name);
        }
    }
}

/// Breaks when `Mac` is replayed with one of two weight decays as if it had both.
#[test]
fn more_weight_decays_than_one_are_replayed_by_hand_only() {
    let (mut case, trace) = cases().next().expect("the repository has cases");
    let parameter = case.param_shapes.keys().next().cloned();
    case.put_in_group(&parameter.expect("the case has parameters"), 0.5);

    assert_eq!(parameter_difference(&case, &trace, Route::Mac), None);
    let by_hand = parameter_difference(&case, &trace, Route::ByHand);
    assert!(by_hand.is_some_and(|worst| worst.exceeds()));
}

/// Breaks when a case of another optimizer is taken for one of a known optimizer, or for one that fails.
#[test]
fn another_optimizer_is_not_covered() {
    let (mut case, _) = cases().next().expect("the repository has cases");
    assert_eq!(not_covered(&case).expect("the case can be read"), None);

    case.official.cls = "Shampoo".to_owned();
    let reason = not_covered(&case).expect("the class is read before the layers");
    assert!(reason.is_some_and(|reason| reason.contains("Shampoo")));
}

/// Breaks when a network of a known optimizer that cannot be built passes for one that need not be.
#[test]
fn an_unknown_architecture_is_an_error_that_names_it() {
    let (mut case, _) = cases().next().expect("the repository has cases");
    case.architecture.kind = "timm SwinTransformer".to_owned();

    let error = not_covered(&case).expect_err("no architecture of that name is known");
    assert!(
        error.to_string().contains("timm SwinTransformer"),
        "{error}"
    );
}

/// Breaks when a part of a transformer that the replay would leave out is passed over, or its error
/// does not name it.
#[test]
fn an_unknown_part_of_a_transformer_is_an_error_that_names_it() {
    type Change = fn(&mut Case);
    let changes: [(&str, Change); 9] = [
        ("blocks.1.attn.q_norm", |case| {
            set(case, "blocks.1.attn.q_norm", "type", "GELU");
        }),
        ("blocks.0.norm2", |case| {
            set(case, "blocks.0.norm2", "type", "GELU");
        }),
        ("blocks.0.mlp.fc1", |case| {
            set(case, "blocks.0.mlp.fc1", "name", "blocks.0.mlp.fc");
        }),
        ("reg_tokens=4", |case| argue(case, "reg_tokens", json!(4))),
        ("drop_path_rate=0.1", |case| {
            argue(case, "drop_path_rate", json!(0.1));
        }),
        ("norm_layer=\"BatchNorm\"", |case| {
            argue(case, "norm_layer", json!("BatchNorm"));
        }),
        ("distilled=false", |case| {
            argue(case, "distilled", json!(false));
        }),
        ("a GELU", |case| {
            set(case, "blocks.0.mlp.act", "type", "ReLU");
        }),
        ("5 heads", |case| argue(case, "num_heads", json!(5))),
    ];
    for (named, change) in changes {
        let (mut case, trace) = transformer();
        change(&mut case);

        let error = replay::<Autodiff<Flex>>(&case, &trace, Route::Mac);
        let error = error.expect_err("the transformer cannot be built");
        assert!(error.to_string().contains(named), "{named}: {error}");
    }
}

/// Breaks when a case that spells out what timm does anyway is refused, or is another network.
#[test]
fn defaults_may_be_spelled_out() {
    let (mut case, trace) = transformer();
    let expected = parameter_difference(&case, &trace, Route::Mac);
    for (argument, value) in [
        ("drop_rate", json!(0.0)),
        ("drop_path_rate", json!(0)),
        ("qk_norm", json!(false)),
        ("init_values", Value::Null),
        ("reg_tokens", json!(0)),
        ("pos_embed", json!("learn")),
        ("class_token", json!(true)),
        ("weight_init", json!("")),
    ] {
        argue(&mut case, argument, value);
    }
    assert!(expected.is_some());
    assert_eq!(parameter_difference(&case, &trace, Route::Mac), expected);
}

/// A case of the repository.
fn transformer() -> (Case, Trace) {
    cases()
        .find(|(case, _)| case.architecture.known().ok() == Some(VisionTransformer))
        .expect("the repository has a transformer")
}

/// Changes an entry of a layer of a case.
fn set(case: &mut Case, layer: &str, key: &str, value: &str) {
    let mut layers = case.architecture.layers.iter_mut();
    let found = layers.find(|found| found["name"] == layer);
    found.expect("the case has the layer")[key] = json!(value);
}

/// Gives the constructor of a case's network an argument.
fn argue(case: &mut Case, argument: &str, value: Value) {
    case.architecture
        .timm_args
        .insert(argument.to_owned(), value);
}

/// Breaks when a layer that cannot be built is passed over, or its error names neither it nor its type.
#[test]
fn an_unknown_layer_is_an_error_that_names_it() {
    let (mut case, _) = cases().next().expect("the repository has cases");
    let layers = &mut case.architecture.layers;
    layers.push(json!({ "name": "act9", "type": "Hardswish" }));

    let error = not_covered(&case).expect_err("no layer of that type is known");
    let text = error.to_string();
    assert!(
        text.contains("act9") && text.contains("Hardswish"),
        "{text}"
    );
}

/// Breaks when a folder in which nothing can be compared passes for one in which all is well.
#[test]
fn a_folder_without_cases_is_an_error() {
    let empty = tempfile::tempdir().expect("a temporary folder can be made");

    let error = Suite::run(empty.path(), SINGLE).expect_err("the folder is empty");
    assert!(matches!(error, TraceError::NoCase(_)), "{error}");
    let error = Suite::run(&empty.path().join("none"), SINGLE).expect_err("there is no folder");
    assert!(matches!(error, TraceError::File(_)), "{error}");
}
