use clap::ValueEnum;
use image::RgbImage;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{ImageOperation, RandAugment, TrivialAugmentWide};

/// Random changes of an image that keep its size and, most likely, what is seen in it, as named on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum AutomaticAugmentation {
    /// torchvision's TrivialAugmentWide, one change of any strength
    #[value(name = "ta_wide")]
    TrivialAugmentWide,
    /// timm's RandAugment, up to two strong changes
    #[value(name = "rand-m9-mstd0.5-inc1")]
    RandAugment,
}

impl AutomaticAugmentation {
    /// Draws operations and applies them.
    pub fn apply(self, image: RgbImage, rng: &mut impl Rng) -> RgbImage {
        let size = [image.width() as usize, image.height() as usize];
        let operations = self.draw(size, rng).into_iter();
        operations.fold(image, |image, operation| operation.apply(image))
    }

    /// Draws the operations of an image of this width and height, in their order.
    pub fn draw(self, size: [usize; 2], rng: &mut impl Rng) -> Vec<ImageOperation> {
        match self {
            Self::TrivialAugmentWide => vec![TrivialAugmentWide.draw(rng)],
            Self::RandAugment => RandAugment.draw(size, rng),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn image(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([20 * x as u8, 30 * y as u8, 7 * (x + y) as u8])
        })
    }

    fn changed(augmentation: AutomaticAugmentation, seed: u64) -> RgbImage {
        augmentation.apply(image(11, 7), &mut StdRng::seed_from_u64(seed))
    }

    /// Breaks when an operation exchanges width and height, crops, or panics on a small image.
    #[test]
    fn the_size_stays_the_same() {
        for augmentation in AutomaticAugmentation::value_variants() {
            let mut rng = StdRng::seed_from_u64(23);
            for (width, height) in [(11, 7), (1, 1), (2, 9), (9, 2)] {
                for _ in 0..300 {
                    let out = augmentation.apply(image(width, height), &mut rng);
                    assert_eq!(out.dimensions(), (width, height));
                }
            }
        }
    }

    /// Breaks when a number comes from another generator, or none does.
    #[test]
    fn an_image_is_changed_by_the_seed_alone() {
        for augmentation in AutomaticAugmentation::value_variants() {
            let images: Vec<_> = (0..20).map(|seed| changed(*augmentation, seed)).collect();
            let again: Vec<_> = (0..20).map(|seed| changed(*augmentation, seed)).collect();
            assert_eq!(images, again);
            let differ = images.iter().filter(|out| **out != images[0]).count();
            assert!(differ > 10, "{augmentation:?}: {differ}");
        }
    }

    /// Breaks when only one of the operations that are drawn is applied, or their order is reversed: to invert and to
    /// brighten do not commute.
    #[test]
    fn operations_are_applied_in_their_order() {
        let augmentation = AutomaticAugmentation::RandAugment;
        let mut twice = 0;
        for seed in 0..200 {
            let operations = augmentation.draw([11, 7], &mut StdRng::seed_from_u64(seed));
            if let [first, second] = operations[..] {
                let expected = second.apply(first.apply(image(11, 7)));
                assert_eq!(changed(augmentation, seed), expected);
                twice += usize::from(expected != first.apply(second.apply(image(11, 7))));
            }
        }
        assert!(twice > 10, "{twice}");
    }

    #[test]
    fn names_are_those_of_torchvision_and_timm() {
        let names = AutomaticAugmentation::value_variants().iter().map(|value| {
            let value = value.to_possible_value().expect("none is hidden");
            value.get_name().to_owned()
        });
        let names: Vec<String> = names.collect();
        assert_eq!(names, ["ta_wide", "rand-m9-mstd0.5-inc1"]);
    }
}
