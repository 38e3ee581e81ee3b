//! A model of another crate, whose layers are private, on the backend that records: every convolution and the head of `foreign-resnet`'s ResNet-18 are
//! preconditioned, and all numbers are those of the same network in `mac-burn-models`, whose layers are recorded by themselves.

mod training;

use burn::backend::{Autodiff, Flex};
use burn::module::Module;
use burn::optim::Optimizer;
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Record, Recorder};
use burn::tensor::TensorData;
use foreign_resnet::{ResNet18, ResNet18Config};
use mac_burn::{
    Coverage, KfacConfig, LayerReport, Mac, MacConfig, Report, UncoveredReason, WeightDecayForm,
};
use mac_burn_models::{ResNet, ResNetConfig};
use mac_burn_recording::Recording;
use std::ops::Range;

use training::{Training, numbers, with_numbers};

/// The backend of Burn's own layers.
type Plain = Recording<Autodiff<Flex>>;
/// The backend of recorded layers.
type Recorded = Autodiff<Flex>;

/// Recordings are at steps 1, 3, 5 and refreshes at 1, 5: after step 3 there is a recording that is not in use yet.
const TCOV: usize = 2;
const TINV: usize = 4;
const STEPS: usize = 6;

fn mac_config() -> MacConfig {
    MacConfig::new()
        .with_tcov(TCOV)
        .with_tinv(TINV)
        .with_weight_decay(5e-4)
}

fn kfac_config() -> KfacConfig {
    KfacConfig::new()
        .with_tcov(TCOV)
        .with_tinv(TINV)
        .with_weight_decay(5e-4)
        .with_weight_decay_form(WeightDecayForm::Decoupled)
}

/// The sizes of a network and of its images.
#[derive(Clone, Copy)]
struct Size {
    channels: usize,
    classes: usize,
    /// Height and width.
    image: [usize; 2],
}

/// The sizes of ResNet-18, with 1000 classes; but for the images, of which the last stage sees 2×2.
const WHOLE: Size = Size {
    channels: 64,
    classes: 1000,
    image: [64, 64],
};

const NARROW: Size = Size {
    channels: 8,
    classes: 5,
    image: [64, 48],
};

impl Size {
    fn foreign(self, optimizer: Mac<ResNet18<Plain>, Plain>) -> Training<Plain, ResNet18<Plain>> {
        let config = ResNet18Config::new()
            .with_channels(self.channels)
            .with_num_classes(self.classes);
        Training {
            model: config.init(&Default::default()),
            optimizer,
            forward: ResNet18::forward,
            image: self.image,
        }
    }

    /// The ResNet with recorded layers, of these numbers.
    fn recorded(
        self,
        numbers: Vec<TensorData>,
        optimizer: Mac<ResNet<Recorded>, Recorded>,
    ) -> Training<Recorded, ResNet<Recorded>> {
        let config = ResNetConfig::resnet18()
            .with_channels(self.channels)
            .with_num_classes(self.classes);
        Training {
            model: with_numbers(config.init(&Default::default()), numbers),
            optimizer,
            forward: ResNet::forward,
            image: self.image,
        }
    }
}

/// Trains both side by side, each step's numbers compared, and returns the foreign network's training with the losses.
fn train_side_by_side(
    size: Size,
    on_foreign: Mac<ResNet18<Plain>, Plain>,
    on_recorded: Mac<ResNet<Recorded>, Recorded>,
) -> (Training<Plain, ResNet18<Plain>>, Vec<f32>) {
    let mut foreign = size.foreign(on_foreign);
    let mut recorded = size.recorded(numbers(&foreign.model), on_recorded);
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let (loss, of_recorded);
        (foreign, loss) = foreign.step(step);
        (recorded, of_recorded) = recorded.step(step);
        assert_eq!(loss.to_bits(), of_recorded.to_bits(), "loss of step {step}");
        losses.push(loss);

        let [found, expected] = [numbers(&foreign.model), numbers(&recorded.model)];
        assert_eq!(found.len(), expected.len());
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found == expected, "tensor {index} after step {step}");
        }
        let [found, expected] = [foreign.report(), recorded.report()];
        assert_eq!(without_paths(&found), without_paths(&expected));
        assert_eq!(found.covered_parameters, expected.covered_parameters);
        assert_eq!(found.statistics_bytes, expected.statistics_bytes);
        assert_eq!(found.momentum_bytes, expected.momentum_bytes);
    }
    (foreign, losses)
}

/// The layers of a report in their order, which is that of the other network.
fn without_paths(report: &Report) -> Vec<LayerReport> {
    let mut layers = report.layers.clone();
    for layer in &mut layers {
        layer.path.clear();
    }
    layers
}

/// The parameters of ResNet-18 with 1000 classes.
const PARAMETERS: usize = 11_689_512;
/// The parameters of its norms: a scale and a shift for each channel.
const OF_NORMS: usize = 2 * (64 + 4 * 64 + 5 * 128 + 5 * 256 + 5 * 512);

/// Breaks when a convolution or the head is not seen, or is recorded as another layer, with another bias, or with sums that differ in a bit; when a
/// pass is left out; or when the report does not say of the rest that it is norms.
#[test]
fn every_convolution_and_the_head_are_covered_with_the_numbers_of_recorded_layers() {
    let (foreign, losses) = train_side_by_side(WHOLE, mac_config().init(), mac_config().init());
    let [first, .., last] = losses[..] else {
        panic!("there are several steps");
    };
    assert!(last < first, "it does not train: {losses:?}");

    let report = foreign.report();
    let (head, convolutions) = report.layers.split_last().expect("it has layers");
    assert_eq!((head.path.as_str(), head.kind.as_str()), ("fc", "Linear"));
    assert_eq!(convolutions.len(), 20, "{report}");
    for layer in &report.layers {
        assert_eq!(layer.coverage, Coverage::MeanActivation, "{report}");
        assert_eq!(layer.updates, STEPS.div_ceil(TCOV) as u64, "{report}");
    }
    for layer in convolutions {
        assert_eq!(layer.kind, "Conv2d", "{report}");
    }
    assert_eq!(report.parameters, PARAMETERS);
    assert_eq!(report.covered_parameters, PARAMETERS - OF_NORMS, "{report}");
    for parameter in &report.uncovered {
        assert_eq!(parameter.reason, UncoveredReason::Norm, "{report}");
    }
    let uncovered = report.uncovered.iter();
    let uncovered: usize = uncovered
        .map(|parameter| parameter.shape.iter().product::<usize>())
        .sum();
    assert_eq!(uncovered, OF_NORMS);
}

/// Breaks when gradients at the output of a plain layer are not those that a recorded one sums, or a pass is counted twice: the means of inputs are
/// the same then, and these factors are not.
#[test]
fn gradients_at_outputs_are_those_of_recorded_layers() {
    let (foreign, _) = train_side_by_side(NARROW, kfac_config().init(), kfac_config().init());
    for layer in foreign.report().layers {
        assert_eq!(layer.coverage, Coverage::KroneckerFactors, "{}", layer.path);
    }
}

/// Breaks when a part of a training is in no record, or comes back to another layer: it must end where one that was not interrupted does.
#[test]
fn a_resumed_training_ends_as_an_uninterrupted_one() {
    ends_as_uninterrupted(|| mac_config().init());
    ends_as_uninterrupted(|| kfac_config().init());
}

/// Interrupts a training in its middle, where all that is left of it are bytes.
fn ends_as_uninterrupted(optimizer: impl Fn() -> Mac<ResNet18<Plain>, Plain>) {
    let interrupted = after(NARROW.foreign(optimizer()), 0..STEPS / 2);
    let model = bytes(interrupted.model.clone().into_record());
    let state = bytes(interrupted.optimizer.to_record());
    let resumed = || {
        let mut training = NARROW.foreign(optimizer());
        training.model = training.model.load_record(record(&model));
        training
    };
    let mut with_state = resumed();
    with_state.optimizer = with_state.optimizer.load_record(record(&state));

    let end = |training| {
        let training = after(training, STEPS / 2..STEPS);
        (numbers(&training.model), training.report().layers)
    };
    let expected = end(interrupted);
    assert!(end(with_state) == expected);
    // So that the numbers tell.
    assert!(end(resumed()) != expected);
}

/// A training after these steps.
fn after(
    training: Training<Plain, ResNet18<Plain>>,
    steps: Range<usize>,
) -> Training<Plain, ResNet18<Plain>> {
    steps.fold(training, |training, step| training.step(step).0)
}

/// The file of a record.
fn bytes<R: Record<Plain>>(record: R) -> Vec<u8> {
    let recorder = BinBytesRecorder::<FullPrecisionSettings>::default();
    let bytes = Recorder::<Plain>::record(&recorder, record, ());
    bytes.expect("a record becomes bytes")
}

/// The record of a file.
fn record<R: Record<Plain>>(bytes: &[u8]) -> R {
    let recorder = BinBytesRecorder::<FullPrecisionSettings>::default();
    let record = Recorder::<Plain>::load(&recorder, bytes.to_vec(), &Default::default());
    record.expect("they are the bytes of a record")
}
