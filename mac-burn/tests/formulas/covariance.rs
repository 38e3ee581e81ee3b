//! The first layer's dense curvature.

use crate::support::random;
use burn::backend::Autodiff;
use burn::nn::conv::{Conv1dConfig, Conv2dConfig, Conv3dConfig};
use burn::nn::{LinearConfig, PaddingConfig2d};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;
use burn_ndarray::NdArray;
use mac_burn::{InputCovariance, MacConfig, MacConv1d, MacConv2d, MacConv3d, MacError, MacLinear};
use nalgebra::DMatrix;

type B = Autodiff<NdArray<f64>>;

/// An inverse in f64 of a well-conditioned matrix; the bias left out, or a batch weighed by its
/// size, shows at 1e-3.
const ROUNDING: f64 = 1e-10;

fn matrix(tensor: Tensor<B, 2>) -> DMatrix<f64> {
    let [rows, columns] = tensor.dims();
    DMatrix::from_row_iterator(rows, columns, tensor.into_data().iter::<f64>())
}

/// `(C + ρ I)⁻¹` of rows that already have their 1s.
fn inverse(batches: &[DMatrix<f64>], damping: f64) -> DMatrix<f64> {
    let size = batches[0].ncols();
    let mean = |rows: &DMatrix<f64>| rows.transpose() * rows / rows.nrows() as f64;
    let sum: DMatrix<f64> = batches.iter().map(mean).sum();
    let matrix = sum / batches.len() as f64 + DMatrix::identity(size, size) * damping;
    matrix.try_inverse().expect("damping makes it regular")
}

fn with_ones(rows: DMatrix<f64>) -> DMatrix<f64> {
    let columns = rows.ncols();
    rows.insert_column(columns, 1.0)
}

fn assert_equal(left: &DMatrix<f64>, right: &DMatrix<f64>) {
    let difference = (left - right).amax();
    assert!(difference <= ROUNDING, "they differ by {difference:e}");
}

#[test]
fn a_linear_layer_takes_the_inverse_from_the_input_side() {
    let layer: MacLinear<B> = LinearConfig::new(4, 3).init(&Default::default()).into();
    // Batches of unequal sizes weigh the same.
    let batches = [random([6, 4], 1), random([2, 4], 2)];
    let mut covariance = InputCovariance::of(&layer);
    batches
        .iter()
        .for_each(|batch| covariance.update(batch.clone()));
    let rows = batches.map(|batch| with_ones(matrix(batch)));
    let inverse = inverse(&rows, 0.7);
    let found: Vec<f64> = covariance.inverse(0.7).expect("regular").iter().collect();
    assert_equal(&DMatrix::from_row_slice(5, 5, &found), &inverse);

    let config = MacConfig::new().with_damping(0.7);
    let mut preconditioner = config
        .init_preconditioner::<B>()
        .with_input_covariance(&covariance)
        .expect("regular");
    let loss = layer.forward(random([3, 4], 3)).square().sum();
    let grads = GradientsParams::from_grads(loss.backward(), &layer);
    let read = |grads: &GradientsParams| {
        let weight = grads
            .get::<NdArray<f64>, 2>(layer.weight.id)
            .expect("it has a gradient");
        let bias = layer.bias.as_ref().expect("it has a bias").id;
        let bias = grads
            .get::<NdArray<f64>, 1>(bias)
            .expect("it has a gradient");
        matrix(Tensor::from_inner(Tensor::cat(
            vec![weight, bias.unsqueeze()],
            0,
        )))
    };
    let before = read(&grads);
    let after = read(&preconditioner.precondition(&layer, grads));
    assert_equal(&after, &(inverse * before));
}

#[test]
fn a_convolution_takes_the_patches_of_each_group() {
    for (groups, bias, padding) in [
        (1, true, PaddingConfig2d::Explicit(1, 1, 1, 1)),
        (2, false, PaddingConfig2d::Explicit(0, 2, 1, 0)),
    ] {
        let layer: MacConv2d<B> = Conv2dConfig::new([4, 6], [3, 2])
            .with_stride([2, 1])
            .with_groups(groups)
            .with_bias(bias)
            .with_padding(padding.clone())
            .init(&Default::default())
            .into();
        let images = random([3, 4, 6, 5], 4);
        let mut covariance = InputCovariance::of(&layer);
        covariance.update(images.clone());

        let PaddingConfig2d::Explicit(top, left, bottom, right) = padding else {
            unreachable!("both cases are explicit");
        };
        let padded = images.pad((left, right, top, bottom), 0.0);
        let options = UnfoldOptions::new([2, 1], [0, 0], [1, 1]);
        let patches = unfold4d(padded, [3, 2], options).swap_dims(1, 2);
        let [batch, positions, _] = patches.dims();
        let size = 4 / groups * 6;
        let used = size + usize::from(bias);
        let found: Vec<f64> = covariance.inverse(0.5).expect("regular").iter().collect();
        for group in 0..groups {
            let rows = patches.clone().narrow(2, group * size, size);
            let rows = matrix(rows.reshape([batch * positions, size]));
            let rows = if bias { with_ones(rows) } else { rows };
            let expected = inverse(&[rows], 0.5);
            let found = &found[group * used * used..][..used * used];
            assert_equal(&DMatrix::from_row_slice(used, used, found), &expected);
        }
    }
}

/// Breaks when an axis is taken for another, or an image of fewer axes has none of its patches.
#[test]
fn convolutions_over_other_axes_take_the_patches_of_the_same_numbers() {
    let inverse = |covariance: InputCovariance<B>| -> Vec<f64> {
        covariance.inverse(0.5).expect("regular").iter().collect()
    };
    let device = Default::default();
    let values = random::<B, 3>([3, 2, 7], 5);
    let flat = Conv2dConfig::new([2, 4], [1, 3]).with_stride([1, 2]);
    let mut of_rows = InputCovariance::of(&flat.init::<B>(&device));
    of_rows.update(values.clone().reshape([3, 2, 1, 7]));
    let expected = inverse(of_rows);

    let layer: MacConv1d<B> = Conv1dConfig::new(2, 4, 3)
        .with_stride(2)
        .init(&device)
        .into();
    let mut along = InputCovariance::of(&layer);
    along.update(values.clone());
    assert_eq!(inverse(along), expected);
    for axis in 0..3 {
        let (mut kernel, mut stride, mut lengths) = ([1; 3], [1; 3], [1; 3]);
        (kernel[axis], stride[axis], lengths[axis]) = (3, 2, 7);
        let config = Conv3dConfig::new([2, 4], kernel).with_stride(stride);
        let layer: MacConv3d<B> = config.init(&device).into();
        let mut volumes = InputCovariance::of(&layer);
        let [depth, height, width] = lengths;
        volumes.update(values.clone().reshape([3, 2, depth, height, width]));
        for (found, expected) in inverse(volumes).into_iter().zip(&expected) {
            assert!((found - expected).abs() <= ROUNDING, "axis {axis}");
        }
    }
}

#[test]
#[should_panic(expected = "of shape [batch, channels, length] with 2 in dimension 1")]
fn images_of_another_rank_are_refused() {
    let layer = Conv1dConfig::new(2, 4, 3).init::<B>(&Default::default());
    InputCovariance::of(&layer).update(random::<B, 4>([1, 2, 1, 7], 1));
}

#[test]
fn a_changed_damping_inverts_again() {
    let layer: MacLinear<B> = LinearConfig::new(4, 3).init(&Default::default()).into();
    let mut covariance = InputCovariance::of(&layer);
    covariance.update(random([6, 4], 1));
    let gradient = |damping: f64, change: Option<f64>| {
        let mut preconditioner = MacConfig::new()
            .with_damping(damping)
            .init_preconditioner::<B>()
            .with_input_covariance(&covariance)
            .expect("regular");
        if let Some(damping) = change {
            preconditioner.set_damping(damping).expect("it is allowed");
        }
        let loss = layer.forward(random([3, 4], 3)).square().sum();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        let grads = preconditioner.precondition(&layer, grads);
        let grad = grads
            .get::<NdArray<f64>, 2>(layer.weight.id)
            .expect("it has a gradient");
        grad.into_data()
    };
    gradient(1.0, Some(0.2)).assert_eq(&gradient(0.2, None), true);
    assert_ne!(gradient(1.0, None), gradient(0.2, None));
}

#[test]
fn what_cannot_be_inverted_is_an_error() {
    let layer: MacLinear<B> = LinearConfig::new(2, 1).init(&Default::default()).into();
    let mut covariance = InputCovariance::of(&layer);
    let empty = covariance.inverse(1.0).expect_err("nothing was seen");
    assert_eq!(empty, MacError::EmptyCovariance { layer: "Linear" });
    covariance.update(Tensor::<B, 2>::from_floats(
        [[f32::NAN, 1.0]],
        &Default::default(),
    ));
    let broken = covariance.inverse(1.0).expect_err("it is not finite");
    assert!(matches!(
        broken,
        MacError::SingularCovariance { damping: 1.0, .. }
    ));
}

/// Breaks when an input of another width is taken, whose inverse would not fit the layer's gradient.
#[test]
#[should_panic(expected = "takes inputs of shape [.., size] with 4 in dimension 1")]
fn an_input_of_another_size_is_refused() {
    let layer: MacLinear<B> = LinearConfig::new(4, 3).init(&Default::default()).into();
    InputCovariance::of(&layer).update(random::<B, 2>([6, 5], 1));
}

/// The same for channels.
#[test]
#[should_panic(expected = "with 2 in dimension 1, but this one has shape [1, 3, 5, 5]")]
fn an_image_of_other_channels_is_refused() {
    let layer: MacConv2d<B> = Conv2dConfig::new([2, 3], [3, 3])
        .init(&Default::default())
        .into();
    InputCovariance::of(&layer).update(random::<B, 4>([1, 3, 5, 5], 1));
}
