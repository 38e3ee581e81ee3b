//! The contents of the report, and the bytes of the state.

use crate::auxiliary_optimizer::both;
use crate::support::{B, Network, gradients, images, random, train};
use burn::module::AutodiffModule;
use burn::nn::LinearConfig;
use burn::nn::conv::Conv2dConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{CompactRecorder, Record, Recorder};
use burn::tensor::Tensor;
use mac_burn::{
    Coverage, InputCovariance, Mac, MacConfig, MacConv2d, MacError, MacLinear, MacSelfAttention,
    SelfAttentionConfig,
};

#[test]
fn it_has_a_row_a_layer_with_what_is_done() {
    let network = Network::<B>::new(1);
    let mut covariance = InputCovariance::of(&network.conv);
    covariance.update(images::<B>(50, 4));
    let mut optim = MacConfig::new()
        .with_damping(2.0)
        .with_skip_layers(vec!["hidden".into()])
        .init()
        .with_input_covariance(&covariance)
        .expect("the covariance is regular");
    let network = train(network, &mut optim, 0..6);
    let report = optim.report(&network);

    let rows: Vec<_> = report
        .layers
        .iter()
        .map(|row| (row.path.as_str(), row.coverage))
        .collect();
    assert_eq!(
        rows,
        [
            ("conv", Coverage::InputCovariance),
            ("hidden", Coverage::Skipped),
            ("output", Coverage::MeanActivation),
        ]
    );
    let output = &report.layers[2];
    assert_eq!((output.size_input, output.size_output), (Some(6), Some(2)));
    assert_eq!((output.updates, output.rejected), (2, 0));
    let mean = optim
        .preconditioner()
        .mean_activation(network.output.weight.id);
    let mean: Vec<f64> = mean.expect("it recorded").into_data().iter().collect();
    let norm: f64 = mean[..6].iter().map(|value| value * value).sum();
    let reported = output.mean_norm_squared.expect("it recorded");
    assert!((reported - norm).abs() < 1e-6 * norm);
    assert!((output.gain.expect("it recorded") - 2.0 / (2.0 + norm)).abs() < 1e-6);
    // conv 27 + 3 and output 12 + 2, of these and norm 6, hidden 288.
    assert_eq!((report.covered_parameters, report.parameters), (44, 338));

    let text = report.to_string();
    for part in [
        "input covariance",
        "skipped",
        "mean activation",
        "44 of 338 parameters",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

/// Bytes in `f32` of the statistics of a layer with so many means of that size, and of what gradients are preconditioned
/// with: for each mean a direction, its part for a bias, and a scale for each of so many columns; and reciprocals of the
/// directions, for each part of the weight.
fn statistics_of(means: usize, parts: usize, size: usize, bias: bool, columns: usize) -> usize {
    let preconditioner = means * (size + usize::from(bias) + columns) + parts * size;
    averages_of(means, size) + preconditioner * 4
}

/// Bytes of the moving averages of inputs and of their squares, the bias correction, the mean in use and the number of rejected
/// batches.
fn averages_of(means: usize, size: usize) -> usize {
    means * ((size + 2) + (size + 1) + 1) * 4
}

/// The bytes of what one step keeps of a module.
fn statistics_after_a_step<M: AutodiffModule<B>, const D: usize>(
    config: &MacConfig,
    module: &M,
    output: Tensor<B, D>,
) -> usize {
    let mut preconditioner = config.init_preconditioner();
    let grads = GradientsParams::from_grads(output.sum().backward(), module);
    preconditioner.precondition(module, grads);
    preconditioner.report(module).statistics_bytes
}

/// Breaks when the bytes are of more or of less than what is kept; a fused projection has two means.
#[test]
fn state_is_one_buffer_a_parameter_and_vectors_of_the_input_size() {
    let mut optim = MacConfig::new().init();
    let network = train(Network::<B>::new(1), &mut optim, 0..3);
    let report = optim.report(&network);
    assert_eq!(report.momentum_bytes, 338 * 4);
    let layers = [(9, true), (48, false), (6, true)];
    let layers = layers.map(|(size, bias)| statistics_of(1, 1, size, bias, 1));
    assert_eq!(report.statistics_bytes, layers.iter().sum::<usize>());

    let device = Default::default();
    let config = MacConfig::new();
    let linear: MacLinear<B> = LinearConfig::new(6, 2).init(&device).into();
    let output = linear.forward(random::<B, 2>([3, 6], 1));
    let bytes = statistics_after_a_step(&config, &linear, output);
    assert_eq!(bytes, statistics_of(1, 1, 6, true, 1));

    let conv = Conv2dConfig::new([4, 6], [3, 3]).with_groups(2);
    let conv: MacConv2d<B> = conv.init(&device).into();
    let output = conv.forward(random([2, 4, 5, 5], 2));
    let bytes = statistics_after_a_step(&config, &conv, output);
    assert_eq!(bytes, statistics_of(2, 2, 2 * 9, true, 1));

    let attention: MacSelfAttention<B> = SelfAttentionConfig::new(8, 2).init(&device).into();
    let output = attention.forward(random([2, 5, 8], 3), None);
    let bytes = statistics_after_a_step(&config, &attention, output);
    // A direction for each part as well, and what the values' bias saw, which dropout may change.
    let qkv = statistics_of(2, 3, 8, true, 24) + (3 * 8 + 2) * 4;
    assert_eq!(bytes, qkv + statistics_of(1, 1, 8, true, 1));
}

/// Breaks when vectors count that were never made: at infinite damping nothing is preconditioned.
#[test]
fn state_that_is_not_needed_is_not_counted() {
    let config = MacConfig::new().with_damping(f64::INFINITY);
    let linear: MacLinear<B> = LinearConfig::new(6, 2).init(&Default::default()).into();
    let output = linear.forward(random::<B, 2>([3, 6], 1));
    let bytes = statistics_after_a_step(&config, &linear, output);
    assert_eq!(bytes, averages_of(1, 6));
}

/// Breaks when means and squares are averaged differently, or when the 1 that a bias sees is left out.
///
/// The batches have the means [2, 0] and [0, 2] and the mean squares 5 and 8. Averaged with 3/4 and divided by 1 - (3/4)^2, that is
/// the mean [6, 8] / 7 and the mean square 47 / 7: with the 1 of the bias, 149 / 49 of 54 / 7.
#[test]
fn the_share_of_two_batches_is_that_by_hand() {
    let config = MacConfig::new().with_stat_decay(0.75).with_tcov(1);
    let mut layer: MacLinear<B> = LinearConfig::new(2, 3).init(&Default::default()).into();
    let mut optim = config.init();
    for rows in [[[1.0, 0.0], [3.0, 0.0]], [[0.0, 4.0], [0.0, 0.0]]] {
        let rows = Tensor::<B, 2>::from_floats(rows, &Default::default());
        let grads = layer.forward(rows).sum().backward();
        let grads = GradientsParams::from_grads(grads, &layer);
        layer = optim.step(0.0, layer, grads);
    }
    let share = optim.report(&layer).layers[0].mean_share;
    let share = share.expect("two batches were seen");
    assert!((share - 149.0 / 378.0).abs() < 1e-6, "{share}");
}

/// Breaks when the square of a number beyond the square root of the largest stays in the average, or what is not finite comes into
/// it.
#[test]
fn inputs_whose_squares_are_infinite_are_forgotten() {
    let config = MacConfig::new()
        .with_stat_decay(0.0)
        .with_tcov(1)
        .with_damping(f64::INFINITY);
    let mut layer: MacLinear<B> = LinearConfig::new(2, 3)
        .with_bias(false)
        .init(&Default::default())
        .into();
    let mut optim = config.init();
    let mut shares = Vec::new();
    for first in [1e25, 2.0, f32::NAN] {
        let row = Tensor::<B, 2>::from_floats([[first, 0.0], [0.0, 0.0]], &Default::default());
        let grads = layer.forward(row).sum().backward();
        let grads = GradientsParams::from_grads(grads, &layer);
        layer = optim.step(0.0, layer, grads);
        shares.push(optim.report(&layer).layers[0].mean_share);
    }
    assert!(
        shares[0].is_none_or(|share| share.is_finite()),
        "{shares:?}"
    );
    assert_eq!(shares[1..], [Some(0.5); 2]);
}

#[test]
fn layers_that_saw_no_forward_pass_are_listed() {
    let network = Network::<B>::new(1);
    let grads = gradients(&network, images(0, 3));
    // A new recorder in every layer: these gradients come without statistics.
    let network = AutodiffModule::from_inner(AutodiffModule::valid(&network));
    let mut optim = MacConfig::new().init();
    let network: Network<B> = optim.step(0.1, network, grads);
    let report = optim.report(&network);
    assert!(
        report
            .layers
            .iter()
            .all(|row| row.coverage == Coverage::NothingRecorded)
    );
    assert_eq!(report.covered_parameters, 0);
}

/// Breaks when a record that was loaded is not looked into before the next step.
#[test]
fn it_says_after_loading_what_it_said_before_storing() {
    let config = MacConfig::new();
    let mut optim = config.init();
    let network = train(Network::<B>::new(1), &mut optim, 0..6);
    let loaded = config
        .init::<B, Network<B>>()
        .load_record(optim.to_record());

    let (before, after) = (optim.report(&network), loaded.report(&network));
    assert!(before.layers.iter().all(|row| row.updates > 0));
    assert!(before.layers.iter().all(|row| row.last_refresh.is_some()));
    assert_eq!(after.layers, before.layers);
}

/// Breaks when steps are not counted from 1, when a step without a refresh counts as one, or when the count begins anew
/// after a record was loaded.
#[test]
fn it_has_the_step_of_the_last_refresh() {
    let config = MacConfig::new()
        .with_tinv(3)
        .with_skip_layers(vec!["hidden".into()]);
    let mut optim = config.init();
    let mut network = Network::<B>::new(1);
    let of_output = |optim: &Mac<Network<B>, B>, network: &Network<B>| {
        let report = optim.report(network);
        assert_eq!(report.layers[1].last_refresh, None, "it is skipped");
        report.layers[2].last_refresh
    };
    // Refreshed in the steps 1, 4 and 7.
    for (index, expected) in [1, 1, 1, 4, 4].into_iter().enumerate() {
        let index = index as u64;
        network = train(network, &mut optim, index..index + 1);
        assert_eq!(of_output(&optim, &network), Some(expected));
    }
    let text = optim.report(&network).to_string();
    let row = text
        .lines()
        .find(|line| line.contains("output"))
        .expect("it has a row");
    let column = text.lines().next().expect("it has a header").split('|');
    let column = column
        .map(str::trim)
        .position(|name| name == "last refresh");
    let found = row.split('|').nth(column.expect("it has the column"));
    assert_eq!(found.map(str::trim), Some("4"));

    let mut optim = config.init().load_record(optim.to_record());
    for (index, expected) in [(5, Some(4)), (6, Some(7))] {
        network = train(network, &mut optim, index..index + 1);
        assert_eq!(of_output(&optim, &network), expected);
    }
}

/// Saves a record to a file as Burn's `Learner` does, in half precision, and reads it again.
fn through_a_checkpoint<R: Record<B>>(record: R) -> R {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = folder.path().join("optim-1");
    let files = CompactRecorder::new();
    Recorder::<B>::record(&files, record, file.clone()).expect("the optimizer is saved");
    let record = files.load(file, &Default::default());
    record.expect("the optimizer is loaded")
}

/// Breaks when a checkpoint's report leaves out a part of the optimizer's, or when the settings are not the
/// configuration's.
#[test]
fn a_checkpoint_has_the_report_of_the_optimizer() {
    let config = MacConfig::new().with_damping(0.5);
    let mut optim = both(config.clone(), 0.25);
    let network = train(Network::<B>::new(1), &mut optim, 0..6);
    let mut expected = optim.report(&network);
    // Not yet made of the means that were loaded.
    expected.statistics_bytes = 0;

    let record = through_a_checkpoint(optim.to_record());
    drop(optim);
    // The model as a `Learner` returns it.
    let network: Network<B> = AutodiffModule::from_inner(network.valid());
    let mut report = record.report(&config, &network).expect("it fits");
    assert!(report.statistics_bytes > 0);
    report.statistics_bytes = 0;
    assert_eq!(format!("{report:?}"), format!("{expected:?}"));
    let auxiliary = report.auxiliary_optimizer.expect("there is one");
    assert_eq!(auxiliary.paths, ["norm.gamma", "norm.beta"]);
}

#[test]
fn a_checkpoint_has_no_report_of_another_model() {
    let config = MacConfig::new();
    let mut optim = config.init();
    train(Network::<B>::new(1), &mut optim, 0..1);
    let report = optim.to_record().report(&config, &Network::<B>::new(1));
    assert!(matches!(report, Err(MacError::RecordOfAnotherModel { .. })));
    // With momentum only.
    let config = MacConfig::new().with_skip_layers(vec!["**".into()]);
    let mut optim = config.init();
    train(Network::<B>::new(1), &mut optim, 0..1);
    let report = optim.to_record().report(&config, &Network::<B>::new(1));
    assert!(matches!(report, Err(MacError::RecordOfAnotherModel { .. })));
}
