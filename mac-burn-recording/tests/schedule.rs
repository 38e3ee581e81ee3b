//! The backend that records launches an operation for a pass only where an optimizer asks for it: what it launches is what a device is handed beyond what it
//! is without the decorator.
//!
//! One test in a process of its own: operations are counted for the process, and while any of its optimizers has yet to take its first step, all passes are
//! recorded.

#[path = "../../mac-burn/tests/support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use counting::{Counting, operations};
use mac_burn::{Mac, MacConfig, without_recording};
use mac_burn_recording::Recording;

type A = Autodiff<Counting>;
type R = Recording<A>;

const TCOV: u64 = 3;
const STEPS: u64 = 3 * TCOV + 1;

#[derive(Module, Debug)]
struct Network<B: Backend> {
    conv: Conv2d<B>,
    output: Linear<B>,
    /// The first factor of a product.
    first: Param<Tensor<B, 2>>,
}

impl<B: AutodiffBackend> Network<B> {
    fn new() -> Self {
        let device = Default::default();
        let network = Self {
            conv: Conv2dConfig::new([1, 2], [2, 2]).init(&device),
            output: LinearConfig::new(8, 3).init(&device),
            first: Param::from_tensor(Tensor::ones([2, 2], &device)),
        };
        // Values are drawn when they are first used.
        network.fork(&device)
    }

    /// The operations of a forward and a backward pass, and the gradients.
    fn pass(&self) -> (usize, GradientsParams) {
        let images = images();
        let before = operations();
        let x = self.conv.forward(images).flatten::<2>(1, 3);
        let output = self.first.val().matmul(self.output.forward(x));
        let loss = output.square().mean();
        let grads = loss.backward();
        (
            operations() - before,
            GradientsParams::from_grads(grads, self),
        )
    }
}

/// The steps whose passes are recorded.
fn recorded_steps(mut step: impl FnMut(Network<R>, GradientsParams) -> Network<R>) -> Vec<u64> {
    let (plain, _) = Network::<A>::new().pass();
    let mut network = Network::<R>::new();
    let steps = (0..STEPS).filter(|_| {
        let (all, grads) = network.pass();
        network = step(network.clone(), grads);
        assert!(all >= plain);
        all > plain
    });
    steps.collect()
}

/// Breaks when a step's tensors are not known for those of the parameters before, so that each begins anew; or when a pass that is not due is recorded.
#[test]
fn passes_are_recorded_when_they_are_due() {
    let due: Vec<u64> = (0..STEPS).step_by(TCOV as usize).collect();
    let config = MacConfig::new().with_tcov(TCOV as usize);
    let (plain, _) = Network::<A>::new().pass();
    let mut optim = config.init();
    assert_eq!(
        recorded_steps(|network, grads| optim.step(0.1, network, grads)),
        due
    );
    drop(optim);

    // The same in front of an optimizer that knows nothing of it.
    let mut preconditioner = config.init_preconditioner();
    let mut adamw = AdamWConfig::new().init();
    let steps = recorded_steps(|network, grads| {
        let grads = preconditioner.precondition(&network, grads);
        adamw.step(0.1, network, grads)
    });
    assert_eq!(steps, due);

    // Where the module is validated between two steps.
    let mut optim = config.init();
    let steps = recorded_steps(|network, grads| {
        let network = optim.step(0.1, network, grads);
        network.valid();
        network
    });
    assert_eq!(steps, due);
    drop(optim);

    // And within one.
    let mut optim = config.init();
    let mut network = Network::<R>::new();
    let steps = (0..STEPS).filter(|_| {
        let (all, grads) = network.pass();
        network.valid();
        network = optim.step(0.1, std::mem::replace(&mut network, Network::new()), grads);
        all > plain
    });
    assert_eq!(steps.collect::<Vec<_>>(), due);
    drop(optim);

    // Where forks run the passes.
    let mut optim = config.init();
    let mut network = Network::<R>::new();
    let steps = (0..STEPS).filter(|_| {
        let (all, grads) = network.clone().fork(&Default::default()).pass();
        network = optim.step(0.1, network.clone(), grads);
        all > plain
    });
    assert_eq!(steps.collect::<Vec<_>>(), due);

    // Not when it is said so, of frozen layers, or without a graph.
    let mut network = Network::<R>::new();
    let (all, grads) = without_recording(|| network.pass());
    assert_eq!(all, plain);
    network = config.init().step(0.1, network, grads);
    let (all, _) = network.pass();
    assert!(all > plain, "an optimizer that is gone asks for nothing");
    let inner = network.valid();
    let before = operations();
    let _ = inner.conv.forward(images());
    let of_inner = operations() - before;
    let frozen = network.no_grad();
    let before = operations();
    let _ = frozen.conv.forward(images());
    assert_eq!(operations() - before, of_inner);

    // The first of two parameters that are made of inner ones is not taken for the last, of which nothing is asked.
    fn pass_of<B: AutodiffBackend>(pair: &Vec<Linear<B>>) -> (usize, GradientsParams) {
        let input = Tensor::<B, 2>::ones([3, 2], &Default::default());
        let before = operations();
        let grads = pair[1].forward(pair[0].forward(input)).sum().backward();
        (
            operations() - before,
            GradientsParams::from_grads(grads, pair),
        )
    }
    fn pair<B: AutodiffBackend>() -> Vec<Linear<B>> {
        let layer = LinearConfig::new(2, 2).with_bias(false);
        let pair = vec![
            layer.init(&Default::default()),
            layer.init(&Default::default()),
        ];
        pair.fork(&Default::default())
    }
    let config = MacConfig::new().with_tcov(1);
    let mut optim = config.with_skip_layers(vec!["1".into()]).init();
    let stepped = pair::<R>();
    let (both, grads) = pass_of(&stepped);
    let stepped = optim.step(0.1, stepped, grads);
    let pair: Vec<Linear<R>> = Vec::from_inner(stepped.valid());
    let (all, _) = pass_of(&pair);
    assert_eq!(all, both);

    // A weight of two maps, one of which is recorded for another optimizer alone.
    let config = MacConfig::new().with_tcov(TCOV as usize);
    let mut optim = config.init();
    let mut tied: Linear<R> = LinearConfig::new(2, 2)
        .with_bias(false)
        .init(&Default::default());
    for step in 0..2 {
        let input = || Tensor::<R, 2>::ones([3, 2], &Default::default());
        let plain = tied.forward(input());
        let _other: Option<Mac<Linear<R>, R>> = (step == 1).then(|| config.init());
        let transposed = input().matmul(tied.weight.val().transpose());
        let grads = (plain + transposed).sum().backward();
        let grads = GradientsParams::from_grads(grads, &tied);
        tied = optim.step(0.1, tied, grads);
    }
    assert_eq!(optim.report(&tied).covered_parameters, 0);
    drop(optim);

    // Nor of a parameter that no layer has as its weight, which no optimizer would ask for less of.
    fn product<B: AutodiffBackend>() -> usize {
        let [left, right] = [(); 2].map(|()| Tensor::<B, 3>::ones([1, 2, 2], &Default::default()));
        let right = right.require_grad();
        let before = operations();
        left.matmul(right).sum().backward();
        operations() - before
    }
    assert_eq!(product::<R>(), product::<A>());
}

fn images<B: Backend>() -> Tensor<B, 4> {
    Tensor::ones([2, 1, 3, 3], &Default::default())
}
