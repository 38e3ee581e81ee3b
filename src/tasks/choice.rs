use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::Initializer;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use clap::ValueEnum;
use mac_burn::GradientScale;
use mac_burn_models::{
    Activation, GptConfig, LeNetConfig, MlpConfig, ResNetConfig, VisionTransformerConfig,
};
use serde::{Deserialize, Serialize};

use super::{HAMLET, ImageClasses, Reconstruction, TextModel};
use crate::backend::{self, Training};
use crate::command_line::value_name;
use crate::fingerprint::fingerprint;
use crate::images::{Images, Normalization, digits, idx, spread};
use crate::networks::NetworkConfig;
use crate::training::Task;

/// Of the images to train on, one in this many is for validation.
const VALIDATION_SHARE: usize = 12;

/// The gain of Xavier's initializer for tanh. With Burn's own initializer signals get smaller from layer to layer, and most
/// optimizers still reconstruct the mean image when the run is over.
const TANH_GAIN: f64 = 5.0 / 3.0;

/// The context of the GPT, in characters.
const CONTEXT: usize = 64;

/// A task, as named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskChoice {
    /// The deep autoencoder of Hinton and Salakhutdinov in half of its width: 784-500-250-125-30 and back, with tanh
    Autoencoder,
    /// 784-256-128-10, with rectifiers
    Mlp,
    /// The same with twice the width: 784-512-256-10
    MlpWide,
    /// LeNet-5 with rectifiers and max pooling
    Lenet,
    /// ResNet-8 with half of the channels: one block in each stage of the ResNets for CIFAR
    Resnet,
    /// A vision transformer of 4 blocks of dimension 48, on patches of 7x7
    Vit,
    /// The same with twice the width: of dimension 96
    VitWide,
    /// The same on the compiled-in digits of 8x8, on patches of 2x2
    VitDigits,
    /// A GPT of 3 blocks of dimension 64 on the characters of a text
    CharGpt,
}

/// The rules of a task, which are the same for all optimizers.
pub struct Rules {
    subject: Subject,
    /// The network in a few words.
    pub network: &'static str,
    /// The number of steps.
    pub steps: usize,
    /// The batch size.
    pub batch_size: usize,
    /// The images of a part that are measured on, at most.
    pub measured: usize,
    /// The learning rates from which searches start.
    pub lr: StartingRates,
    /// The number of seeds of a table.
    pub seeds: usize,
    /// Whether there are parameters of no recorded layer: norms, embeddings, positions.
    pub has_rest: bool,
    /// Whether the covariance of the first layer's inputs can be measured.
    pub measures_inputs: bool,
    /// The layer that makes the output.
    pub head: &'static str,
}

/// The learning rates from which searches start.
#[derive(Clone, Copy, Debug)]
pub struct StartingRates {
    /// Of momentum.
    pub momentum: f64,
    /// Of AdamW or Muon.
    pub adamw: f64,
    /// Of AdamW beside another optimizer.
    pub auxiliary: f64,
}

/// The data of a task, as a command line describes them.
#[derive(clap::Args, Clone, Debug)]
pub struct DataArgs {
    /// A folder with a data set in MNIST's files, for the tasks with images but vit-digits: train-images-idx3-ubyte,
    /// train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,

    /// A text in place of Hamlet, for char-gpt
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,

    /// A few steps on little data: to see that everything runs
    #[arg(long)]
    pub quick: bool,
}

/// The part of the data that a network is measured on. Either way it is trained on what is in neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The part that settings are chosen by.
    Validation,
    /// The part that results are of.
    Test,
}

/// Something to do with a task whose type the command line decides.
pub trait WithTask {
    /// The result.
    type Output;

    /// Does it, with a network that is initialized and not trained.
    ///
    /// # Errors
    /// If it fails.
    fn run<T: Task<Training>>(
        self,
        task: &T,
        model: T::Model,
    ) -> Result<Self::Output, Box<dyn Error>>;
}

/// The subject of a task.
enum Subject {
    /// Classes of images, with a network for a number of classes.
    Classes(fn(usize) -> NetworkConfig),
    /// Images, to be reconstructed.
    Images,
    /// A text, whose next character is predicted.
    Text,
}

impl TaskChoice {
    /// The name on the command line.
    pub fn name(self) -> String {
        value_name(&self)
    }

    /// Its rules.
    pub fn rules(self) -> Rules {
        let rates = |momentum, adamw, auxiliary| StartingRates {
            momentum,
            adamw,
            auxiliary,
        };
        let classes = |network, of_classes| Rules {
            subject: Subject::Classes(of_classes),
            network,
            steps: 600,
            batch_size: 32,
            measured: 2000,
            lr: rates(0.03, 4e-3, 4e-3),
            seeds: 6,
            has_rest: true,
            measures_inputs: true,
            head: "head",
        };
        match self {
            Self::Autoencoder => Rules {
                subject: Subject::Images,
                network: "autoencoder 784-500-250-125-30 and back, tanh, initialized by Xavier",
                steps: 500,
                batch_size: 128,
                measured: 2000,
                lr: rates(3e-3, 1e-3, 1e-3),
                seeds: 6,
                has_rest: false,
                measures_inputs: true,
                head: "layers.7",
            },
            Self::Mlp => Rules {
                head: "layers.2",
                batch_size: 64,
                measured: 5000,
                lr: rates(0.1, 4e-3, 4e-3),
                seeds: 10,
                has_rest: false,
                ..classes("MLP 784-256-128-10", |classes| mlp(1, classes))
            },
            Self::MlpWide => Rules {
                network: "MLP 784-512-256-10",
                subject: Subject::Classes(|classes| mlp(2, classes)),
                ..Self::Mlp.rules()
            },
            Self::Lenet => Rules {
                has_rest: false,
                ..classes("LeNet-5 with rectifiers and max pooling", |classes| {
                    LeNetConfig::mac_lenet5().with_num_classes(classes).into()
                })
            },
            Self::Resnet => Rules {
                steps: 300,
                batch_size: 16,
                // Measuring is half of the time.
                measured: 1000,
                lr: rates(0.1, 4e-3, 4e-3),
                ..classes("ResNet-8 with half of the channels", |classes| {
                    let mut resnet = ResNetConfig::resnet20(classes);
                    resnet.blocks = vec![1, 1, 1];
                    resnet.with_channels(8).into()
                })
            },
            Self::Vit => Rules {
                lr: rates(0.05, 2e-3, 1.2e-2),
                ..classes(
                    "ViT of 4 blocks of dimension 48, patches of 7x7",
                    |classes| vision_transformer(48, 7, classes),
                )
            },
            Self::VitWide => Rules {
                network: "ViT of 4 blocks of dimension 96, patches of 7x7",
                subject: Subject::Classes(|classes| vision_transformer(96, 7, classes)),
                ..Self::Vit.rules()
            },
            Self::VitDigits => Rules {
                lr: rates(0.1, 4e-3, 1.2e-2),
                ..classes(
                    "ViT of 4 blocks of dimension 48, patches of 2x2",
                    |classes| vision_transformer(48, 2, classes),
                )
            },
            Self::CharGpt => Rules {
                subject: Subject::Text,
                network: "GPT of 3 blocks of dimension 64, context of 64 characters",
                steps: 500,
                batch_size: 16,
                // All of the text that is not trained on.
                measured: usize::MAX,
                lr: rates(0.5, 8e-3, 8e-3),
                seeds: 6,
                has_rest: true,
                // The first layer is a table of embeddings.
                measures_inputs: false,
                // Its head is the table of embeddings, which is no layer.
                head: "",
            },
        }
    }

    /// The same task with a network of half the width; none where that is not the point of the task.
    pub fn narrow(self) -> Option<Self> {
        match self {
            Self::MlpWide => Some(Self::Mlp),
            Self::VitWide => Some(Self::Vit),
            _ => None,
        }
    }

    /// The kind of the loss, for tables and pictures.
    pub fn loss(self) -> &'static str {
        match self.rules().subject {
            Subject::Classes(_) => "loss, nats",
            Subject::Images => "squared error of an image",
            Subject::Text => "loss, nats a character",
        }
    }

    /// The rows that the loss is a mean over: samples, or all characters of all samples.
    pub fn gradient_scale(self) -> GradientScale {
        match self.rules().subject {
            Subject::Classes(_) | Subject::Images => GradientScale::MeanLoss,
            Subject::Text => GradientScale::MeanLossOverRows,
        }
    }

    /// The data that it learns from, by a name that other data do not have.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn data(self, args: &DataArgs) -> Result<String, Box<dyn Error>> {
        let (name, number) = match self.rules().subject {
            Subject::Text => match &args.text {
                None => ("Hamlet".to_string(), None),
                Some(file) => (name_of(file), Some(fingerprint(read(file)?))),
            },
            Subject::Classes(_) | Subject::Images => {
                let images = self.all_images(args)?;
                match (self, &args.data_dir) {
                    (Self::VitDigits, _) => ("digits".to_string(), None),
                    (_, None) => ("MNIST".to_string(), None),
                    (_, Some(folder)) => {
                        let mut bytes = Vec::new();
                        for image in images.train.iter().chain(&images.valid) {
                            bytes.extend(&image.pixels);
                            bytes.extend(image.label.to_le_bytes());
                        }
                        (name_of(folder), Some(fingerprint(bytes)))
                    }
                }
            }
        };
        let number = number.map_or_else(String::new, |number| format!(" {:08x}", number as u32));
        let part = if args.quick { ", a part" } else { "" };
        Ok(format!("{name}{number}{part}"))
    }

    /// Makes the task on a part of the data, and the network, and does what is to be done with both.
    ///
    /// # Errors
    /// If the data cannot be read, and those of `work`.
    pub fn with<W: WithTask>(
        self,
        part: Part,
        seed: u64,
        args: &DataArgs,
        work: W,
    ) -> Result<W::Output, Box<dyn Error>> {
        let device = backend::device()?;
        Training::seed(&device, seed);
        let batch = self.rules().batch_size;
        match self.rules().subject {
            Subject::Classes(network) => {
                let images = self.images(part, args)?;
                let network = network(images.shape.classes).for_images(images.shape);
                let task = ImageClasses::<Training>::new(&images, batch, seed, &device);
                work.run(&task, initialized(network.init(&device)))
            }
            Subject::Images => {
                let mut images = self.images(part, args)?;
                images.normalization = Normalization::of_shares([0.0], [1.0]);
                let pixels = images.shape.size.pow(2);
                let sizes = [pixels, 500, 250, 125, 30, 125, 250, 500, pixels];
                let network = MlpConfig::new(sizes.to_vec())
                    .with_activation(Activation::Tanh)
                    .with_initializer(Initializer::XavierNormal { gain: TANH_GAIN });
                let task = Reconstruction::<Training>::new(&images, batch, seed, &device);
                work.run(&task, initialized(network.init(&device)))
            }
            Subject::Text => {
                let text = match &args.text {
                    Some(file) => read(file)?,
                    None => HAMLET.to_string(),
                };
                let task = TextModel::<Training>::new(&text, CONTEXT, batch, seed, &device)?;
                let task = task.with_test_part(part == Part::Test);
                let network = GptConfig::new(task.characters.count())
                    .with_context_size(CONTEXT)
                    .with_n_layers(3)
                    .with_n_heads(4)
                    .with_d_model(64);
                work.run(&task, initialized(network.init(&device)))
            }
        }
    }

    /// The images, with a part of them to measure on in place of those to validate on.
    fn images(self, part: Part, args: &DataArgs) -> Result<Images, Box<dyn Error>> {
        let mut images = self.all_images(args)?;
        // Spread over the set, whose parts may be by other people.
        let mut place = 0;
        let (validation, train) = images.train.into_iter().partition(|_| {
            place += 1;
            place % VALIDATION_SHARE == 0
        });
        images.train = train;
        if part == Part::Validation {
            images.valid = validation;
        }
        let (measured, trained) = match args.quick {
            true => (64, 256),
            false => (self.rules().measured, usize::MAX),
        };
        // A set may be sorted by its classes, or have the easy images first.
        images.valid = spread(&images.valid, measured).cloned().collect();
        images.train.truncate(trained);
        Ok(images)
    }

    /// The images of the data set, as it has them.
    fn all_images(self, args: &DataArgs) -> Result<Images, Box<dyn Error>> {
        match (&args.data_dir, self) {
            (_, Self::VitDigits) => Ok(digits::load()),
            (Some(folder), _) => Ok(idx::load(folder)?),
            (None, Self::Autoencoder) => mnist(),
            (None, _) => {
                let task = self.name();
                Err(format!("{task} needs a data set: --data-dir FOLDER").into())
            }
        }
    }
}

#[cfg(feature = "images")]
fn mnist() -> Result<Images, Box<dyn Error>> {
    Ok(crate::images::mnist::load()?)
}

#[cfg(not(feature = "images"))]
fn mnist() -> Result<Images, Box<dyn Error>> {
    Err("autoencoder needs MNIST: --data-dir FOLDER, or a build with --features images, which downloads it".into())
}

/// The network with all its parameters drawn, in their order: Burn draws each when it is first used, which optimizers do in other
/// orders.
fn initialized<M: Module<Training>>(network: M) -> M {
    struct Draw;
    impl ModuleVisitor<Training> for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Training, D>>) {
            param.val();
        }
    }
    network.visit(&mut Draw);
    network
}

/// An MLP of three layers, so many times as wide as the narrow one.
fn mlp(width: usize, classes: usize) -> NetworkConfig {
    // The size of the input is that of the images.
    MlpConfig::new(vec![1, 256 * width, 128 * width, classes]).into()
}

/// A vision transformer of 4 blocks with heads of dimension 12.
fn vision_transformer(d_model: usize, patch: usize, classes: usize) -> NetworkConfig {
    VisionTransformerConfig::new(d_model, d_model / 12)
        .with_n_layers(4)
        .with_patch_size(patch)
        .with_num_classes(classes)
        .into()
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn read(file: &Path) -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string(file);
    text.map_err(|error| format!("{}: {error}", file.display()).into())
}
