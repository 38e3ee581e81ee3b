//! The steps that have the statistics of a pass, where a module has copies: on the backend that records they are those of recorded layers.

use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;
use burn::backend::{Autodiff, Flex};
use burn::module::{AutodiffModule, Initializer, Module, ModuleMapper, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer, SgdConfig};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};
use mac_burn::{
    KfacConfig, Mac, MacConfig, MacLinear, Recorder, unrecorded, with_fresh_recorders,
    without_recording,
};
use mac_burn_recording::Recording;

type Plain = Recording<Autodiff<Flex>>;
type Recorded = Autodiff<Flex>;

const RATE: f64 = 0.1;
const SIZE: usize = 4;

/// A layer of Burn's, and a weight in PyTorch's layout, which each pass makes a transposed view of.
#[derive(Module, Debug)]
struct PlainNetwork<B: Backend> {
    layer: Linear<B>,
    output: Param<Tensor<B, 2>>,
}

/// The same with a recorded layer, and a recorder for the weight.
#[derive(Module, Debug)]
struct RecordedNetwork<B: Backend> {
    layer: MacLinear<B>,
    output: Param<Tensor<B, 2>>,
    recorder: Recorder<B>,
}

/// A network whose first layer is compared.
trait Network<B: AutodiffBackend>: AutodiffModule<B> {
    fn new() -> Self;

    fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2>;

    fn layer(&self) -> &Linear<B>;
}

fn layer<B: Backend>() -> Linear<B> {
    let initializer = Initializer::Constant { value: 0.3 };
    let config = LinearConfig::new(SIZE, SIZE).with_initializer(initializer);
    config.init(&Default::default())
}

fn output<B: Backend>() -> Param<Tensor<B, 2>> {
    let initializer = Initializer::Constant { value: 0.5 };
    initializer.init([SIZE, SIZE], &Default::default())
}

impl<B: AutodiffBackend> Network<B> for PlainNetwork<B> {
    fn new() -> Self {
        Self {
            layer: layer(),
            output: output(),
        }
    }

    fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = self.layer.forward(input);
        hidden.matmul(self.output.val().transpose())
    }

    fn layer(&self) -> &Linear<B> {
        &self.layer
    }
}

impl<B: AutodiffBackend> Network<B> for RecordedNetwork<B> {
    fn new() -> Self {
        Self {
            layer: layer().into(),
            output: output(),
            recorder: Recorder::new(),
        }
    }

    fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let hidden = self.layer.forward(input);
        let output = hidden.clone().matmul(self.output.val().transpose());
        self.recorder
            .record_transposed_linear(&self.output, None, &hidden, output)
    }

    fn layer(&self) -> &Linear<B> {
        &self.layer
    }
}

fn pass<B: AutodiffBackend>(network: &impl Network<B>, seed: u64) -> GradientsParams {
    let numbers = Tensor::<B, 1, Int>::arange(0..(3 * SIZE) as i64, &Default::default());
    let input = (numbers.float() * (seed + 1) as f64).sin();
    let input = input.reshape([3, SIZE]);
    let loss = network.forward(input).square().mean();
    GradientsParams::from_grads(loss.backward(), network)
}

/// Freezes biases, and leaves weights as they are.
struct FrozenBiases;

impl<B: Backend> ModuleMapper<B> for FrozenBiases {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        match D {
            1 => param.no_grad(),
            _ => param,
        }
    }
}

/// Puts new parameters in the place of biases, which no step has made.
struct ReplacedBiases;

impl<B: AutodiffBackend> ModuleMapper<B> for ReplacedBiases {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        match D {
            1 => param.map(|bias| bias.clamp_min(0.1).detach().require_grad()),
            _ => param,
        }
    }
}

/// Makes copies of another network, so that what is known of tensors is swept.
fn make_others<B: AutodiffBackend>() {
    let other = PlainNetwork::<B>::new();
    for seed in 0..200 {
        pass(&other.clone().fork(&Default::default()), seed);
    }
}

/// MAC that takes statistics at each step.
fn mac<B: AutodiffBackend, N: AutodiffModule<B>>() -> Mac<N, B> {
    MacConfig::new().with_tcov(1).with_tinv(1).init()
}

/// The updates of the first layer, and its weight and bias.
type Outcome = (u64, Vec<f32>);

fn outcome<B: AutodiffBackend, N: Network<B>>(optimizer: &Mac<N, B>, network: &N) -> Outcome {
    let report = optimizer.report(network);
    (report.layers[0].updates, values(network))
}

fn values<B: AutodiffBackend>(network: &impl Network<B>) -> Vec<f32> {
    let layer = network.layer();
    let bias = layer.bias.as_ref().expect("the layer has a bias").val();
    let values = Tensor::cat(vec![layer.weight.val().flatten(0, 1), bias], 0);
    values.into_data().to_vec().expect("floats")
}

/// Takes steps. `look` has the network before each step's pass and after it, and `change` that of the next step.
fn trained<B: AutodiffBackend, N: Network<B>>(
    mut optimizer: Mac<N, B>,
    look: impl Fn(&N),
    change: impl Fn(N) -> N,
) -> Outcome {
    let mut network = N::new();
    for seed in 0..3 {
        look(&network);
        let gradients = pass(&network, seed);
        look(&network);
        network = change(optimizer.step(RATE, network, gradients));
    }
    outcome(&optimizer, &network)
}

/// Compares Burn's layers on the recording backend with recorded layers.
macro_rules! assert_like_recorded {
    ($run:ident) => {
        let plain = $run::<Plain, PlainNetwork<Plain>>();
        let recorded = $run::<Recorded, RecordedNetwork<Recorded>>();
        assert_eq!(plain, recorded);
    };
}

/// Breaks when a step forgets a tensor that a clone of the module still has.
#[test]
fn a_clone_takes_a_step_with_the_same_gradients() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Vec<Outcome> {
        let network = N::new();
        let (mut first, mut second) = (mac(), mac());
        let clone = network.clone();
        // Of the tensors that both have.
        let [for_network, for_clone] = [1, 2].map(|seed| pass(&network, seed));
        let network = first.step(RATE, network, for_network);
        let clone = second.step(RATE, clone, for_clone);
        vec![outcome(&first, &network), outcome(&second, &clone)]
    }
    assert_like_recorded!(run);
}

/// Breaks when passes of a fork are those of other forks too.
#[test]
fn forks_do_not_see_each_other() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Vec<Outcome> {
        let device = Default::default();
        // Values are drawn when they are first used, and by each clone.
        let network = N::new().fork(&device);
        let forks = [1, 2].map(|seed| (network.clone().fork(&device), seed));
        let passed = forks.map(|(fork, seed)| (pass(&fork, seed), fork));
        let stepped = passed.into_iter().map(|(gradients, fork)| {
            let mut optimizer = mac();
            let fork = optimizer.step(RATE, fork, gradients);
            outcome(&optimizer, &fork)
        });
        stepped.collect()
    }
    assert_like_recorded!(run);
}

/// Breaks when a pass of the tensors before a step counts for the tensors after it.
#[test]
fn a_step_separates_what_was_cloned_before() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        let (mut network, mut optimizer) = (N::new(), mac());
        for seed in 0..3 {
            let before = network.clone();
            let gradients = pass(&network, seed);
            network = optimizer.step(RATE, network, gradients);
            pass(&before, seed + 10);
        }
        outcome(&optimizer, &network)
    }
    assert_like_recorded!(run);
}

/// Breaks when what is known of a tensor is forgotten between passes, as that of one which no tensor is left of.
#[test]
fn a_step_has_the_passes_that_others_are_made_between() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        let network = N::new();
        let mut optimizer = mac();
        let mut gradients = GradientsAccumulator::new();
        gradients.accumulate(&network, pass(&network, 1));
        make_others::<B>();
        gradients.accumulate(&network, pass(&network, 2));
        let network = optimizer.step(RATE, network, gradients.grads());
        outcome(&optimizer, &network)
    }
    assert_like_recorded!(run);
}

/// Breaks when views of passes make a tensor forgotten.
#[test]
fn a_step_has_the_passes_of_many_micro_batches() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        let network = N::new();
        let mut optimizer = mac();
        let mut gradients = GradientsAccumulator::new();
        for seed in 0..300 {
            gradients.accumulate(&network, pass(&network, seed));
        }
        let network = optimizer.step(RATE, network, gradients.grads());
        outcome(&optimizer, &network)
    }
    assert_like_recorded!(run);
}

/// Breaks when a layer is no longer recorded once its bias is another.
#[test]
fn a_layer_whose_bias_is_frozen_is_recorded_on() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        trained(mac(), |_| (), |network: N| network.map(&mut FrozenBiases))
    }
    assert_like_recorded!(run);
}

/// Breaks when a layer is no longer recorded once its bias is another parameter's.
#[test]
fn a_layer_whose_bias_is_replaced_is_recorded_on() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        trained(mac(), |_| (), |network: N| network.map(&mut ReplacedBiases))
    }
    assert_like_recorded!(run);
}

/// Breaks when the first parameter that is made of an inner one is taken for the last whose inner tensor was taken.
#[test]
fn parameters_that_are_made_of_inner_ones_begin_anew() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        trained(mac(), |_| (), |network: N| N::from_inner(network.valid()))
    }
    assert_like_recorded!(run);
}

/// Breaks when a use of the weight in another map counts that no gradient comes back through.
#[test]
fn a_weight_is_looked_at_by_a_product() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        let look = |network: &N| {
            let vectors = Tensor::ones([SIZE, 2], &Default::default());
            network.layer().weight.val().matmul(vectors);
        };
        trained(mac(), look, |network| network)
    }
    assert_like_recorded!(run);
}

/// Breaks when a pass is recorded again where its checkpoints are recomputed, or gradients do not come back to it.
#[test]
fn a_graph_with_checkpoints_is_recorded() {
    type WithCheckpoints = Autodiff<Flex, BalancedCheckpointing>;
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        let kfac = KfacConfig::new().with_tcov(1).with_tinv(1).init();
        trained(kfac, |_| (), |network: N| network)
    }
    let plain = run::<Recording<WithCheckpoints>, PlainNetwork<Recording<WithCheckpoints>>>();
    let recorded = run::<WithCheckpoints, RecordedNetwork<WithCheckpoints>>();
    assert_eq!(plain, recorded);
}

/// Breaks when what is recorded changes what other optimizers do.
#[test]
fn training_without_curvature_is_that_of_autodiff() {
    fn run<B: AutodiffBackend>() -> Vec<f32> {
        let _mac: Mac<PlainNetwork<B>, B> = mac();
        let mut network = PlainNetwork::<B>::new();
        let mut sgd = SgdConfig::new().init();
        for seed in 0..5 {
            let gradients = pass(&network, seed);
            network = sgd.step(RATE, network, gradients);
        }
        values(&network)
    }
    assert_eq!(run::<Plain>(), run::<Autodiff<Flex>>());
}

/// Detaches parameters, which stay on their device.
struct Detached;

impl<B: Backend> ModuleMapper<B> for Detached {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(Tensor::detach)
    }
}

/// Breaks when detached parameters are not taken for those of a fork, or not separated from their originals.
#[test]
fn a_detached_copy_is_a_fork() {
    let updates = |separated: bool| {
        // Values are drawn when they are first used, and by each clone.
        let network = PlainNetwork::<Plain>::new().fork(&Default::default());
        let mut optimizer = mac();
        let mut copy = network.clone().map(&mut Detached);
        if separated {
            copy = with_fresh_recorders(copy);
        }
        let gradients = pass(&copy, 1);
        let network = optimizer.step(RATE, network, gradients);
        outcome(&optimizer, &network).0
    };
    assert_eq!([false, true].map(updates), [1, 0]);
}

/// Breaks when recorders of layers are not all that is switched off.
#[test]
fn a_module_without_recorders_is_recorded() {
    let mut optimizer = mac();
    let network = unrecorded(PlainNetwork::<Plain>::new());
    let gradients = pass(&network, 1);
    let network = optimizer.step(RATE, network, gradients);
    assert_eq!(outcome(&optimizer, &network).0, 1);
}

/// Breaks when a use of the weight in another way counts though nothing is recorded of it.
#[test]
fn a_weight_is_used_in_another_way_without_recording() {
    fn run<B: AutodiffBackend, N: Network<B>>() -> Outcome {
        let look = |network: &N| {
            without_recording(|| {
                let vectors = Tensor::ones([SIZE, 2], &Default::default());
                network.layer().weight.val().matmul(vectors)
            });
        };
        trained(mac(), look, |network| network)
    }
    assert_like_recorded!(run);
}
