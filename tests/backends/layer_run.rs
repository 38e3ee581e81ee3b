//! A small network for each recorded layer beside those of the other runs, trained as it should be and without its preconditioner.

use crate::run::{Filler, Kind, Parameters, RandomBatches, element_dtype, read_parameters};
use burn::module::AutodiffModule;
use burn::nn::attention::CrossAttentionConfig;
use burn::nn::conv::{
    Conv1dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig, ConvTranspose3dConfig,
};
use burn::nn::{
    BiGruConfig, BiLstmConfig, BiRnnConfig, EmbeddingConfig, GruConfig, LstmConfig, RnnConfig,
    SwiGluConfig,
};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor};
use mac_burn::{
    KfacConfig, Mac, MacBiGru, MacBiLstm, MacBiRnn, MacConfig, MacConv1d, MacConv3d,
    MacConvTranspose1d, MacConvTranspose2d, MacConvTranspose3d, MacCrossAttention, MacEmbedding,
    MacGru, MacLstm, MacRnn, MacSwiGlu,
};

const STEPS: usize = 6;
const BATCH: usize = 5;
/// Channels, or features.
const SIZE: usize = 4;
/// Positions along an axis, or steps of a sequence.
const LENGTH: usize = 6;
const TOKENS: usize = 7;

/// A layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    Conv1d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Lstm,
    BiLstm,
    Gru,
    GruResetBefore,
    BiGru,
    Rnn,
    BiRnn,
    SwiGlu,
    CrossAttention,
    Embedding,
}

/// The curvature that it is preconditioned by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curvature {
    Mac,
    Kfac,
}

/// All cases.
pub(crate) fn cases() -> impl Iterator<Item = (Recorded, Curvature)> {
    let curvatures = [Curvature::Mac, Curvature::Kfac];
    Recorded::ALL
        .into_iter()
        .flat_map(move |layer| curvatures.map(|curvature| (layer, curvature)))
        // Frequencies are the same with all.
        .filter(|case| *case != (Recorded::Embedding, Curvature::Kfac))
}

pub(crate) fn name((layer, curvature): (Recorded, Curvature)) -> String {
    match curvature {
        Curvature::Mac => format!("{}, {STEPS} steps", layer.name()),
        Curvature::Kfac => format!("{}, K-FAC", layer.name()),
    }
}

pub(crate) const KIND: Kind = Kind::Layer;

/// The mistake of a run that the comparison must notice.
pub(crate) const MISTAKE: &str = "without a preconditioner";

impl Recorded {
    const ALL: [Self; 15] = [
        Self::Conv1d,
        Self::Conv3d,
        Self::ConvTranspose1d,
        Self::ConvTranspose2d,
        Self::ConvTranspose3d,
        Self::Lstm,
        Self::BiLstm,
        Self::Gru,
        Self::GruResetBefore,
        Self::BiGru,
        Self::Rnn,
        Self::BiRnn,
        Self::SwiGlu,
        Self::CrossAttention,
        Self::Embedding,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Conv1d => "Conv1d",
            Self::Conv3d => "Conv3d",
            Self::ConvTranspose1d => "ConvTranspose1d",
            Self::ConvTranspose2d => "ConvTranspose2d",
            Self::ConvTranspose3d => "ConvTranspose3d",
            Self::Lstm => "LSTM",
            Self::BiLstm => "LSTM of two directions",
            Self::Gru => "GRU",
            Self::GruResetBefore => "GRU, reset before",
            Self::BiGru => "GRU of two directions",
            Self::Rnn => "RNN",
            Self::BiRnn => "RNN of two directions",
            Self::SwiGlu => "SwiGLU",
            Self::CrossAttention => "cross-attention",
            Self::Embedding => "embedding",
        }
    }
}

/// The parameters after each step.
pub(crate) fn layer_run<B: AutodiffBackend>(
    (layer, curvature): (Recorded, Curvature),
    mistaken: bool,
) -> Parameters {
    let device = Default::default();
    let training = Training {
        curvature,
        mistaken,
    };
    let sequence = [BATCH, LENGTH, SIZE];
    match layer {
        Recorded::Conv1d => {
            let config = Conv1dConfig::new(SIZE, 6, 3)
                .with_groups(2)
                .with_dilation(2);
            let network: MacConv1d<B> = config.init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs([BATCH, SIZE, LENGTH]))
            })
        }
        Recorded::Conv3d => {
            let config = Conv3dConfig::new([SIZE, 3], [2, 3, 2]).with_stride([1, 2, 1]);
            let network: MacConv3d<B> = config.init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs([BATCH, SIZE, 4, LENGTH + 1, 5]))
            })
        }
        Recorded::ConvTranspose1d => {
            let config = ConvTranspose1dConfig::new([SIZE, 6], 3).with_groups(2);
            let network: MacConvTranspose1d<B> = config.init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs([BATCH, SIZE, LENGTH]))
            })
        }
        Recorded::ConvTranspose2d => {
            let config = ConvTranspose2dConfig::new([SIZE, 3], [3, 2])
                .with_stride([2, 1])
                .with_padding([1, 0])
                .with_padding_out([1, 0]);
            let network: MacConvTranspose2d<B> = config.init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs([BATCH, SIZE, LENGTH, 5]))
            })
        }
        Recorded::ConvTranspose3d => {
            let config = ConvTranspose3dConfig::new([SIZE, 2], [2, 2, 3]);
            let network: MacConvTranspose3d<B> = config.init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs([BATCH, SIZE, 2, 3, 4]))
            })
        }
        Recorded::Lstm => {
            let network: MacLstm<B> = LstmConfig::new(SIZE, 3, true).init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs(sequence), None).0
            })
        }
        Recorded::BiLstm => {
            let network: MacBiLstm<B> = BiLstmConfig::new(SIZE, 3, true).init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs(sequence), None).0
            })
        }
        Recorded::Gru | Recorded::GruResetBefore => {
            let config = GruConfig::new(SIZE, 3, true).with_reset_after(layer == Recorded::Gru);
            let network: MacGru<B> = config.init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs(sequence), None)
            })
        }
        Recorded::BiGru => {
            let network: MacBiGru<B> = BiGruConfig::new(SIZE, 3, true).init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs(sequence), None).0
            })
        }
        Recorded::Rnn => {
            let network: MacRnn<B> = RnnConfig::new(SIZE, 3, true).init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs(sequence), None).0
            })
        }
        Recorded::BiRnn => {
            let network: MacBiRnn<B> = BiRnnConfig::new(SIZE, 3, true).init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs(sequence), None).0
            })
        }
        Recorded::SwiGlu => {
            let config = SwiGluConfig::new(SIZE, 5).with_bias(true);
            let network: MacSwiGlu<B> = config.init(&device).into();
            training.run(network, |network, batches| {
                network.forward(batches.inputs(sequence))
            })
        }
        Recorded::CrossAttention => {
            let config = CrossAttentionConfig::new(SIZE, 6, 4, 2, 3).with_dropout(0.0);
            let network: MacCrossAttention<B> = config.init(&device).into();
            training.run(network, |network, batches| {
                let context = batches.inputs([BATCH, TOKENS, 6]);
                network.forward(batches.inputs(sequence), context, None)
            })
        }
        Recorded::Embedding => {
            let network: MacEmbedding<B> = EmbeddingConfig::new(TOKENS, SIZE).init(&device).into();
            let mut batch = 0;
            training.run(network, |network, _| {
                batch += 1;
                // Some are frequent.
                let tokens = Tensor::<B, 1, Int>::arange(batch..batch + 24, &device);
                let tokens = (tokens.clone() * tokens).remainder_scalar(TOKENS as i64);
                network.forward(tokens.reshape([4, 6]))
            })
        }
    }
}

/// How a layer is trained.
#[derive(Clone, Copy)]
struct Training {
    curvature: Curvature,
    mistaken: bool,
}

impl Training {
    fn run<B: AutodiffBackend, M: AutodiffModule<B>, const D: usize>(
        self,
        network: M,
        mut forward: impl FnMut(&M, &mut RandomBatches) -> Tensor<B, D>,
    ) -> Parameters {
        let dtype = element_dtype::<B>();
        let mut network = network.map(&mut Filler::new(31, dtype));
        let mut batches = RandomBatches::new(32, dtype);
        let mut optim = self.optimizer();
        let mut parameters = Parameters::new();
        for step in 0..STEPS {
            let output = forward(&network, &mut batches);
            let loss = batches.loss(output);
            let grads = GradientsParams::from_grads(loss.backward(), &network);
            network = optim.step(0.02, network, grads);
            read_parameters(step, &network, &mut parameters);
        }
        parameters
    }

    fn optimizer<B: AutodiffBackend, M: AutodiffModule<B>>(self) -> Mac<M, B> {
        let skipped = match self.mistaken {
            true => vec!["**".to_string()],
            false => Vec::new(),
        };
        let mac = MacConfig::new()
            .with_tcov(2)
            .with_tinv(3)
            .with_embedding_damping(Some(0.1))
            .with_skip_layers(skipped);
        match self.curvature {
            Curvature::Mac => mac.init(),
            Curvature::Kfac => {
                let kfac = KfacConfig::new().with_settings_of(&mac.with_damping(0.1));
                kfac.with_kl_clip(Some(0.01)).init()
            }
        }
    }
}
