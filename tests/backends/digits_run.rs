use crate::element_dtype::element_dtype;
use crate::filler::Filler;
use crate::mistake::{Mistake, config, step};
use crate::reader::read_parameters;
use crate::run::Parameters;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::DType;
use burn::tensor::backend::{AutodiffBackend, Backend};
use mac_burn::{InputCovariance, Mac};
use mac_burn_examples::digits::{self, DigitItem, DigitsBatcher, DigitsDataset};
use mac_burn_examples::image_batch::ImageBatch;
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

/// Those after the last step, with a mistake.
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
    let config = LeNetConfig::new([digits::SIZE, digits::SIZE]).with_num_classes(digits::CLASSES);
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
    items: Box<dyn Iterator<Item = DigitItem>>,
    dtype: DType,
    device: B::Device,
}

impl<B: Backend> Batches<B> {
    fn new(dtype: DType) -> Self {
        let items: Vec<_> = DigitsDataset::train().iter().collect();
        Self {
            items: Box::new(items.into_iter().cycle()),
            dtype,
            device: Default::default(),
        }
    }

    fn next(&mut self, size: usize) -> ImageBatch<B> {
        let items = self.items.by_ref().take(size).collect();
        let batch: ImageBatch<B> = DigitsBatcher.batch(items, &self.device);
        ImageBatch {
            images: batch.images.cast(self.dtype),
            targets: batch.targets,
        }
    }
}
