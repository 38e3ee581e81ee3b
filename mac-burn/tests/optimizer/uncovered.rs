//! The parameters that the report names as those of no recorded layer, each with its reason.

use crate::support::{B, Network, random, train};
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::attention::{CrossAttentionConfig, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::conv::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig, DeformConv2d, DeformConv2dConfig,
};
use burn::nn::transformer::{
    PositionWiseFeedForwardConfig, TransformerDecoder, TransformerDecoderConfig,
    TransformerEncoder, TransformerEncoderConfig,
};
use burn::nn::{
    BatchNorm, BatchNormConfig, BiGruConfig, BiLstmConfig, BiRnnConfig, Embedding, EmbeddingConfig,
    GroupNormConfig, GruConfig, InstanceNormConfig, LayerNorm, LayerNormConfig, Linear,
    LinearConfig, Lstm, LstmConfig, PRelu, PReluConfig, RmsNormConfig, RnnConfig, SwiGluConfig,
};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use mac_burn::{
    KfacConfig, MacConfig, MacLinear, MacTransformerEncoder, Recorder, Report, SelfAttentionConfig,
    UncoveredReason,
};
use std::collections::HashSet;

fn report<M: AutodiffModule<B>>(module: &M) -> Report {
    MacConfig::new().init_preconditioner().report(module)
}

/// Path, path of the layer, and reason of all parameters without a recorder.
fn found(report: &Report) -> Vec<(&str, &str, String)> {
    let uncovered = report.uncovered.iter();
    uncovered
        .map(|found| {
            let reason = found.reason.to_string();
            (found.path.as_str(), found.layer_path.as_str(), reason)
        })
        .collect()
}

/// Named as Burn's layers, since this crate has no other layer whose weight is recorded without the bias.
#[derive(Module, Debug)]
struct ConvTranspose1d<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    bias: Param<Tensor<B, 1>>,
    recorder: Recorder<B>,
}

/// A module with each reason and with layers that are recorded.
#[derive(Module, Debug)]
struct All<B: Backend> {
    tokens: Embedding<B>,
    pos_embedding: Embedding<B>,
    position_bias: Param<Tensor<B, 1>>,
    composed: Param<Tensor<B, 1>>,
    frozen: Param<Tensor<B, 1>>,
    norms: Vec<LayerNorm<B>>,
    running: BatchNorm<B>,
    activation: Option<PRelu<B>>,
    plain: Linear<B>,
    deformed: DeformConv2d<B>,
    up: ConvTranspose1d<B>,
    attention: MultiHeadAttention<B>,
    encoder: TransformerEncoder<B>,
    decoders: [TransformerDecoder<B>; 1],
    recurrent: (Lstm<B>, MacLinear<B>),
    recorded: MacTransformerEncoder<B>,
    hidden: MacLinear<B>,
}

impl All<B> {
    fn new() -> Self {
        let device = Default::default();
        let vector = |seed| Param::from_tensor(random::<B, 1>([3], seed));
        let norm = |_| LayerNormConfig::new(4).init(&device);
        let encoder = TransformerEncoderConfig::new(4, 6, 2, 1);
        Self {
            tokens: EmbeddingConfig::new(5, 2).init(&device),
            pos_embedding: EmbeddingConfig::new(3, 2).init(&device),
            position_bias: vector(1),
            composed: vector(2),
            frozen: vector(3).set_require_grad(false),
            norms: (0..5).map(norm).collect(),
            running: BatchNormConfig::new(2).init(&device),
            activation: Some(PReluConfig::new().init(&device)),
            plain: LinearConfig::new(2, 3).init(&device),
            deformed: DeformConv2dConfig::new([1, 1], [2, 2]).init(&device),
            up: ConvTranspose1d {
                weight: Param::from_tensor(random([3, 2], 4)),
                bias: Param::from_tensor(random([2], 5)),
                recorder: Recorder::new(),
            },
            attention: MultiHeadAttentionConfig::new(4, 2).init(&device),
            encoder: encoder.init(&device),
            decoders: [TransformerDecoderConfig::new(4, 6, 2, 1).init(&device)],
            recurrent: (
                LstmConfig::new(2, 2, false).init(&device),
                LinearConfig::new(2, 2).init(&device).into(),
            ),
            recorded: encoder.init(&device).into(),
            hidden: LinearConfig::new(3, 2).init(&device).into(),
        }
    }

    /// The recorders of a module of one's own are known by a pass.
    fn pass(&self) -> Tensor<B, 2> {
        let input = random::<B, 2>([4, 3], 6);
        let output = input.clone().matmul(self.up.weight.val());
        let output = self
            .up
            .recorder
            .record_linear(&self.up.weight, None, &input, output);
        output + self.up.bias.val().unsqueeze()
    }
}

/// Breaks when a parameter is left out, named twice or with another reason than its own; when one is named that is recorded or frozen, or is a
/// running statistic; or when a layer within another is named in place of the outermost that has a recorded form.
#[test]
fn each_parameter_is_named_once_with_its_reason() {
    let module = All::new();
    let mut preconditioner = MacConfig::new().init_preconditioner();
    let grads = GradientsParams::from_grads(module.pass().sum().backward(), &module);
    preconditioner.precondition(&module, grads);
    let report = preconditioner.report(&module);

    let found = found(&report);
    let within = |layer: &str| -> Vec<&str> {
        let of_layer = found.iter().filter(|(_, path, _)| *path == layer);
        of_layer.map(|(_, _, reason)| reason.as_str()).collect()
    };
    let embedding = "embedding, leave it alone or use MacEmbedding with `embedding_damping`";
    let plain = |layer: &str| format!("plain {layer}, use Mac{layer}");
    let [linear, attention, encoder, decoder, lstm] = [
        "Linear",
        "MultiHeadAttention",
        "TransformerEncoder",
        "TransformerDecoder",
        "Lstm",
    ]
    .map(plain);
    for (layer, count, reason) in [
        ("tokens", 1, embedding),
        ("pos_embedding", 1, "position"),
        ("position_bias", 1, "position"),
        ("composed", 1, "parameter of All, use a Recorder"),
        ("frozen", 0, ""),
        ("norms.0", 2, "norm"),
        ("norms.4", 2, "norm"),
        ("running", 2, "norm"),
        ("activation", 1, "activation function"),
        ("plain", 2, &linear),
        ("deformed", 2, "DeformConv2d, which has no recorded form"),
        ("up", 0, ""),
        (
            "up.bias",
            1,
            "bias of a transposed convolution, no part of what its weight sees",
        ),
        ("attention", 8, &attention),
        // Two projections within its layer's feed-forward module.
        ("encoder", 12, &encoder),
        ("encoder.layers.0.norm_1", 2, "norm"),
        ("decoders.0", 20, &decoder),
        ("decoders.0.layers.0.norm_3", 2, "norm"),
        // Four gates of two layers without biases.
        ("recurrent.0", 8, &lstm),
        ("recurrent.1", 0, ""),
        ("recorded", 0, ""),
        ("recorded.layers.0.norm_2", 2, "norm"),
        ("hidden", 0, ""),
    ] {
        assert_eq!(within(layer), vec![reason; count], "{layer}");
    }
    // Norms: 5 by themselves, a batch norm, and those of encoders and decoders; none else than in the table.
    let norms = 2 * (5 + 1 + 2 + 3 + 2);
    assert_eq!(
        found.len(),
        norms + 1 + 1 + 1 + 1 + 1 + 2 + 2 + 1 + 8 + 12 + 20 + 8
    );
    let mut paths: Vec<&str> = found.iter().map(|(path, ..)| *path).collect();
    assert!(paths.contains(&"encoder.layers.0.mha.query.weight"));
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), found.len());
    // No pass went through the layers that are recorded and not covered, all but that of `up`.
    let elements = |paths: &[&str]| -> usize {
        let rows = report.layers.iter();
        let rows = rows.filter(|row| paths.contains(&row.path.as_str()));
        rows.map(|row| (row.size_input.unwrap_or(0) + 1) * row.size_output.unwrap_or(0))
            .sum()
    };
    let projections = ["mha.query", "mha.key", "mha.value", "mha.output"];
    let projections = projections.map(|name| format!("recorded.layers.0.{name}"));
    let mut recorded: Vec<&str> = projections.iter().map(String::as_str).collect();
    recorded.extend([
        "recorded.layers.0.pwff.linear_inner",
        "recorded.layers.0.pwff.linear_outer",
        "recurrent.1",
        "hidden",
    ]);
    let uncovered: usize = report
        .uncovered
        .iter()
        .map(|found| found.shape.iter().product::<usize>())
        .sum();
    let covered = report.covered_parameters;
    assert_eq!(covered, 6);
    assert_eq!(uncovered + elements(&recorded) + covered, report.parameters);
}

/// Breaks when the list is as long as the module, or leaves out how much there is.
#[test]
fn the_list_has_a_line_for_each_reason() {
    let text = report(&All::new()).to_string();
    let (_, list) = text
        .split_once("in no recorded layer:\n")
        .expect("it is there");
    let lines: Vec<&str> = list
        .lines()
        .take_while(|line| line.starts_with("- "))
        .collect();
    for line in [
        "- embedding, leave it alone or use MacEmbedding with `embedding_damping`: `tokens` (10 parameters)",
        "- position: `pos_embedding`, `position_bias` (9 parameters)",
        "- activation function: `activation` (1 parameter)",
        "- norm: `norms.0`, `norms.1`, `norms.2` and 10 more (100 parameters)",
        "- plain Linear, use MacLinear: `plain` (9 parameters)",
        "- plain Lstm, use MacLstm: `recurrent.0` (32 parameters)",
    ] {
        assert!(lines.contains(&line), "{line} is missing in:\n{list}");
    }
    let uncovered = report(&All::new()).uncovered;
    let reasons: HashSet<&UncoveredReason> = uncovered.iter().map(|found| &found.reason).collect();
    assert_eq!(lines.len(), reasons.len());
}

/// Breaks when a list is printed of nothing, or a bias of an auxiliary optimizer or a layer that is skipped or saw no pass is one of it.
#[test]
fn what_has_a_recorder_is_not_named() {
    let layer: MacLinear<B> = LinearConfig::new(3, 2).init(&Default::default()).into();
    let config = MacConfig::new().with_skip_layers(vec!["**".into()]);
    let skipped = config.init_preconditioner().report(&layer);
    let auxiliary = KfacConfig::new()
        .with_kl_clip(None)
        .with_auxiliary_biases(true);
    let auxiliary = auxiliary.init_preconditioner().report(&layer);
    for report in [report(&layer), skipped, auxiliary] {
        assert_eq!(found(&report), []);
        assert!(!report.to_string().contains("in no recorded layer"));
    }
    let mut optim = MacConfig::new().init();
    let network = train(Network::<B>::new(1), &mut optim, 0..1);
    let report = optim.report(&network);
    let norm = |name| (name, "norm", "norm".to_string());
    assert_eq!(found(&report), [norm("norm.gamma"), norm("norm.beta")]);
}

/// Breaks when a parameter that two modules share is named twice.
#[test]
fn a_shared_parameter_is_named_once() {
    #[derive(Module, Debug)]
    struct Tied<B: Backend> {
        tokens: Embedding<B>,
        output: Param<Tensor<B, 2>>,
    }
    let tokens = EmbeddingConfig::new(5, 2).init::<B>(&Default::default());
    let tied = Tied {
        output: tokens.weight.clone(),
        tokens,
    };
    let report = report(&tied);
    assert_eq!(
        found(&report),
        [(
            "tokens.weight",
            "tokens",
            "embedding, leave it alone or use MacEmbedding with `embedding_damping`".to_string()
        )]
    );
    assert_eq!(report.uncovered[0].shape, [5, 2]);
}

/// Breaks when the name of a type, or the layer that is named, is not Burn's: all of a plain layer is named by its outermost.
#[test]
fn all_plain_layers_are_known_by_their_names() {
    fn check<M: AutodiffModule<B>>(layer: M, expected: &str) {
        let report = report(&layer);
        assert!(!report.uncovered.is_empty(), "{expected}");
        for found in &report.uncovered {
            let reason = found.reason.to_string();
            assert!(
                reason == expected || reason == "norm",
                "{}: {reason}",
                found.path
            );
            // The layer is the whole module, which has no name.
            assert!(found.reason == UncoveredReason::Norm || found.layer_path == found.path);
        }
    }
    let device = &Default::default();
    let plain = |layer: &str| format!("plain {layer}, use Mac{layer}");
    check(LinearConfig::new(2, 2).init(device), &plain("Linear"));
    check(Conv1dConfig::new(2, 2, 2).init(device), &plain("Conv1d"));
    check(
        Conv2dConfig::new([2, 2], [2; 2]).init(device),
        &plain("Conv2d"),
    );
    check(
        Conv3dConfig::new([2, 2], [2; 3]).init(device),
        &plain("Conv3d"),
    );
    check(
        ConvTranspose1dConfig::new([2, 2], 2).init(device),
        &plain("ConvTranspose1d"),
    );
    check(
        ConvTranspose2dConfig::new([2, 2], [2; 2]).init(device),
        &plain("ConvTranspose2d"),
    );
    check(
        ConvTranspose3dConfig::new([2, 2], [2; 3]).init(device),
        &plain("ConvTranspose3d"),
    );
    check(
        MultiHeadAttentionConfig::new(4, 2).init(device),
        &plain("MultiHeadAttention"),
    );
    check(
        CrossAttentionConfig::new(4, 4, 2, 2, 2).init(device),
        &plain("CrossAttention"),
    );
    check(
        SelfAttentionConfig::new(4, 2).init(device),
        &plain("SelfAttention"),
    );
    let encoder = TransformerEncoderConfig::new(4, 4, 2, 1).init(device);
    check(encoder.layers[0].clone(), &plain("TransformerEncoderLayer"));
    check(encoder, &plain("TransformerEncoder"));
    let decoder = TransformerDecoderConfig::new(4, 4, 2, 1).init(device);
    check(decoder.layers[0].clone(), &plain("TransformerDecoderLayer"));
    check(decoder, &plain("TransformerDecoder"));
    check(
        PositionWiseFeedForwardConfig::new(2, 2).init(device),
        "plain PositionWiseFeedForward, use two MacLinear and an activation",
    );
    check(LstmConfig::new(2, 2, true).init(device), &plain("Lstm"));
    check(BiLstmConfig::new(2, 2, true).init(device), &plain("BiLstm"));
    check(GruConfig::new(2, 2, true).init(device), &plain("Gru"));
    check(BiGruConfig::new(2, 2, true).init(device), &plain("BiGru"));
    check(RnnConfig::new(2, 2, true).init(device), &plain("Rnn"));
    check(BiRnnConfig::new(2, 2, true).init(device), &plain("BiRnn"));
    check(SwiGluConfig::new(2, 2).init(device), &plain("SwiGlu"));
    check(
        EmbeddingConfig::new(2, 2).init(device),
        "embedding, leave it alone or use MacEmbedding with `embedding_damping`",
    );
    check(BatchNormConfig::new(2).init(device), "norm");
    check(GroupNormConfig::new(1, 2).init(device), "norm");
    check(InstanceNormConfig::new(2).init(device), "norm");
    check(LayerNormConfig::new(2).init(device), "norm");
    check(RmsNormConfig::new(2).init(device), "norm");
    check(PReluConfig::new().init(device), "activation function");
}

/// Breaks when a name is taken for one of positions since it has the letters, or is not since it has more words.
#[test]
fn positions_are_told_by_words() {
    #[derive(Module, Debug)]
    struct Positions<B: Backend> {
        pos: Param<Tensor<B, 1>>,
        pos2: Param<Tensor<B, 1>>,
        relative_position_bias: Param<Tensor<B, 1>>,
        positional: Vec<Embedding<B>>,
        posterior: Param<Tensor<B, 1>>,
        transposed: Param<Tensor<B, 1>>,
    }
    let vector = || Param::from_tensor(random::<B, 1>([2], 1));
    let module = Positions {
        pos: vector(),
        pos2: vector(),
        relative_position_bias: vector(),
        positional: vec![EmbeddingConfig::new(2, 2).init(&Default::default())],
        posterior: vector(),
        transposed: vector(),
    };
    let report = report(&module);
    let positions = report.uncovered.iter();
    let positions = positions.filter(|found| found.reason == UncoveredReason::Position);
    let paths: Vec<&str> = positions.map(|found| found.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "pos",
            "pos2",
            "relative_position_bias",
            "positional.0.weight"
        ]
    );
    assert_eq!(report.uncovered.len(), 6);
}
