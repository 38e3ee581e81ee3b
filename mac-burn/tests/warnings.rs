//! The conditions that are logged as warnings: each once, by its layer.

#[path = "support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;
#[path = "support/logged.rs"]
mod logged;
mod support;

use burn::backend::Autodiff;
use burn::module::{Module, ParamId, list_param_ids};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use counting::Counting;
use log::LevelFilter;
use logged::logged;
use mac_burn::{Mac, MacConfig, MacLinear};
use support::{B, random};

/// The warnings of this thread since the last call.
fn warnings() -> Vec<String> {
    logged(LevelFilter::Warn)
}

#[track_caller]
fn assert_one_warning(parts: &[&str]) {
    let found = warnings();
    let [warning] = &found[..] else {
        panic!("{found:?}");
    };
    for part in parts {
        assert!(warning.contains(part), "{part} is missing in: {warning}");
    }
}

/// Two layers with inputs of their own.
#[derive(Module, Debug)]
struct Two<B: Backend> {
    sick: MacLinear<B>,
    healthy: MacLinear<B>,
}

impl<B: AutodiffBackend> Two<B> {
    fn new() -> Self {
        let layer = || LinearConfig::new(3, 2).init(&Default::default()).into();
        Self {
            sick: layer(),
            healthy: layer(),
        }
    }
}

/// Takes a step for each of these factors of the inputs of `sick`.
fn train<B: AutodiffBackend>(
    mut model: Two<B>,
    optim: &mut Mac<Two<B>, B>,
    factors: &[f32],
) -> Two<B> {
    for factor in factors {
        let input = || random::<B, 2>([4, 3], 1);
        let output = model.sick.forward(input() * *factor) + model.healthy.forward(input());
        let grads = GradientsParams::from_grads(output.sum().backward(), &model);
        model = optim.step(0.1, model, grads);
    }
    model
}

/// With the guard, without which parameters are NaN after one such step.
fn optimizer<B: AutodiffBackend>() -> Mac<Two<B>, B> {
    let config = MacConfig::new().with_tcov(1).with_tinv(1);
    config.with_guard_gradients(true).init()
}

const NAN: f32 = f32::NAN;

/// Breaks when it comes too early, again, for a layer of which half is finite, or for another layer.
#[test]
fn most_statistics_not_finite_are_told_in_the_step_on_a_processor() {
    let mut optim = optimizer();
    warnings();
    let model = train(Two::<B>::new(), &mut optim, &[NAN; 3]);
    assert_eq!(warnings(), [""; 0]);
    let model = train(model, &mut optim, &[NAN]);
    assert_one_warning(&["4 of 4", "`sick`"]);
    let model = train(model, &mut optim, &[1.0, NAN, NAN]);
    optim.report(&model);
    optim.to_record();
    assert_eq!(warnings(), [""; 0]);

    let mut optim = optimizer();
    train(Two::<B>::new(), &mut optim, &[1.0, NAN, 1.0, NAN]);
    assert_eq!(warnings(), [""; 0]);
}

/// Breaks when an accelerator's layers are not looked at where its counts are read, or their path is lost in a record.
#[test]
fn most_statistics_not_finite_are_told_where_an_accelerator_is_read() {
    type A = Autodiff<Counting>;
    let steps = || {
        let mut optim = optimizer();
        warnings();
        let model = train(Two::<A>::new(), &mut optim, &[NAN, 1.0, NAN, NAN]);
        assert_eq!(warnings(), [""; 0]);
        (model, optim)
    };
    let (model, optim) = steps();
    optim.report(&model);
    assert_one_warning(&["3 of 4", "`sick`"]);
    optim.to_record();
    optim.report(&model);
    assert_eq!(warnings(), [""; 0]);

    let (model, optim) = steps();
    let record = optim.to_record();
    assert_one_warning(&["3 of 4", "`sick`"]);
    optim.report(&model);
    assert_eq!(warnings(), [""; 0]);

    // A record that waits for its model.
    let optim = optimizer::<A>().load_record(record);
    optim.report(&model);
    assert_one_warning(&["3 of 4", "`sick`"]);
    optim.report(&model);
    assert_eq!(warnings(), [""; 0]);
}

/// 300 parameters without a recorder and 18 with one.
#[derive(Module, Debug)]
struct MostlyPlain<B: Backend> {
    wide: Linear<B>,
    narrow: Linear<B>,
    recorded: MacLinear<B>,
}

impl MostlyPlain<B> {
    fn new() -> Self {
        let device = Default::default();
        let linear = |input, output| LinearConfig::new(input, output);
        Self {
            wide: linear(3, 60).init(&device),
            narrow: linear(59, 1).init(&device),
            recorded: linear(5, 3).init(&device).into(),
        }
    }

    fn gradients(&self, of: &[ParamId]) -> GradientsParams {
        let output = self.wide.forward(random([4, 3], 1)).sum()
            + self.narrow.forward(random([4, 59], 2)).sum()
            + self.recorded.forward(random([4, 5], 3)).sum();
        GradientsParams::from_params(&mut output.backward(), self, of)
    }
}

/// The warnings of two steps with gradients of these parameters.
fn warnings_of<O: Optimizer<MostlyPlain<B>, B>>(
    mut optim: O,
    of: fn(&MostlyPlain<B>) -> Vec<ParamId>,
) -> Vec<String> {
    warnings();
    let mut model = MostlyPlain::new();
    for _ in 0..2 {
        let grads = model.gradients(&of(&model));
        model = optim.step(0.1, model, grads);
    }
    warnings()
}

/// Breaks when parameters are not counted by their elements, or the largest are not the ones that are named.
#[test]
fn few_parameters_in_recorded_layers_are_told_once() {
    let found = warnings_of(MacConfig::new().init(), list_param_ids);
    let [warning] = &found[..] else {
        panic!("{found:?}");
    };
    for part in [
        "only 5.7 %",
        "(18 of 318)",
        "`wide.weight` (180), `wide.bias` (60), `narrow.weight` (59): plain Linear, use MacLinear; or hand them",
        "with_auxiliary_optimizer",
    ] {
        assert!(warning.contains(part), "{part} is missing in: {warning}");
    }
}

/// Breaks when the warning disturbs a run in which other optimizers are meant to take the rest.
#[test]
fn few_parameters_in_recorded_layers_may_be_meant() {
    let all = |model: &MostlyPlain<B>| list_param_ids(model);
    let auxiliary = AdamWConfig::new().init();
    let both = MacConfig::new()
        .init()
        .with_auxiliary_optimizer(auxiliary, 0.1);
    assert_eq!(
        warnings_of(both.expect("the factor is allowed"), all),
        [""; 0]
    );
    let skipping = MacConfig::new().with_skip_layers(vec!["wide".into(), "narrow".into()]);
    assert_eq!(warnings_of(skipping.init(), all), [""; 0]);
    let own = warnings_of(MacConfig::new().init(), |model| {
        list_param_ids(&model.recorded)
    });
    assert_eq!(own, [""; 0]);
}

/// Breaks when a module without a recorded layer has two warnings.
#[test]
fn a_module_without_a_recorded_layer_has_one_warning() {
    let mut optim = MacConfig::new().init();
    warnings();
    let model: Linear<B> = LinearConfig::new(3, 2).init(&Default::default());
    let output = model.forward(random::<B, 2>([4, 3], 1));
    let grads = GradientsParams::from_grads(output.sum().backward(), &model);
    optim.step(0.1, model, grads);
    assert_one_warning(&[
        "no recorded layer",
        "plain Linear, use MacLinear: `weight`, `bias` (8 parameters)",
    ]);
}
