//! The cost of data-parallel training in replicas: the reduction of the gradients, and a step of MAC that records, with the reduction of its
//! statistics and without; and the bytes that each rank sends for either. Two ranks in threads of this process, over the loopback.
//!
//! ```text
//! cargo bench --bench replicas -- --case lenet --rounds 50
//! ```
//!
//! Both ranks work at the same time, so on a machine of few cores they take them from each other.
#![allow(
    clippy::print_stdout,
    reason = "the tables are what a benchmark is for"
)]

#[path = "../harness/mod.rs"]
mod harness;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Int, Tensor};
use harness::{Comparison, Contender, OnBackend, Options, on_backends, timed};
use mac_burn::replicas::{Replicas, TcpAllReduce};
use mac_burn::{Mac, MacConfig, with_fresh_recorders};
use mac_burn_models::{LeNet, LeNetConfig, Mlp, MlpConfig, ResNet, ResNetConfig};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Images of a rank's share. What is reduced does not depend on it.
const SHARE: usize = 4;
const CLASSES: usize = 10;

const GRADIENTS: &str = "reduction of gradients";
const ALONE: &str = "step that records, alone";
const REDUCED: &str = "step that records, statistics reduced";

fn main() -> ExitCode {
    on_backends::<InReplicas>()
}

struct InReplicas;

impl OnBackend for InReplicas {
    fn title(_options: &Options) -> String {
        "Two ranks over the loopback".into()
    }

    fn run<B: Backend>(_backend: &str, options: &Options) {
        let device = Default::default();
        case("mlp 784-512-512-10", options, || {
            let model = MlpConfig::new(vec![784, 512, 512, CLASSES]).init(&device);
            contenders::<Autodiff<B>, _, 2>(&model, [SHARE, 784], Mlp::forward)
        });
        case("lenet 1x28x28", options, || {
            let model = LeNetConfig::new([28, 28]).init(&device);
            contenders::<Autodiff<B>, _, 4>(&model, [SHARE, 1, 28, 28], LeNet::forward)
        });
        case("resnet-20 3x32x32", options, || {
            let model = ResNetConfig::resnet20(CLASSES).init(&device);
            contenders::<Autodiff<B>, _, 4>(&model, [SHARE, 3, 32, 32], ResNet::forward)
        });
    }
}

fn case<'a>(name: &str, options: &Options, contenders: impl FnOnce() -> Vec<Contender<'a>>) {
    if !options.wants_case(name) {
        return;
    }
    let headers = ["work", "bytes sent by a rank"];
    let comparison = Comparison::new(&headers, contenders(), &[ALONE]).run(options);
    println!("{name}\n\n{comparison}\n");
    let ratio = comparison.ratio(REDUCED, ALONE);
    println!("statistics reduced: {ratio} x {ALONE}\n");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Gradients,
    Step { reduces: bool },
}

fn contenders<'a, B, M, const D: usize>(
    model: &M,
    shape: [usize; D],
    forward: fn(&M, Tensor<B, D>) -> Tensor<B, 2>,
) -> Vec<Contender<'a>>
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + 'static,
{
    // Parameters are drawn here, and not in each clone anew.
    let model = model.clone().fork(&Default::default());
    let works = [
        (GRADIENTS, Work::Gradients),
        (ALONE, Work::Step { reduces: false }),
        (REDUCED, Work::Step { reduces: true }),
    ];
    let contenders = works.map(|(name, work)| {
        let mut pair = Pair::new(&model, shape, forward, work);
        // Before its first step a rank tells which layers it knows.
        pair.time();
        let before = pair.own.connection.bytes_sent();
        pair.time();
        let sent = pair.own.connection.bytes_sent() - before;
        Contender {
            cells: vec![name.into(), sent.to_string()],
            work: Box::new(move || pair.time()),
        }
    });
    contenders.into()
}

/// A rank of this thread, and one of another that does the same.
struct Pair<B: AutodiffBackend, M: AutodiffModule<B>, const D: usize> {
    own: Rank<B, M, D>,
    /// Asks the other for a pass, and then for the work.
    ask: Sender<()>,
    done: Receiver<()>,
}

impl<B: AutodiffBackend, M: AutodiffModule<B> + 'static, const D: usize> Pair<B, M, D> {
    fn new(
        model: &M,
        shape: [usize; D],
        forward: fn(&M, Tensor<B, D>) -> Tensor<B, 2>,
        work: Work,
    ) -> Self {
        let ranks = TcpAllReduce::in_process(2, Duration::from_secs(60));
        let mut ranks = ranks.expect("this machine has a loopback").into_iter();
        let mut next = || {
            let connection = ranks.next().expect("there are two");
            Rank::new(connection, model.clone(), shape, forward, work)
        };
        let (own, mut other) = (next(), next());
        let (ask, asked) = channel();
        let (tell, done) = channel();
        thread::spawn(move || {
            while asked.recv().is_ok() {
                let grads = other.pass();
                tell.send(()).expect("the first waits");
                if asked.recv().is_ok() {
                    other.work(grads);
                    tell.send(()).expect("the first waits");
                }
            }
        });
        Self { own, ask, done }
    }

    /// The time of the work of both, after a pass of both.
    fn time(&mut self) -> Duration {
        self.ask.send(()).expect("the other listens");
        let grads = self.own.pass();
        self.done.recv().expect("the other answers");
        self.ask.send(()).expect("the other listens");
        let device = self.own.inputs.device();
        let (time, ()) = timed::<B, _>(&device, || self.own.work(grads));
        self.done.recv().expect("the other answers");
        time
    }
}

struct Rank<B: AutodiffBackend, M: AutodiffModule<B>, const D: usize> {
    connection: Arc<TcpAllReduce>,
    replicas: Replicas<B::InnerBackend>,
    /// None while it takes a step.
    model: Option<M>,
    optimizer: Mac<M, B>,
    inputs: Tensor<B, D>,
    targets: Tensor<B, 1, Int>,
    forward: fn(&M, Tensor<B, D>) -> Tensor<B, 2>,
    work: Work,
}

impl<B: AutodiffBackend, M: AutodiffModule<B>, const D: usize> Rank<B, M, D> {
    fn new(
        connection: TcpAllReduce,
        model: M,
        shape: [usize; D],
        forward: fn(&M, Tensor<B, D>) -> Tensor<B, 2>,
        work: Work,
    ) -> Self {
        let device = Default::default();
        let connection = Arc::new(connection);
        let replicas = Replicas::new(connection.clone());
        let mut optimizer = MacConfig::new().with_tcov(1).init();
        if work == (Work::Step { reduces: true }) {
            optimizer = optimizer.with_replicas(replicas.clone());
        }
        Self {
            connection,
            replicas,
            model: Some(with_fresh_recorders(model.fork(&device))),
            optimizer,
            inputs: Tensor::random(shape, Distribution::Uniform(0.0, 1.0), &device),
            targets: Tensor::arange(0..shape[0] as i64, &device).remainder_scalar(CLASSES as i64),
            forward,
            work,
        }
    }

    fn model(&self) -> &M {
        self.model.as_ref().expect("it takes no step")
    }

    /// A forward and a backward pass.
    fn pass(&self) -> GradientsParams {
        let logits = (self.forward)(self.model(), self.inputs.clone());
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = loss.forward(logits, self.targets.clone());
        GradientsParams::from_grads(loss.backward(), self.model())
    }

    fn work(&mut self, grads: GradientsParams) {
        match self.work {
            Work::Gradients => {
                let reduced = self.replicas.reduce_gradients(self.model(), grads);
                drop(reduced.expect("both are there"));
            }
            Work::Step { .. } => {
                let model = self.model.take().expect("it takes no step");
                let stepped = self.optimizer.try_step(1e-3, model, grads);
                self.model = Some(stepped.expect("both are there"));
            }
        }
    }
}
