//! Burn's layers, each made, run forward and backward.

use super::call::{Method, Tested};
use burn::nn::activation::ActivationConfig;
use burn::nn::attention::{
    CrossAttentionConfig, MhaInput, MultiHeadAttentionConfig, generate_autoregressive_mask,
};
use burn::nn::conv::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    ConvTranspose3dConfig, DeformConv2dConfig,
};
use burn::nn::interpolate::{Interpolate1dConfig, Interpolate2dConfig, InterpolateMode};
use burn::nn::norm::NormalizationConfig;
use burn::nn::pool::{
    AdaptiveAvgPool1dConfig, AdaptiveAvgPool2dConfig, AvgPool1dConfig, AvgPool2dConfig,
    MaxPool1dConfig, MaxPool2dConfig,
};
use burn::nn::transformer::{
    PositionWiseFeedForwardConfig, TransformerDecoderConfig, TransformerDecoderInput,
    TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{
    BatchNormConfig, BiGruConfig, BiLstmConfig, BiRnnConfig, CeluConfig, DropoutConfig, EluConfig,
    EmbeddingConfig, GLU, GaussianNoiseConfig, GroupNormConfig, GruConfig, HardShrinkConfig,
    HardSigmoidConfig, Initializer, InstanceNormConfig, LayerNormConfig, LeakyReluConfig,
    LinearConfig, LinearLayout, LocalResponseNormConfig, LstmConfig, PReluConfig, PaddingConfig1d,
    PaddingConfig2d, PositionalEncodingConfig, RmsNormConfig, RnnConfig, RotaryEncodingConfig,
    ShrinkConfig, SoftShrinkConfig, SoftplusConfig, SwiGluConfig, ThresholdedReluConfig,
    Unfold4dConfig,
};

/// Layers by their names, with their parameters as the seed has them.
pub(crate) fn layers<R: Tested>() -> Vec<(&'static str, Method<R>)> {
    vec![
        ("Linear", |call| {
            let layer = call.module(LinearConfig::new(4, 5).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Linear of one axis", |call| {
            let layer = call.module(LinearConfig::new(4, 5).init(&call.device()));
            let input = call.input([4]);
            call.output(layer.forward(input));
        }),
        ("Linear of columns", |call| {
            let layer = call.module(
                LinearConfig::new(4, 5)
                    .with_layout(LinearLayout::Col)
                    .init(&call.device()),
            );
            let input = call.input([6, 4]);
            call.output(layer.forward(input));
        }),
        ("Linear without bias", |call| {
            let layer = call.module(
                LinearConfig::new(4, 5)
                    .with_bias(false)
                    .init(&call.device()),
            );
            let input = call.input([6, 4]);
            call.output(layer.forward(input));
        }),
        ("Embedding", |call| {
            let layer = call.module(EmbeddingConfig::new(6, 4).init(&call.device()));
            let tokens = call.classes(0..6, [2, 5]);
            call.output(layer.forward(tokens));
        }),
        ("Conv1d", |call| {
            let layer = call.module(
                Conv1dConfig::new(4, 6, 3)
                    .with_stride(2)
                    .with_groups(2)
                    .with_padding(PaddingConfig1d::Explicit(1, 1))
                    .init(&call.device()),
            );
            let input = call.input([2, 4, 7]);
            call.output(layer.forward(input));
        }),
        ("Conv1d, same", |call| {
            let layer = call.module(
                Conv1dConfig::new(4, 6, 4)
                    .with_padding(PaddingConfig1d::Same)
                    .init(&call.device()),
            );
            let input = call.input([2, 4, 7]);
            call.output(layer.forward(input));
        }),
        ("Conv2d", |call| {
            let layer = call.module(
                Conv2dConfig::new([4, 6], [3, 2])
                    .with_stride([2, 1])
                    .with_dilation([1, 2])
                    .with_groups(2)
                    .init(&call.device()),
            );
            let input = call.input([2, 4, 7, 6]);
            call.output(layer.forward(input));
        }),
        ("Conv2d, same", |call| {
            let layer = call.module(
                Conv2dConfig::new([3, 5], [3, 2])
                    .with_padding(PaddingConfig2d::Same)
                    .init(&call.device()),
            );
            let input = call.input([2, 3, 5, 4]);
            call.output(layer.forward(input));
        }),
        ("Conv3d", |call| {
            let layer = call.module(
                Conv3dConfig::new([4, 6], [3, 2, 2])
                    .with_stride([1, 1, 2])
                    .with_groups(2)
                    .init(&call.device()),
            );
            let input = call.input([2, 4, 4, 3, 5]);
            call.output(layer.forward(input));
        }),
        ("ConvTranspose1d", |call| {
            let layer = call.module(
                ConvTranspose1dConfig::new([4, 6], 3)
                    .with_stride(2)
                    .with_groups(2)
                    .with_padding(1)
                    .with_padding_out(1)
                    .init(&call.device()),
            );
            let input = call.input([2, 4, 5]);
            call.output(layer.forward(input));
        }),
        ("ConvTranspose2d", |call| {
            let layer = call.module(
                ConvTranspose2dConfig::new([4, 6], [3, 2])
                    .with_stride([2, 1])
                    .with_dilation([1, 2])
                    .with_groups(2)
                    .init(&call.device()),
            );
            let input = call.input([2, 4, 5, 3]);
            call.output(layer.forward(input));
        }),
        ("ConvTranspose3d", |call| {
            let layer = call.module(
                ConvTranspose3dConfig::new([4, 6], [3, 2, 2])
                    .with_stride([2, 1, 1])
                    .with_groups(2)
                    .init(&call.device()),
            );
            let input = call.input([2, 4, 3, 2, 3]);
            call.output(layer.forward(input));
        }),
        // `NdArray` adds its gradients up in the order in which threads come; with few digits their sums are exact.
        ("DeformConv2d", |call| {
            let layer = call.module(
                DeformConv2dConfig::new([4, 6], [3, 2])
                    .with_weight_groups(2)
                    .with_offset_groups(2)
                    .with_initializer(Initializer::Constant { value: 0.25 })
                    .init(&call.device()),
            );
            let input = call.input([2, 4, 5, 4]);
            let offset = call.input([2, 24, 3, 3]);
            let mask = call.input([2, 12, 3, 3]);
            call.output(layer.forward(input, offset, Some(mask)));
        }),
        ("BatchNorm", |call| {
            let layer = call.module(BatchNormConfig::new(3).init(&call.device()));
            let input = call.input([4, 3, 5]);
            call.output(layer.forward(input));
            call.output(layer.running_mean.value());
            call.output(layer.running_var.value());
        }),
        ("GroupNorm", |call| {
            let layer = call.module(GroupNormConfig::new(2, 4).init(&call.device()));
            let input = call.input([2, 4, 3]);
            call.output(layer.forward(input));
        }),
        ("InstanceNorm", |call| {
            let layer = call.module(InstanceNormConfig::new(4).init(&call.device()));
            let input = call.input([2, 4, 3]);
            call.output(layer.forward(input));
        }),
        ("LayerNorm", |call| {
            let layer = call.module(LayerNormConfig::new(4).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("RmsNorm", |call| {
            let layer = call.module(RmsNormConfig::new(4).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Normalization", |call| {
            let config = NormalizationConfig::Layer(LayerNormConfig::new(4));
            let layer = call.module(config.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("LocalResponseNorm", |call| {
            let layer = call.module(LocalResponseNormConfig::new(3).init());
            let input = call.input([2, 5, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Dropout", |call| {
            let layer = call.module(DropoutConfig::new(0.4).init());
            let input = call.input([6, 5]);
            call.output(layer.forward(input));
        }),
        ("GaussianNoise", |call| {
            let layer = call.module(GaussianNoiseConfig::new(0.4).init());
            let input = call.input([6, 5]);
            call.output(layer.forward(input));
        }),
        ("AvgPool1d", |call| {
            let layer = call.module(
                AvgPool1dConfig::new(3)
                    .with_padding(PaddingConfig1d::Explicit(1, 1))
                    .init(),
            );
            let input = call.input([2, 3, 7]);
            call.output(layer.forward(input));
        }),
        ("AvgPool2d", |call| {
            let layer = call.module(AvgPool2dConfig::new([3, 2]).with_strides([2, 1]).init());
            let input = call.input([2, 3, 7, 6]);
            call.output(layer.forward(input));
        }),
        ("AdaptiveAvgPool1d", |call| {
            let layer = call.module(AdaptiveAvgPool1dConfig::new(3).init());
            let input = call.input([2, 3, 7]);
            call.output(layer.forward(input));
        }),
        ("AdaptiveAvgPool2d", |call| {
            let layer = call.module(AdaptiveAvgPool2dConfig::new([3, 4]).init());
            let input = call.input([2, 3, 7, 6]);
            call.output(layer.forward(input));
        }),
        ("MaxPool1d", |call| {
            let layer = call.module(MaxPool1dConfig::new(3).with_stride(2).init());
            let input = call.input([2, 3, 7]);
            call.output(layer.forward(input));
        }),
        ("MaxPool2d", |call| {
            let layer = call.module(MaxPool2dConfig::new([3, 2]).with_strides([2, 1]).init());
            let input = call.input([2, 3, 7, 6]);
            call.output(layer.forward(input));
        }),
        ("Interpolate1d", |call| {
            let layer = call.module(Interpolate1dConfig::new().with_output_size(Some(9)).init());
            let input = call.input([2, 3, 5]);
            call.output(layer.forward(input));
        }),
        ("Interpolate2d, nearest", |call| {
            let layer = call.module(
                Interpolate2dConfig::new()
                    .with_output_size(Some([7, 6]))
                    .init(),
            );
            let input = call.input([2, 3, 4, 5]);
            call.output(layer.forward(input));
        }),
        ("Interpolate2d, linear", |call| {
            let layer = call.module(
                Interpolate2dConfig::new()
                    .with_output_size(Some([7, 6]))
                    .with_mode(InterpolateMode::Linear)
                    .init(),
            );
            let input = call.input([2, 3, 4, 5]);
            call.output(layer.forward(input));
        }),
        ("Interpolate2d, cubic", |call| {
            let layer = call.module(
                Interpolate2dConfig::new()
                    .with_output_size(Some([7, 6]))
                    .with_mode(InterpolateMode::Cubic)
                    .init(),
            );
            let input = call.input([2, 3, 4, 5]);
            call.output(layer.forward(input));
        }),
        ("Unfold4d", |call| {
            let layer = call.module(Unfold4dConfig::new([2, 3]).with_stride([2, 1]).init());
            let input = call.input([2, 3, 5, 4]);
            call.output(layer.forward(input));
        }),
        ("MultiHeadAttention", |call| {
            let layer = call.module(MultiHeadAttentionConfig::new(8, 2).init(&call.device()));
            let query = call.input([2, 3, 8]);
            let key = call.input([2, 5, 8]);
            let value = call.input([2, 5, 8]);
            let mask = call.mask([2, 5]);
            let output = layer.forward(MhaInput::new(query, key, value).mask_pad(mask));
            call.output(output.context);
            call.output(output.weights);
        }),
        ("CrossAttention", |call| {
            let layer = call.module(CrossAttentionConfig::new(8, 6, 4, 2, 3).init(&call.device()));
            let query = call.input([2, 3, 8]);
            let context = call.input([2, 5, 6]);
            let mask = call.mask([2, 5]);
            call.output(layer.forward(query, context, Some(mask)));
        }),
        ("TransformerEncoder", |call| {
            let layer =
                call.module(TransformerEncoderConfig::new(8, 12, 2, 2).init(&call.device()));
            let input = call.input([2, 3, 8]);
            let mask = generate_autoregressive_mask(2, 3, &call.device());
            call.output(layer.forward(TransformerEncoderInput::new(input).mask_attn(mask)));
        }),
        ("TransformerDecoder", |call| {
            let layer = call.module(
                TransformerDecoderConfig::new(8, 12, 2, 2)
                    .with_norm_first(true)
                    .init(&call.device()),
            );
            let target = call.input([2, 3, 8]);
            let memory = call.input([2, 5, 8]);
            let mask = generate_autoregressive_mask(2, 3, &call.device());
            call.output(
                layer.forward(TransformerDecoderInput::new(target, memory).target_mask_attn(mask)),
            );
        }),
        ("PositionWiseFeedForward", |call| {
            let layer = call.module(PositionWiseFeedForwardConfig::new(4, 6).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Rnn", |call| {
            let layer = call.module(RnnConfig::new(4, 3, true).init(&call.device()));
            let input = call.input([2, 5, 4]);
            let (output, state) = layer.forward(input, None);
            call.output(output);
            call.output(state.hidden);
        }),
        ("BiRnn", |call| {
            let layer = call.module(BiRnnConfig::new(4, 3, true).init(&call.device()));
            let input = call.input([2, 5, 4]);
            let (output, state) = layer.forward(input, None);
            call.output(output);
            call.output(state.hidden);
        }),
        ("Lstm", |call| {
            let layer = call.module(LstmConfig::new(4, 3, true).init(&call.device()));
            let input = call.input([2, 5, 4]);
            let (output, state) = layer.forward(input, None);
            call.output(output);
            call.output(state.hidden);
            call.output(state.cell);
        }),
        ("BiLstm", |call| {
            let layer = call.module(BiLstmConfig::new(4, 3, true).init(&call.device()));
            let input = call.input([2, 5, 4]);
            let (output, state) = layer.forward(input, None);
            call.output(output);
            call.output(state.hidden);
            call.output(state.cell);
        }),
        ("Gru", |call| {
            let layer = call.module(GruConfig::new(4, 3, true).init(&call.device()));
            let input = call.input([2, 5, 4]);
            let state = call.input([2, 3]);
            call.output(layer.forward(input, Some(state)));
        }),
        ("BiGru", |call| {
            let layer = call.module(
                BiGruConfig::new(4, 3, true)
                    .with_reset_after(false)
                    .init(&call.device()),
            );
            let input = call.input([2, 5, 4]);
            let (output, state) = layer.forward(input, None);
            call.output(output);
            call.output(state);
        }),
        ("PositionalEncoding", |call| {
            let layer = call.module(PositionalEncodingConfig::new(4).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("RotaryEncoding", |call| {
            let layer = call.module(RotaryEncodingConfig::new(6, 4).init(&call.device()));
            let input = call.input([2, 2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("GLU", |call| {
            let layer = call.module(GLU::new(2));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Gelu", |call| {
            let layer = call.module(ActivationConfig::Gelu.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("GeluApproximate", |call| {
            let layer = call.module(ActivationConfig::GeluApproximate.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("PRelu", |call| {
            let layer =
                call.module(ActivationConfig::PRelu(PReluConfig::new()).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Relu", |call| {
            let layer = call.module(ActivationConfig::Relu.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("LeakyRelu", |call| {
            let layer = call
                .module(ActivationConfig::LeakyRelu(LeakyReluConfig::new()).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("SwiGlu", |call| {
            let layer =
                call.module(ActivationConfig::SwiGlu(SwiGluConfig::new(4, 5)).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Selu", |call| {
            let layer = call.module(ActivationConfig::Selu.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Sigmoid", |call| {
            let layer = call.module(ActivationConfig::Sigmoid.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Tanh", |call| {
            let layer = call.module(ActivationConfig::Tanh.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("HardSigmoid", |call| {
            let layer = call.module(
                ActivationConfig::HardSigmoid(HardSigmoidConfig::new()).init(&call.device()),
            );
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("HardSwish", |call| {
            let layer = call.module(ActivationConfig::HardSwish.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Softplus", |call| {
            let layer =
                call.module(ActivationConfig::Softplus(SoftplusConfig::new()).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Softsign", |call| {
            let layer = call.module(ActivationConfig::Softsign.init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Elu", |call| {
            let layer = call.module(ActivationConfig::Elu(EluConfig::new()).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Celu", |call| {
            let layer = call.module(ActivationConfig::Celu(CeluConfig::new()).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("ThresholdedRelu", |call| {
            let layer = call.module(
                ActivationConfig::ThresholdedRelu(ThresholdedReluConfig::new())
                    .init(&call.device()),
            );
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("HardShrink", |call| {
            let layer = call
                .module(ActivationConfig::HardShrink(HardShrinkConfig::new()).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("SoftShrink", |call| {
            let layer = call
                .module(ActivationConfig::SoftShrink(SoftShrinkConfig::new()).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
        ("Shrink", |call| {
            let layer =
                call.module(ActivationConfig::Shrink(ShrinkConfig::new()).init(&call.device()));
            let input = call.input([2, 3, 4]);
            call.output(layer.forward(input));
        }),
    ]
}
