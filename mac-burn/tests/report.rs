//! What the report says, and what the state weighs.

mod support;

use burn::optim::Optimizer;
use mac_burn::{Coverage, InputCovariance, MacConfig};
use support::{B, Network, gradients, images, train};

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

#[test]
fn state_is_one_buffer_a_parameter_and_vectors_of_the_input_size() {
    let mut optim = MacConfig::new().init();
    let network = train(Network::<B>::new(1), &mut optim, 0..3);
    let report = optim.report(&network);
    assert_eq!(report.momentum_bytes, 338 * 4);
    // Inputs of 9, 48 and 6: the average, the mean and its copy and reciprocal, four vectors each.
    let vectors: usize = [9, 48, 6].iter().map(|size| 4 * (size + 1)).sum();
    assert!(
        report.statistics_bytes <= (vectors + 3 * 2) * 4,
        "{}",
        report.statistics_bytes
    );
}

#[test]
fn layers_that_saw_no_forward_pass_are_listed() {
    let network = Network::<B>::new(1);
    let grads = gradients(&network, images(0, 3));
    // A new recorder in every layer: these gradients come without statistics.
    let network =
        burn::module::AutodiffModule::from_inner(burn::module::AutodiffModule::valid(&network));
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
    assert_eq!(after.layers, before.layers);
}
