//! How long and in which order a run trains.

use burn::config::Config;
use burn::lr_scheduler::cosine::{CosineAnnealingLrScheduler, CosineAnnealingLrSchedulerConfig};

/// The course of a run over a training set of some number of images.
#[derive(Config, Debug)]
pub struct Course {
    /// Learning rate at the start, in (0, 1]; it falls to zero along a cosine.
    #[config(default = 0.1)]
    pub lr: f64,
    /// Passes over the training set.
    #[config(default = 10)]
    pub epochs: usize,
    /// Steps of the optimizer after which the run ends, in place of `epochs`.
    pub steps: Option<usize>,
    /// Images in a batch.
    #[config(default = 64)]
    pub batch_size: usize,
    /// Seed of the initial parameters, and of the order and the changes of the images.
    #[config(default = 0)]
    pub seed: u64,
}

impl Course {
    /// The seed of the order of the images in an epoch: another for each epoch, and for each seed of a run.
    pub fn order_seed(&self, epoch: usize) -> u64 {
        self.seed.rotate_left(32) ^ epoch as u64
    }

    /// The seed of changes to the images that are not those of any epoch.
    pub fn seed_before_training(&self) -> u64 {
        self.order_seed(u32::MAX as usize)
    }

    /// The number of steps of the optimizer.
    pub fn number_of_steps(&self, images: usize) -> usize {
        self.steps
            .unwrap_or(self.epochs * self.steps_of_an_epoch(images))
    }

    /// The number of epochs, of which the last is cut short if the [steps](Self::steps) end in it.
    pub fn number_of_epochs(&self, images: usize) -> usize {
        let steps = self.steps_of_an_epoch(images).max(1);
        self.number_of_steps(images).div_ceil(steps)
    }

    /// The number of images that are trained on in the epoch of this index, which begins with 0.
    pub fn images_of_epoch(&self, epoch: usize, images: usize) -> usize {
        let before = epoch * self.steps_of_an_epoch(images);
        let left = self.number_of_steps(images).saturating_sub(before);
        images.min(left * self.batch_size)
    }

    /// The learning rate of each step.
    ///
    /// # Errors
    /// If the learning rate is not in (0, 1], or there is no step.
    pub fn schedule(&self, images: usize) -> Result<CosineAnnealingLrScheduler, String> {
        CosineAnnealingLrSchedulerConfig::new(self.lr, self.number_of_steps(images)).init()
    }

    fn steps_of_an_epoch(&self, images: usize) -> usize {
        images.div_ceil(self.batch_size)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_epochs_of_two_runs_share_an_order() {
        let seeds: HashSet<u64> = (0..10)
            .flat_map(|seed| {
                let course = Course::new().with_seed(seed);
                (0..10)
                    .map(move |epoch| course.order_seed(epoch))
                    .chain([Course::new().with_seed(seed).seed_before_training()])
            })
            .collect();

        assert_eq!(seeds.len(), 110);
    }

    #[test]
    fn a_run_of_epochs_sees_all_images_in_each() {
        let course = Course::new().with_epochs(3).with_batch_size(4);

        assert_eq!(course.number_of_steps(10), 9);
        assert_eq!(course.number_of_epochs(10), 3);
        assert_eq!(
            [0, 1, 2].map(|epoch| course.images_of_epoch(epoch, 10)),
            [10; 3]
        );
    }

    /// A step too many or too few at the end of the last epoch would show here.
    #[test]
    fn a_run_of_steps_ends_with_the_last_of_them() {
        let images = |steps| {
            let course = Course::new().with_steps(Some(steps)).with_batch_size(4);
            let epochs = course.number_of_epochs(10);
            let images = (0..epochs).map(|epoch| course.images_of_epoch(epoch, 10));
            images.collect::<Vec<_>>()
        };

        assert_eq!(images(1), [4]);
        assert_eq!(images(3), [10]);
        assert_eq!(images(5), [10, 8]);
        assert_eq!(images(6), [10, 10]);
    }
}
