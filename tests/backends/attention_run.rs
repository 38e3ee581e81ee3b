//! A network of attention under masks, trained as it should be and with mistakes.

use crate::run::{Filler, Kind, Parameters, RandomBatches, element_dtype, read_parameters};
use burn::module::Module;
use burn::nn::LinearConfig;
use burn::nn::attention::MultiHeadAttentionConfig;
use burn::nn::conv::Conv2dConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Bool, Tensor, TensorData};
use mac_burn::{
    AttentionInput, EvaConfig, FoofConfig, InputCurvature, KfacConfig, Mac, MacConfig, MacConv2d,
    MacLinear, MacMultiHeadAttention, MacSelfAttention, SelfAttentionConfig, SmacConfig, StepForm,
    WeightSharing,
};

pub(crate) const STEPS: usize = 10;

const BATCH: usize = 6;
const SIZE: usize = 16;
const HEADS: usize = 2;
/// Tokens that attend to each other, and to which others attend.
const KEYS: usize = 7;
/// Tokens that attend to those.
const QUERIES: usize = 5;

/// An optimizer that attention is trained with.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Method {
    /// MAC, with a form of the step: the paper's, or another with mean and variance of the inputs.
    Mac(StepForm),
    Smac,
    Foof,
    Eva,
    Kfac,
}

/// All of them, by case.
pub(crate) const METHODS: [(Method, &str); 8] = [
    (
        Method::Mac(StepForm::Momentum),
        "attention under masks, 10 steps",
    ),
    (
        Method::Mac(StepForm::Normalized),
        "attention, normalized steps",
    ),
    (
        Method::Mac(StepForm::RowsAndColumns),
        "attention, steps of rows and columns",
    ),
    (
        Method::Mac(StepForm::Orthogonal { iterations: 5 }),
        "attention, orthogonal steps",
    ),
    (Method::Smac, "attention, SMAC"),
    (Method::Foof, "attention, FOOF"),
    (Method::Eva, "attention, Eva"),
    (Method::Kfac, "attention, K-FAC"),
];

impl Method {
    /// The kind of its run.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Mac(StepForm::Momentum) | Self::Smac | Self::Foof => Kind::Attention,
            Self::Eva | Self::Kfac => Kind::BothSides,
            Self::Mac(StepForm::Normalized | StepForm::RowsAndColumns) => Kind::KnownLength,
            Self::Mac(StepForm::Orthogonal { .. }) => Kind::Orthogonal,
        }
    }

    fn has_form(self) -> bool {
        !matches!(self, Self::Mac(StepForm::Momentum)) && matches!(self, Self::Mac(_))
    }

    /// Such that parameters move by about as much: steps of known length are a fifth of the rate, and K-FAC's are shorter than a gradient here.
    fn lr(self) -> f64 {
        match self {
            Self::Mac(_) if self.has_form() => 0.05,
            Self::Mac(_) | Self::Smac | Self::Foof => 0.01,
            Self::Eva => 0.001,
            Self::Kfac => 0.1,
        }
    }

    fn optimizer<B: AutodiffBackend>(
        self,
        mistake: Option<AttentionMistake>,
    ) -> Mac<Network<B>, B> {
        let skipped = match mistake {
            Some(AttentionMistake::NoMeanOfValues) => vec!["across.value".to_string()],
            _ => Vec::new(),
        };
        let mac = MacConfig::new()
            .with_tcov(2)
            .with_tinv(3)
            .with_weight_decay(1e-2)
            .with_skip_layers(skipped);
        let with = |mistaken| mistake == Some(mistaken);
        if let Self::Mac(form) = self {
            let with_variance = self.has_form() != with(AttentionMistake::OtherCurvature);
            let curvature = match with_variance {
                true => InputCurvature::MeanVariance,
                false => InputCurvature::Mean,
            };
            let step = match form {
                _ if !with(AttentionMistake::OtherStep) => form,
                StepForm::Orthogonal { iterations } => StepForm::Orthogonal {
                    iterations: iterations - 1,
                },
                StepForm::Normalized => StepForm::RowsAndColumns,
                StepForm::Momentum | StepForm::RowsAndColumns => StepForm::Normalized,
            };
            return mac.with_step(step).with_curvature(curvature).init();
        }
        let mac = mac.with_nesterov(with(AttentionMistake::OtherStep));
        let other = with(AttentionMistake::OtherCurvature);
        match self {
            Self::Mac(_) => mac.init(),
            Self::Smac if other => mac.init(),
            Self::Smac => SmacConfig::new().with_settings_of(&mac).init(),
            Self::Foof => {
                let foof = FoofConfig::new().with_settings_of(&mac);
                foof.with_identity_start(other).init()
            }
            Self::Eva => {
                let mac = mac.with_damping(if other { 2.0 } else { 1.0 });
                let eva = EvaConfig::new().with_settings_of(&mac);
                eva.with_kl_clip(Some(0.1)).init()
            }
            Self::Kfac => {
                let kfac = KfacConfig::new().with_settings_of(&mac);
                let sharing = match other {
                    true => WeightSharing::Reduce,
                    false => WeightSharing::Expand,
                };
                kfac.with_weight_sharing(sharing)
                    .with_kl_clip(Some(0.01))
                    .init()
            }
        }
    }
}

/// Something wrong with attention's statistics that the comparison must notice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionMistake {
    /// Padded queries count in the means of queries, values and outputs.
    PaddingCounts,
    /// The value projection of the attention across sequences is not preconditioned.
    NoMeanOfValues,
    /// Damping has the place of variances, or they that of damping. SMAC has no diagonal, FOOF starts from the identity, Eva has
    /// another damping, and K-FAC the means of samples.
    OtherCurvature,
    /// The step is of another form, has one iteration less, or looks ahead.
    OtherStep,
}

impl AttentionMistake {
    pub(crate) const ALL: [Self; 4] = [
        Self::PaddingCounts,
        Self::NoMeanOfValues,
        Self::OtherCurvature,
        Self::OtherStep,
    ];

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::PaddingCounts => "with padded queries counted",
            Self::NoMeanOfValues => "without the mean of values",
            Self::OtherCurvature => "with another curvature",
            Self::OtherStep => "with another step",
        }
    }
}

/// The parameters after each step of a network of both kinds of attention, one causal, both padded, and of a convolution
/// with groups.
pub(crate) fn attention_run<B: AutodiffBackend>(
    method: Method,
    mistake: Option<AttentionMistake>,
) -> Parameters {
    let dtype = element_dtype::<B>();
    let mut network = Network::<B>::new().map(&mut Filler::new(21, dtype));
    let mut batches = RandomBatches::new(22, dtype);
    let mut optim = method.optimizer(mistake);
    let lr = method.lr();
    let mut parameters = Parameters::new();
    for step in 0..STEPS {
        let images = batches.inputs([BATCH, 2, KEYS, 3]);
        let output = network.forward(images, mistake);
        let loss = batches.loss(output);
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        network = optim.step(lr, network, grads);
        read_parameters(step, &network, &mut parameters);
    }
    parameters
}

#[derive(Module, Debug)]
struct Network<B: Backend> {
    tokens: MacConv2d<B>,
    within: MacSelfAttention<B>,
    across: MacMultiHeadAttention<B>,
    output: MacLinear<B>,
}

impl<B: Backend> Network<B> {
    fn new() -> Self {
        let device = Default::default();
        let tokens = Conv2dConfig::new([2, SIZE], [1, 3]).with_groups(2);
        let within = SelfAttentionConfig::new(SIZE, HEADS).with_causal(true);
        let across = MultiHeadAttentionConfig::new(SIZE, HEADS)
            .with_dropout(0.0)
            .with_quiet_softmax(true);
        Self {
            tokens: tokens.init(&device).into(),
            within: within.init(&device).into(),
            across: across.init(&device).into(),
            output: LinearConfig::new(SIZE, 3).init(&device).into(),
        }
    }

    /// `[batch, 2, keys, 3]` to `[batch, queries, 3]`.
    fn forward(&self, images: Tensor<B, 4>, mistake: Option<AttentionMistake>) -> Tensor<B, 3> {
        let tokens = self.tokens.forward(images);
        let tokens = tokens.reshape([BATCH, SIZE, KEYS]).swap_dims(1, 2);
        let memory = self.within.forward(tokens.clone(), Some(padded(KEYS)));
        let query = tokens.narrow(1, 0, QUERIES);
        let mut input = AttentionInput::new(query, memory.clone(), memory).mask_pad(padded(KEYS));
        if mistake != Some(AttentionMistake::PaddingCounts) {
            input = input.mask_pad_query(padded(QUERIES));
        }
        self.output.forward(self.across.forward(input).context)
    }
}

/// Each sample is shorter by one than the one before it, and begins anew at one token.
fn padded<B: Backend>(tokens: usize) -> Tensor<B, 2, Bool> {
    let positions = (0..BATCH * tokens).map(|index| (index / tokens, index % tokens));
    let values = positions.map(|(sample, token)| token >= tokens - sample % tokens);
    let data = TensorData::new(values.collect::<Vec<bool>>(), [BATCH, tokens]);
    Tensor::from_data(data, &Default::default())
}
