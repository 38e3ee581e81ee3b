use crate::gradients::Gradients;
use crate::harness::{Contender, Options, timed};
use crate::network::Network;
use burn::module::ParamId;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, MuonConfig, Optimizer, SgdConfig};
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::backend::AutodiffBackend;
use mac_burn::{
    EvaConfig, FoofConfig, InputCurvature, KfacConfig, Mac, MacConfig, SmacConfig, StepForm,
};

/// The headers of the cells that a contender comes with.
pub(crate) const HEADERS: [&str; 3] = ["step", "parameters", "state bytes"];

/// The names of the contenders that bars are set for.
pub(crate) const MAC: &str = "MAC, plain step";
pub(crate) const MAC_WITH_ADAMW: &str = "MAC with AdamW, tcov = tinv = 1";
pub(crate) const NORMALIZED: &str = "MAC, normalized step";
pub(crate) const SGD: &str = "SGD";
pub(crate) const ADAMW: &str = "AdamW";

/// A period that no run reaches.
const NEVER: usize = 1_000_000_000;
const LEARNING_RATE: f64 = 1e-3;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 5e-4;
/// Inputs of the forward pass that goes before each step.
const BATCH: usize = 128;
/// Enough to see that everything runs.
const QUICK_BATCH: usize = 2;

/// All contenders, each with a network of its own; of several steps in a row, those that record before each step are left out.
///
/// MAC comes six times: with the mean activations it has; with the guard against gradients that are not finite; with mean and variance
/// and a normalized or an orthogonal step; with new mean activations recorded before each step and taken into use in it; and with
/// these and AdamW for the parameters that it does not cover.
pub(crate) fn contenders<'a, B, N>(
    options: &Options,
    make: &dyn Fn() -> N,
    device: &B::Device,
) -> Vec<Contender<'a>>
where
    B: AutodiffBackend,
    N: Network<B> + 'a,
{
    let mac = MacConfig::new()
        .with_momentum(MOMENTUM)
        .with_weight_decay(WEIGHT_DECAY)
        .with_guard_gradients(false);
    let plain = mac.clone().with_tcov(NEVER).with_tinv(NEVER);
    let every = mac.with_tcov(1).with_tinv(1);
    let guarded = plain.clone().with_guard_gradients(true);
    let of_form = |form| {
        let config = plain.clone().with_nesterov(true).with_step(form);
        config.with_curvature(InputCurvature::MeanVariance).init()
    };
    let (normalized, orthogonal) = (
        of_form(StepForm::Normalized),
        of_form(StepForm::Orthogonal { iterations: 5 }),
    );
    let second = every
        .init()
        .with_auxiliary_optimizer(adamw().init(), 1.0)
        .expect("the factor is allowed");

    let setup = Setup::new(options, make, device);
    let mut contenders = baselines(&setup);
    contenders.extend([
        setup.train(MAC, plain.init()).contender(report_bytes),
        setup
            .train("MAC, plain step, guarded", guarded.init())
            .contender(report_bytes),
        setup.train(NORMALIZED, normalized).contender(report_bytes),
        setup
            .train("MAC, orthogonal step", orthogonal)
            .contender(report_bytes),
    ]);
    if options.in_a_row == 1 {
        let every = setup.train("MAC, tcov = tinv = 1", every.init());
        contenders.push(every.contender(report_bytes));
        let second = setup.train(MAC_WITH_ADAMW, second);
        contenders.push(second.contender(record_bytes));
    }
    contenders
}

/// MAC and the other curvatures beside Burn's optimizers, each with the statistics that it has, and with new ones recorded before each step
/// and taken into use in it.
pub(crate) fn curvature_contenders<'a, B, N>(
    options: &Options,
    make: &dyn Fn() -> N,
    device: &B::Device,
) -> Vec<Contender<'a>>
where
    B: AutodiffBackend,
    N: Network<B> + 'a,
{
    let setup = Setup::new(options, make, device);
    let mut contenders = baselines(&setup);
    let plain = |curvature: Curvature| curvature.optimizer([NEVER; 2]);
    let every = |curvature: Curvature| curvature.optimizer([1; 2]);
    for curvature in Curvature::ALL {
        let [name, refreshed] = curvature.names();
        let training = setup.train(name, plain(curvature));
        contenders.push(training.contender(report_bytes));
        if options.in_a_row == 1 {
            let training = setup.train(refreshed, every(curvature));
            contenders.push(training.contender(report_bytes));
        }
    }
    contenders
}

/// A curvature that gradients are preconditioned by.
#[derive(Clone, Copy)]
enum Curvature {
    Mac,
    Smac,
    Foof,
    Eva,
    Kfac,
}

impl Curvature {
    const ALL: [Self; 5] = [Self::Mac, Self::Smac, Self::Eva, Self::Foof, Self::Kfac];

    /// The names of its plain step, and of one with statistics taken and refreshed.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Mac => [MAC, "MAC, tcov = tinv = 1"],
            Self::Smac => ["SMAC, plain step", "SMAC, tcov = tinv = 1"],
            Self::Foof => ["FOOF, plain step", "FOOF, tcov = tinv = 1"],
            Self::Eva => ["Eva, plain step", "Eva, tcov = tinv = 1"],
            Self::Kfac => ["K-FAC, plain step", "K-FAC, tcov = tinv = 1"],
        }
    }

    /// With this `tcov` and `tinv`.
    fn optimizer<B: AutodiffBackend, N: Network<B>>(self, [tcov, tinv]: [usize; 2]) -> Mac<N, B> {
        let mac = MacConfig::new()
            .with_momentum(MOMENTUM)
            .with_weight_decay(WEIGHT_DECAY)
            .with_tcov(tcov)
            .with_tinv(tinv);
        match self {
            Self::Mac => mac.init(),
            Self::Smac => SmacConfig::new().with_settings_of(&mac).init(),
            Self::Foof => FoofConfig::new().with_settings_of(&mac).init(),
            Self::Eva => EvaConfig::new().with_settings_of(&mac).init(),
            Self::Kfac => KfacConfig::new().with_settings_of(&mac).init(),
        }
    }
}

/// Burn's SGD, AdamW and Muon.
fn baselines<'a, B, N>(setup: &Setup<'_, B, N>) -> Vec<Contender<'a>>
where
    B: AutodiffBackend,
    N: Network<B> + 'a,
{
    let momentum = MomentumConfig::new()
        .with_momentum(MOMENTUM)
        .with_dampening(0.0);
    let decay = Some(WeightDecayConfig::new(WEIGHT_DECAY as f32));
    let sgd = SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(decay.clone());
    let muon = MuonConfig::new().with_weight_decay(decay);
    vec![
        setup.train(SGD, sgd.init()).contender(record_bytes),
        setup.train(ADAMW, adamw().init()).contender(record_bytes),
        setup
            .train_hidden("Muon, hidden matrices only", muon.init())
            .contender(record_bytes),
    ]
}

fn adamw() -> AdamWConfig {
    AdamWConfig::new().with_weight_decay(WEIGHT_DECAY as f32)
}

/// The settings that all trainings have in common.
struct Setup<'d, B: AutodiffBackend, N> {
    in_a_row: usize,
    batch: usize,
    make: &'d dyn Fn() -> N,
    device: &'d B::Device,
}

/// An optimizer, and the network that it steps.
struct Training<B: AutodiffBackend, N, O> {
    name: &'static str,
    network: N,
    optimizer: O,
    gradients: Gradients,
    in_a_row: usize,
    batch: usize,
    device: B::Device,
}

impl<'d, B: AutodiffBackend, N: Network<B>> Setup<'d, B, N> {
    fn new(options: &Options, make: &'d dyn Fn() -> N, device: &'d B::Device) -> Self {
        Self {
            in_a_row: options.in_a_row,
            batch: if options.quick() { QUICK_BATCH } else { BATCH },
            make,
            device,
        }
    }

    fn train<O: Optimizer<N, B>>(&self, name: &'static str, optimizer: O) -> Training<B, N, O> {
        self.start(name, optimizer, |_| None)
    }

    fn train_hidden<O: Optimizer<N, B>>(
        &self,
        name: &'static str,
        optimizer: O,
    ) -> Training<B, N, O> {
        self.start(name, optimizer, |network| Some(network.hidden_matrices()))
    }

    /// Takes the first step, which makes the optimizer's state.
    fn start<O: Optimizer<N, B>>(
        &self,
        name: &'static str,
        mut optimizer: O,
        selected: impl FnOnce(&N) -> Option<Vec<ParamId>>,
    ) -> Training<B, N, O> {
        let network = (self.make)();
        let output = network.forward_random(self.batch, self.device);
        let gradients = Gradients::of(&network, output, selected(&network));
        let first = gradients.copy(&network);
        Training {
            name,
            network: optimizer.step(LEARNING_RATE, network, first),
            optimizer,
            gradients,
            in_a_row: self.in_a_row,
            batch: self.batch,
            device: self.device.clone(),
        }
    }
}

impl<B: AutodiffBackend, N: Network<B>, O: Optimizer<N, B>> Training<B, N, O> {
    fn contender<'a>(self, state_bytes: impl FnOnce(&O, &N) -> usize) -> Contender<'a>
    where
        Self: 'a,
    {
        let Self {
            name,
            network,
            mut optimizer,
            gradients,
            in_a_row,
            batch,
            device,
        } = self;
        let elements = gradients.num_elements(&network);
        let bytes = state_bytes(&optimizer, &network);
        let mut slot = Some(network);
        Contender {
            cells: vec![name.into(), elements.to_string(), bytes.to_string()],
            work: Box::new(move || {
                let network = slot.take().expect("a step gives the network back");
                // The graph of a forward pass is kept until a backward pass takes it.
                let _ = network.forward_random(batch, &device).sum().backward();
                let copies: Vec<_> = (0..in_a_row).map(|_| gradients.copy(&network)).collect();
                let steps = || {
                    copies.into_iter().fold(network, |network, gradients| {
                        optimizer.step(LEARNING_RATE, network, gradients)
                    })
                };
                let (time, network) = timed::<B, _>(&device, steps);
                slot = Some(network);
                time / in_a_row as u32
            }),
        }
    }
}

/// Bytes of an optimizer's record. There is little in it but tensors.
fn record_bytes<B: AutodiffBackend, N: Network<B>, O: Optimizer<N, B>>(
    optimizer: &O,
    _network: &N,
) -> usize {
    let recorder = BinBytesRecorder::<FullPrecisionSettings>::new();
    let bytes = Recorder::<B>::record(&recorder, optimizer.to_record(), ());
    bytes.expect("a record is written to memory").len()
}

/// Bytes of the tensors that MAC holds; its record leaves out what can be made again.
fn report_bytes<B: AutodiffBackend, N: Network<B>>(mac: &Mac<N, B>, network: &N) -> usize {
    let report = mac.report(network);
    report.momentum_bytes + report.statistics_bytes
}
