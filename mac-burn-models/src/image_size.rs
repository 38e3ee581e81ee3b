use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

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
