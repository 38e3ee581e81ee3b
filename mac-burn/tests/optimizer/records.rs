//! Records of other versions: those before are read where a format names their fields, all others refused.

use crate::auxiliary_optimizer::both;
use crate::support::{
    B, Network, busy_optimizer, difference, gradients, images, random, train, values,
};
use burn::module::{AutodiffModule, Module};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::record::{
    BinFileRecorder, FileRecorder, FullPrecisionSettings, NamedMpkFileRecorder,
    PrettyJsonFileRecorder, Record, Recorder as _, RecorderError,
};
use mac_burn::{Mac, MacError, MacPreconditionerRecord, MacRecord, Report};
use std::fs;
use std::path::{Path, PathBuf};

type Mpk = NamedMpkFileRecorder<FullPrecisionSettings>;
type Bin = BinFileRecorder<FullPrecisionSettings>;
type Json = PrettyJsonFileRecorder<FullPrecisionSettings>;

/// Steps that a run of version 1 had taken when it was saved, and when its values were written.
const SAVED: u64 = 4;
const END: u64 = 7;

/// Parameters below 1.5 after three more steps, against those of version 1. A preconditioner was made of `x̄` itself then and is
/// made of `x̄` divided by its largest element now, which rounds otherwise, so that a step differs by a few roundings. A run
/// that loses a mean, a buffer or a setting is 1e-2 off and more.
const FEW_EPSILONS: f64 = 4.0 * f32::EPSILON as f64;

/// A file that the README beside it describes.
fn fixture(name: &str) -> PathBuf {
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records");
    records.join(name)
}

fn load<F: FileRecorder<B> + Default, R: Record<B>>(name: &str) -> Result<R, RecorderError> {
    F::default().load(fixture(name), &Default::default())
}

fn busy() -> Mac<Network<B>, B> {
    busy_optimizer(&Network::new(7).conv, images(100, 4), false)
}

fn network(name: &str) -> Network<B> {
    let model = load::<Mpk, _>(&format!("{name}-model")).expect("the model is read");
    Network::new(99).load_record(model)
}

/// Continues a run and compares its values with those that the version which saved it came to.
fn check_continues<F, O>(name: &str, optim: O)
where
    F: FileRecorder<B> + Default,
    O: Optimizer<Network<B>, B>,
{
    let network = network(name);
    let record = load::<F, _>(&format!("{name}-optimizer")).expect("it is read");
    let mut optim = optim.load_record(record);
    let found = values(&train(network, &mut optim, SAVED..END));

    let text = fs::read_to_string(fixture(&format!("{name}-values.json")));
    let expected: Vec<Vec<f64>> =
        serde_json::from_str(&text.expect("the values are there")).expect("they are numbers");
    let difference = difference(&found, &expected);
    assert!(
        difference <= FEW_EPSILONS,
        "{name} differs by {difference:e}"
    );
}

/// Breaks when a part of version 1 is not found under its name of then: means, covariances, or the momentum of parameters
/// without weight decay.
#[test]
fn a_run_of_version_1_continues() {
    check_continues::<Mpk, _>("mac", busy());
    check_continues::<Json, _>("mac", busy());
}

/// Breaks when a kind of layers or curvatures has another place among its like than it had, by which a format without names knows it.
#[test]
fn a_run_of_the_present_version_continues_in_a_format_without_names() {
    check_continues::<Bin, _>("version-3", busy());
}

/// Breaks when the state of what was the second optimizer is not found, or its factor.
#[test]
fn a_run_of_version_1_with_an_auxiliary_optimizer_continues() {
    let both = || both(crate::auxiliary_optimizer::config(), 0.5);
    check_continues::<Mpk, _>("auxiliary", both());
    check_continues::<Json, _>("auxiliary", both());
}

/// Breaks when what is read from version 1 is written as such again.
#[test]
fn a_record_of_version_1_is_written_as_the_present_version() {
    fn check<F: FileRecorder<B> + Default>() {
        let record: MacRecord<B> = load::<Mpk, _>("mac-optimizer").expect("version 1 is read");
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let file = folder.path().join("optim");
        let (files, device) = (F::default(), Default::default());
        let waiting = busy().load_record(record);
        let written = files.record(waiting.to_record(), file.clone());
        written.expect("the optimizer is saved");
        let record = files.load(file, &device).expect("the optimizer is loaded");
        let rewritten = busy().load_record(record);
        let [rewritten, direct] = [rewritten, waiting]
            .map(|mut optim| values(&train(network("mac"), &mut optim, SAVED..END)));
        assert_eq!(rewritten, direct);
    }
    check::<Mpk>();
    check::<Json>();
    check::<Bin>();
}

/// A record of version 1 with an auxiliary optimizer is known as one.
#[test]
fn a_record_of_version_1_with_an_auxiliary_optimizer_is_refused_by_a_mac_without() {
    let record: MacRecord<B> = load::<Mpk, _>("auxiliary-optimizer").expect("version 1 is read");
    let config = crate::auxiliary_optimizer::config();
    let refused = config.init().try_load_record(record, &Network::new(8));
    assert_eq!(refused.err(), Some(MacError::RecordWithAuxiliaryOptimizer));
}

/// Breaks when fields of version 1 are taken for those of the present version where a format has only their order: numbers
/// would be read as others.
#[test]
fn version_1_without_names_of_fields_is_refused_by_an_error_that_names_both_versions() {
    fn check<R: Record<B>>(name: &str) {
        let refused = load::<Bin, R>(name).err().expect("it is of version 1");
        let text = refused.to_string();
        for part in ["has version 1", "reads version 3", "NamedMpkFileRecorder"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
    check::<MacRecord<B>>("mac-optimizer");
    check::<MacRecord<B, burn::optim::AdamW>>("auxiliary-optimizer");
}

/// Writes the record of AdamW to a file and returns the text of the error that reading it as MAC's has.
fn refusal_of_adamw<F: FileRecorder<B> + Default, M: AutodiffModule<B>>(
    model: M,
    grads: GradientsParams,
) -> String {
    let mut adamw = AdamWConfig::new().init();
    adamw.step(0.1, model, grads);
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = folder.path().join("optim");
    let written = F::default().record(adamw.to_record(), file.clone());
    written.expect("the optimizer is saved");
    let refused: Result<MacRecord<B>, _> = F::default().load(file, &Default::default());
    refused.err().expect("it is AdamW's").to_string()
}

/// Breaks when the error is that of a format, which says nothing of optimizers.
#[test]
fn the_record_of_another_optimizer_is_refused_by_an_error_that_says_so() {
    fn check<F: FileRecorder<B> + Default>(part: &str) {
        let network = Network::<B>::new(1);
        let grads = gradients(&network, images(0, 3));
        let text = refusal_of_adamw::<F, _>(network, grads);
        for part in [part, "another optimizer", "load only the model's record"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
    let named = "not a record of the MAC optimizer (version 3)";
    check::<Mpk>(named);
    check::<Json>(named);
    // The first number is that of the parameters, which is read as a version.
    check::<Bin>("has version 7");
}

/// Breaks when what is read in place of a record, by the chance of its first number, has the error of a format.
#[test]
fn what_begins_like_a_record_and_is_none_is_refused_by_an_error_that_says_so() {
    // The number of its parameters is the present version.
    let device = Default::default();
    let first: Linear<B> = LinearConfig::new(3, 2).init(&device);
    let second: Linear<B> = LinearConfig::new(2, 2).with_bias(false).init(&device);
    let output = second.forward(first.forward(random::<B, 2>([4, 3], 1)));
    let layers = (first, second);
    let grads = GradientsParams::from_grads(output.sum().backward(), &layers);
    let text = refusal_of_adamw::<Bin, _>(layers, grads);
    assert!(text.contains("not a record of the MAC optimizer"), "{text}");
}

/// The same for the record of a preconditioner alone.
#[test]
fn a_preconditioners_record_without_a_version_is_none() {
    let read: Result<MacPreconditionerRecord, _> = serde_json::from_str(r#"{ "step": 3 }"#);
    let text = read.expect_err("it has no version").to_string();
    assert!(text.contains("not a record of the MAC optimizer"), "{text}");
}

/// The record, changed in what its file holds.
fn changed(record: MacRecord<B>, change: impl Fn(&mut serde_json::Value)) -> MacRecord<B> {
    let item = record.into_item::<FullPrecisionSettings>();
    let mut json = serde_json::to_value(item).expect("it is plain data");
    change(&mut json["preconditioner"]);
    let item = serde_json::from_value(json).expect("it is a record");
    MacRecord::from_item::<FullPrecisionSettings>(item, &Default::default())
}

/// Version 2 had no squares. Breaks when it is refused, continues otherwise than the present version, or has a share of the mean that
/// is not that of what was seen since.
#[test]
fn a_run_of_version_2_continues() {
    let continued = |change: fn(&mut serde_json::Value)| {
        let network = Network::new(7);
        let optimizer = || busy_optimizer(&network.conv, images(100, 4), false);
        let mut optim: Mac<Network<B>, B> = optimizer();
        let network = train(network.clone(), &mut optim, 0..1);
        let record = changed(optim.to_record(), change);
        let mut optim = optimizer();
        optim = optim.try_load_record(record, &network).expect("it fits");
        let before = optim.report(&network);
        let network = train(network, &mut optim, 1..6);
        (before, optim.report(&network), values(&network))
    };
    let (before, after, values) = continued(|record| {
        record["version"] = 2.into();
        let curvatures = record["curvatures"].as_array_mut().expect("there are some");
        for curvature in curvatures {
            if let Some(mean) = curvature.get_mut("MeanActivation") {
                let removed = mean.as_object_mut().and_then(|mean| mean.remove("square"));
                assert!(removed.is_some_and(|square| !square.is_null()));
            }
        }
    });
    let (complete, expected, expected_values) = continued(|_| ());
    assert_eq!(values, expected_values);

    let shares = |report: &Report| -> Vec<Option<f64>> {
        let layers = report.layers.iter().skip(1);
        layers.map(|layer| layer.mean_share).collect()
    };
    assert_eq!(shares(&before), [None, None]);
    assert!(shares(&complete).iter().all(Option::is_some));
    let pairs = shares(&after).into_iter().zip(shares(&expected));
    for (found, expected) in pairs {
        let (found, expected) = (found.expect("it has seen"), expected.expect("so has it"));
        // The batches are alike, but not the same.
        assert!(
            (found - expected).abs() < 0.2 * expected,
            "{found}, {expected}"
        );
        assert_ne!(found, expected);
    }
}

/// Breaks when a version to come is read as if it were this one, or refused for a field that it has no more.
#[test]
fn a_version_to_come_is_refused() {
    let (found, expected) = (4, 3);
    let refused = |change: fn(&mut serde_json::Value)| {
        let mut optim = busy();
        let network = train(Network::new(7), &mut optim, 0..1);
        let record = changed(optim.to_record(), change);
        let optim = crate::auxiliary_optimizer::config().init();
        optim.try_load_record(record, &network).err()
    };
    let error = Some(MacError::RecordVersion { found, expected });
    assert_eq!(refused(|record| record["version"] = 4.into()), error);
    let bare = |record: &mut serde_json::Value| *record = serde_json::json!({ "version": 4 });
    assert_eq!(refused(bare), error);
}

/// The same where a format has only the order of fields: the text of the error is the same.
#[test]
fn a_version_to_come_is_refused_where_fields_have_no_names() {
    let mut optim = busy();
    train(Network::new(7), &mut optim, 0..1);
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = folder.path().join("optim");
    let written = Bin::default().record(optim.to_record(), file.clone());
    written.expect("the optimizer is saved");

    // The version is the first field.
    let file = file.with_extension("bin");
    let mut bytes = fs::read(&file).expect("it was written");
    let at = version_position(&bytes);
    bytes[at] = 4;
    fs::write(&file, bytes).expect("it is written");
    let refused: Result<MacRecord<B>, _> = Bin::default().load(file, &Default::default());
    let text = refused.err().expect("it is of version 4").to_string();
    let (found, expected) = (4, 3);
    let error = MacError::RecordVersion { found, expected }.to_string();
    assert!(text.contains(&error), "{text}");
}

/// The position of the version in a file of [`Bin`], after what Burn writes of its own.
fn version_position(bytes: &[u8]) -> usize {
    // Version, steps and damping, configured and in use, in bincode's encoding.
    let start = [3, 1].into_iter().chain([1.0f64.to_le_bytes(); 2].concat());
    let start: Vec<u8> = start.collect();
    let found: Vec<usize> = (0..bytes.len() - start.len())
        .filter(|at| bytes[*at..].starts_with(&start))
        .collect();
    let [at] = found[..] else {
        panic!("the version is at {found:?}");
    };
    at
}
