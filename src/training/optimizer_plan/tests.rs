use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::{Int, Tensor, TensorData};
use clap::Parser;
use mac_burn_models::{Gpt, GptConfig, Mlp, MlpConfig, VisionTransformer, VisionTransformerConfig};

use super::*;
use crate::backend::Training;
use crate::training::{LearningRates, OptimizerArgs, OptimizerDefaults};

type B = Training;

const LR: f64 = 0.5;

/// One step with the gradients of a loss.
struct Step<M> {
    model: M,
    loss: fn(&M) -> Tensor<B, 1>,
}

impl<M: AutodiffModule<B>> WithOptimizer<B, M> for Step<M> {
    fn run<O: Optimizer<M, B> + 'static>(self, mut optimizer: O) -> Result<(M, O), Box<dyn Error>> {
        let loss = (self.loss)(&self.model);
        let grads = GradientsParams::from_grads(loss.backward(), &self.model);
        Ok((optimizer.step(LR, self.model, grads), optimizer))
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
    let model = plan.choice.prepare(model.map(&mut PlusOne));
    let before = Values::of(&model);

    let (model, _) = plan
        .train(None, Step { model, loss })
        .expect("the plan is right");
    let pairs = before.into_iter().zip(Values::of(&model));
    let moved = pairs.filter(|(before, after)| before.1 != after.1);
    moved.map(|(before, _)| before.0).collect()
}

/// Breaks when an optimizer decays norms, biases, positions, class tokens or embeddings, of which those that MAC leaves to
/// AdamW are not decayed.
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

    for optimizer in ["mac", "mac --auxiliary-lr 0", "sgd", "adamw"] {
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
        assert_eq!(sorted(moved), weights(&[layers.as_slice(), &ends].concat()));

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
    let model = plan.choice.prepare(model.map(&mut PlusOne));
    let weight = |model: &Mlp<B>| Values::of(model)[0].1.iter::<f64>().sum::<f64>();
    let before = weight(&model);
    let loss = |model: &Mlp<B>| {
        let input = Tensor::<B, 2>::ones([1, 1], &Default::default());
        model.forward(input).sum() * 1e-7
    };
    let (model, _) = plan
        .train(None, Step { model, loss })
        .expect("the plan is right");
    (before - weight(&model)) / LR
}

/// Breaks with Burn's ε of 1e-5, by which this step would be 0.01.
#[test]
fn adamw_has_the_epsilon_of_pytorch() {
    // The weight is of about 1, and so rounded by 1e-7.
    const ROUNDING: f64 = 1e-6;
    let plan = OptimizerPlan::new(OptimizerChoice::Adamw, LR, MacConfig::new());
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
