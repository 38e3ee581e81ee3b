//! Attention of plain layers, whose values have the mean of their tokens.

use super::{A, Method, R, support::random, support::values, trained};
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{AttentionInput, MacMultiHeadAttention};

fn config() -> MultiHeadAttentionConfig {
    MultiHeadAttentionConfig::new(6, 2).with_dropout(0.0)
}

/// The paths of all parameters.
fn paths<B: Backend, M: Module<B>>(module: &M) -> Vec<String> {
    struct Paths(Vec<String>, Vec<String>);
    impl<B: Backend> ModuleVisitor<B> for Paths {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.0.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<B, D>>) {
            self.1.push(self.0.join("."));
        }
    }
    let mut paths = Paths(Vec::new(), Vec::new());
    module.visit(&mut paths);
    paths.1
}

/// Breaks when another projection than that to the values differs from the recorded one's, or the report does not say that this does.
#[test]
fn values_have_the_mean_of_tokens_and_the_report_says_so() {
    let input = |step| random::<A, 3>([2, 4, 6], 10 + step);
    let recorded: MacMultiHeadAttention<A> = config().init(&Default::default()).into();
    let plain: MultiHeadAttention<R> = config().init(&Default::default());
    let names = paths::<R, _>(&plain);
    let (of_recorded, recorded) = first_step::<A, _>(recorded, |attention, step| {
        let input = AttentionInput::self_attn(input(step));
        attention.forward(input).context.square().mean()
    });
    let (of_plain, report) = first_step::<R, _>(plain, |attention, step| {
        let input = MhaInput::self_attn(random([2, 4, 6], 10 + step));
        attention.forward(input).context.square().mean()
    });
    for ((name, left), right) in names.iter().zip(&of_recorded).zip(&of_plain) {
        assert_eq!(left == right, !name.starts_with("value"), "{name}");
    }
    assert_eq!(report.covered_parameters, recorded.covered_parameters);
    let of_tokens = report.layers.iter().filter(|layer| layer.mean_of_tokens);
    let of_tokens: Vec<_> = of_tokens.map(|layer| layer.path.as_str()).collect();
    assert_eq!(of_tokens, ["value"]);
    assert!(
        report
            .to_string()
            .contains("without attention's probabilities: `value`")
    );
    assert!(!recorded.layers.iter().any(|layer| layer.mean_of_tokens));
}

fn first_step<B: burn::tensor::backend::AutodiffBackend, M: burn::module::AutodiffModule<B>>(
    module: M,
    loss: impl Fn(&M, u64) -> Tensor<B, 1>,
) -> (Vec<Vec<f64>>, mac_burn::Report) {
    use burn::optim::{GradientsParams, Optimizer};
    let mut optim = mac_burn::MacConfig::new().init();
    let module = super::filled::<B, M>(module, 1);
    let grads = GradientsParams::from_grads(loss(&module, 0).backward(), &module);
    let module = optim.step(0.1, module, grads);
    (values(&module), optim.report(&module))
}

/// Breaks when recorded attention on the backend that records has the mean of its tokens, or is recorded twice.
#[test]
fn recorded_attention_keeps_its_own_mean() {
    let run = |recorded: MacMultiHeadAttention<A>| {
        trained(recorded, Method::Mac, |attention, step| {
            let input = AttentionInput::self_attn(random([2, 4, 6], 10 + step));
            attention.forward(input).context.square().mean()
        })
    };
    let (expected, _) = run(config().init(&Default::default()).into());
    let recorded: MacMultiHeadAttention<R> = config().init(&Default::default()).into();
    let (found, report) = trained(recorded, Method::Mac, |attention, step| {
        let input = AttentionInput::self_attn(random([2, 4, 6], 10 + step));
        attention.forward(input).context.square().mean()
    });
    assert_eq!(found, expected);
    assert!(!report.layers.iter().any(|layer| layer.mean_of_tokens));
}
