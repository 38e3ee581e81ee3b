use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::{Int, Tensor, TensorData};
use clap::{Parser, ValueEnum};
use mac_burn_models::{Gpt, GptConfig, Mlp, MlpConfig, VisionTransformer, VisionTransformerConfig};

use super::*;
use crate::backend::Training;
use crate::optimizers::{LearningRates, OptimizerArgs, OptimizerDefaults};

type B = Training;

const LR: f64 = 0.5;

/// One step with the gradients of a loss.
struct Step<M>(fn(&M) -> Tensor<B, 1>);

impl<M: AutodiffModule<B>> WithOptimizer<B, M> for Step<M> {
    fn run<O: Optimizer<M, B> + 'static>(
        self,
        model: M,
        mut optimizer: O,
    ) -> Result<(M, O), Box<dyn Error>> {
        let loss = self.0(&model);
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        Ok((optimizer.step(LR, model, grads), optimizer))
    }
}

/// Makes parameters that start at 0 such as weight decay moves.
struct PlusOne;

impl ModuleMapper<B> for PlusOne {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|value| Tensor::from_inner((value + 1.0).inner()).require_grad())
    }
}

#[derive(Default)]
struct Values {
    path: Vec<String>,
    values: Vec<(String, TensorData)>,
}

impl Values {
    fn of<M: Module<B>>(model: &M) -> Vec<(String, TensorData)> {
        let mut values = Self::default();
        model.visit(&mut values);
        values.values
    }
}

impl ModuleVisitor<B> for Values {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.values
            .push((self.path.join("."), param.val().into_data()));
    }
}

/// The parameters that weight decay moves, with the optimizer of an example's command line.
fn decayed<M: AutodiffModule<B> + 'static>(
    optimizer: &str,
    model: M,
    loss: fn(&M) -> Tensor<B, 1>,
) -> Vec<String> {
    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        optimizer: OptimizerArgs,
    }
    let line = format!("example --weight-decay 0.1 --optimizer {optimizer}");
    let args = Args::try_parse_from(line.split_whitespace()).expect("the options are right");
    let rates = LearningRates {
        mac: LR,
        sgd: LR,
        adamw: LR,
    };
    let plan = args.optimizer.plan(&OptimizerDefaults::transformer(rates));
    let model = model.map(&mut PlusOne);
    let before = Values::of(&model);

    let (model, _) = plan
        .train(model, None, Step(loss))
        .expect("the plan is right");
    let pairs = before.into_iter().zip(Values::of(&model));
    let moved = pairs.filter(|(before, after)| before.1 != after.1);
    moved.map(|(before, _)| before.0).collect()
}

/// Breaks when an optimizer decays norms, biases, positions, class tokens or embeddings, of which those that AdamW steps beside
/// MAC are not decayed.
#[test]
fn all_optimizers_decay_the_same_parameters() {
    let layers = [
        "blocks.0.attention.qkv",
        "blocks.0.attention.output",
        "blocks.0.mlp.fc1",
        "blocks.0.mlp.fc2",
    ];
    let weights = |layers: &[&str]| -> Vec<String> {
        let mut weights: Vec<_> = layers.iter().map(|it| format!("{it}.weight")).collect();
        weights.sort();
        weights
    };
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        paths
    };
    let ends = ["patch_embedding.projection", "head"];
    let device = Default::default();

    for optimizer in OptimizerChoice::value_variants() {
        let optimizer = optimizer.name();
        let deit: VisionTransformer<B> = VisionTransformerConfig::new(8, 2)
            .with_image_size([8, 8])
            .with_patch_size(4)
            .with_num_classes(3)
            .with_n_layers(1)
            .init(&device);
        let moved = decayed(optimizer, deit, |deit| {
            deit.forward(Tensor::zeros([1, 3, 8, 8], &Default::default()))
                .sum()
                * 0.0
        });
        let all = weights(&[layers.as_slice(), &ends].concat());
        assert_eq!(sorted(moved), all, "{optimizer}");

        let gpt: Gpt<B> = GptConfig::new(5)
            .with_context_size(4)
            .with_n_layers(1)
            .with_n_heads(2)
            .with_d_model(8)
            .init(&device);
        let moved = decayed(optimizer, gpt, |gpt| {
            let tokens = Tensor::<B, 2, Int>::zeros([1, 4], &Default::default());
            gpt.forward(tokens).sum() * 0.0
        });
        assert_eq!(sorted(moved), weights(&layers), "{optimizer}");
    }
}

/// The first step of a weight whose gradient is 1e-7, in multiples of the learning rate.
fn first_step(plan: OptimizerPlan) -> f64 {
    let model: Mlp<B> = MlpConfig::new(vec![1, 1]).init(&Default::default());
    let model = model.map(&mut PlusOne);
    let weight = |model: &Mlp<B>| Values::of(model)[0].1.iter::<f64>().sum::<f64>();
    let before = weight(&model);
    let loss = |model: &Mlp<B>| {
        let input = Tensor::<B, 2>::ones([1, 1], &Default::default());
        model.forward(input).sum() * 1e-7
    };
    let (model, _) = plan
        .train(model, None, Step(loss))
        .expect("the plan is right");
    (before - weight(&model)) / LR
}

/// Breaks with Burn's ε of 1e-5, by which this step would be 0.01.
#[test]
fn adamw_has_the_epsilon_of_pytorch() {
    // The weight is of about 1, and so rounded by 1e-7.
    const ROUNDING: f64 = 1e-6;
    let plan = OptimizerPlan::new(OptimizerChoice::ADAMW, LR, MacConfig::new());
    let step = first_step(plan);
    assert!((step - 1.0 / 1.1).abs() < ROUNDING, "{step}");
}

/// A pattern that is not understood would exempt nothing in silence.
#[test]
fn a_pattern_of_another_kind_is_refused() {
    for pattern in ["head", "**.norm*", "**.head.bias"] {
        let mac = MacConfig::new().with_no_decay(vec![pattern.to_string()]);
        let error = Exemption::of(&mac).expect_err(pattern);
        assert!(error.contains(pattern), "{error}");
    }
}

/// Gives each parameter values of its own, the same in each network.
struct Filler(f32);

impl ModuleMapper<B> for Filler {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|value| {
            let values = (0..value.shape().num_elements()).map(|_| {
                self.0 += 1.7;
                0.4 * self.0.sin() + 0.1
            });
            let values = TensorData::new(values.collect::<Vec<f32>>(), value.shape());
            Tensor::from_data(values, &value.device()).require_grad()
        })
    }
}

/// A network whose values are always the same. Not clones of one: where tests run side by side, Burn 0.21 may lose gradients of
/// tensors that several trainings have in common.
fn deit() -> VisionTransformer<B> {
    let deit = VisionTransformerConfig::new(8, 2)
        .with_image_size([8, 8])
        .with_patch_size(4)
        .with_num_classes(3)
        .with_n_layers(1)
        .init(&Default::default());
    VisionTransformer::map(deit, &mut Filler(0.0))
}

/// The values of each parameter before and after a first step.
fn around_first_step(choice: &str) -> Vec<(String, [Vec<f64>; 2])> {
    let choice = OptimizerChoice::from_str(choice, false).expect("it is one");
    let plan = OptimizerPlan::new(choice, LR, MacConfig::new()).with_auxiliary_lr(100.0 * LR);
    let deit = deit();
    let before = Values::of(&deit);
    let loss = |deit: &VisionTransformer<B>| {
        let values = (0..2 * 192).map(|index| (index as f32 * 0.37).sin());
        let images = TensorData::new(values.collect(), [2, 3, 8, 8]);
        let images = Tensor::<B, 4>::from_data(images, &Default::default());
        let scale = Tensor::<B, 2>::from_floats([[1.0, -2.0, 3.0]], &Default::default());
        (deit.forward(images) * scale).sum()
    };
    let (deit, _) = plan
        .train(deit, None, Step(loss))
        .expect("the plan is right");
    let pairs = before.into_iter().zip(Values::of(&deit));
    let pairs = pairs.map(|((path, before), (_, after))| {
        let values = [before, after].map(|values| values.iter::<f64>().collect());
        (path, values)
    });
    pairs.collect()
}

/// The root mean square of the first step of each parameter, in multiples of the learning rate.
fn first_steps(choice: &str) -> Vec<(String, f64)> {
    let parameters = around_first_step(choice).into_iter();
    let steps = parameters.map(|(path, [before, after])| {
        let moved = before.iter().zip(&after);
        let square = moved.map(|(before, after)| (before - after).powi(2));
        let mean = square.sum::<f64>() / before.len() as f64;
        (path, mean.sqrt() / LR)
    });
    steps.collect()
}

/// Breaks when one form of MAC's step is taken for another: all have the same length.
#[test]
fn each_form_steps_in_a_direction_of_its_own() {
    let [variance, rows, orthogonal] =
        ["mac-variance", "mac-rows", "mac-orthogonal"].map(around_first_step);
    let weights = |path: &str| path.ends_with("qkv.weight") || path.ends_with("fc1.weight");
    for ((variance, rows), orthogonal) in variance.iter().zip(&rows).zip(&orthogonal) {
        if weights(&variance.0) {
            assert_ne!(variance, rows);
            assert_ne!(rows, orthogonal);
            assert_ne!(orthogonal, variance);
        }
    }
}

/// Breaks when stored settings are not those of the training, or the last layer is looked for by another name.
#[test]
fn the_settings_for_a_network_have_its_form_and_last_layer() {
    let network: Mlp<B> = MlpConfig::new(vec![4, 3, 2]).init(&Default::default());
    for choice in OptimizerChoice::value_variants() {
        let plan = OptimizerPlan::new(*choice, LR, MacConfig::new())
            .with_weight_decay(0.25)
            .with_head("layers.1".to_string());
        let mac = plan.for_network(&network).expect("they are allowed").mac;
        let (step, decay) = match choice.step {
            LayerStep::Form(form) => (form, 0.25),
            _ => (StepForm::Momentum, 0.0),
        };
        assert_eq!(
            (mac.step, mac.auxiliary_weight_decay),
            (step, decay),
            "{choice}"
        );
        let skipped: &[&str] = match step {
            StepForm::Orthogonal { .. } => &["layers.1"],
            _ => &[],
        };
        assert_eq!(mac.skip_layers, skipped, "{choice}");
    }
}

/// Breaks when a parameter goes to another optimizer than the choice says. In the first step AdamW moves each element by its rate,
/// which is 100 here where it is beside another, more than any gradient; Muon by a fifth on average, and by less where a gradient has
/// few directions; a form of MAC's step by a fifth; momentum by the gradient.
#[test]
fn each_parameter_is_stepped_by_its_optimizer() {
    let gradients = first_steps("sgd");
    let covered = |path: &str| {
        let layers = ["projection", "qkv", "output", "fc1", "fc2", "head"];
        let mut layers = layers.iter();
        layers.any(|layer| path.contains(&format!("{layer}.")))
    };
    // A softmax does not see what is added to all keys, so that a part of this gradient is rounding.
    let unclear = |path: &str| path.ends_with("qkv.bias");
    let by_adamw = |step: f64| (0.95..1.05).contains(&step);
    let beside = |step: f64| (95.0..105.0).contains(&step);
    let by_muon = |step: f64| (0.02..0.25).contains(&step);
    for choice in OptimizerChoice::value_variants()
        .iter()
        .map(|choice| choice.name())
    {
        for ((path, step), (_, gradient)) in first_steps(choice).iter().zip(&gradients) {
            let (step, hidden) = (*step, path.ends_with("weight") && !path.contains("head"));
            let right = match (choice, covered(path)) {
                ("sgd" | "sgd-adamw", true) | ("sgd" | "mac", false) => step == *gradient,
                ("adamw" | "mac-in-adamw", _) => by_adamw(step) || unclear(path),
                ("muon", true) if hidden => by_muon(step),
                ("mac-orthogonal", true) if hidden => (0.19..0.21).contains(&step),
                ("muon" | "mac-orthogonal", true) => beside(step) || unclear(path),
                ("mac-variance" | "mac-rows", true) => {
                    let is_weight = path.ends_with("weight");
                    let by_form = is_weight && (0.19..0.21).contains(&step);
                    by_form || (!is_weight && (beside(step) || unclear(path)))
                }
                (
                    "mac" | "mac-adamw" | "mac-mean-adamw" | "smac" | "foof" | "eva" | "kfac",
                    true,
                ) => step != *gradient && !beside(step),
                _ => beside(step),
            };
            assert!(right, "{choice}, {path}: {step}, gradient {gradient}");
        }
    }
}
