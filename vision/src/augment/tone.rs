use image::RgbImage;

/// The new value of each value of a channel.
type Table = [u8; 256];

/// Changes the values of an image by a table for each channel, as PIL's `ImageOps` do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tone {
    /// Stretches each channel linearly to [0, 255].
    AutoContrast,
    /// Makes the values of each channel about equally frequent.
    Equalize,
    /// `255 − value`.
    Invert,
    /// Keeps this number of upper bits, in [0, 8].
    Posterize(u32),
    /// Inverts values of this threshold or more.
    Solarize(f64),
    /// Adds this to values below 128.
    SolarizeAdd(u8),
}

impl Tone {
    /// The image with other values.
    pub fn apply(self, mut image: RgbImage) -> RgbImage {
        let tables = self.tables(&image);
        for pixel in image.pixels_mut() {
            for (value, table) in pixel.0.iter_mut().zip(&tables) {
                *value = table[usize::from(*value)];
            }
        }
        image
    }

    fn tables(self, image: &RgbImage) -> [Table; 3] {
        match self {
            Self::AutoContrast => counts(image).map(|counts| stretched(&counts)),
            Self::Equalize => counts(image).map(equalized),
            Self::Invert => [table(|value| 255 - value); 3],
            Self::Posterize(bits) => [table(|value| posterized(value, bits)); 3],
            Self::Solarize(threshold) => [table(|value| solarized(value, threshold)); 3],
            Self::SolarizeAdd(more) => [table(|value| brightened(value, more)); 3],
        }
    }
}

fn table(new: impl Fn(u8) -> u8) -> Table {
    std::array::from_fn(|value| new(value as u8))
}

/// How often each channel has each value.
fn counts(image: &RgbImage) -> [[usize; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.pixels() {
        for (value, counts) in pixel.0.iter().zip(&mut counts) {
            counts[usize::from(*value)] += 1;
        }
    }
    counts
}

fn stretched(counts: &[usize; 256]) -> Table {
    let lowest = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let highest = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    if highest == lowest {
        return table(|value| value);
    }
    let scale = 255.0 / (highest - lowest) as f64;
    let offset = -(lowest as f64) * scale;
    // The conversion rounds down and keeps to [0, 255].
    table(|value| (f64::from(value) * scale + offset) as u8)
}

fn equalized(counts: [usize; 256]) -> Table {
    let highest = counts.iter().rfind(|count| **count > 0).unwrap_or(&0);
    let step = (counts.iter().sum::<usize>() - highest) / 255;
    if step == 0 {
        return table(|value| value);
    }
    let mut below = step / 2;
    counts.map(|count| {
        let value = (below / step).min(255) as u8;
        below += count;
        value
    })
}

fn posterized(value: u8, bits: u32) -> u8 {
    // Wider, so that all eight bits can be shifted out.
    let lower = 8 - bits;
    (u16::from(value) >> lower << lower) as u8
}

fn solarized(value: u8, threshold: f64) -> u8 {
    if f64::from(value) < threshold {
        value
    } else {
        255 - value
    }
}

fn brightened(value: u8, more: u8) -> u8 {
    if value < 128 {
        value.saturating_add(more)
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// The values of a row of gray pixels afterwards.
    fn grays<const N: usize>(tone: Tone, values: [u8; N]) -> [u8; N] {
        let image = RgbImage::from_fn(N as u32, 1, |x, _| Rgb([values[x as usize]; 3]));
        let out = tone.apply(image);
        assert_eq!(out.dimensions(), (N as u32, 1));
        std::array::from_fn(|x| out[(x as u32, 0)][2])
    }

    /// Breaks when a value is rounded to the nearest: 45 is in the middle of 20 and 70 and becomes 127.5, as does 100
    /// of 0 and 200. The last 200 is PIL's error of rounding, 200 · 1.275 = 254.99999999999997.
    #[test]
    fn auto_contrast_stretches_linearly() {
        assert_eq!(grays(Tone::AutoContrast, [20, 45, 70]), [0, 127, 255]);
        assert_eq!(grays(Tone::AutoContrast, [0, 100, 200]), [0, 127, 254]);
    }

    /// Breaks when channels share a table, or one of a single value is divided by 0.
    #[test]
    fn auto_contrast_has_a_table_for_each_channel_and_keeps_what_is_plain() {
        let mut image = RgbImage::from_pixel(2, 1, Rgb([10, 77, 0]));
        image.put_pixel(1, 0, Rgb([20, 77, 255]));
        let out = Tone::AutoContrast.apply(image);
        assert_eq!(out[(0, 0)], Rgb([0, 77, 0]));
        assert_eq!(out[(1, 0)], Rgb([255, 77, 255]));
    }

    /// 514 pixels of 10, 510 of 20 and one of 30: the step is 1024 / 255 = 4, and values become (2 + those below) / 4.
    ///
    /// Breaks when pixels of a value itself count as below it (10 becomes 129 then), when the half of a step is left
    /// out (20 becomes 128 then), when a value above 255 wraps around,
    /// or channels share a table.
    #[test]
    fn equalize_gives_each_value_the_share_of_those_below_it() {
        let image = RgbImage::from_fn(1025, 1, |x, _| match x {
            0..514 => Rgb([10, 77, 10]),
            514..1024 => Rgb([20, 77, 10]),
            _ => Rgb([30, 77, 255]),
        });
        let out = Tone::Equalize.apply(image);
        // 2 / 4, 516 / 4 and 1026 / 4, which is 256.
        let expected = [[0, 77, 0], [129, 77, 0], [255, 77, 255]];
        assert_eq!([0, 514, 1024].map(|x| out[(x, 0)].0), expected);
    }

    /// Breaks when the highest value is counted for the step: it is (300 + 600) / 255 = 3 then, not 300 / 255 = 1, and
    /// the first value of 300 pixels makes the next 100.
    #[test]
    fn equalize_leaves_the_highest_value_out_of_the_step() {
        let image = RgbImage::from_fn(900, 1, |x, _| Rgb([if x < 300 { 7 } else { 9 }; 3]));
        let out = Tone::Equalize.apply(image);
        assert_eq!([0, 300].map(|x| out[(x, 0)][0]), [0, 255]);
    }

    /// Breaks when a plain image or one of fewer than 255 pixels below its highest value divides by 0.
    #[test]
    fn equalize_keeps_what_it_cannot_spread() {
        let plain = RgbImage::from_pixel(40, 40, Rgb([3, 128, 255]));
        assert_eq!(Tone::Equalize.apply(plain.clone()), plain);
        assert_eq!(
            grays(Tone::Equalize, [5, 6, 7, 200, 201]),
            [5, 6, 7, 200, 201]
        );
    }

    #[test]
    fn invert_is_the_distance_to_white() {
        assert_eq!(grays(Tone::Invert, [0, 1, 100, 255]), [255, 254, 155, 0]);
    }

    /// Breaks when lower bits are kept instead, when values are rounded, or when all bits cannot be dropped.
    #[test]
    fn posterize_keeps_the_upper_bits() {
        let values = [0b0000_0000, 0b0011_1111, 0b1011_0101, 0b1111_1111];
        assert_eq!(
            grays(Tone::Posterize(2), values),
            [0, 0, 0b1000_0000, 0b1100_0000]
        );
        assert_eq!(
            grays(Tone::Posterize(5), values),
            [0, 0b0011_1000, 0b1011_0000, 0b1111_1000]
        );
        assert_eq!(grays(Tone::Posterize(8), values), values);
        assert_eq!(grays(Tone::Posterize(0), values), [0; 4]);
    }

    /// Breaks when the threshold itself is kept, when a fraction of it is dropped, or when darker values are inverted.
    #[test]
    fn solarize_inverts_from_the_threshold_on() {
        let values = [0, 99, 100, 101, 255];
        assert_eq!(grays(Tone::Solarize(100.0), values), [0, 99, 155, 154, 0]);
        assert_eq!(grays(Tone::Solarize(100.5), values), [0, 99, 100, 154, 0]);
        assert_eq!(grays(Tone::Solarize(256.0), values), values);
        assert_eq!(grays(Tone::Solarize(0.0), values), [255, 156, 155, 154, 0]);
    }

    /// Breaks when the bound is not 128, or a sum wraps around.
    #[test]
    fn solarize_add_brightens_what_is_dark() {
        let values = [0, 127, 128, 255];
        assert_eq!(grays(Tone::SolarizeAdd(110), values), [110, 237, 128, 255]);
        assert_eq!(grays(Tone::SolarizeAdd(200), values), [200, 255, 128, 255]);
    }
}
