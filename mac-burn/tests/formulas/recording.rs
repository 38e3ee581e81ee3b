//! The sums that recorders keep, and the passes that they record.

use crate::support::{Network, gradients, images, random};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module};
use burn::nn::conv::Conv2dConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::GradientsParams;
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder as _};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use burn_ndarray::NdArray;
use mac_burn::{MacConfig, MacConv2d, MacLinear, MacPreconditioner};

type F64 = Autodiff<NdArray<f64>>;

/// Sums in f64 in another order differ by rounding; one patch more or less shows at 1e-3.
const ROUNDING: f64 = 1e-12;

/// With a decay of 0 the moving average is the mean of the last batch.
fn preconditioner() -> MacPreconditioner<F64> {
    let config = MacConfig::new()
        .with_stat_decay(0.0)
        .with_tcov(1)
        .with_tinv(1);
    config.init_preconditioner()
}

/// The mean `[means, size + 1]` that a layer recorded, taken by a step of its own.
fn recorded_mean<M>(layer: &M, loss: Tensor<F64, 1>, weight: burn::module::ParamId) -> Vec<f64>
where
    M: AutodiffModule<F64>,
{
    let mut preconditioner = preconditioner();
    let grads = GradientsParams::from_grads(loss.backward(), layer);
    preconditioner.precondition(layer, grads);
    let mean = preconditioner
        .activation_ema(weight)
        .expect("the layer recorded");
    mean.into_data().iter().collect()
}

fn assert_close(left: &[f64], right: &[f64]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert!((left - right).abs() <= ROUNDING, "{left} is not {right}");
    }
}

/// One value of a zero-padded image.
fn pixel(image: &[f64], [height, width]: [usize; 2], y: isize, x: isize) -> f64 {
    let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
    if inside {
        image[y as usize * width + x as usize]
    } else {
        0.0
    }
}

/// The mean patch by its definition, patch after patch.
fn mean_patches(layer: &MacConv2d<F64>, input: &Tensor<F64, 4>) -> Vec<f64> {
    let [batch, channels, height, width] = input.dims();
    let [_, _, rows, columns] = layer.forward(input.clone()).dims();
    let (top, left) = match layer.padding {
        PaddingConfig2d::Valid => (0, 0),
        PaddingConfig2d::Explicit(top, left, _, _) => (top, left),
        // Burn puts the odd zero at the end.
        PaddingConfig2d::Same => {
            let before =
                |k: usize, s: usize, n: usize| ((n.div_ceil(s) - 1) * s + k).saturating_sub(n) / 2;
            let ([kh, kw], [sh, sw]) = (layer.kernel_size, layer.stride);
            (before(kh, sh, height), before(kw, sw, width))
        }
    };
    let data: Vec<f64> = input.to_data().iter().collect();
    let count = (batch * rows * columns) as f64;
    let mut means = Vec::new();
    for channel in 0..channels {
        if channel > 0 && channel % (channels / layer.groups) == 0 {
            means.push(1.0);
        }
        for i in 0..layer.kernel_size[0] {
            for j in 0..layer.kernel_size[1] {
                let mut sum = 0.0;
                for n in 0..batch {
                    let image =
                        &data[(n * channels + channel) * height * width..][..height * width];
                    for p in 0..rows {
                        for q in 0..columns {
                            let y = (p * layer.stride[0] + i * layer.dilation[0]) as isize
                                - top as isize;
                            let x = (q * layer.stride[1] + j * layer.dilation[1]) as isize
                                - left as isize;
                            sum += pixel(image, [height, width], y, x);
                        }
                    }
                }
                means.push(sum / count);
            }
        }
    }
    means.push(1.0);
    means
}

#[test]
fn a_convolution_records_the_mean_of_all_patches() {
    let paddings = [
        PaddingConfig2d::Valid,
        PaddingConfig2d::Same,
        PaddingConfig2d::Explicit(1, 1, 1, 1),
        PaddingConfig2d::Explicit(0, 2, 1, 1),
    ];
    let mut cases = 0;
    for kernel in [[1, 1], [3, 3], [2, 3], [4, 1]] {
        for stride in [[1, 1], [2, 2], [1, 3]] {
            for padding in &paddings {
                for dilation in [[1, 1], [2, 1]] {
                    for groups in [1, 2, 4] {
                        let layer: MacConv2d<F64> = Conv2dConfig::new([4, 8], kernel)
                            .with_stride(stride)
                            .with_padding(padding.clone())
                            .with_dilation(dilation)
                            .with_groups(groups)
                            .with_bias(groups != 2)
                            .init(&Default::default())
                            .into();
                        let input = random([2, 4, 8, 9], cases);
                        let expected = mean_patches(&layer.clone().valid().train(), &input);
                        let loss = layer.forward(input).sum();
                        assert_close(&recorded_mean(&layer, loss, layer.weight.id), &expected);
                        cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cases, 288);
}

#[test]
fn a_linear_layer_records_the_mean_over_all_leading_dimensions() {
    let layer: MacLinear<F64> = LinearConfig::new(3, 2).init(&Default::default()).into();
    let input = random([2, 5, 3], 1);
    let mut expected: Vec<f64> = input
        .clone()
        .reshape([10, 3])
        .mean_dim(0)
        .into_data()
        .iter()
        .collect();
    expected.push(1.0);
    let loss = layer.forward(input).sum();
    assert_close(&recorded_mean(&layer, loss, layer.weight.id), &expected);
}

#[test]
fn repeated_calls_and_micro_batches_add_up_to_the_whole_batch() {
    let layer: MacLinear<F64> = LinearConfig::new(3, 2).init(&Default::default()).into();
    let whole = random([7, 3], 2);
    let loss = layer.forward(whole.clone()).sum();
    let expected = recorded_mean(&layer, loss, layer.weight.id);

    // Unequal parts: the mean of the parts' means would be another.
    let layer = layer.valid().train();
    let parts = whole.split(3, 0);
    assert_eq!(parts.len(), 3);
    let loss = parts.into_iter().map(|part| layer.forward(part).sum());
    let loss = loss
        .reduce(|left, right| left + right)
        .expect("there are parts");
    assert_close(&recorded_mean(&layer, loss, layer.weight.id), &expected);
}

#[test]
fn the_order_of_samples_does_not_matter() {
    let layer: MacConv2d<F64> = Conv2dConfig::new([2, 2], [3, 3])
        .init(&Default::default())
        .into();
    let input = random([4, 2, 5, 5], 3);
    let loss = layer.forward(input.clone()).sum();
    let expected = recorded_mean(&layer, loss, layer.weight.id);
    let layer = layer.valid().train();
    let loss = layer.forward(input.flip([0])).sum();
    assert_close(&recorded_mean(&layer, loss, layer.weight.id), &expected);
}

#[test]
fn clones_and_forks_share_the_sums() {
    let layer: MacLinear<F64> = LinearConfig::new(3, 2).init(&Default::default()).into();
    let input = random([4, 3], 4);
    let loss = layer.forward(input.clone()).sum();
    let expected = recorded_mean(&layer, loss, layer.weight.id);

    let layer = layer.valid().train();
    let fork = layer.clone().fork(&Default::default());
    let loss = fork.forward(input).sum();
    let grads = GradientsParams::from_grads(loss.backward(), &fork);
    let mut preconditioner = preconditioner();
    preconditioner.precondition(&layer, grads);
    let mean = preconditioner
        .activation_ema(layer.weight.id)
        .expect("the fork recorded");
    assert_close(
        &mean.into_data().iter::<f64>().collect::<Vec<_>>(),
        &expected,
    );
}

#[test]
fn validation_records_nothing_and_a_step_leaves_nothing() {
    let layer: MacLinear<F64> = LinearConfig::new(3, 2).init(&Default::default()).into();
    layer.valid().forward(random([2, 3], 5));
    let mut preconditioner = preconditioner();
    preconditioner.precondition(&layer, GradientsParams::new());
    assert!(preconditioner.activation_ema(layer.weight.id).is_none());

    let first = random([2, 3], 6);
    let loss = layer.forward(first).sum();
    preconditioner.precondition(&layer, GradientsParams::from_grads(loss.backward(), &layer));
    let before = preconditioner
        .activation_ema(layer.weight.id)
        .expect("it recorded");
    preconditioner.precondition(&layer, GradientsParams::new());
    let after = preconditioner
        .activation_ema(layer.weight.id)
        .expect("it recorded");
    before.into_data().assert_eq(&after.into_data(), true);
}

#[test]
fn only_every_tcov_th_step_records_the_first_one_included() {
    let mut preconditioner = MacConfig::new()
        .with_stat_decay(0.5)
        .with_tcov(3)
        .init_preconditioner::<F64>();
    let layer: MacLinear<F64> = LinearConfig::new(1, 1).init(&Default::default()).into();
    let mut last_entries = Vec::new();
    for step in 0..7 {
        let loss = layer.forward(random([2, 1], step)).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        preconditioner.precondition(&layer, grads);
        let ema = preconditioner
            .activation_ema(layer.weight.id)
            .expect("it recorded");
        last_entries.push(
            ema.into_data()
                .iter::<f64>()
                .last()
                .expect("it has entries"),
        );
    }
    // 1 − βⁿ after n updates.
    assert_eq!(last_entries, [0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.875]);
}

#[test]
fn a_frozen_layer_records_nothing() {
    let network = Network::<F64>::new(1).no_grad();
    network.forward(images(0, 2));
    let report = MacConfig::new().init_preconditioner::<F64>();
    let mut preconditioner = report;
    preconditioner.precondition(&network, GradientsParams::new());
    assert!(
        preconditioner
            .activation_ema(network.hidden.weight.id)
            .is_none()
    );
}

#[test]
fn ids_are_read_anew_after_a_record_is_loaded() {
    let bytes = BinBytesRecorder::<FullPrecisionSettings>::default();
    let network = Network::<F64>::new(1);
    let other = Network::<F64>::new(2);
    network.forward(images(0, 2));
    let saved = bytes
        .record(other.clone().into_record(), ())
        .expect("it is saved");
    let record = bytes
        .load(saved, &Default::default())
        .expect("it is loaded");
    let loaded = network.load_record(record);
    let mut preconditioner = MacConfig::new().init_preconditioner::<F64>();
    let grads = gradients(&loaded, images(1, 2));
    preconditioner.precondition(&loaded, grads);
    assert!(
        preconditioner
            .activation_ema(other.hidden.weight.id)
            .is_some()
    );
}

#[test]
fn statistics_of_half_precision_are_kept_in_f32() {
    use burn_flex::Flex;
    type Half = Autodiff<Flex>;
    for dtype in [DType::F16, DType::BF16] {
        let device = Default::default();
        let input = Tensor::<Half, 2>::full([4096, 2], 1.5, (&device, dtype));
        let own = Own {
            layer: LinearConfig::new(2, 2).init(&device),
            recorder: mac_burn::Recorder::<Half>::new(),
        };
        let mut preconditioner = MacConfig::new()
            .with_stat_decay(0.0)
            .init_preconditioner::<Half>();
        let output = own.layer.forward(input.clone().cast(DType::F32));
        // 4096 · 1.5 is a sum that f16 and bf16 cannot count to in steps of 1.5.
        let weight = &own.layer.weight;
        let output = own.recorder.record_linear(weight, None, &input, output);
        let grads = GradientsParams::from_grads(output.sum().backward(), &own);
        preconditioner.precondition(&own, grads);
        let ema = preconditioner
            .activation_ema(own.layer.weight.id)
            .expect("it recorded");
        assert_eq!(ema.dtype(), DType::F32);
        assert_eq!(
            ema.into_data().iter::<f64>().collect::<Vec<_>>(),
            [1.5, 1.5, 1.0]
        );
    }
}

/// A layer of a user's own, with a recorder as a field.
#[derive(Module, Debug)]
struct Own<B: Backend> {
    layer: Linear<B>,
    recorder: mac_burn::Recorder<B>,
}
