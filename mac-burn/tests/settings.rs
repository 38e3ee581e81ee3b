//! The settings of a resumed run that are the configuration's, those that are the record's, and that files keep all of them.

#[path = "support/logged.rs"]
mod logged;
mod support;

use burn::config::Config;
use burn::module::Module;
use burn::optim::Optimizer;
use burn::record::{
    BinFileRecorder, FileRecorder, FullPrecisionSettings, NamedMpkFileRecorder,
    PrettyJsonFileRecorder,
};
use log::LevelFilter;
use logged::logged;
use mac_burn::{InputCovariance, Mac, MacConfig};
use std::ops::Range;
use support::{B, Network, gradients, images, train, values};

type Optim = Mac<Network<B>, B>;

const STOP: u64 = 4;
const STEPS: u64 = 9;

/// Recording every second step and refreshing every third, so that a resume at [`STOP`] falls between two refreshes.
fn config() -> MacConfig {
    MacConfig::new()
        .with_tcov(2)
        .with_tinv(3)
        .with_weight_decay(0.1)
}

fn start() -> Network<B> {
    Network::new(7)
}

/// An optimizer that preconditions the first layer by its covariance, which damping is added to on the host.
fn with_covariance(config: &MacConfig, network: &Network<B>) -> Optim {
    let mut covariance = InputCovariance::of(&network.conv);
    covariance.update(images::<B>(100, 4));
    let optim = config.init().with_input_covariance(&covariance);
    optim.expect("the covariance is regular")
}

/// Saves a model and its optimizer to files of one kind and loads them into new ones.
fn through<F: FileRecorder<B> + Default>(
    network: Network<B>,
    optim: &Optim,
    new: Optim,
) -> (Network<B>, Optim) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let (model, state) = (folder.path().join("model"), folder.path().join("optim"));
    let (files, device) = (F::default(), Default::default());
    let saved = files.record(network.into_record(), model.clone());
    saved.expect("the model is saved");
    let saved = files.record(optim.to_record(), state.clone());
    saved.expect("the optimizer is saved");
    let record = files.load(model, &device).expect("the model is loaded");
    let network = Network::new(99).load_record(record);
    let record = files.load(state, &device).expect("the optimizer is loaded");
    (network, new.load_record(record))
}

/// The values after a run that is saved to files at [`STOP`] and resumed, and those of the run without.
fn resumed_and_uninterrupted<F: FileRecorder<B> + Default>(
    config: &MacConfig,
) -> [Vec<Vec<f64>>; 2] {
    [true, false].map(|interrupted| {
        let mut network = start();
        let mut optim = with_covariance(config, &network);
        network = train(network, &mut optim, 0..STOP);
        if interrupted {
            (network, optim) = through::<F>(network, &optim, config.init());
        }
        values(&train(network, &mut optim, STOP..STEPS))
    })
}

/// Breaks when infinity is written as JSON's `null`, which is no number.
#[test]
fn infinite_damping_survives_the_file_of_a_configuration() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = folder.path().join("config.json");
    let config = config().with_damping(f64::INFINITY);
    config.save(&file).expect("the configuration is saved");
    let loaded = MacConfig::load(&file).expect("the configuration is loaded");
    assert_eq!(loaded.damping, f64::INFINITY);
    assert_eq!(loaded.to_string(), config.to_string());
}

/// Breaks when a kind of file does not keep infinity, in what is configured or in what is set.
#[test]
fn infinite_damping_survives_records() {
    fn check<F: FileRecorder<B> + Default>() {
        let config = config().with_damping(f64::INFINITY);
        let [resumed, uninterrupted] = resumed_and_uninterrupted::<F>(&config);
        assert_eq!(resumed, uninterrupted);

        let mut optim = self::config().init();
        let network = train(start(), &mut optim, 0..1);
        optim.set_damping(f64::INFINITY).expect("it is allowed");
        let (_, loaded) = through::<F>(network, &optim, self::config().init());
        assert_eq!(loaded.preconditioner().damping(), f64::INFINITY);
    }
    check::<PrettyJsonFileRecorder<FullPrecisionSettings>>();
    check::<NamedMpkFileRecorder<FullPrecisionSettings>>();
    check::<BinFileRecorder<FullPrecisionSettings>>();
}

/// Breaks when a kind of file loses a digit of a statistic or a buffer, or reads fields in another order than they were
/// written in.
#[test]
fn a_run_continues_bit_for_bit_from_every_kind_of_file() {
    fn check<F: FileRecorder<B> + Default>() {
        let [resumed, uninterrupted] = resumed_and_uninterrupted::<F>(&config());
        assert_eq!(resumed, uninterrupted);
    }
    check::<PrettyJsonFileRecorder<FullPrecisionSettings>>();
    check::<NamedMpkFileRecorder<FullPrecisionSettings>>();
    check::<BinFileRecorder<FullPrecisionSettings>>();
}

/// Breaks when the configuration's value is read until the first step: a schedule that multiplies it would start anew.
#[test]
fn a_schedule_that_multiplies_settings_continues_after_a_resume() {
    let run = |interrupted: bool| {
        let mut network = start();
        let mut optim = with_covariance(&config(), &network);
        for index in 0..STEPS {
            if interrupted && index == STOP {
                optim = config().init().load_record(optim.to_record());
            }
            let settings = optim.preconditioner();
            let (damping, stat_decay) = (settings.damping() * 0.8, settings.stat_decay() * 0.95);
            optim.set_damping(damping).expect("it is allowed");
            optim.set_stat_decay(stat_decay).expect("it is allowed");
            network = train(network, &mut optim, index..index + 1);
        }
        let settings = optim.preconditioner();
        let settings = (settings.damping(), settings.stat_decay());
        (settings, values(&network))
    };
    let (resumed, uninterrupted) = (run(true), run(false));
    assert_eq!(resumed, uninterrupted);
    assert!(resumed.0.0 < 0.2, "{}", resumed.0.0);
}

/// Breaks when the record's value wins over a configuration that was changed since, or when what was set during training
/// is lost where only the other setting was changed.
#[test]
fn a_configuration_with_another_value_wins_over_the_record() {
    type Set = fn(&mut Optim);
    let damping: Set = |optim| optim.set_damping(2.0).expect("it is allowed");
    let stat_decay: Set = |optim| optim.set_stat_decay(0.7).expect("it is allowed");
    let cases = [
        (config().with_damping(2.0), vec![damping]),
        (config().with_stat_decay(0.7), vec![stat_decay]),
        (
            config().with_damping(2.0).with_stat_decay(0.7),
            vec![damping, stat_decay],
        ),
        (config(), vec![]),
    ];
    for (changed, sets) in cases {
        let run = |resumed: bool| {
            let network = start();
            let mut optim = with_covariance(&config(), &network);
            optim.set_damping(0.25).expect("it is allowed");
            optim.set_stat_decay(0.5).expect("it is allowed");
            let network = train(network, &mut optim, 0..STOP);
            if resumed {
                optim = changed.init().load_record(optim.to_record());
            } else {
                sets.iter().for_each(|set| set(&mut optim));
            }
            let settings = optim.preconditioner();
            let settings = (settings.damping(), settings.stat_decay());
            (settings, values(&train(network, &mut optim, STOP..STEPS)))
        };
        assert_eq!(run(true), run(false));
    }
}

/// Breaks when a resumed run forgets under which configuration it was written: the second resume would take the first's
/// change for one of its own.
#[test]
fn a_change_of_the_configuration_holds_over_further_resumes() {
    let mut optim = config().init();
    let network = train(start(), &mut optim, 0..1);
    let changed = || config().with_damping(2.0).init::<B, Network<B>>();
    let mut optim = changed().load_record(optim.to_record());
    let network = train(network, &mut optim, 1..2);
    optim.set_damping(0.5).expect("it is allowed");
    let mut optim = changed().load_record(optim.to_record());
    assert_eq!(optim.preconditioner().damping(), 0.5);
    train(network, &mut optim, 2..3);
    let optim = config()
        .init::<B, Network<B>>()
        .load_record(optim.to_record());
    assert_eq!(optim.preconditioner().damping(), 1.0);
}

/// The messages of this thread while something is done.
fn messages_of(what: impl FnOnce()) -> Vec<String> {
    logged(LevelFilter::Info);
    what();
    logged(LevelFilter::Info)
}

/// Breaks when the message is repeated by a report, by the first step or by a record that is written again, or when a run
/// that continues as it was has one.
#[test]
fn a_setting_that_replaces_the_records_is_logged_once() {
    let mut optim = config().init();
    let network = train(start(), &mut optim, 0..1);
    optim.set_damping(0.25).expect("it is allowed");
    let record = || optim.to_record();

    let resume = |config: MacConfig| {
        let mut optim = config.init().load_record(record());
        optim.report(&network);
        optim.report(&network);
        optim.to_record();
        let network = train(network.clone(), &mut optim, 1..2);
        optim.report(&network);
    };
    let messages = messages_of(|| resume(config().with_damping(2.0)));
    let [message] = &messages[..] else {
        panic!("{messages:?}");
    };
    for part in ["`damping`", " 2 ", "0.25", "configured as 1"] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
    let messages = messages_of(|| resume(config().with_stat_decay(0.5)));
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("`stat_decay`"), "{messages:?}");
    let messages = messages_of(|| resume(config()));
    assert_eq!(messages, [""; 0]);
}

/// All parameters change sides. Breaks when momentum is kept apart by weight decay: a parameter that changes sides would
/// start from none.
#[test]
fn parameters_that_lose_or_gain_weight_decay_keep_their_momentum() {
    let none = || config().with_no_decay(vec!["**".into()]);
    let without_factor = || config().with_weight_decay(0.0);
    let run = |before: MacConfig, after: MacConfig| {
        let mut optim = before.init();
        let network = train(start(), &mut optim, 0..STOP);
        let mut optim = after.init().load_record(optim.to_record());
        values(&train(network, &mut optim, STOP..STEPS))
    };
    // A run without a factor of weight decay is the same as one in which no name has it.
    let losing = run(config(), none());
    assert_eq!(losing, run(config(), without_factor()));
    assert_ne!(losing, run(config(), config()));
    let gaining = run(none(), config());
    assert_eq!(gaining, run(without_factor(), config()));
    assert_ne!(gaining, run(none(), none()));
}

/// Steps with the gradients of a network that stays as it is, so that what a step does to one parameter does not reach the
/// others.
fn step_still(
    still: &Network<B>,
    optim: &mut Optim,
    network: Network<B>,
    steps: Range<u64>,
) -> Network<B> {
    steps.fold(network, |network, index| {
        optim.step(0.05, network, gradients(still, images(index, 5)))
    })
}

/// Some parameters change sides. Momentum does not depend on weight decay in its decoupled form, so under equal gradients
/// the buffers of an optimizer that had the other exemptions all along are those that a resumed one must have. Damping is
/// infinite, so that statistics play no part.
#[test]
fn norms_and_biases_that_change_sides_keep_their_momentum() {
    let with = |exempt| {
        let config = config().with_damping(f64::INFINITY);
        config.with_no_decay_norms_and_biases(exempt).init()
    };
    for (before, after) in [(false, true), (true, false)] {
        let network = start();
        let still = network.clone();
        let (mut changing, mut reference) = (with(before), with(after));
        step_still(&still, &mut reference, network.clone(), 0..STOP);
        let network = step_still(&still, &mut changing, network, 0..STOP);

        let mut resumed = with(after).load_record(changing.to_record());
        let [found, expected, unchanged] =
            [&mut resumed, &mut reference, &mut changing].map(|optim| {
                let stepped = step_still(&still, optim, network.clone(), STOP..STEPS);
                trained(values(&stepped))
            });
        assert_eq!(found, expected);
        assert_ne!(found, unchanged);
    }
}

/// The values of a network without the running statistics of its norm, at 4 and 5, which clones share.
fn trained(mut values: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    values.drain(4..6);
    values
}

/// Breaks when the buffers of parameters that changed sides stay in the state, beside their new ones.
#[test]
fn no_buffer_is_kept_for_parameters_that_changed_sides() {
    let buffers = |optim: &Optim| {
        let item = burn::record::Record::<B>::into_item::<FullPrecisionSettings>(optim.to_record());
        let json = serde_json::to_value(item).expect("it is plain data");
        let momentum = json["momentum"].as_object().expect("it is a map").len();
        (momentum, json.to_string().len())
    };
    let exempt = config()
        .with_no_decay(vec!["hidden".into()])
        .with_no_decay_norms_and_biases(true);
    for (before, after) in [(config(), exempt.clone()), (exempt, config())] {
        let mut optim = before.init();
        let network = train(start(), &mut optim, 0..STOP);
        let bytes = optim.report(&network).momentum_bytes;
        let (count, length) = buffers(&optim);
        let parameters = trained(values(&network));
        let elements = parameters.iter().map(Vec::len).sum::<usize>();
        let expected = (parameters.len(), elements * size_of::<f32>());
        assert_eq!((count, bytes), expected);

        let mut optim = after.init().load_record(optim.to_record());
        let network = train(network, &mut optim, STOP..STEPS);
        assert_eq!(optim.report(&network).momentum_bytes, bytes);
        let (count_after, length_after) = buffers(&optim);
        assert_eq!(count_after, count);
        // Numbers have more or fewer digits, by less than what a second buffer of the weights takes.
        assert!(length_after.abs_diff(length) < length / 10);
    }
}
