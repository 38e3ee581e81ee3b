use crate::harness::{Comparison, Contender, Options, timed};
use crate::memory;
use crate::network::{Batch, Network};
use burn::module::AutodiffModule;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, Optimizer, SgdConfig};
use burn::tensor::backend::AutodiffBackend;
use mac_burn::{MacConfig, unrecorded};
use mac_burn_models::{Deit, DeitConfig, ResNet, ResNetConfig};

const SGD: &str = "SGD";
const MAC: &str = "MAC";
/// Of MAC's step to SGD's.
const BAR_TIME: f64 = 1.05;
/// Of MAC's peak to SGD's.
const BAR_MEMORY: f64 = 1.03;
const LEARNING_RATE: f64 = 1e-4;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 1e-4;
/// Steps before the memory is measured: the state of an optimizer is made in the first.
const WARM_UP: usize = 2;

/// Prints time and memory of whole training steps, a table for each network.
pub(crate) fn tables<B: AutodiffBackend>(options: &Options, has_bars: bool) {
    let device = B::Device::default();
    let few = |count| if options.quick() { 1 } else { count };
    table(options, has_bars, "ResNet-20", || {
        let model = ResNetConfig::resnet20(10).init(&device);
        let shape = [few(32), 3, 32, 32];
        Network::<B, _>::of_images("ResNet-20", shape, model, ResNet::forward, &device)
    });
    table(options, has_bars, "ResNet-50", || {
        let model = ResNetConfig::resnet50().init(&device);
        let shape = [few(2), 3, 224, 224];
        Network::<B, _>::of_images("ResNet-50", shape, model, ResNet::forward, &device)
    });
    table(options, has_bars, "DeiT-S", || {
        let model = DeitConfig::small().init(&device);
        let shape = [few(4), 3, 224, 224];
        Network::<B, _>::of_images("DeiT-S", shape, model, Deit::forward, &device)
    });
}

fn table<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
    options: &Options,
    has_bars: bool,
    name: &str,
    network: impl Fn() -> Network<B, M>,
) {
    if !options.wants_case(&format!("steps {name}")) {
        return;
    }
    let batch = network().batch.shape();
    let contenders = contenders(&network);
    let [sgd, mac] = [0, 2].map(|index| contenders[index].peak as f64);
    let contenders = contenders.into_iter().map(|measured| measured.contender);
    let comparison = Comparison::new(&["optimizer", "peak MiB"], contenders.collect(), &[SGD]);
    let comparison = comparison.run(options);
    println!("steps {name}: forward, backward and optimizer, batch of {batch}\n\n{comparison}\n");
    if has_bars && !options.quick() {
        let (time, memory) = (comparison.ratio(MAC, SGD), mac / sgd);
        println!(
            "MAC: {time} x the time of SGD, bar {BAR_TIME}; {memory:.4} x its peak memory, bar {BAR_MEMORY}\n"
        );
    }
}

/// A contender, and the bytes that are allocated for it at most.
struct Measured {
    contender: Contender<'static>,
    peak: usize,
}

/// MAC records before each step and takes into use in it what was recorded: what a step costs at most. The others train the
/// plain network.
fn contenders<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
    network: &impl Fn() -> Network<B, M>,
) -> Vec<Measured> {
    let momentum = MomentumConfig::new()
        .with_momentum(MOMENTUM)
        .with_dampening(0.0);
    let decay = WeightDecayConfig::new(WEIGHT_DECAY as f32);
    let sgd = SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(Some(decay));
    let adamw = AdamWConfig::new().with_weight_decay(WEIGHT_DECAY as f32);
    let mac = MacConfig::new()
        .with_momentum(MOMENTUM)
        .with_weight_decay(WEIGHT_DECAY)
        .with_tcov(1)
        .with_tinv(1);
    let plain = || network().map(unrecorded);
    vec![
        measured(SGD, plain, sgd.init()),
        measured("AdamW", plain, adamw.init()),
        measured(MAC, network, mac.init()),
    ]
}

fn measured<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
    name: &str,
    network: impl Fn() -> Network<B, M>,
    optimizer: impl Optimizer<M, B> + 'static,
) -> Measured {
    let before = memory::allocated();
    let mut training = Training::new(network(), optimizer);
    (0..WARM_UP).for_each(|_| training.step());
    let peak = memory::peak(|| training.step()) - before;
    let device = training.batch.device.clone();
    Measured {
        contender: Contender {
            cells: vec![name.into(), memory::mebibytes(peak)],
            work: Box::new(move || timed::<B, _>(&device, || training.step()).0),
        },
        peak,
    }
}

/// A network in training.
struct Training<B: AutodiffBackend, M, O> {
    /// Taken by a step while it lasts, so that the optimizer may work in place.
    model: Option<M>,
    batch: Batch<B, M>,
    optimizer: O,
}

impl<B: AutodiffBackend, M: AutodiffModule<B> + 'static, O: Optimizer<M, B>> Training<B, M, O> {
    fn new(network: Network<B, M>, optimizer: O) -> Self {
        Self {
            model: Some(network.model),
            batch: network.batch,
            optimizer,
        }
    }

    fn step(&mut self) {
        let model = self.model.take().expect("a step gives the model back");
        let gradients = self.batch.gradients(&model);
        self.model = Some(self.optimizer.step(LEARNING_RATE, model, gradients));
    }
}
