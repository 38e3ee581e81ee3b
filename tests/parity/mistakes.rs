//! Mistakes that a port easily makes, each of which a comparison must notice.

use burn::tensor::backend::AutodiffBackend;
use mac_burn_models::{
    Activation, DenseNetConfig, GptConfig, LeNetConfig, ResNetConfig, SwinConfig,
    VisionTransformerConfig, WideResNetConfig, densenet::Concatenation, lenet::LeNetPooling,
};

use crate::{
    family::{Config, Names},
    fill::Alteration,
    subject::Subject,
};

/// A network that is not the fixture's.
pub(crate) struct Mistake<B: AutodiffBackend> {
    pub(crate) what: &'static str,
    pub(crate) network: Box<dyn Subject<B>>,
    pub(crate) alteration: Option<Alteration>,
}

/// A network of another configuration.
fn configured<B: AutodiffBackend>(what: &'static str, config: Config) -> Mistake<B> {
    Mistake {
        what,
        network: config.init(Names::Authors, &Default::default()),
        alteration: None,
    }
}

/// The right network, with other values in the tensors whose names end in `of`.
fn altered<B: AutodiffBackend>(
    what: &'static str,
    right: &Config,
    of: &'static str,
    change: fn(&[usize], Vec<f32>) -> Vec<f32>,
) -> Mistake<B> {
    Mistake {
        alteration: Some(Alteration { of, change }),
        ..configured(what, right.clone())
    }
}

/// Mistakes in the network of `nanogpt_bias`.
pub(crate) fn of_gpt<B: AutodiffBackend>() -> Vec<Mistake<B>> {
    let config = GptConfig::new(65)
        .with_context_size(32)
        .with_n_layers(3)
        .with_n_heads(4)
        .with_d_model(64);
    let right = Config::Gpt(config.clone());
    let configured = |what, config| configured(what, Config::Gpt(config));

    vec![
        configured("GELU by tanh", config.clone().with_approximate_gelu(true)),
        configured(
            "the norms' ε of DeiT",
            config.clone().with_norm_epsilon(1e-6),
        ),
        configured("another number of heads", config.with_n_heads(2)),
        altered(
            "keys, values, queries",
            &right,
            "c_attn.weight",
            first_third_last,
        ),
        altered(
            "heads before q, k, v",
            &right,
            "c_attn.weight",
            heads_outermost,
        ),
        altered(
            "a square weight transposed",
            &right,
            "attn.c_proj.weight",
            transposed,
        ),
    ]
}

/// Mistakes in the network of `deit_cifar_c100`.
pub(crate) fn of_deit<B: AutodiffBackend>() -> Vec<Mistake<B>> {
    let config = VisionTransformerConfig::deit_tiny_cifar(100);
    let right = Config::Deit(config.clone());
    let of_burn = Config::Deit(config.with_norm_epsilon(1e-5));

    vec![
        configured("the norms' ε of Burn", of_burn),
        altered(
            "the class token's position last",
            &right,
            "pos_embed",
            first_token_last,
        ),
    ]
}

/// Mistakes in the network of `swin_tiny_224`.
pub(crate) fn of_swin<B: AutodiffBackend>() -> Vec<Mistake<B>> {
    let right = Config::Swin(SwinConfig::tiny());
    let of_deit = Config::Swin(SwinConfig::tiny().with_norm_epsilon(1e-6));

    vec![
        configured("the norms' ε of DeiT", of_deit),
        altered(
            "key minus query",
            &right,
            "relative_position_bias_table",
            rows_backwards,
        ),
        altered(
            "the 2×2 merged by rows",
            &right,
            "downsample.reduction.weight",
            middle_quarters_exchanged,
        ),
    ]
}

/// Mistakes in the network of `resnet20_c10`.
pub(crate) fn of_resnet<B: AutodiffBackend>() -> Vec<Mistake<B>> {
    let right = Config::ResNet(ResNetConfig::resnet20(10));

    vec![
        altered(
            "a convolution and not a correlation",
            &right,
            "conv2.weight",
            kernels_turned,
        ),
        altered(
            "the norms' ε left out",
            &right,
            "running_var",
            less_by_epsilon,
        ),
    ]
}

/// Mistakes in the network of `resnet34_c10`.
pub(crate) fn of_projections<B: AutodiffBackend>() -> Vec<Mistake<B>> {
    let right = Config::ResNet(ResNetConfig::resnet34_cifar(10));

    vec![
        altered(
            "the channels of a projection backwards",
            &right,
            "shortcut.0.weight",
            rows_backwards,
        ),
        altered(
            "the ε of a projection's norm left out",
            &right,
            "shortcut.1.running_var",
            less_by_epsilon,
        ),
    ]
}

/// Mistakes in the network of `wrn_28_10_c10`.
pub(crate) fn of_wide_resnet<B: AutodiffBackend>() -> Vec<Mistake<B>> {
    let right = Config::WideResNet(WideResNetConfig::wrn_28_10(10));

    vec![altered(
        "the norms' ε left out",
        &right,
        "running_var",
        less_by_epsilon,
    )]
}

/// Mistakes in the network of `lenet5_c10`.
pub(crate) fn of_lenet<B: AutodiffBackend>() -> Vec<Mistake<B>> {
    let config = LeNetConfig::mac_lenet5();
    let right = Config::LeNet(config.clone());
    let tanh = config.clone().with_activation(Activation::Tanh);
    let average = config.with_pooling(LeNetPooling::Average);

    vec![
        configured("the paper's activation", Config::LeNet(tanh)),
        configured("the paper's pooling", Config::LeNet(average)),
        altered(
            "channels after positions",
            &right,
            "L1.weight",
            channels_last,
        ),
    ]
}

/// Mistakes in the network of `densenet121_c10`.
pub(crate) fn of_densenet<B: AutodiffBackend>() -> Vec<Mistake<B>> {
    let config = DenseNetConfig::densenet121_cifar(10);
    let old_first = config.with_concatenation(Concatenation::OldFirst);

    vec![configured(
        "the old channels first",
        Config::DenseNet(old_first),
    )]
}

/// Rows `[q; k; v]` in the order `[k; v; q]`.
fn first_third_last(_shape: &[usize], mut values: Vec<f32>) -> Vec<f32> {
    let third = values.len() / 3;
    values.rotate_left(third);
    values
}

/// Rows `[q; k; v]`, each by heads, in the order of heads, each by `[q; k; v]`.
fn heads_outermost(shape: &[usize], values: Vec<f32>) -> Vec<f32> {
    const HEADS: usize = 4;
    let (rows, columns) = (shape[0], shape[1]);
    let head = rows / 3 / HEADS * columns;
    let parts: Vec<&[f32]> = values.chunks(head).collect();
    let order = (0..HEADS).flat_map(|index| [0, 1, 2].map(|part| part * HEADS + index));

    order.flat_map(|part| parts[part].to_vec()).collect()
}

fn transposed(shape: &[usize], values: Vec<f32>) -> Vec<f32> {
    let (rows, columns) = (shape[0], shape[1]);
    let index = |flat: usize| flat % rows * columns + flat / rows;

    (0..values.len()).map(|flat| values[index(flat)]).collect()
}

fn first_token_last(shape: &[usize], mut values: Vec<f32>) -> Vec<f32> {
    values.rotate_left(shape[2]);
    values
}

fn rows_backwards(shape: &[usize], values: Vec<f32>) -> Vec<f32> {
    let rows = values.chunks(values.len() / shape[0]).rev();

    rows.flatten().copied().collect()
}

/// Of each row the second and the third quarter, which belong to two tokens of four.
fn middle_quarters_exchanged(shape: &[usize], mut values: Vec<f32>) -> Vec<f32> {
    let quarter = shape[1] / 4;
    for row in values.chunks_mut(shape[1]) {
        row[quarter..3 * quarter].rotate_left(quarter);
    }
    values
}

/// Of each row, which has 16 channels one after the other, the channels of one position after the other.
fn channels_last(shape: &[usize], values: Vec<f32>) -> Vec<f32> {
    const CHANNELS: usize = 16;
    let (columns, positions) = (shape[1], shape[1] / CHANNELS);
    let index = |flat: usize| {
        let (row, column) = (flat / columns, flat % columns);
        row * columns + column % CHANNELS * positions + column / CHANNELS
    };

    (0..values.len()).map(|flat| values[index(flat)]).collect()
}

/// The kernels backwards, in both directions.
fn kernels_turned(shape: &[usize], values: Vec<f32>) -> Vec<f32> {
    let kernel = shape[2] * shape[3];
    let turned = values.chunks(kernel).flat_map(|kernel| kernel.iter().rev());

    turned.copied().collect()
}

/// Running variances to which adding an ε of 1e-5 gives what they were.
fn less_by_epsilon(_shape: &[usize], values: Vec<f32>) -> Vec<f32> {
    values.iter().map(|value| value - 1e-5).collect()
}
