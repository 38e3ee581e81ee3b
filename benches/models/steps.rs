use crate::harness::{Comparison, Contender, Options, timed, verdict};
use crate::memory;
use crate::network::{Batch, Network};
use burn::module::AutodiffModule;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, Optimizer, SgdConfig};
use burn::tensor::backend::AutodiffBackend;
use clap::ValueEnum;
use mac_burn::{EvaConfig, FoofConfig, KfacConfig, Mac, MacConfig, SmacConfig, unrecorded};
use mac_burn_examples::backend;
use mac_burn_examples::optimizers::{GroupedOptimizer, OptimizerChoice, OptimizerPlan};
use mac_burn_models::{
    LeNet, LeNetConfig, ResNet, ResNetConfig, VisionTransformer, VisionTransformerConfig,
};
use std::time::Duration;

const SGD: &str = "SGD";
const ADAMW: &str = "AdamW";
const MUON: &str = "Muon + AdamW";
const MAC: &str = "MAC";
/// Of MAC's step to SGD's.
const BAR_TIME: f64 = 1.05;
/// Of MAC's peak to SGD's.
const BAR_MEMORY: f64 = 1.03;
/// The part of a case's name that tells a table of the optimizer's part of a step.
const ALONE: &str = "optimizer alone";
const LEARNING_RATE: f64 = 1e-4;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 1e-4;
/// Steps before the memory is measured: the state of an optimizer is made in the first.
const WARM_UP: usize = 2;

/// Every how many steps MAC records, and takes into use what was recorded.
#[derive(Clone, Copy)]
struct Schedule {
    tcov: usize,
    tinv: usize,
}

/// The highest cost of a step.
const EACH_STEP: Schedule = Schedule { tcov: 1, tinv: 1 };
/// The authors' for ResNets.
const RESNETS: Schedule = Schedule { tcov: 5, tinv: 50 };
/// The authors' for transformers.
const TRANSFORMERS: Schedule = Schedule { tcov: 5, tinv: 5 };

/// The part of a training step that is timed.
#[derive(Clone, Copy, PartialEq)]
enum Clock {
    WholeStep,
    Optimizer,
}

/// Prints time and memory of whole training steps, two tables for each network: with MAC's work in each step, and by the
/// schedule of the authors.
pub(crate) fn tables<B: AutodiffBackend>(options: &Options, has_bars: bool) {
    let device = B::Device::default();
    let few = |count| match options.quick() {
        true => 1,
        false => options.batch.unwrap_or(count),
    };
    let tables = Tables { options, has_bars };
    tables.print("ResNet-20", RESNETS, || {
        let model = ResNetConfig::resnet20(10).init(&device);
        let shape = [few(32), 3, 32, 32];
        Network::<B, _>::of_images("ResNet-20", shape, model, ResNet::forward, &device)
    });
    tables.print("ResNet-50", RESNETS, || {
        let model = ResNetConfig::resnet50().init(&device);
        let shape = [few(2), 3, 224, 224];
        Network::<B, _>::of_images("ResNet-50", shape, model, ResNet::forward, &device)
    });
    tables.print("DeiT-S", TRANSFORMERS, || {
        let model = VisionTransformerConfig::deit_small().init(&device);
        let shape = [few(4), 3, 224, 224];
        Network::<B, _>::of_images("DeiT-S", shape, model, VisionTransformer::forward, &device)
    });
}

/// Prints time and memory of whole training steps with each curvature, by the schedule of the authors. A time is the mean over the steps
/// from one refresh to the next, so that what a refresh costs is in it.
pub(crate) fn curvature_tables<B: AutodiffBackend>(options: &Options) {
    let device = B::Device::default();
    let few = |count| match options.quick() {
        true => 1,
        false => options.batch.unwrap_or(count),
    };
    let print = CurvatureTables { options };
    print.print("LeNet-5", RESNETS, || {
        let model = LeNetConfig::mac_lenet5().init(&device);
        let shape = [few(32), 3, 32, 32];
        Network::<B, _>::of_images("LeNet-5", shape, model, LeNet::forward, &device)
    });
    print.print("ResNet-20", RESNETS, || {
        let model = ResNetConfig::resnet20(10).init(&device);
        let shape = [few(8), 3, 32, 32];
        Network::<B, _>::of_images("ResNet-20", shape, model, ResNet::forward, &device)
    });
    print.print("DeiT-Ti", TRANSFORMERS, || {
        let model = VisionTransformerConfig::deit_tiny_cifar(10).init(&device);
        let shape = [few(8), 3, 32, 32];
        Network::<B, _>::of_images("DeiT-Ti", shape, model, VisionTransformer::forward, &device)
    });
}

/// Makes an optimizer with these settings of MAC and a curvature.
type Make<M, B> = fn(MacConfig) -> Mac<M, B>;

struct CurvatureTables<'a> {
    options: &'a Options,
}

impl CurvatureTables<'_> {
    fn print<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
        &self,
        name: &str,
        schedule: Schedule,
        network: impl Fn() -> Network<B, M>,
    ) {
        let Schedule { tcov, tinv } = schedule;
        let case = format!("curvatures {name} {tcov}/{tinv}");
        if !self.options.wants_case(&case) {
            return;
        }
        let steps = if self.options.quick() { 1 } else { tinv };
        let clock = Clock::WholeStep;
        let mut contenders = plain_contenders(&network, clock, steps);
        contenders.push(measured(MUON, clock, steps, schedule, |_| {
            let network = network();
            let optimizer = muon(&network.model);
            Training::new(network.map(unrecorded), optimizer)
        }));
        let all: [(&str, Make<M, B>); 5] = [
            (MAC, |mac| mac.init()),
            ("SMAC", |mac| {
                SmacConfig::new().with_settings_of(&mac).init()
            }),
            ("Eva", |mac| EvaConfig::new().with_settings_of(&mac).init()),
            ("FOOF", |mac| {
                FoofConfig::new().with_settings_of(&mac).init()
            }),
            ("K-FAC", |mac| {
                KfacConfig::new().with_settings_of(&mac).init()
            }),
        ];
        for (name, optimizer) in all {
            contenders.push(measured(name, clock, steps, schedule, |schedule| {
                Training::new(network(), optimizer(schedule.mac()))
            }));
        }
        let batch = network().batch.shape();
        let contenders = contenders.into_iter().map(|measured| measured.contender);
        let headers = ["optimizer", "peak MiB"];
        let comparison = Comparison::new(&headers, contenders.collect(), &[SGD, "K-FAC"]);
        let comparison = comparison.run(self.options);
        println!("{case}: forward, backward and optimizer, batch of {batch}\n\n{comparison}\n");
    }
}

/// Muon for the weights of all layers of a network but the last, and AdamW for the rest.
fn muon<B: AutodiffBackend, M: AutodiffModule<B>>(network: &M) -> GroupedOptimizer<M, B> {
    let choice = OptimizerChoice::from_str("muon", false).expect("there is such an optimizer");
    let plan = OptimizerPlan::new(choice, LEARNING_RATE, MacConfig::new());
    let plan = plan.with_weight_decay(WEIGHT_DECAY);
    plan.grouped(network, None).expect("settings are in range")
}

impl Schedule {
    /// MAC's settings.
    fn mac(self) -> MacConfig {
        MacConfig::new()
            .with_momentum(MOMENTUM)
            .with_weight_decay(WEIGHT_DECAY)
            .with_tcov(self.tcov)
            .with_tinv(self.tinv)
    }
}

/// Burn's, with momentum.
fn sgd() -> SgdConfig {
    let momentum = MomentumConfig::new()
        .with_momentum(MOMENTUM)
        .with_dampening(0.0);
    let decay = WeightDecayConfig::new(WEIGHT_DECAY as f32);
    SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(Some(decay))
}

struct Tables<'a> {
    options: &'a Options,
    has_bars: bool,
}

impl Tables<'_> {
    fn print<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
        &self,
        name: &str,
        authors: Schedule,
        network: impl Fn() -> Network<B, M>,
    ) {
        for schedule in [EACH_STEP, authors] {
            let Schedule { tcov, tinv } = schedule;
            let case = format!("steps {name} {tcov}/{tinv}");
            for clock in [Clock::WholeStep, Clock::Optimizer] {
                let case = match clock {
                    Clock::WholeStep => case.clone(),
                    Clock::Optimizer => format!("{case}, {ALONE}"),
                };
                if self.options.wants_case(&case) {
                    self.print_case(&case, clock, schedule, &network);
                }
            }
        }
    }

    fn print_case<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
        &self,
        case: &str,
        clock: Clock,
        schedule: Schedule,
        network: &impl Fn() -> Network<B, M>,
    ) {
        let quick = self.options.quick();
        let batch = network().batch.shape();
        let steps = if quick { 1 } else { schedule.tcov };
        let contenders = contenders(network, clock, schedule, steps);
        let [sgd, mac] = [0, 2].map(|index| contenders[index].peak as f64);
        let contenders = contenders.into_iter().map(|measured| measured.contender);
        let headers = ["optimizer", "peak MiB"];
        let comparison = Comparison::new(&headers, contenders.collect(), &[SGD, ADAMW]);
        let comparison = comparison.run(self.options);
        let timed = match clock {
            Clock::WholeStep => ": forward, backward and optimizer",
            Clock::Optimizer => "",
        };
        println!("{case}{timed}, batch of {batch}\n\n{comparison}\n");
        if self.has_bars && !quick && clock == Clock::WholeStep {
            let (time, memory) = (comparison.ratio(MAC, SGD), mac / sgd);
            println!(
                "MAC / SGD: time {}; peak memory {memory:.4}, {}\n",
                time.against(BAR_TIME),
                verdict(memory, BAR_MEMORY)
            );
        }
    }
}

/// A contender, and the bytes that are allocated for it at most.
struct Measured {
    contender: Contender<'static>,
    peak: usize,
}

/// MAC trains the recorded network, the others the plain one. A time is that of `steps` steps, divided by them, of which MAC
/// records in one if they are `tcov`.
fn contenders<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
    network: &impl Fn() -> Network<B, M>,
    clock: Clock,
    schedule: Schedule,
    steps: usize,
) -> Vec<Measured> {
    let mut contenders = plain_contenders(network, clock, steps);
    contenders.push(measured(MAC, clock, steps, schedule, |schedule| {
        Training::new(network(), schedule.mac().init())
    }));
    contenders
}

/// SGD and AdamW.
fn plain_contenders<B: AutodiffBackend, M: AutodiffModule<B> + 'static>(
    network: &impl Fn() -> Network<B, M>,
    clock: Clock,
    steps: usize,
) -> Vec<Measured> {
    let adamw = AdamWConfig::new().with_weight_decay(WEIGHT_DECAY as f32);
    let plain = || network().map(unrecorded);
    vec![
        measured(SGD, clock, steps, EACH_STEP, |_| {
            Training::new(plain(), sgd().init())
        }),
        measured(ADAMW, clock, steps, EACH_STEP, |_| {
            Training::new(plain(), adamw.init())
        }),
    ]
}

/// The time of a training by the schedule, and the memory of one that records in each step, whatever the schedule.
fn measured<B, M, O>(
    name: &str,
    clock: Clock,
    steps: usize,
    schedule: Schedule,
    training: impl Fn(Schedule) -> Training<B, M, O>,
) -> Measured
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + 'static,
    O: Optimizer<M, B> + 'static,
{
    let peak = peak(|| training(EACH_STEP));
    let mut training = training(schedule);
    let device = training.batch.device.clone();
    let mut train = move || {
        let time = match clock {
            Clock::WholeStep => {
                let work = || (0..steps).for_each(|_| training.step());
                timed::<B, _>(&device, work).0
            }
            Clock::Optimizer => (0..steps).map(|_| training.step_optimizer()).sum(),
        };
        time / steps as u32
    };
    // The first step makes the state of an optimizer; a period of the schedule begins with it.
    train();
    Measured {
        contender: Contender {
            cells: vec![name.into(), memory::mebibytes(peak)],
            work: Box::new(train),
        },
        peak,
    }
}

/// The bytes that a step takes at most, with those of the network and of the optimizer's state: of the host's memory, or what
/// CUDA holds of the device's after it.
fn peak<B, M, O>(training: impl FnOnce() -> Training<B, M, O>) -> usize
where
    B: AutodiffBackend,
    M: AutodiffModule<B> + 'static,
    O: Optimizer<M, B>,
{
    let device = B::Device::default();
    // Without what is kept for later, as from kernels that were tried out.
    let clean = || {
        B::sync(&device).expect("the device answers");
        B::memory_cleanup(&device);
    };
    clean();
    let before = [Some(memory::allocated()), backend::held_bytes(&device)];
    let mut training = training();
    (0..WARM_UP).for_each(|_| training.step());
    clean();
    let peak = memory::peak(|| training.step());
    let peaks = [Some(peak), backend::held_bytes(&device)];
    let [on_host, on_device] =
        [0, 1].map(|place| Some(peaks[place]?.saturating_sub(before[place]?)));
    on_device.or(on_host).unwrap_or_default()
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

    /// A step, and the time of the optimizer's part of it.
    fn step_optimizer(&mut self) -> Duration {
        let model = self.model.take().expect("a step gives the model back");
        let gradients = self.batch.gradients(&model);
        let step = || self.optimizer.step(LEARNING_RATE, model, gradients);
        let (time, model) = timed::<B, _>(&self.batch.device, step);
        self.model = Some(model);
        time
    }
}
