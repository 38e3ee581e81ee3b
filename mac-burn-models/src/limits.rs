//! Refuses fields of configurations and sizes of images by their names, before something within fails of them.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Refuses a size of 0.
///
/// # Panics
/// If the value is 0.
#[track_caller]
pub(crate) fn assert_at_least_one(field: &str, value: usize) {
    assert!(value > 0, "{field} must be at least 1, and is {value}");
}

/// Refuses a rate at which everything would be dropped, or that is no probability.
///
/// # Panics
/// If the rate is not in [0, 1), or is NaN.
#[track_caller]
pub(crate) fn assert_rate(field: &str, rate: f64) {
    assert!(
        (0.0..1.0).contains(&rate),
        "{field} must be in [0, 1), and is {rate}"
    );
}

/// Refuses images of another size than the one that a network was made for, which would be cut or fail somewhere within.
///
/// # Panics
/// If height or width is another.
pub(crate) fn assert_image_size<B: Backend>(images: &Tensor<B, 4>, image_size: [usize; 2]) {
    let [_, _, height, width] = images.dims();
    let found = [height, width];
    assert!(
        found == image_size,
        "image_size is {image_size:?}, and the size of these images is {found:?}"
    );
}
