//! The digits network, trained as it should be and with mistakes.

use crate::run::{Filler, Parameters, element_dtype, read_parameters};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use mac_burn::{InputCovariance, Mac, MacConfig};
use mac_burn_examples::images::{ImageBatch, Images, digits};
use mac_burn_models::{LeNet, LeNetConfig};

pub(crate) const STEPS: usize = 30;

const LAST_STEP: usize = STEPS - 1;

/// The micro-batches of a step; the last one is odd-sized.
const MICRO_BATCHES: [usize; 3] = [12, 12, 7];

/// The parameters of the digits network after each of 30 steps with momentum, weight decay, recordings and
/// refreshes on schedules of their own, and the first layer's covariance.
pub(crate) fn digits_run<B: AutodiffBackend>() -> Parameters {
    let mut parameters = Parameters::new();
    train::<B>(element_dtype::<B>(), None, |step, network| {
        read_parameters(step, network, &mut parameters);
    });
    parameters
}

/// The parameters after the last step, with a mistake.
pub(crate) fn mistaken_run<B: AutodiffBackend>(mistake: Mistake) -> Parameters {
    let mut parameters = Parameters::new();
    let (network, _, _) = train::<B>(element_dtype::<B>(), Some(mistake), |_, _| {});
    read_parameters(LAST_STEP, &network, &mut parameters);
    parameters
}

/// Trains in a float type and shows the network after each step; the losses are of each step's first micro-batch.
pub(crate) fn train<B: AutodiffBackend>(
    dtype: DType,
    mistake: Option<Mistake>,
    mut show: impl FnMut(usize, &LeNet<B>),
) -> (LeNet<B>, Mac<LeNet<B>, B>, Vec<f64>) {
    let device = Default::default();
    let config = LeNetConfig::new([digits::SHAPE.size; 2]).with_num_classes(digits::SHAPE.classes);
    let mut network: LeNet<B> = config.init(&device);
    network = network.map(&mut Filler::new(11, dtype));
    let mut batches = Batches::<B>::new(dtype);
    let mut optim = optimizer(&network, &mut batches, mistake);
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let mut losses = Vec::new();
    for index in 0..STEPS {
        let mut sum = GradientsAccumulator::new();
        let mut first = None;
        for size in MICRO_BATCHES {
            let batch = batches.next(size);
            let logits = network.forward(batch.images);
            let loss = cross_entropy.forward(logits, batch.targets) / MICRO_BATCHES.len() as f64;
            first.get_or_insert_with(|| loss.clone().inner());
            sum.accumulate(
                &network,
                GradientsParams::from_grads(loss.backward(), &network),
            );
        }
        network = step(index, network, &mut optim, sum.grads(), mistake);
        show(index, &network);
        losses.extend(first);
    }
    let losses = losses
        .into_iter()
        .map(|loss| loss.into_data().iter::<f64>().sum());
    let losses = losses.collect();
    (network, optim, losses)
}

fn optimizer<B: AutodiffBackend>(
    network: &LeNet<B>,
    batches: &mut Batches<B>,
    mistake: Option<Mistake>,
) -> Mac<LeNet<B>, B> {
    let optim = config(mistake).init();
    let mut covariance = InputCovariance::of(&network.conv1);
    for size in [64, 64, 33] {
        covariance.update(batches.next(size).images);
    }
    match mistake {
        Some(Mistake::NoInputCovariance) => optim,
        _ => optim
            .with_input_covariance(&covariance)
            .expect("the covariance is regular"),
    }
}

/// The training set in the order of its file, over and over.
struct Batches<B: Backend> {
    images: Images,
    /// Of the next image.
    place: usize,
    dtype: DType,
    device: B::Device,
}

impl<B: Backend> Batches<B> {
    fn new(dtype: DType) -> Self {
        Self {
            images: digits::load(),
            place: 0,
            dtype,
            device: Default::default(),
        }
    }

    fn next(&mut self, size: usize) -> ImageBatch<B> {
        let images = self.images.train.iter().cycle().skip(self.place).take(size);
        let batch: ImageBatch<B> = self.images.batch(images, &self.device);
        self.place = (self.place + size) % self.images.train.len();
        ImageBatch {
            images: batch.images.cast(self.dtype),
            targets: batch.targets,
        }
    }
}

/// Steps between two refreshes of the mean in use.
const TINV: usize = 3;

/// The step at which a refresh is missed, if one is.
const MISSED: usize = 15;

/// Something wrong that the comparison must notice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The mean in use is not refreshed once.
    OneMissedRefresh,
    /// The mean in use is never refreshed.
    AllRefreshesMissed,
    /// One layer is preconditioned on the side of its outputs.
    WrongSide,
    /// No layer is preconditioned.
    NoPreconditioner,
    /// The first layer is preconditioned like the others.
    NoInputCovariance,
}

impl Mistake {
    pub(crate) const ALL: [Self; 5] = [
        Self::OneMissedRefresh,
        Self::AllRefreshesMissed,
        Self::WrongSide,
        Self::NoPreconditioner,
        Self::NoInputCovariance,
    ];

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::OneMissedRefresh => "with one missed refresh",
            Self::AllRefreshesMissed => "with all refreshes missed",
            Self::WrongSide => "with one layer on the wrong side",
            Self::NoPreconditioner => "without a preconditioner",
            Self::NoInputCovariance => "without an input covariance",
        }
    }
}

/// The configuration, with the mistake if it is one of configuration.
pub(crate) fn config(mistake: Option<Mistake>) -> MacConfig {
    let config = MacConfig::new()
        .with_weight_decay(1e-2)
        .with_tcov(2)
        .with_tinv(TINV);
    let skip = |layers: &[&str]| layers.iter().map(ToString::to_string).collect();
    match mistake {
        Some(Mistake::AllRefreshesMissed) => config.with_tinv(STEPS),
        Some(Mistake::WrongSide) => config.with_skip_layers(skip(&["fc1"])),
        Some(Mistake::NoPreconditioner) => config.with_skip_layers(skip(&["conv2", "fc*", "head"])),
        _ => config,
    }
}

/// One step, with the mistake if it is one of steps.
pub(crate) fn step<B: AutodiffBackend>(
    index: usize,
    network: LeNet<B>,
    optim: &mut Mac<LeNet<B>, B>,
    grads: GradientsParams,
    mistake: Option<Mistake>,
) -> LeNet<B> {
    let lr = 0.05;
    match mistake {
        Some(Mistake::OneMissedRefresh) if index == MISSED => {
            step_unrefreshed(lr, network, optim, grads)
        }
        Some(Mistake::WrongSide) => {
            let grads = precondition_outputs(&network, optim, grads);
            optim.step(lr, network, grads)
        }
        _ => optim.step(lr, network, grads),
    }
}

/// A step of an optimizer that goes on from the same state and has no refresh due.
fn step_unrefreshed<B: AutodiffBackend>(
    lr: f64,
    network: LeNet<B>,
    optim: &mut Mac<LeNet<B>, B>,
    grads: GradientsParams,
) -> LeNet<B> {
    let mut late = config(Some(Mistake::AllRefreshesMissed))
        .init()
        .load_record(optim.to_record());
    let network = late.step(lr, network, grads);
    *optim = config(None).init().load_record(late.to_record());
    network
}

/// `G − s (G m) mᵀ`, where `m` is the mean of the layer's outputs: what the next layer sees.
fn precondition_outputs<B: AutodiffBackend>(
    network: &LeNet<B>,
    optim: &Mac<LeNet<B>, B>,
    mut grads: GradientsParams,
) -> GradientsParams {
    let preconditioner = optim.preconditioner();
    let (layer, next) = (network.fc1.weight.id, network.fc2.weight.id);
    let Some(mean) = preconditioner.mean_activation(next) else {
        return grads;
    };
    let [_, width] = mean.dims();
    let mean = mean.narrow(1, 0, width - 1);
    let grad: Option<Tensor<B::InnerBackend, 2>> = grads.remove(layer);
    if let Some(grad) = grad {
        let scale = mean
            .clone()
            .square()
            .sum_dim(1)
            .add_scalar(preconditioner.damping());
        let along = grad.clone().matmul(mean.clone().transpose());
        grads.register(layer, grad - along.matmul(mean) / scale);
    }
    grads
}
