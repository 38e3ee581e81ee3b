//! The forms of a step that are not the paper's: resumed, guarded, counted, and beside an auxiliary optimizer.

use crate::auxiliary_optimizer::{LR, STEPS, adamw, both};
use crate::support::{B, Network, gradients, images, through_files, train, values};
use burn::module::ParamId;
use burn::nn::LinearConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::{
    Coverage, InputCovariance, InputCurvature, Mac, MacConfig, MacError, MacLinear, StepForm,
};

const FORMS: [StepForm; 4] = [
    StepForm::Momentum,
    StepForm::Normalized,
    StepForm::RowsAndColumns,
    StepForm::Orthogonal { iterations: 5 },
];
const CURVATURES: [InputCurvature; 2] = [InputCurvature::Mean, InputCurvature::MeanVariance];

/// Every form with every curvature, on schedules of their own.
fn configs() -> impl Iterator<Item = MacConfig> {
    let pairs = FORMS
        .into_iter()
        .flat_map(|form| CURVATURES.map(|curvature| (form, curvature)));
    pairs.map(|(form, curvature)| {
        MacConfig::new()
            .with_step(form)
            .with_curvature(curvature)
            .with_tcov(2)
            .with_tinv(3)
            .with_weight_decay(1e-2)
    })
}

fn what(config: &MacConfig) -> String {
    format!("{:?} {:?}", config.step, config.curvature)
}

/// Breaks when a form or a curvature is taken for another: each trains the network differently.
#[test]
fn each_form_and_curvature_trains_in_its_own_way() {
    let mut found: Vec<(String, Vec<Vec<f64>>)> = Vec::new();
    for config in configs() {
        let trained = values(&train(Network::<B>::new(3), &mut config.init(), 0..4));
        for (other, values) in &found {
            assert_ne!(trained, *values, "{} and {other}", what(&config));
        }
        found.push((what(&config), trained));
    }
}

/// Breaks when a moving average, or the squares in use between two refreshes, are not in the record.
#[test]
fn each_form_is_resumed_bit_for_bit() {
    for config in configs() {
        let expected = train(Network::<B>::new(7), &mut config.init(), 0..8);
        for stop in 1..6 {
            let mut optim = config.init();
            let network = train(Network::<B>::new(7), &mut optim, 0..stop);
            let (network, mut optim) = through_files(network, optim, config.init());
            let network = train(network, &mut optim, stop..8);
            let resumed = values(&network);
            assert_eq!(resumed, values(&expected), "{} at {stop}", what(&config));
        }
    }
}

/// Breaks when the squares of norms in a record are taken for those of inputs, or variances are guessed: until the next refresh nothing
/// is preconditioned.
#[test]
fn variances_begin_anew_after_a_record_without() {
    let by_mean = MacConfig::new().with_tcov(2).with_tinv(3);
    let by_variance = by_mean.clone().with_curvature(InputCurvature::MeanVariance);
    let mut optim = by_mean.init();
    let network = train(Network::<B>::new(7), &mut optim, 0..4);
    let resumed = |config: &MacConfig, stop| {
        let again = config.init();
        let again = again.try_load_record(optim.to_record(), &network);
        let mut again = again.expect("it belongs to the network");
        let mut values = values(&train(network.clone(), &mut again, 4..stop));
        // Running mean and variance, which clones have in common.
        values.drain(4..6);
        values
    };
    let without = by_variance.clone().with_damping(f64::INFINITY);
    // Refreshed in steps 1, 4 and 7.
    for (stop, same) in [(6, true), (8, false)] {
        let (found, expected) = (resumed(&by_variance, stop), resumed(&without, stop));
        assert_eq!(found == expected, same, "{stop}");
    }
}

/// The layer after a step in which it saw these rows, and that changes nothing.
fn seen(
    optim: &mut Mac<MacLinear<B>, B>,
    layer: MacLinear<B>,
    rows: [[f32; 2]; 2],
) -> MacLinear<B> {
    let rows = Tensor::<B, 2>::from_floats(rows, &Default::default());
    let grads = layer.forward(rows).mean().backward();
    let grads = GradientsParams::from_grads(grads, &layer);
    optim.step(0.0, layer, grads)
}

/// Breaks when numbers whose squares are infinite, though they are finite, come into an average.
#[test]
fn a_batch_whose_squares_are_infinite_is_rejected() {
    let config = MacConfig::new()
        .with_curvature(InputCurvature::MeanVariance)
        .with_tcov(1)
        .with_tinv(1);
    let mut optim = config.init();
    let mut layer = LinearConfig::new(2, 3).init(&Default::default()).into();
    let mut gains = Vec::new();
    for value in [1.0, 1e25, 1e25, 1.0] {
        layer = seen(&mut optim, layer, [[value, 0.0], [-value, 3.0 * value]]);
        gains.push(optim.report(&layer).layers[0].gain);
    }
    assert_eq!(optim.report(&layer).layers[0].rejected, 2);
    let (first, last) = (
        gains[0].expect("it was seen"),
        gains[3].expect("it was seen"),
    );
    assert!((first - last).abs() < 1e-6, "{gains:?}");
    assert_eq!(gains[1], gains[0]);
}

/// Replaces the first element of a gradient by NaN.
fn break_gradient(grads: &mut GradientsParams, id: ParamId) {
    type Inner = <B as AutodiffBackend>::InnerBackend;
    let grad: Tensor<Inner, 2> = grads.remove(id).expect("it has a gradient");
    let broken = Tensor::full([1, 1], f32::NAN, &grad.device());
    grads.register(id, grad.slice_assign([0..1, 0..1], broken));
}

/// Breaks when NaN comes into a weight or into its momentum, or the layers beside it are not stepped.
#[test]
fn a_broken_gradient_leaves_its_layer_as_it_is() {
    for config in configs() {
        let mut optim: Mac<Network<B>, B> = config.with_guard_gradients(true).init();
        let network = train(Network::<B>::new(1), &mut optim, 0..3);
        let before = values(&network);
        let mut grads = gradients(&network, images(3, 5));
        break_gradient(&mut grads, network.hidden.weight.id);
        let network = optim.step(0.05, network, grads);
        let after = values(&network);
        let kept: Vec<bool> = before.iter().zip(&after).map(|(l, r)| l == r).collect();
        // conv.weight and bias, norm.gamma and beta, its running mean and variance, hidden.weight, output.weight and bias
        let expected = [false, false, false, false, false, false, true, false, false];
        assert_eq!(kept, expected);
        let later = values(&train(network, &mut optim, 4..6));
        assert!(later.iter().flatten().all(|value| value.is_finite()));
        assert_ne!(later[6], after[6]);
    }
}

/// The places of the biases of `conv` and of `output` in the values of the network.
const BIASES: [usize; 2] = [1, 8];

/// Breaks when a bias is not the auxiliary optimizer's, when it is told to be stepped twice, or a weight is preconditioned as if
/// it had the bias beside it.
#[test]
fn biases_may_be_left_to_the_auxiliary_optimizer() {
    let config = || MacConfig::new().with_tcov(2).with_tinv(3);
    let mut optim = both(config().with_auxiliary_biases(true), 0.5);
    let network = train(Network::<B>::new(3), &mut optim, 0..STEPS);
    let report = optim.report(&network);
    let auxiliary = report.auxiliary_optimizer.expect("there is one");
    assert_eq!(
        auxiliary.paths,
        ["conv.bias", "norm.gamma", "norm.beta", "output.bias"]
    );
    assert_eq!(report.covered_parameters, 27 + 288 + 12);

    // One step, from which no other parameter's values come in.
    let stepped = |config: MacConfig| {
        let mut optim = both(config, 0.5);
        values(&train(Network::<B>::new(3), &mut optim, 0..1))
    };
    let found = stepped(config().with_auxiliary_biases(true));
    let mut optim = adamw().init();
    let by_adamw = values(&{
        let network = Network::<B>::new(3);
        let grads = gradients(&network, images(0, 5));
        optim.step(LR * 0.5, network, grads)
    });
    let with_biases = stepped(config());
    for place in BIASES {
        assert_eq!(found[place], by_adamw[place]);
        assert_ne!(found[place], with_biases[place]);
    }
    assert_ne!(found[0], with_biases[0]);
    // It has no bias.
    assert_eq!(found[6], with_biases[6]);
}

/// One buffer a parameter, whatever the form; of each input the mean and its square, in use and averaged, and what is made of them.
#[test]
fn state_is_one_buffer_a_parameter_and_vectors() {
    let config = MacConfig::new()
        .with_curvature(InputCurvature::MeanVariance)
        .with_tcov(1)
        .with_tinv(1);
    for form in &FORMS[1..] {
        let mut optim = config.clone().with_step(*form).init();
        let network = train(Network::<B>::new(1), &mut optim, 0..3);
        let report = optim.report(&network);
        assert_eq!(report.momentum_bytes, 338 * 4);
        // The averages [x, x²] and [1, count of rejected], those in use with what a bias sees, and the root: d^-½, the direction of the
        // mean in two shapes and its reciprocal, and two numbers.
        let of_layer = |size: usize| (2 * size + 2) + (2 * size + 1) + (4 * size + 2);
        let expected: usize = [9, 48, 6].map(of_layer).iter().sum();
        assert_eq!(report.statistics_bytes, expected * 4);
    }
}

/// Breaks when gradients that a covariance has preconditioned are taken for raw ones, or its inverse has a row for a bias that is not
/// there; also if both come from a record.
#[test]
fn a_form_refuses_an_input_covariance() {
    let network = Network::<B>::new(1);
    let mut covariance = InputCovariance::of(&network.conv);
    covariance.update(images::<B>(100, 4));
    let with_covariance = |config: MacConfig| {
        let mac: Mac<Network<B>, B> = config.init();
        mac.with_input_covariance(&covariance)
    };
    let record = {
        let optim = with_covariance(MacConfig::new());
        optim.expect("it is the paper's").to_record()
    };
    let new = MacConfig::new;
    for (config, refused) in [
        (new().with_step(StepForm::Normalized), "step"),
        (
            new().with_curvature(InputCurvature::MeanVariance),
            "curvature",
        ),
        (new().with_auxiliary_biases(true), "auxiliary_biases"),
    ] {
        let is_named = |error: Option<MacError>| matches!(error, Some(MacError::InvalidConfig { field, .. }) if field == refused);
        let loaded = config.init().try_load_record(record.clone(), &network);
        // Of the step, the momentum of the record tells first.
        if config.step == StepForm::Momentum {
            assert!(is_named(loaded.err()), "{refused}");
        }
        assert!(is_named(with_covariance(config).err()), "{refused}");
    }
}

/// Breaks when momentum of preconditioned gradients is preconditioned again, or raw momentum is stepped by as it is.
#[test]
fn a_record_of_another_kind_of_momentum_is_refused() {
    let by = |form| -> Mac<Network<B>, B> { MacConfig::new().with_step(form).init() };
    for (before, after, found) in [
        (
            StepForm::Momentum,
            StepForm::RowsAndColumns,
            "preconditioned",
        ),
        (StepForm::RowsAndColumns, StepForm::Momentum, "raw"),
    ] {
        let mut optim = by(before);
        let network = train(Network::<B>::new(7), &mut optim, 0..2);
        let loaded = by(after).try_load_record(optim.to_record(), &network);
        let error = loaded.err();
        let is_right = matches!(&error, Some(MacError::RecordOfAnotherStep { found: kind, .. }) if *kind == found);
        assert!(is_right, "{error:?}");
    }
    let mut optim = by(StepForm::Normalized);
    let network = train(Network::<B>::new(7), &mut optim, 0..2);
    let other = by(StepForm::RowsAndColumns);
    assert!(other.try_load_record(optim.to_record(), &network).is_ok());
}

/// Breaks when a gain or a share is told of what is not preconditioned.
#[test]
fn the_report_is_of_mean_and_variance() {
    let config = MacConfig::new()
        .with_curvature(InputCurvature::MeanVariance)
        .with_stat_decay(0.0)
        .with_damping(0.5);
    let mut optim = config.init();
    let layer = LinearConfig::new(2, 3).init(&Default::default()).into();
    // Means 2 and 1, variances 4 and 1: with the mean variance 2.5, d is 5.25 and 2.25.
    let layer = seen(&mut optim, layer, [[4.0, 2.0], [0.0, 0.0]]);
    let report = optim.report(&layer);
    assert_eq!(report.covered_parameters, 6);
    let row = &report.layers[0];
    assert_eq!(row.coverage, Coverage::MeanAndVariance);
    let gain = 1.0 / (1.0 + 4.0 / 5.25 + 1.0 / 2.25);
    assert!((row.gain.expect("it was refreshed") - gain).abs() < 1e-6);
    let share = (4.0 + 1.0) / (8.0 + 2.0);
    assert!((row.mean_share.expect("it was seen") - share).abs() < 1e-6);
    assert!(report.to_string().contains("mean and variance"));
}
