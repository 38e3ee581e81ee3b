use burn::config::Config;
use burn::module::Initializer;
use burn::nn::BatchNormConfig;
use burn::tensor::backend::Backend;

use super::{WideGroup, WideResNet};
use crate::convolution::{NORMAL_BY_FAN_OUT, SquareConv, UNIFORM_BY_FAN_IN, linear};
use crate::limits::{assert_at_least_one, assert_rate};

/// Channels of the stem, and of the first group for each unit of the width.
const CHANNELS: usize = 16;

/// The groups; each but the first halves the height and width of its input and has twice the channels.
const GROUPS: usize = 3;

/// Configuration of a [`WideResNet`].
///
/// The constructors have these parameters, for 10 classes:
///
/// | | depth | width | parameters |
/// |---|---|---|---|
/// | [`wrn_28_10`](Self::wrn_28_10) | 28 | 10 | 36 479 194 |
/// | [`wrn_28_20`](Self::wrn_28_20) | 28 | 20 | 145 815 514 |
/// | [`wrn_16_8`](Self::wrn_16_8) | 16 | 8 | 10 961 370 |
/// | [`wrn_40_4`](Self::wrn_40_4) | 40 | 4 | 8 949 210 |
///
/// Convolutions start normal with a variance of 2 / fan-out, norms at 1 and 0, the weights of the head uniform in
/// ±1/√fan-in, and its bias at 0.
///
/// The definition of the authors of MAC pools the last map by a kernel of 8×8, for images of 32×32, of which larger ones would
/// be cut; here the mean is over all positions, of images of any size.
///
/// # Example
/// ```
/// use burn::tensor::Tensor;
/// use mac_burn_models::{WideResNet, WideResNetConfig};
/// # type B = burn::backend::Flex;
/// # let device = Default::default();
///
/// let network: WideResNet<B> = WideResNetConfig::new(10, 2).init(&device);
/// let logits = network.forward(Tensor::ones([2, 3, 32, 32], &device));
/// assert_eq!(logits.dims(), [2, 10]);
/// ```
#[derive(Config, Debug)]
pub struct WideResNetConfig {
    /// The number of convolutions, `6 n + 4`: the stem, three groups of `n` blocks of two, and three shortcuts.
    pub depth: usize,
    /// The channels, in multiples of 16, 32 and 64.
    pub width: usize,
    /// Channels of the images.
    #[config(default = 3)]
    pub image_channels: usize,
    /// Number of classes.
    #[config(default = 10)]
    pub num_classes: usize,
    /// The dropout rate between the convolutions of a block, in [0, 1); where the paper has dropout it is 0.3.
    #[config(default = 0.0)]
    pub dropout: f64,
}

impl WideResNetConfig {
    /// WRN-28-10, the network that the paper recommends for CIFAR.
    pub fn wrn_28_10(num_classes: usize) -> Self {
        Self::new(28, 10).with_num_classes(num_classes)
    }

    /// WRN-28-20, twice as wide; it is not in the paper, but among the networks of the authors of MAC.
    pub fn wrn_28_20(num_classes: usize) -> Self {
        Self::new(28, 20).with_num_classes(num_classes)
    }

    /// WRN-16-8.
    pub fn wrn_16_8(num_classes: usize) -> Self {
        Self::new(16, 8).with_num_classes(num_classes)
    }

    /// WRN-40-4.
    pub fn wrn_40_4(num_classes: usize) -> Self {
        Self::new(40, 4).with_num_classes(num_classes)
    }

    /// Initializes a new [`WideResNet`].
    ///
    /// # Panics
    /// If the depth is not 10, 16, 22, …, the width or a number of channels or classes is 0, or the dropout rate is out of its
    /// range.
    pub fn init<B: Backend>(&self, device: &B::Device) -> WideResNet<B> {
        assert!(
            self.depth > 4 && self.depth % 6 == 4 && self.width > 0,
            "depth must be 6 n + 4 and width at least 1, and they are {} and {}",
            self.depth,
            self.width
        );
        assert_at_least_one("image_channels", self.image_channels);
        assert_at_least_one("num_classes", self.num_classes);
        assert_rate("dropout", self.dropout);
        let channels = self.channels_of_group(GROUPS - 1);
        let stem = [self.image_channels, CHANNELS];
        let head = [channels, self.num_classes];
        WideResNet {
            stem: SquareConv::new(stem, 3, &NORMAL_BY_FAN_OUT).init(device),
            groups: (0..GROUPS)
                .map(|index| WideGroup::new(self, index, device))
                .collect(),
            norm: BatchNormConfig::new(channels).init(device),
            head: linear(head, &UNIFORM_BY_FAN_IN, &Initializer::Zeros, device).into(),
        }
    }

    /// The number of blocks of a group.
    pub(super) fn blocks(&self) -> usize {
        (self.depth - 4) / 6
    }

    /// The channels that go into the group of this index, counted from 0.
    pub(super) fn channels_into_group(&self, index: usize) -> usize {
        match index {
            0 => CHANNELS,
            _ => self.channels_of_group(index - 1),
        }
    }

    /// The channels that come out of the group of this index, counted from 0.
    pub(super) fn channels_of_group(&self, index: usize) -> usize {
        (CHANNELS * self.width) << index
    }
}
