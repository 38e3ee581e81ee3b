use imageproc::geometric_transformations::Projection;

/// Where what is in an image moves to, with the signs of torchvision.
///
/// Places are in pixels from the upper left corner, so that the middle of the first pixel is at (½, ½).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Motion {
    /// Rows move to the left by this share of how far they are below the upper border.
    ShearX(f64),
    /// Columns move upwards by this share of how far they are to the right of the left border.
    ShearY(f64),
    /// Everything moves to the right by this number of pixels.
    TranslateX(f64),
    /// Everything moves downwards by this number of pixels.
    TranslateY(f64),
    /// Everything turns around the middle by this angle in degrees, counter-clockwise.
    Rotate(f64),
}

impl Motion {
    /// From a place in an image of this width and height to the place that it moves to.
    pub fn projection(self, [width, height]: [u32; 2]) -> Projection {
        match self {
            Self::ShearX(share) => shear(-share, 0.0),
            Self::ShearY(share) => shear(0.0, -share),
            Self::TranslateX(pixels) => Projection::translate(pixels as f32, 0.0),
            Self::TranslateY(pixels) => Projection::translate(0.0, pixels as f32),
            Self::Rotate(degrees) => {
                let middle = Projection::translate(width as f32 / 2.0, height as f32 / 2.0);
                // imageproc turns clockwise.
                let turn = Projection::rotate(-degrees.to_radians() as f32);
                middle * turn * middle.invert()
            }
        }
    }
}

/// `(x + right y, y + down x)`, where one of the two is 0.
fn shear(right: f64, down: f64) -> Projection {
    let [right, down] = [right as f32, down as f32];
    Projection::from_matrix([1.0, right, 0.0, down, 1.0, 0.0, 0.0, 0.0, 1.0])
        .expect("the determinant is 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the trigonometric functions in single precision, on places of up to 10 pixels.
    const ROUNDING: f32 = 1e-5;

    fn assert_moves(motion: Motion, from: (f32, f32), to: (f32, f32)) {
        let place = motion.projection([10, 6]) * from;
        let error = (place.0 - to.0).abs().max((place.1 - to.1).abs());
        assert!(
            error < ROUNDING,
            "{motion:?} moves {from:?} to {place:?}, not to {to:?}"
        );
    }

    /// Breaks when a sign is wrong, columns and rows are exchanged, or a shear is about the middle.
    #[test]
    fn shears_keep_the_upper_left_corner() {
        assert_moves(Motion::ShearX(0.5), (7.0, 4.0), (5.0, 4.0));
        assert_moves(Motion::ShearX(-0.5), (7.0, 4.0), (9.0, 4.0));
        assert_moves(Motion::ShearY(0.5), (4.0, 5.0), (4.0, 3.0));
        assert_moves(Motion::ShearY(-0.5), (4.0, 5.0), (4.0, 7.0));
        for motion in [Motion::ShearX(0.99), Motion::ShearY(0.99)] {
            assert_moves(motion, (0.0, 0.0), (0.0, 0.0));
        }
    }

    /// Breaks when a sign is wrong, or columns and rows are exchanged.
    #[test]
    fn translations_are_to_the_right_and_downwards() {
        assert_moves(Motion::TranslateX(2.0), (3.0, 4.0), (5.0, 4.0));
        assert_moves(Motion::TranslateX(-2.0), (3.0, 4.0), (1.0, 4.0));
        assert_moves(Motion::TranslateY(2.0), (3.0, 4.0), (3.0, 6.0));
        assert_moves(Motion::TranslateY(-2.0), (3.0, 4.0), (3.0, 2.0));
    }

    /// Breaks when the angle is in radians, the sense is clockwise, or the middle of 10 by 6 is not (5, 3).
    #[test]
    fn rotations_are_about_the_middle_and_counter_clockwise() {
        assert_moves(Motion::Rotate(90.0), (9.0, 3.0), (5.0, -1.0));
        assert_moves(Motion::Rotate(-90.0), (9.0, 3.0), (5.0, 7.0));
        assert_moves(Motion::Rotate(30.0), (9.0, 3.0), (5.0 + 12_f32.sqrt(), 1.0));
        assert_moves(Motion::Rotate(135.0), (5.0, 3.0), (5.0, 3.0));
    }
}
