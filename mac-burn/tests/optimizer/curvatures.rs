//! The life of optimizers with other curvatures than MAC's: records, settings, what recorders keep, and inversions that fail.

use crate::support::{B, Network, images, random, through_files, train, values};
use burn::config::Config;
use burn::module::{AutodiffModule, Module};
use burn::nn::LinearConfig;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{
    Coverage, EvaConfig, FoofConfig, GradientScale, InputCovariance, KfacConfig, KfacDamping, Mac,
    MacConfig, MacError, MacLinear, SmacConfig, WeightSharing, without_recording,
};

type Optim = Mac<Network<B>, B>;

/// Recording every third step and refreshing every fourth, so that a resume falls between two recordings, between two refreshes, and on
/// either.
fn mac() -> MacConfig {
    MacConfig::new()
        .with_tcov(3)
        .with_tinv(4)
        .with_stat_decay(0.6)
        .with_weight_decay(1e-3)
}

/// The four, and variants that keep other things.
const ALL: [&str; 7] = [
    "FOOF",
    "FOOF from the identity",
    "Eva",
    "K-FAC",
    "K-FAC of the authors",
    "SMAC",
    "SMAC with Nesterov",
];

fn optimizer(name: &str) -> Optim {
    let mac = mac();
    match name {
        "FOOF" => FoofConfig::new().with_settings_of(&mac).init(),
        "FOOF from the identity" => FoofConfig::new()
            .with_settings_of(&mac)
            .with_identity_start(true)
            .init(),
        "Eva" => EvaConfig::new().with_settings_of(&mac).init(),
        "K-FAC" => KfacConfig::new().with_settings_of(&mac).init(),
        "K-FAC of the authors" => KfacConfig::of_mac_authors()
            .with_tcov(3)
            .with_tinv(4)
            .init(),
        "SMAC" => SmacConfig::new().with_settings_of(&mac).init(),
        "SMAC with Nesterov" => SmacConfig::new().with_tcov(3).with_tinv(4).init(),
        other => unreachable!("{other} is none of them"),
    }
}

/// Breaks when a record loses an average, its weight, an inverse, or what is in use.
#[test]
fn a_run_that_is_resumed_is_bit_equal_at_every_step() {
    const STEPS: u64 = 10;
    for name in ALL {
        let mut optim = optimizer(name);
        let expected = train(Network::<B>::new(7), &mut optim, 0..STEPS);
        for stop in 0..STEPS {
            let mut optim = optimizer(name);
            let network = train(Network::<B>::new(7), &mut optim, 0..stop);
            let (network, mut optim) = through_files(network, optim, optimizer(name));
            let network = train(network, &mut optim, stop..STEPS);
            assert_eq!(
                values(&network),
                values(&expected),
                "{name}, resumed at step {stop}"
            );
        }
    }
}

/// Breaks when a damping that is set is not used until the next refresh, or is lost in a record.
#[test]
fn a_damping_set_between_steps_holds_at_once_and_in_the_record() {
    for name in ALL {
        let run = |damping: Option<f64>, interrupted: bool| {
            let mut optim = optimizer(name);
            let mut network = train(Network::<B>::new(7), &mut optim, 0..2);
            if let Some(damping) = damping {
                optim.set_damping(damping).expect("it is allowed");
            }
            if interrupted {
                (network, optim) = through_files(network, optim, optimizer(name));
            }
            values(&train(network, &mut optim, 2..3))
        };
        assert_ne!(run(Some(0.25), false), run(None, false), "{name}");
        assert_eq!(run(Some(0.25), false), run(Some(0.25), true), "{name}");
    }
}

/// Breaks when a run that is resumed with another damping keeps the inverse of the record's, or one that is set while the record waits for its
/// model is not used.
#[test]
fn another_damping_than_the_records_holds_from_the_first_step_on() {
    for name in ["FOOF", "Eva", "K-FAC", "SMAC"] {
        let with = |damping: f64| -> Optim {
            let mac = mac().with_damping(damping);
            match name {
                "FOOF" => FoofConfig::new().with_settings_of(&mac).init(),
                "Eva" => EvaConfig::new().with_settings_of(&mac).init(),
                "K-FAC" => KfacConfig::new().with_settings_of(&mac).init(),
                _ => SmacConfig::new().with_settings_of(&mac).init(),
            }
        };
        let start = |network, optim: &mut Optim| train(network, optim, 0..2);
        let expected = {
            let mut optim = with(1.0);
            let network = start(Network::<B>::new(7), &mut optim);
            optim.set_damping(0.25).expect("it is allowed");
            values(&train(network, &mut optim, 2..3))
        };
        for set in [false, true] {
            let mut optim = with(1.0);
            let network = start(Network::<B>::new(7), &mut optim);
            let new = with(if set { 1.0 } else { 0.25 });
            let (network, mut optim) = through_files(network, optim, new);
            if set {
                optim.set_damping(0.25).expect("it is allowed");
            }
            let found = values(&train(network, &mut optim, 2..3));
            assert_eq!(found, expected, "{name}, set: {set}");
        }
    }
}

/// Breaks when a run of MAC that goes on as SMAC stays MAC's, or its diagonal waits for a refresh.
#[test]
fn a_run_of_mac_goes_on_as_smac() {
    let mut optim: Optim = mac().init();
    let network = train(Network::<B>::new(7), &mut optim, 0..1);
    let smac: Optim = SmacConfig::new().with_settings_of(&mac()).init();
    let mut optim = smac.load_record(optim.to_record());
    let layers = |optim: &Optim, network: &Network<B>| -> Vec<Coverage> {
        let report = optim.report(network);
        report.layers.iter().map(|layer| layer.coverage).collect()
    };
    assert_eq!(layers(&optim, &network), [Coverage::MeanActivation; 3]);
    // The next pass that is recorded is that of the fourth step.
    let network = train(network, &mut optim, 1..4);
    let expected = [Coverage::MeanActivationAndOutputSquares; 3];
    assert_eq!(layers(&optim, &network), expected);
}

/// Breaks when the diagonal of the first layer is left out or applied against the setting, or lost in a record.
#[test]
fn a_measured_first_layer_has_a_diagonal_if_asked_for() {
    let run = |scales: bool, interrupted: bool| {
        let optimizer = || -> Optim {
            let smac = SmacConfig::new().with_settings_of(&mac());
            smac.with_scale_first_layer(scales).init()
        };
        let network = Network::<B>::new(7);
        let mut covariance = InputCovariance::of(&network.conv);
        covariance.update(images::<B>(100, 4));
        let optim = optimizer().with_input_covariance(&covariance);
        let mut optim = optim.expect("the covariance is regular");
        let mut network = train(network, &mut optim, 0..2);
        if interrupted {
            (network, optim) = through_files(network, optim, optimizer());
        }
        values(&train(network, &mut optim, 2..6))
    };
    assert_ne!(run(true, false), run(false, false));
    for scales in [true, false] {
        assert_eq!(run(scales, true), run(scales, false), "{scales}");
    }
}

/// Breaks when damping that accumulates does so between refreshes.
#[test]
fn damping_accumulates_at_refreshes_only() {
    let run = |changes: usize| {
        let config = KfacConfig::of_mac_authors().with_tcov(100).with_tinv(2);
        let mut optim: Optim = config.init();
        let mut network = train(Network::<B>::new(7), &mut optim, 0..1);
        for _ in 0..changes {
            for damping in [0.5, optim.preconditioner().damping()] {
                optim.set_damping(damping).expect("it is allowed");
            }
        }
        network = train(network, &mut optim, 1..4);
        values(&network)
    };
    // What is set back once is inverted from the averages as they are after the refresh, with its damping in them.
    assert_eq!(run(3), run(1));
}

/// Breaks when infinite damping, which is momentum SGD, inverts or divides.
#[test]
fn infinite_damping_set_in_training_is_momentum_sgd() {
    for name in ["FOOF", "Eva", "K-FAC", "SMAC"] {
        let mut optim = optimizer(name);
        optim.set_damping(f64::INFINITY).expect("it is allowed");
        let found = train(Network::<B>::new(7), &mut optim, 0..5);
        let mut sgd = mac().with_damping(f64::INFINITY).init();
        let expected = train(Network::<B>::new(7), &mut sgd, 0..5);
        assert_eq!(values(&found), values(&expected), "{name}");
    }
}

/// Breaks when statistics of one curvature are taken for those of another, or the error does not name both.
#[test]
fn a_record_of_another_curvature_is_refused_by_name() {
    let records = [
        ("MAC", mac().init()),
        ("FOOF", optimizer("FOOF")),
        ("Eva", optimizer("Eva")),
        ("K-FAC", optimizer("K-FAC")),
        ("SMAC", optimizer("SMAC")),
    ];
    for (found, optim) in records {
        let mut optim = optim;
        let network = train(Network::<B>::new(7), &mut optim, 0..1);
        for expected in ["FOOF", "Eva", "K-FAC", "SMAC"] {
            let loaded = optimizer(expected).try_load_record(optim.to_record(), &network);
            match loaded {
                // A run of MAC may go on as SMAC.
                Ok(_) => assert!(found == expected || (found, expected) == ("MAC", "SMAC")),
                Err(error) => assert_eq!(
                    error,
                    MacError::RecordOfAnotherCurvature { found, expected }
                ),
            }
        }
        let loaded = mac().init().try_load_record(optim.to_record(), &network);
        assert_eq!(loaded.is_ok(), found == "MAC", "{found}");
    }
    // Averages of another scale.
    let mut optim = optimizer("K-FAC of the authors");
    let network = train(Network::<B>::new(7), &mut optim, 0..1);
    let loaded = optimizer("K-FAC").try_load_record(optim.to_record(), &network);
    let error = loaded.err().map(|error| error.to_string());
    assert!(
        error.is_some_and(|error| error.contains("another `weight_sharing` or `gradient_scale`"))
    );
}

/// Breaks when a report of a curvature is that of another, leaves out the memory of dense factors, or counts a bias twice.
#[test]
fn a_report_tells_the_curvature_and_its_memory() {
    let cases = [
        ("FOOF", Coverage::InputSecondMoment),
        ("Eva", Coverage::MeansOfBothSides),
        ("K-FAC", Coverage::KroneckerFactors),
        ("SMAC", Coverage::MeanActivationAndOutputSquares),
    ];
    // Inputs and outputs of the three layers, with the 1 of a bias.
    let layers = [(10, 3), (48, 6), (7, 2)];
    let numbers = |of: fn(usize, usize) -> usize| -> usize {
        layers
            .iter()
            .map(|(inputs, outputs)| of(*inputs, *outputs))
            .sum()
    };
    let of_mac = {
        let mut optim: Optim = mac().init();
        let network = train(Network::<B>::new(7), &mut optim, 0..5);
        optim.report(&network).statistics_bytes / 4
    };
    for (name, coverage) in cases {
        let mut optim = optimizer(name);
        let network = train(Network::<B>::new(7), &mut optim, 0..5);
        let report = optim.report(&network);
        // All but the norm.
        assert_eq!(report.covered_parameters, report.parameters - 6, "{name}");
        let preconditioned = report.layers.iter();
        for layer in preconditioned {
            assert_eq!(layer.coverage, coverage, "{name}, {}", layer.path);
            assert_eq!(
                (layer.updates, layer.rejected),
                (2, 0),
                "{name}, {}",
                layer.path
            );
            assert_eq!(layer.last_refresh, Some(5), "{name}, {}", layer.path);
        }
        // Beside these, a few numbers a layer: counts and weights.
        let expected = match name {
            "FOOF" => numbers(|inputs, _| 2 * inputs * inputs),
            "Eva" => numbers(|inputs, outputs| 2 * (inputs + outputs)),
            "K-FAC" => numbers(|inputs, outputs| 2 * (inputs * inputs + outputs * outputs)),
            _ => of_mac + numbers(|_, outputs| 2 * outputs),
        };
        let counts = report.statistics_bytes / 4 - expected;
        assert!(counts <= 5 * layers.len(), "{name}: {counts} numbers more");
        assert!(
            report.to_string().contains(&coverage.to_string()),
            "{report}"
        );
    }
}

/// A step whose second moment of inputs, all of whose elements are 4, cannot be inverted: by Cholesky its second pivot is 0 without rounding.
fn singular_step(optim: &mut Mac<MacLinear<B>, B>, layer: MacLinear<B>) -> MacLinear<B> {
    let input = Tensor::<B, 2>::from_floats([[2.0, 2.0], [2.0, 2.0]], &Default::default());
    let loss = layer.forward(input).square().sum();
    let grads = GradientsParams::from_grads(loss.backward(), &layer);
    optim.step(0.0, layer, grads)
}

fn singular_layer() -> MacLinear<B> {
    let config = LinearConfig::new(2, 2).with_bias(false);
    config.init(&Default::default()).into()
}

/// Breaks when a matrix that is not positive definite ends the program, is not tried with more damping, is not counted, or leaves a layer
/// with numbers that are none.
#[test]
fn an_inversion_that_fails_is_retried_and_counted_and_the_last_inverse_stays() {
    let config = FoofConfig::new()
        .with_tcov(1)
        .with_tinv(1)
        .with_stat_decay(0.0);
    let mut optim = config.clone().with_damping(1e-30).init();
    let layer = singular_step(&mut optim, singular_layer());
    let report = optim.report(&layer);
    assert_eq!(report.layers[0].failed_inversions, 1);
    let text = report.to_string();
    assert!(text.contains("1 failed"), "{text}");

    // Between a damping that is lost in the rounding of 4 and one that is not, there is one of which ten times as much is not.
    let found = (0..40)
        .map(|power| 1e-20 * 2f64.powi(power))
        .find(|damping| {
            let mut optim = config.clone().with_damping(*damping).init();
            let layer = singular_step(&mut optim, singular_layer());
            let report = optim.report(&layer);
            (
                report.layers[0].retried_inversions,
                report.layers[0].failed_inversions,
            ) == (1, 0)
        });
    assert!(
        found.is_some(),
        "no damping is enough when it is ten times as large only"
    );

    // What was inverted before stays in use.
    let mut optim = config.with_damping(0.5).init();
    let layer = singular_step(&mut optim, singular_layer());
    let preconditioned = |optim: &Mac<MacLinear<B>, B>| {
        let loss = without_recording(|| layer.forward(random([3, 2], 5))).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        let grads = optim.preconditioner().clone().precondition(&layer, grads);
        let gradient = grads.get::<burn_flex::Flex, 2>(layer.weight.id);
        gradient.expect("it has one").into_data()
    };
    let before = preconditioned(&optim);
    optim.set_damping(1e-30).expect("it is allowed");
    assert_eq!(optim.report(&layer).layers[0].failed_inversions, 1);
    assert_eq!(preconditioned(&optim), before);
}

/// Breaks when a NaN in a batch enters a moving average, of either side, or is not counted.
#[test]
fn a_batch_that_is_not_finite_is_left_out_and_counted() {
    // FOOF sees no gradients.
    let cases = [
        ("FOOF", [true, false]),
        ("Eva", [true, true]),
        ("K-FAC", [true, true]),
        ("SMAC", [true, true]),
    ];
    let cases = cases.into_iter().flat_map(|(name, sides)| {
        let sides = ["inputs", "gradients"].into_iter().zip(sides);
        sides.filter_map(move |(side, sees)| sees.then_some((name, side)))
    });
    for (name, side) in cases {
        let optimizer = || -> Mac<MacLinear<B>, B> {
            let mac = MacConfig::new()
                .with_tcov(1)
                .with_tinv(1)
                .with_guard_gradients(true);
            match name {
                "FOOF" => FoofConfig::new().with_settings_of(&mac).init(),
                "Eva" => EvaConfig::new().with_settings_of(&mac).init(),
                "SMAC" => SmacConfig::new().with_settings_of(&mac).init(),
                _ => KfacConfig::new().with_settings_of(&mac).init(),
            }
        };
        let run = |with_broken: bool| {
            let mut optim = optimizer();
            let config = LinearConfig::new(3, 2);
            let mut layer: MacLinear<B> =
                crate::support::filled(config.init::<B>(&Default::default()), 3).into();
            for index in 0..4 {
                let mut input = random::<B, 2>([4, 3], index);
                let mut factor = 1.0;
                if index == 1 {
                    if !with_broken {
                        continue;
                    }
                    match side {
                        "inputs" => input = input * f32::NAN,
                        _ => factor = f32::NAN,
                    }
                }
                let loss = layer.forward(input).square().mean() * factor;
                let grads = GradientsParams::from_grads(loss.backward(), &layer);
                layer = optim.step(0.1, layer, grads);
            }
            let rejected = optim.report(&layer).layers[0].rejected;
            (values(&layer), rejected)
        };
        let (found, rejected) = run(true);
        let (expected, none) = run(false);
        assert_eq!((rejected, none), (1, 0), "{name}, {side}");
        match (name, side) {
            // Its two sides leave out a batch each by itself, and the inputs are finite.
            ("SMAC", "gradients") => {
                let mut all = found.iter().flatten();
                assert!(all.all(|value| value.is_finite()), "{name}, {side}");
            }
            _ => assert_eq!(found, expected, "{name}, {side}"),
        }
    }
}

/// Breaks when the auxiliary optimizer steps a layer that is preconditioned, or a curvature takes its norm.
#[test]
fn an_auxiliary_optimizer_steps_the_rest() {
    for name in ["FOOF", "Eva", "K-FAC", "SMAC"] {
        let optim = optimizer(name).with_auxiliary_optimizer(AdamWConfig::new().init(), 0.1);
        let mut optim = optim.expect("the factor is allowed");
        let network = train(Network::<B>::new(7), &mut optim, 0..3);
        let auxiliary = optim
            .report(&network)
            .auxiliary_optimizer
            .expect("there is one");
        assert_eq!(auxiliary.paths, ["norm.gamma", "norm.beta"], "{name}");
    }
}

/// Breaks when a configuration loses a field in JSON, or its text is not that of Burn's configurations.
#[test]
fn configurations_survive_json() {
    let foof = FoofConfig::new()
        .with_damping(0.3)
        .with_identity_start(true);
    let read = FoofConfig::load_binary(foof.to_string().as_bytes()).expect("it is one");
    assert_eq!(read.to_string(), foof.to_string());
    let kfac = KfacConfig::of_mac_authors();
    let read = KfacConfig::load_binary(kfac.to_string().as_bytes()).expect("it is one");
    assert_eq!(
        (
            read.weight_sharing,
            read.factor_damping,
            read.gradient_scale
        ),
        (
            WeightSharing::Reduce,
            KfacDamping::Accumulated,
            GradientScale::Unscaled
        )
    );
    assert_eq!((read.kl_clip, read.kl_clip_lr), (Some(1e-3), Some(0.1)));
    let eva = EvaConfig::new().with_kl_clip(None);
    let read = EvaConfig::load_binary(eva.to_string().as_bytes()).expect("it is one");
    assert_eq!(read.kl_clip, None);
}

/// Breaks when a field out of its range is taken, or the error names another.
#[test]
fn settings_out_of_their_range_are_refused_by_name() {
    let field = |result: Result<(), MacError>| match result {
        Err(MacError::InvalidConfig { field, .. }) => Some(field),
        _ => None,
    };
    for damping in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            field(FoofConfig::new().with_damping(damping).validate()),
            Some("damping")
        );
    }
    assert_eq!(
        field(SmacConfig::new().with_stat_decay(1.0).validate()),
        Some("stat_decay")
    );
    assert_eq!(
        field(EvaConfig::new().with_tcov(0).validate()),
        Some("tcov")
    );
    for limit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let config = KfacConfig::new().with_kl_clip(Some(limit));
        assert_eq!(field(config.validate()), Some("kl_clip"));
        let config = KfacConfig::new().with_kl_clip_lr(Some(limit));
        assert_eq!(field(config.validate()), Some("kl_clip_lr"));
    }
    // A preconditioner by itself does not know the learning rate.
    let alone = EvaConfig::new().try_init_preconditioner::<B>();
    assert!(matches!(
        alone,
        Err(MacError::InvalidConfig {
            field: "kl_clip_lr",
            ..
        })
    ));
    for config in [
        EvaConfig::new().with_kl_clip(None),
        EvaConfig::new().with_kl_clip_lr(Some(0.1)),
    ] {
        assert!(config.try_init_preconditioner::<B>().is_ok());
    }
}

/// Breaks when the KL clip has another learning rate than that of the step.
#[test]
fn the_kl_clip_has_the_learning_rate_of_the_step() {
    let run = |lr: Option<f64>| {
        let config = EvaConfig::new().with_kl_clip_lr(lr);
        let mut optim: Optim = config.init();
        // Which takes steps of 0.05.
        values(&train(Network::<B>::new(7), &mut optim, 0..3))
    };
    assert_eq!(run(None), run(Some(0.05)));
    assert_ne!(run(None), run(Some(0.1)));
}

/// Breaks when the first step looks ahead where it is not to, or a later one does not.
#[test]
fn the_first_step_may_look_ahead_or_not() {
    let config = MacConfig::new()
        .with_nesterov(true)
        .with_damping(f64::INFINITY);
    let run = |config: &MacConfig, steps: u64| {
        let mut optim: Optim = config.init();
        values(&train(Network::<B>::new(7), &mut optim, 0..steps))
    };
    let plain_first = config.clone().with_nesterov_first_step(false);
    let without = config.clone().with_nesterov(false);
    assert_eq!(run(&plain_first, 1), run(&without, 1));
    assert_ne!(run(&plain_first, 2), run(&without, 2));
    assert_ne!(run(&config, 1), run(&without, 1));
}

/// Breaks when what recorders are asked for is lost on the way to the inner module and back, or with a record of the model: the step that
/// follows is one that records.
#[test]
fn a_model_with_new_recorders_goes_on_training() {
    for name in ALL {
        let back: [fn(Network<B>) -> Network<B>; 2] = [
            |network| Network::from_inner(network.valid()),
            |network| {
                let record = network.clone().into_record();
                network.load_record(record)
            },
        ];
        let run = |back: Option<fn(Network<B>) -> Network<B>>| {
            let mut optim = optimizer(name);
            let mut network = train(Network::<B>::new(7), &mut optim, 0..3);
            if let Some(back) = back {
                network = back(network);
            }
            let network = train(network, &mut optim, 3..6);
            let report = optim.report(&network);
            assert!(
                report.layers.iter().all(|layer| layer.updates == 2),
                "{report}"
            );
            values(&network)
        };
        let expected = run(None);
        for back in back {
            assert_eq!(run(Some(back)), expected, "{name}");
        }
    }
}

/// Breaks when a layer that is first used between two steps that record is not recorded with what its optimizer asks for.
#[test]
fn a_layer_that_is_first_used_later_is_recorded_at_once() {
    #[derive(Module, Debug)]
    struct Two<B: Backend> {
        first: MacLinear<B>,
        second: MacLinear<B>,
    }
    let layer = || LinearConfig::new(3, 3).init(&Default::default()).into();
    for name in ["FOOF", "Eva", "K-FAC", "SMAC"] {
        let mut optim: Mac<Two<B>, B> = match name {
            "FOOF" => FoofConfig::new().init(),
            "Eva" => EvaConfig::new().init(),
            "K-FAC" => KfacConfig::new().init(),
            _ => SmacConfig::new().init(),
        };
        let mut two = Two::<B> {
            first: layer(),
            second: layer(),
        };
        for step in 0..3 {
            let mut output = two.first.forward(random([4, 3], step));
            if step == 1 {
                output = two.second.forward(output);
            }
            let grads = GradientsParams::from_grads(output.square().mean().backward(), &two);
            two = optim.step(0.1, two, grads);
        }
        let report = optim.report(&two);
        let updates: Vec<u64> = report.layers.iter().map(|layer| layer.updates).collect();
        assert_eq!(updates, [1, 1], "{name}");
    }
}

/// Breaks when what recorders see for one optimizer changes the gradients or the statistics of another.
#[test]
fn an_optimizer_that_waits_for_its_first_step_changes_no_other() {
    let run = |waiting: Option<Optim>| {
        let mut optim: Optim = mac().init();
        let network = train(Network::<B>::new(7), &mut optim, 0..6);
        drop(waiting);
        values(&network)
    };
    let expected = run(None);
    for name in ALL {
        assert_eq!(run(Some(optimizer(name))), expected, "{name}");
    }
}
