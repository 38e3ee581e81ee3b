//! Compares the networks of mac-burn-models with PyTorch's: the authors' own definitions, and timm's.
//!
//! A fixture stores no weights: a formula gives each tensor's values, and the file has what comes out. Each network is
//! built from the callable and the arguments that its fixture names, and from nothing else. Numbers of parameters, names,
//! shapes, logits, losses and gradients are compared on flex, in single and in double precision, at the tolerances of the
//! file. `MAC_FIXTURES` names a further folder of fixtures, from where the command is run or from the workspace:
//!
//! ```sh
//! MAC_FIXTURES=/path/to/fixtures cargo test --workspace --test parity
//! ```
//!
//! A further family is a variant of [`Config`](family::Config).

mod batch;
mod comparison;
mod construction;
mod counts;
mod differences;
mod double;
mod error;
mod family;
mod file;
mod fill;
mod fixture;
mod mistakes;
mod passes;
mod running;
mod subject;
mod suite;
mod table;
#[path = "../../mac-burn-models/tests/import/wave.rs"]
mod wave;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use mac_burn_tests::files::found;

use crate::{
    comparison::{Precision, compare},
    construction::{Arguments, Construction},
    differences::Quantity,
    double::answered,
    error::ParityError,
    family::build,
    file::File,
    fixture::Fixture,
    mistakes::Mistake,
    suite::{BACKENDS, Suite, Training},
};

/// The fixtures of the repository.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mac-burn-models/tests/fixtures")
}

/// A fixture of the repository.
fn fixture(name: &str) -> Fixture {
    let path = fixtures().join(name).with_extension("json");
    match File::read(&path) {
        Ok(File::Fixture(fixture)) => *fixture,
        other => panic!("{name} is a fixture of the repository, not {other:?}"),
    }
}

/// How many fixtures the repository has, each of which is compared in two precisions.
const FIXTURES: usize = 14;

/// Writes past the test harness, which keeps what a passing test prints to itself.
fn show(text: impl std::fmt::Display) {
    writeln!(io::stdout().lock(), "\n{text}\n").expect("standard output is open");
}

/// Breaks when any number of a network is not PyTorch's: a layer's arithmetic or its gradient, the order of layers, a
/// layout, an ε, or a number of parameters; when a fixture is lost, or a precision or a quantity is not compared.
/// In a process that [`double`] started it answers for one fixture.
#[test]
fn the_networks_are_those_of_pytorch() {
    if answered() {
        return;
    }
    let suite = Suite::run(&fixtures()).expect("the repository has fixtures");
    show(&suite);

    assert_all_compared(&suite);
    assert!(suite.counted >= 53, "only {} sizes", suite.counted);
    let compared = |(backend, _)| suite.compared_on(backend).count();
    assert_eq!(BACKENDS.map(compared), [FIXTURES; 2]);
    let in_full = suite.compared.iter().map(|compared| &compared.differences);
    let in_full = in_full.filter_map(|found| found.worst(Quantity::LogitsInFull));
    assert_eq!(in_full.count(), FIXTURES, "only double precision has these");
}

/// Asserts that every network of a folder is covered and is PyTorch's.
fn assert_all_compared(suite: &Suite) {
    let none = Vec::<String>::new();
    assert_eq!(suite.not_covered, none, "no family has these");
    assert_eq!(
        suite.not_counted, none,
        "no family has these, of a list of sizes"
    );
    assert!(suite.failures().is_empty(), "{:#?}", suite.failures());
    for compared in &suite.compared {
        let missing = compared.missing();
        assert!(missing.is_empty(), "{}: {missing:?}", compared.fixture);
    }
}

/// The same for the folder that the variable names.
#[test]
fn so_are_the_networks_of_further_fixtures() {
    let Some(folder) = env::var_os("MAC_FIXTURES") else {
        return;
    };
    let suite = Suite::run(&found(Path::new(&folder)));
    let suite = suite.unwrap_or_else(|error| panic!("MAC_FIXTURES: {error}"));
    show(&suite);

    let found = suite.compared.len() + suite.counted;
    assert!(found > 0, "MAC_FIXTURES has nothing to compare");
    assert_all_compared(&suite);
}

/// Breaks when a path from the workspace is one from the package alone, or an absolute one another.
#[test]
fn a_folder_is_found_from_the_workspace() {
    for folder in [Path::new("mac-burn-models/tests/fixtures"), &fixtures()] {
        let file = found(folder).join("counts.json");
        assert!(file.exists(), "{}", file.display());
    }
    let missing = fixtures().join("none");
    assert_eq!(found(&missing), missing);
}

/// Asserts that each mistake leaves the tolerance of single precision, which is the wider one.
fn assert_noticed(fixture: &Fixture, mistakes: Vec<Mistake<Training>>) {
    let mut lines = Vec::new();
    for mistake in mistakes {
        let alteration = mistake.alteration;
        let differences = compare(fixture, mistake.network, Precision::Single, alteration);
        let differences = differences.expect("a mistake leaves names and shapes as they are");
        let largest = differences.largest().expect("numbers are compared");
        assert!(largest.exceeds(), "{}: {largest}", mistake.what);
        lines.push(format!(
            "{}: {:.0} times the tolerance in {}",
            mistake.what,
            largest.ratio(),
            fixture.name
        ));
    }
    show(lines.join("\n"));
}

/// Breaks when a tolerance grows to the size of a mistake, or when what is compared is not what was computed.
#[test]
fn a_mistake_in_gpt_is_noticed() {
    assert_noticed(&fixture("nanogpt_bias"), mistakes::of_gpt());
}

/// Breaks like the test of GPT.
#[test]
fn a_mistake_in_deit_is_noticed() {
    assert_noticed(&fixture("deit_cifar_c100"), mistakes::of_deit());
}

/// Breaks like the test of GPT.
#[test]
fn a_mistake_in_swin_is_noticed() {
    assert_noticed(&fixture("swin_tiny_224"), mistakes::of_swin());
}

/// Breaks like the test of GPT.
#[test]
fn a_mistake_in_resnet_is_noticed() {
    assert_noticed(&fixture("resnet20_c10"), mistakes::of_resnet());
}

/// Breaks like the test of GPT.
#[test]
fn a_mistake_in_densenet_is_noticed() {
    assert_noticed(&fixture("densenet121_c10"), mistakes::of_densenet());
}

/// Breaks like the test of GPT.
#[test]
fn a_mistake_in_a_resnet_with_projections_is_noticed() {
    let mistakes = mistakes::of_projections();
    assert_noticed(&fixture("resnet34_c10"), mistakes);
}

/// Breaks like the test of GPT.
#[test]
fn a_mistake_in_wide_resnet_is_noticed() {
    assert_noticed(&fixture("wrn_28_10_c10"), mistakes::of_wide_resnet());
}

/// Breaks like the test of GPT.
#[test]
fn a_mistake_in_lenet_is_noticed() {
    assert_noticed(&fixture("lenet5_c10"), mistakes::of_lenet());
}

/// Breaks when a tensor with other values than PyTorch's is compared all the same.
#[test]
fn another_fill_is_an_error() {
    let mut fixture = fixture("nanogpt_nobias");
    fixture.parameters[3].amplitude *= 1.0 + 1e-6;
    let network = build::<Training>(&fixture.construction(), &Default::default());
    let network = network.expect("it is built").expect("it is covered");

    let error = compare(&fixture, network, Precision::Single, None);
    assert!(matches!(error, Err(ParityError::Fill { .. })), "{error:?}");
}

/// Breaks when a name or a shape of PyTorch's is passed over.
#[test]
fn another_name_or_shape_is_an_error() {
    let compared = |change: fn(&mut Fixture)| {
        let mut fixture = fixture("nanogpt_nobias");
        change(&mut fixture);
        let network = build::<Training>(&fixture.construction(), &Default::default());
        let network = network.expect("it is built").expect("it is covered");
        compare(&fixture, network, Precision::Single, None)
    };

    let error = compared(|fixture| fixture.parameters[1].name.push('s'));
    assert!(matches!(error, Err(ParityError::Missing(_))), "{error:?}");
    let error = compared(|fixture| fixture.parameters[1].shape.reverse());
    assert!(matches!(error, Err(ParityError::Shape { .. })), "{error:?}");
}

/// Breaks when a network of an unknown family passes for one that is compared, or an argument that is not understood is
/// passed over.
#[test]
fn what_is_not_understood_is_not_built() {
    let construct = |source, arguments: serde_json::Value| {
        let arguments: Arguments =
            serde_json::from_value(arguments).expect("arguments are an object");
        build::<Training>(&Construction::new(source, arguments), &Default::default())
    };

    let unknown = construct("timm:coatnet_0_224", serde_json::json!({}));
    assert!(matches!(unknown, Ok(None)));
    let argument = serde_json::json!({ "class_token": false });
    let error = construct("timm:deit_tiny_patch16_224", argument).err();
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("class_token"), "{text}");
    let argument = serde_json::json!({ "drop_path_rate": 0.1 });
    let error = construct("timm:deit_tiny_patch16_224", argument).err();
    assert!(matches!(error, Some(ParityError::Unsupported { .. })));
}

/// Breaks when a folder in which nothing can be compared passes for one in which all is well.
#[test]
fn a_folder_without_fixtures_is_an_error() {
    let error = Suite::run(&fixtures().join("none")).expect_err("there is no folder");
    assert!(matches!(error, ParityError::File(_)), "{error}");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let error = Suite::run(&source).expect_err("sources are no fixtures");
    assert!(matches!(error, ParityError::NoFixture(_)), "{error}");
}

/// Breaks when a network that panics ends the comparison with all others, or is passed over.
#[test]
fn a_panic_is_a_failure_of_its_network() {
    let text = fs::read_to_string(fixtures().join("lenet5_c10.json"));
    let right = text.expect("it is a fixture of the repository");
    // Of so small an image nothing is left.
    let wrong = right.replace("\"image_size\": 32", "\"image_size\": 8");
    assert_ne!(wrong, right);
    let row = |image_size| {
        serde_json::json!({
            "name": "LeNet5", "source": "eigen_analyzer/networks/lenet.py:LeNet5", "args": { "image_size": image_size },
            "trainable_parameters": 61_706, "parameter_tensors": 10, "float_buffer_elements": 0,
        })
    };
    let counts =
        serde_json::json!({ "format": "mac-model-parity-counts/1", "rows": [row(8), row(32)] });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, text) in [("1", wrong), ("2", right), ("3", counts.to_string())] {
        let file = folder.path().join(name).with_extension("json");
        fs::write(file, text).expect("the folder can be written to");
    }

    let suite = Suite::run(folder.path()).expect("the folder has fixtures");
    assert_eq!((suite.compared.len(), suite.counted), (2, 1));
    assert_eq!(suite.failures().len(), 3, "{:#?}", suite.failures());
    for failure in suite.failures() {
        assert!(
            failure.contains("a panic: LeNet halves the image"),
            "{failure}"
        );
    }
}
