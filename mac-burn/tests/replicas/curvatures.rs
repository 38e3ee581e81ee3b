//! The other curvatures, whose statistics are of inputs and of the gradients at outputs.

use super::batch::assert_as_alone;
use super::network::config;
use burn::backend::Autodiff;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn::replicas::GradientReduction;
use mac_burn::{EvaConfig, FoofConfig, GradientScale, KfacConfig, SmacConfig, WeightSharing};

type Wide = Autodiff<NdArray<f64>>;
type Narrow = Autodiff<Flex>;

const STEPS: u64 = 8;
/// Numbers of the size of `f64`'s rounding, through inverses on the host.
const WIDE: f64 = 1e-12;
const NARROW: f64 = 1e-5;

/// Breaks when a matrix of inputs or gradients has another place in the vector, counts of samples and rows are a rank's own, or the gradients at outputs
/// have the scale of a share's loss.
#[test]
fn each_curvature_takes_the_steps_of_the_whole_batch() {
    let common = config().with_tcov(2).with_tinv(2);
    for reduction in [GradientReduction::Mean, GradientReduction::Sum] {
        for ranks in [2, 4] {
            let smac = SmacConfig::new().with_settings_of(&common);
            assert_as_alone::<Wide>("SMAC f64", &smac, ranks, STEPS, reduction, WIDE);
            let foof = FoofConfig::new().with_settings_of(&common);
            assert_as_alone::<Wide>("FOOF f64", &foof, ranks, STEPS, reduction, WIDE);
            let eva = EvaConfig::new().with_settings_of(&common);
            assert_as_alone::<Wide>("Eva f64", &eva, ranks, STEPS, reduction, WIDE);
            for scale in [
                GradientScale::MeanLoss,
                GradientScale::MeanLossOverRows,
                GradientScale::SummedLoss,
                GradientScale::Unscaled,
            ] {
                for sharing in [WeightSharing::Expand, WeightSharing::Reduce] {
                    let kfac = KfacConfig::new().with_settings_of(&common);
                    let kfac = kfac.with_gradient_scale(scale).with_weight_sharing(sharing);
                    let what = format!("K-FAC {scale:?} {sharing:?} f64");
                    assert_as_alone::<Wide>(&what, &kfac, ranks, STEPS, reduction, WIDE);
                }
            }
        }
    }
}

/// The same in `f32`, where dense inverses make more of the rounding.
#[test]
fn so_they_do_in_f32() {
    let common = config().with_tcov(2).with_tinv(2);
    let reduction = GradientReduction::Mean;
    let smac = SmacConfig::new().with_settings_of(&common);
    assert_as_alone::<Narrow>("SMAC f32", &smac, 2, STEPS, reduction, NARROW);
    let foof = FoofConfig::new().with_settings_of(&common);
    assert_as_alone::<Narrow>("FOOF f32", &foof, 2, STEPS, reduction, NARROW);
    let eva = EvaConfig::new().with_settings_of(&common);
    assert_as_alone::<Narrow>("Eva f32", &eva, 2, STEPS, reduction, NARROW);
    let kfac = KfacConfig::new().with_settings_of(&common);
    assert_as_alone::<Narrow>("K-FAC f32", &kfac, 2, STEPS, reduction, NARROW);
}
