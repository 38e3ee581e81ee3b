//! Convolutions over one, two and three axes, and transposed ones, against sums over single positions: the mean and the second
//! moments of what a weight acts on, and of the gradients of what it makes.

use crate::curvatures::assert_close;
use crate::dense_curvatures::{Curvature, F64, Matrix, Seen, curvatures};
use crate::support::random;
use burn::module::{Module, Param};
use burn::nn::conv::{
    Conv1dConfig, Conv2d, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2d,
    ConvTranspose2dConfig, ConvTranspose3dConfig,
};
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_ndarray::NdArray;
use mac_burn::{
    Coverage, KfacConfig, MacConfig, MacConv1d, MacConv2d, MacConv3d, MacConvTranspose1d,
    MacConvTranspose2d, MacConvTranspose3d, Recorder,
};
use nalgebra::DVector;
use proptest::prelude::*;

const BATCH: usize = 2;
const LENGTHS: [usize; 3] = [4, 6, 5];

/// A convolution along depth, height and width; those that it does not have come first, with a kernel of 1 and images of 1.
#[derive(Debug, Clone)]
struct Geometry {
    axes: usize,
    kernel: [usize; 3],
    stride: [usize; 3],
    dilation: [usize; 3],
    /// Zeros before the image.
    padding: [usize; 3],
    padding_out: [usize; 3],
    groups: usize,
    bias: bool,
}

impl Geometry {
    const fn channels_in(&self) -> usize {
        2 * self.groups
    }

    const fn channels_out(&self) -> usize {
        3 * self.groups
    }

    fn channels(&self) -> [usize; 2] {
        [self.channels_in(), self.channels_out()]
    }

    /// The last axes of three.
    fn of<const N: usize>(&self, all: [usize; 3]) -> [usize; N] {
        std::array::from_fn(|axis| all[3 - N + axis])
    }

    fn lengths(&self) -> [usize; 3] {
        std::array::from_fn(|axis| match axis + self.axes >= 3 {
            true => LENGTHS[axis],
            false => 1,
        })
    }

    fn kernel_size(&self) -> usize {
        self.kernel.iter().product()
    }
}

/// The gradients of a step, as numbers: those of the weight before and after it, at the output, and of the bias.
struct Step {
    input: Vec<f64>,
    gradient: Vec<f64>,
    /// Depth, height and width of the output.
    lengths: [usize; 3],
    weight: Vec<f64>,
    /// Before and after.
    bias: Option<[Vec<f64>; 2]>,
}

fn host<const D: usize>(tensor: Tensor<NdArray<f64>, D>) -> Vec<f64> {
    tensor.into_data().iter().collect()
}

fn of_bias(grads: &GradientsParams, bias: Option<&Param<Tensor<F64, 1>>>) -> Option<Vec<f64>> {
    let bias = grads.get::<NdArray<f64>, 1>(bias?.id);
    Some(host(bias.expect("it has a gradient")))
}

/// One step of a layer that is made of a configuration.
macro_rules! step {
    ($layer:ident, $rank:literal, $config:expr, $curvature:expr, $geometry:expr, $seed:expr) => {{
        let geometry: &Geometry = $geometry;
        // Before the forward pass, or the recorders would not know what it asks for.
        let mut preconditioner = $curvature.preconditioner();
        let config = $config
            .with_groups(geometry.groups)
            .with_bias(geometry.bias);
        let layer: $layer<F64> = config.init(&Default::default()).into();
        let lengths: [usize; $rank - 2] = geometry.of(geometry.lengths());
        let mut shape = [BATCH, geometry.channels_in(), 1, 1, 1];
        shape[2..$rank].copy_from_slice(&lengths);
        let shape: [usize; $rank] = std::array::from_fn(|axis| shape[axis]);
        let input = random::<F64, $rank>(shape, $seed);
        let output = layer.forward(input.clone());
        let mut lengths = [1; 3];
        lengths[5 - $rank..].copy_from_slice(&output.dims()[2..]);
        let gradient = random::<F64, $rank>(output.dims(), $seed ^ 1);
        let loss = (output * gradient.clone()).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        let before = of_bias(&grads, layer.bias.as_ref());
        let grads = preconditioner.precondition(&layer, grads);
        let after = of_bias(&grads, layer.bias.as_ref());
        let weight = grads.get::<NdArray<f64>, $rank>(layer.weight.id);
        let report = preconditioner.report(&layer);
        assert_eq!(report.layers.len(), 1);
        assert!(report.layers[0].updates == 1, "{report}");
        Step {
            input: host(input.inner()),
            gradient: host(gradient.inner()),
            lengths,
            weight: host(weight.expect("it has a gradient")),
            bias: before.zip(after).map(|(before, after)| [before, after]),
        }
    }};
}

fn convolution_step(curvature: &Curvature, geometry: &Geometry, same: bool, seed: u64) -> Step {
    let channels = geometry.channels();
    let padding = geometry.padding;
    match geometry.axes {
        1 => {
            let [kernel] = geometry.of(geometry.kernel);
            let ([stride], [dilation]) =
                (geometry.of(geometry.stride), geometry.of(geometry.dilation));
            let padding = match same {
                true => PaddingConfig1d::Same,
                false => PaddingConfig1d::Explicit(padding[2], 1),
            };
            let config = Conv1dConfig::new(channels[0], channels[1], kernel)
                .with_stride(stride)
                .with_dilation(dilation)
                .with_padding(padding);
            step!(MacConv1d, 3, config, curvature, geometry, seed)
        }
        2 => {
            let padding = match same {
                true => PaddingConfig2d::Same,
                false => PaddingConfig2d::Explicit(padding[1], padding[2], 0, 1),
            };
            let config = Conv2dConfig::new(channels, geometry.of(geometry.kernel))
                .with_stride(geometry.of(geometry.stride))
                .with_dilation(geometry.of(geometry.dilation))
                .with_padding(padding);
            step!(MacConv2d, 4, config, curvature, geometry, seed)
        }
        _ => {
            let padding = match same {
                true => PaddingConfig3d::Same,
                false => PaddingConfig3d::Explicit(padding[0], padding[1], padding[2]),
            };
            let config = Conv3dConfig::new(channels, geometry.of(geometry.kernel))
                .with_stride(geometry.of(geometry.stride))
                .with_dilation(geometry.of(geometry.dilation))
                .with_padding(padding);
            step!(MacConv3d, 5, config, curvature, geometry, seed)
        }
    }
}

fn transposed_step(curvature: &Curvature, geometry: &Geometry, seed: u64) -> Step {
    let channels = geometry.channels();
    match geometry.axes {
        1 => {
            let [kernel] = geometry.of(geometry.kernel);
            let ([stride], [dilation]) =
                (geometry.of(geometry.stride), geometry.of(geometry.dilation));
            let ([padding], [out]) = (
                geometry.of(geometry.padding),
                geometry.of(geometry.padding_out),
            );
            let config = ConvTranspose1dConfig::new(channels, kernel)
                .with_stride(stride)
                .with_dilation(dilation)
                .with_padding(padding)
                .with_padding_out(out);
            step!(MacConvTranspose1d, 3, config, curvature, geometry, seed)
        }
        2 => {
            let config = ConvTranspose2dConfig::new(channels, geometry.of(geometry.kernel))
                .with_stride(geometry.of(geometry.stride))
                .with_dilation(geometry.of(geometry.dilation))
                .with_padding(geometry.of(geometry.padding))
                .with_padding_out(geometry.of(geometry.padding_out));
            step!(MacConvTranspose2d, 4, config, curvature, geometry, seed)
        }
        _ => {
            let config = ConvTranspose3dConfig::new(channels, geometry.of(geometry.kernel))
                .with_stride(geometry.of(geometry.stride))
                .with_dilation(geometry.of(geometry.dilation))
                .with_padding(geometry.of(geometry.padding))
                .with_padding_out(geometry.of(geometry.padding_out));
            step!(MacConvTranspose3d, 5, config, curvature, geometry, seed)
        }
    }
}

/// Index along each axis of a flat one.
fn along_axes(index: usize, lengths: [usize; 3]) -> [usize; 3] {
    let [_, rows, columns] = lengths;
    [
        index / columns / rows,
        index / columns % rows,
        index % columns,
    ]
}

/// Images `[batch, channels, depth, height, width]`, as numbers.
struct Images<'a> {
    values: &'a [f64],
    channels: usize,
    lengths: [usize; 3],
}

impl Images<'_> {
    fn positions(&self) -> usize {
        self.lengths.iter().product()
    }

    /// The value under a kernel's element at a position; 0 outside of the image.
    fn under(
        &self,
        geometry: &Geometry,
        [sample, channel]: [usize; 2],
        position: [usize; 3],
        element: [usize; 3],
    ) -> f64 {
        let mut index = sample * self.channels + channel;
        for axis in 0..3 {
            let padded =
                position[axis] * geometry.stride[axis] + element[axis] * geometry.dilation[axis];
            let Some(at) = padded.checked_sub(geometry.padding[axis]) else {
                return 0.0;
            };
            if at >= self.lengths[axis] {
                return 0.0;
            }
            index = index * self.lengths[axis] + at;
        }
        self.values[index]
    }

    /// The patches of a group of channels at so many positions, with a 1 if asked for, of each sample.
    fn patches(
        &self,
        geometry: &Geometry,
        group: usize,
        positions: [usize; 3],
        one: bool,
    ) -> Vec<Matrix> {
        let (kernel, size) = (geometry.kernel, geometry.kernel_size());
        let channels = self.channels / geometry.groups;
        let count = positions.iter().product();
        let sample = |sample: usize| {
            Matrix::from_fn(
                count,
                channels * size + usize::from(one),
                |position, column| match column / size {
                    channel if channel < channels => self.under(
                        geometry,
                        [sample, group * channels + channel],
                        along_axes(position, positions),
                        along_axes(column % size, kernel),
                    ),
                    _ => 1.0,
                },
            )
        };
        (0..BATCH).map(sample).collect()
    }

    /// The channels of a group at each position, of each sample.
    fn pixels(&self, groups: usize, group: usize) -> Vec<Matrix> {
        let channels = self.channels / groups;
        let positions = self.positions();
        let sample = |sample: usize| {
            Matrix::from_fn(positions, channels, |position, channel| {
                let channel = sample * self.channels + group * channels + channel;
                self.values[channel * positions + position]
            })
        };
        (0..BATCH).map(sample).collect()
    }
}

fn seen(inputs: Vec<Matrix>, outputs: Vec<Matrix>) -> Seen {
    Seen {
        places: inputs[0].nrows(),
        inputs,
        outputs,
        attended: None,
        has_fixed_bias: false,
    }
}

fn geometries() -> impl Strategy<Value = Geometry> {
    let up_to = |last: usize| [1..last + 1, 1..last + 1, 1..last + 1];
    let axes = (
        1..4usize,
        up_to(3),
        up_to(2),
        up_to(2),
        [0..2usize, 0..2, 0..2],
        0..2usize,
    );
    (axes, 1..3usize, any::<bool>()).prop_map(
        |((axes, kernel, stride, dilation, padding, padding_out), groups, bias)| {
            let of_axes = |values: [usize; 3], none: usize| {
                std::array::from_fn(|axis| match axis + axes >= 3 {
                    true => values[axis],
                    false => none,
                })
            };
            Geometry {
                axes,
                kernel: of_axes(kernel, 1),
                stride: of_axes(stride, 1),
                dilation: of_axes(dilation, 1),
                padding: of_axes(padding, 0),
                padding_out: of_axes([padding_out; 3], 0),
                groups,
                bias,
            }
        },
    )
}

/// Burn's same padding before the image, which does not look at dilation.
fn same_padding(geometry: &Geometry) -> [usize; 3] {
    std::array::from_fn(|axis| {
        let (kernel, stride) = (geometry.kernel[axis], geometry.stride[axis]);
        let length = geometry.lengths()[axis];
        ((length.div_ceil(stride) - 1) * stride + kernel).saturating_sub(length) / 2
    })
}

/// A layer of one's own around a convolution and its transpose, with one weight for both if asked for.
#[derive(Module, Debug)]
struct Own<B: Backend> {
    conv: Conv2d<B>,
    transposed: ConvTranspose2d<B>,
    recorder: Recorder<B>,
    other: Recorder<B>,
}

impl Own<F64> {
    fn new() -> Self {
        let device = Default::default();
        Self {
            conv: Conv2dConfig::new([2, 3], [2, 2]).init(&device),
            transposed: ConvTranspose2dConfig::new([3, 2], [4, 4])
                .with_stride([2, 2])
                .init(&device),
            recorder: Recorder::new(),
            other: Recorder::new(),
        }
    }
}

/// Breaks when what a layer makes of a transposed convolution's output, cropped to a size of its own, is unfolded as that: gradients at other places
/// would be taken for a position's, or the backward pass would end in a panic.
#[test]
fn a_cropped_output_of_a_transposed_convolution_is_not_its_own() {
    let mut preconditioner = KfacConfig::new()
        .with_kl_clip(None)
        .init_preconditioner::<F64>();
    let layer = Own::new();
    let input = random::<F64, 4>([2, 3, 3, 3], 1);
    let output = layer.transposed.forward(input.clone());
    let [batch, channels, height, width] = output.dims();
    assert_eq!([height, width], [8, 8]);
    let cropped = output.slice([0..batch, 0..channels, 1..7, 1..7]);
    let cropped = layer
        .recorder
        .record_conv_transpose2d(&layer.transposed, &input, cropped);
    let grads = GradientsParams::from_grads(cropped.square().sum().backward(), &layer);
    let weight = layer.transposed.weight.id;
    let read =
        |grads: &GradientsParams| host(grads.get::<NdArray<f64>, 4>(weight).expect("a gradient"));
    let before = read(&grads);
    assert_eq!(read(&preconditioner.precondition(&layer, grads)), before);
    let report = preconditioner.report(&layer);
    let row = report.layers.iter().find(|row| row.path == "transposed");
    assert_eq!(row.map(|row| row.coverage), Some(Coverage::NothingRecorded));
}

/// Breaks when the statistics of two layouts of one weight are added up.
#[test]
fn a_weight_of_two_kinds_of_layers_is_an_error() {
    let mut preconditioner = MacConfig::new().init_preconditioner::<F64>();
    let mut layer = Own::new();
    layer.transposed = ConvTranspose2dConfig::new([3, 2], [2, 2])
        .with_bias(false)
        .init(&Default::default());
    layer.transposed.weight = layer.conv.weight.clone();
    let input = random::<F64, 4>([2, 2, 4, 4], 1);
    let hidden = layer.conv.forward(input.clone());
    let hidden = layer.recorder.record_conv2d(&layer.conv, &input, hidden);
    let output = layer.transposed.forward(hidden.clone());
    let output = layer
        .other
        .record_conv_transpose2d(&layer.transposed, &hidden, output);
    let grads = GradientsParams::from_grads(output.square().sum().backward(), &layer);
    let error = preconditioner.try_precondition(&layer, grads).err();
    let error = error.expect("it is refused").to_string();
    assert!(
        error.contains("Conv2d") && error.contains("ConvTranspose2d"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Breaks when the patches of a convolution over one to three axes, their order, groups, dilation, padding or positions are others.
    #[test]
    fn a_convolution_over_any_axes_has_the_formula(
        curvature in curvatures(),
        mut geometry in geometries(),
        same in any::<bool>(),
        seed in any::<u64>(),
    ) {
        if same {
            if geometry.axes == 3 {
                // Burn has no other same padding there.
                geometry.kernel = [1, 3, 1];
                geometry.stride = [1; 3];
            }
            geometry.dilation = [1; 3];
            geometry.padding = same_padding(&geometry);
        } else {
            // A kernel that fits into the image.
            for axis in 0..3 {
                if (geometry.kernel[axis] - 1) * geometry.dilation[axis] >= geometry.lengths()[axis] {
                    geometry.dilation[axis] = 1;
                }
            }
            // Burn 0.21 has no gradient of a weight in groups where a stride does not divide what a kernel leaves of the padded image.
            if geometry.groups > 1 {
                geometry.stride = [1; 3];
            }
        }
        let step = convolution_step(&curvature, &geometry, same, seed);
        let (groups, outputs) = (geometry.groups, geometry.channels_out());
        let images = Images {
            values: &step.input,
            channels: geometry.channels_in(),
            lengths: geometry.lengths(),
        };
        let gradient = Images {
            values: &step.gradient,
            channels: outputs,
            lengths: step.lengths,
        };
        let size = step.weight.len() / outputs;
        let found = Matrix::from_row_slice(outputs, size, &step.weight);
        for group in 0..groups {
            let patches = images.patches(&geometry, group, step.lengths, geometry.bias);
            let seen = seen(patches, gradient.pixels(groups, group));
            let expected = curvature.applied(seen.gradient(), &seen, false);
            let rows = group * (outputs / groups)..(group + 1) * (outputs / groups);
            let found = found.rows_range(rows.clone()).into_owned();
            let found = match &step.bias {
                Some([_, after]) => {
                    let mut joined = found.insert_column(size, 0.0);
                    joined.set_column(size, &DVector::from_column_slice(&after[rows]));
                    joined
                }
                None => found,
            };
            assert_close(&found, &expected, &format!("{curvature:?} {geometry:?} group {group}"));
        }
    }

    /// Breaks when the weight of a transposed convolution is preconditioned by anything but the channels of its positions and the patches
    /// that they add to, or its bias is preconditioned.
    #[test]
    fn a_transposed_convolution_has_the_formula(
        curvature in curvatures(),
        geometry in geometries(),
        seed in any::<u64>(),
    ) {
        let step = transposed_step(&curvature, &geometry, seed);
        let groups = geometry.groups;
        let images = Images {
            values: &step.input,
            channels: geometry.channels_in(),
            lengths: geometry.lengths(),
        };
        let gradient = Images {
            values: &step.gradient,
            channels: geometry.channels_out(),
            lengths: step.lengths,
        };
        let inputs = geometry.channels_in() / groups;
        let outputs = geometry.channels_out() / groups * geometry.kernel_size();
        let found = Matrix::from_row_slice(inputs * groups, outputs, &step.weight);
        for group in 0..groups {
            let patches = gradient.patches(&geometry, group, geometry.lengths(), false);
            let seen = seen(images.pixels(groups, group), patches);
            let expected = curvature.applied(seen.gradient(), &seen, false);
            let found = found.rows_range(group * inputs..(group + 1) * inputs).transpose();
            assert_close(&found, &expected, &format!("{curvature:?} {geometry:?} group {group}"));
        }
        if let Some([before, after]) = step.bias {
            prop_assert_eq!(before, after);
        }
    }
}
