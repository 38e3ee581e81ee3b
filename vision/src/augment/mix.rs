use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Window;

/// How the images of a batch are mixed, each with the one that is as far from the end as it is from the beginning.
#[derive(Clone, Debug, PartialEq)]
pub enum Mix {
    /// Not at all.
    Nothing,
    /// Mixup: `λ x + (1 − λ) x'` with this `λ`, in [0, 1].
    Blend(f64),
    /// Cutmix: this part of `x` is that of `x'`.
    Paste(Window),
}

impl Mix {
    /// `λ`, the share of an image in what it is mixed to; width and height are those of the images.
    pub fn share(&self, size: [usize; 2]) -> f64 {
        match self {
            Self::Nothing => 1.0,
            Self::Blend(share) => *share,
            Self::Paste(window) => 1.0 - window.share(size),
        }
    }

    /// Mixes images, `[batch_size, channels, height, width]`.
    pub fn images<B: Backend>(&self, images: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Self::Nothing => images,
            Self::Blend(share) => blended(images, *share),
            Self::Paste(window) if window.is_empty() => images,
            Self::Paste(window) => {
                let [batch_size, channels, ..] = images.dims();
                let (rows, columns) = (
                    window.top..window.top + window.height,
                    window.left..window.left + window.width,
                );
                let part = [0..batch_size, 0..channels, rows, columns];
                let others = images.clone().slice(part.clone()).flip([0]);
                images.slice_assign(part, others)
            }
        }
    }

    /// Mixes the probabilities of classes, `[batch_size, classes]`, by their shares in images of this width and height.
    pub fn targets<B: Backend>(&self, targets: Tensor<B, 2>, size: [usize; 2]) -> Tensor<B, 2> {
        match self {
            Self::Nothing => targets,
            _ => blended(targets, self.share(size)),
        }
    }
}

/// `share · x + (1 − share) · x'`, with the order of the batch reversed in `x'`.
fn blended<B: Backend, const D: usize>(values: Tensor<B, D>, share: f64) -> Tensor<B, D> {
    let others = values.clone().flip([0]).mul_scalar(1.0 - share);
    values.mul_scalar(share) + others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::soft_targets;
    use burn::tensor::Int;
    use mac_burn_examples::backend::Selected;

    const WINDOW: Window = Window {
        left: 1,
        top: 0,
        width: 2,
        height: 3,
    };

    fn labels() -> Tensor<Selected, 1, Int> {
        Tensor::from_ints([0, 1, 2], &Default::default())
    }

    /// Images of 4 by 3 whose every value is 1, 2 or 4.
    fn images() -> Tensor<Selected, 4> {
        let values = Tensor::<Selected, 1>::from_floats([1.0, 2.0, 4.0], &Default::default());
        values.reshape([3, 1, 1, 1]).expand([3, 2, 3, 4])
    }

    fn values<const D: usize>(tensor: Tensor<Selected, D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    /// Breaks when images and targets are mixed with different partners or shares.
    #[test]
    fn targets_have_the_shares_of_the_images_and_add_up_to_one() {
        for mix in [Mix::Nothing, Mix::Blend(0.3), Mix::Paste(WINDOW)] {
            let targets = values(mix.targets(soft_targets(labels(), 3, 0.0), [4, 3]));
            let images = values(mix.images(images()));
            for (target, image) in targets.chunks(3).zip(images.chunks(24)) {
                assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{mix:?}");
                let of_targets: f32 = target.iter().zip([1.0, 2.0, 4.0]).map(|(p, v)| p * v).sum();
                let of_image = image.iter().sum::<f32>() / 24.0;
                assert!((of_targets - of_image).abs() < 1e-5, "{mix:?}: {image:?}");
            }
        }
    }

    #[test]
    fn what_is_pasted_is_where_the_window_is() {
        let mixed = values(Mix::Paste(WINDOW).images(images()));
        assert_eq!(mixed[..12], [1.0, 4.0, 4.0, 1.0].repeat(3));
    }

    /// As a `λ` of about 1 draws them, in one or both directions.
    #[test]
    fn a_window_without_pixels_changes_nothing() {
        for [width, height] in [[0, 2], [2, 0], [0, 0]] {
            let window = Window {
                width,
                height,
                ..WINDOW
            };
            let mix = Mix::Paste(window);
            assert_eq!(values(mix.images(images())), values(images()), "{window:?}");
            assert_eq!(mix.share([4, 3]), 1.0);
            let targets = soft_targets::<Selected>(labels(), 3, 0.1);
            let mixed = values(mix.targets(targets.clone(), [4, 3]));
            assert_eq!(mixed, values(targets), "{window:?}");
        }
    }
}
