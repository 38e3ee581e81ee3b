use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};

use super::{Mix, Window};

/// Draws how a batch is mixed: mixup or cutmix, one `λ ~ Beta(α, α)` for the whole batch; where both are on, either with
/// the same probability, as in timm and torchvision.
///
/// Mixup is of H. Zhang et al., [arXiv:1710.09412](https://arxiv.org/abs/1710.09412), cutmix of S. Yun et al.,
/// [arXiv:1905.04899](https://arxiv.org/abs/1905.04899).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixing {
    /// Mixup's `α`, 0 or more; at 0 it is off.
    pub mixup: f64,
    /// Cutmix's `α`, 0 or more; at 0 it is off.
    pub cutmix: f64,
}

impl Mixing {
    /// Draws the mixture of a batch of images of this width and height.
    pub fn draw(&self, size: [usize; 2], rng: &mut impl Rng) -> Mix {
        let pastes = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => rng.random_bool(0.5),
            (_, cutmix) => cutmix,
        };
        let alpha = if pastes { self.cutmix } else { self.mixup };
        match share(alpha, rng) {
            None => Mix::Nothing,
            Some(share) if pastes => Mix::Paste(window(size, share, rng)),
            Some(share) => Mix::Blend(share),
        }
    }
}

/// `λ`; none where `α` makes no distribution, as 0 does.
fn share(alpha: f64, rng: &mut impl Rng) -> Option<f64> {
    Some(Beta::new(alpha, alpha).ok()?.sample(rng))
}

/// A window of a share `1 − λ` of the area around a point of the image, without what is outside of it.
fn window(size: [usize; 2], share: f64, rng: &mut impl Rng) -> Window {
    let ends = size.map(|length| {
        let half = ((1.0 - share).sqrt() * length as f64) as usize / 2;
        let center = rng.random_range(0..length);
        [center.saturating_sub(half), (center + half).min(length)]
    });
    let [[left, right], [top, bottom]] = ends;
    Window {
        left,
        top,
        width: right - left,
        height: bottom - top,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const SIZE: [usize; 2] = [40, 30];
    const DRAWS: usize = 4000;

    fn draws(mixup: f64, cutmix: f64) -> Vec<Mix> {
        let mut rng = StdRng::seed_from_u64(11);
        let mixing = Mixing { mixup, cutmix };
        (0..DRAWS).map(|_| mixing.draw(SIZE, &mut rng)).collect()
    }

    fn share_of(draws: &[Mix], is: impl Fn(&Mix) -> bool) -> f64 {
        draws.iter().filter(|mix| is(mix)).count() as f64 / DRAWS as f64
    }

    fn pastes(mix: &Mix) -> bool {
        matches!(mix, Mix::Paste(_))
    }

    #[test]
    fn what_is_off_is_not_drawn_and_both_are_drawn_as_often() {
        // Four standard errors of a half of 4000.
        const ERROR: f64 = 0.032;
        assert_eq!(share_of(&draws(0.0, 0.0), |mix| *mix == Mix::Nothing), 1.0);
        assert_eq!(share_of(&draws(0.8, 0.0), pastes), 0.0);
        assert_eq!(share_of(&draws(0.0, 1.0), pastes), 1.0);
        assert!((share_of(&draws(0.8, 1.0), pastes) - 0.5).abs() < ERROR);
    }

    /// Breaks when the sides of a window are the share and not its root, or `λ` is the window's share and not the rest's: the
    /// first makes few windows large, and the second none of them small where α is small.
    #[test]
    fn a_window_is_inside_and_has_at_most_the_rest_of_the_area() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut largest = 0.0_f64;
        for _ in 0..DRAWS {
            let share = rng.random_range(0.0..1.0);
            let window = window(SIZE, share, &mut rng);
            assert!(window.left + window.width <= SIZE[0], "{window:?}");
            assert!(window.top + window.height <= SIZE[1], "{window:?}");
            let covered = window.share(SIZE) / (1.0 - share);
            assert!(covered <= 1.0 + 1e-12, "{window:?} {share}");
            largest = largest.max(covered);
        }
        assert!(largest > 0.95, "{largest}");
    }

    /// Breaks when `λ` is uniform whatever `α` is: this share is 0.2 then, and two thirds with α = 0.2.
    #[test]
    fn a_small_alpha_mixes_little() {
        let little = share_of(&draws(0.2, 0.0), |mix| (mix.share(SIZE) - 0.5).abs() > 0.4);
        assert!(little > 0.5, "{little}");
    }
}
