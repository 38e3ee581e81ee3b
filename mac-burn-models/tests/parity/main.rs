//! Compares the networks of this crate with PyTorch's: the authors' own definitions, and timm's.
//!
//! A fixture stores no weights: a formula gives each tensor's values, and the file has what comes out. Each network is
//! built from the callable and the arguments that its fixture names, and from nothing else. Numbers of parameters, names,
//! shapes, logits, losses and gradients are compared, in single precision on flex and in double precision on ndarray, at
//! the tolerances of the file. `MAC_FIXTURES` names a further folder of fixtures; give it as an absolute path:
//!
//! ```sh
//! MAC_FIXTURES=/path/to/fixtures cargo test --workspace --test parity
//! ```
//!
//! A further family is a file in `family/`.

mod batch;
mod comparison;
mod construction;
mod counts;
mod differences;
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
mod wave;

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    comparison::{Precision, compare},
    construction::{Arguments, Construction},
    error::ParityError,
    family::build,
    file::File,
    fixture::Fixture,
    mistakes::Mistake,
    suite::{Single, Suite},
};

/// The fixtures of the repository.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A fixture of the repository.
fn fixture(name: &str) -> Fixture {
    let path = fixtures().join(name).with_extension("json");
    match File::read(&path) {
        Ok(File::Fixture(fixture)) => *fixture,
        other => panic!("{name} is a fixture of the repository, not {other:?}"),
    }
}

/// Writes past the test harness, which keeps what a passing test prints to itself.
fn show(text: impl std::fmt::Display) {
    writeln!(io::stdout().lock(), "\n{text}\n").expect("standard output is open");
}

/// Breaks when any number of a network is not PyTorch's: a layer's arithmetic or its gradient, the order of layers, a
/// layout, an ε, or a number of parameters.
#[test]
fn the_networks_are_those_of_pytorch() {
    let suite = Suite::run(&fixtures()).expect("the repository has fixtures");
    show(&suite);

    assert!(suite.not_covered.is_empty(), "{:?}", suite.not_covered);
    assert!(suite.counted >= 53, "only {} sizes", suite.counted);
    assert!(suite.failures().is_empty(), "{:#?}", suite.failures());
}

/// The same for the folder that the variable names.
#[test]
fn so_are_the_networks_of_further_fixtures() {
    let Some(folder) = env::var_os("MAC_FIXTURES") else {
        return;
    };
    let suite = Suite::run(Path::new(&folder));
    let suite = suite.unwrap_or_else(|error| panic!("MAC_FIXTURES: {error}"));
    show(&suite);

    let found = suite.compared.len() + suite.counted;
    assert!(found > 0, "MAC_FIXTURES has nothing to compare");
    assert!(suite.failures().is_empty(), "{:#?}", suite.failures());
}

/// Asserts that each mistake leaves the tolerance of single precision, which is the wider one.
fn assert_noticed(fixture: &Fixture, mistakes: Vec<Mistake<Single>>) {
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

/// Breaks when a tensor with other values than PyTorch's is compared all the same.
#[test]
fn another_fill_is_an_error() {
    let mut fixture = fixture("nanogpt_nobias");
    fixture.parameters[3].amplitude *= 1.0 + 1e-6;
    let network = build::<Single>(&fixture.construction(), &Default::default());
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
        let network = build::<Single>(&fixture.construction(), &Default::default());
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
        build::<Single>(&Construction::new(source, arguments), &Default::default())
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
    assert!(matches!(error, ParityError::Read { .. }), "{error}");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let error = Suite::run(&source).expect_err("sources are no fixtures");
    assert!(matches!(error, ParityError::NoFixture(_)), "{error}");
}
