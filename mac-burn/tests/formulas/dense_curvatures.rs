//! MAC, SMAC, FOOF, Eva and K-FAC by dense matrices, as their formulas have them.

use burn::backend::Autodiff;
use burn_ndarray::NdArray;
use mac_burn::{
    EvaConfig, FoofConfig, GradientScale, KfacConfig, MacConfig, MacPreconditioner, SmacConfig,
    WeightSharing,
};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;

pub(crate) type F64 = Autodiff<NdArray<f64>>;
pub(crate) type Matrix = DMatrix<f64>;

/// The rows of a layer, or of a group or projection of it: `a` and the gradient at its outputs `g` of each row, by sample.
pub(crate) struct Seen {
    pub(crate) inputs: Vec<Matrix>,
    pub(crate) outputs: Vec<Matrix>,
    /// The inputs of the curvature, where they are others, as through attention.
    pub(crate) attended: Option<Vec<Matrix>>,
    /// Places of a sample, padding among them.
    pub(crate) places: usize,
    /// Whether there is a bias that is not trained; `π` has its 1.
    pub(crate) has_fixed_bias: bool,
}

impl Seen {
    /// `Σ g aᵀ`, `[outputs, inputs]`.
    pub(crate) fn gradient(&self) -> Matrix {
        let samples = self.inputs.iter().zip(&self.outputs);
        let products = samples.map(|(inputs, outputs)| outputs.transpose() * inputs);
        products
            .reduce(|left, right| left + right)
            .expect("there are samples")
    }

    pub(crate) fn curvature_inputs(&self) -> &[Matrix] {
        self.attended.as_ref().unwrap_or(&self.inputs)
    }
}

/// The mean over rows of `v vᵀ`, or over samples of that of their mean.
pub(crate) fn second_moment(samples: &[Matrix], sharing: WeightSharing) -> Matrix {
    let rows: Vec<DVector<f64>> = samples
        .iter()
        .filter(|sample| sample.nrows() > 0)
        .flat_map(|sample| match sharing {
            WeightSharing::Expand => sample.row_iter().map(|row| row.transpose()).collect(),
            WeightSharing::Reduce => vec![sample.row_mean().transpose()],
        })
        .collect();
    let size = rows[0].len();
    let sum = rows.iter().fold(Matrix::zeros(size, size), |sum, row| {
        sum + row * row.transpose()
    });
    sum / rows.len() as f64
}

pub(crate) fn mean(samples: &[Matrix], function: impl Fn(f64) -> f64) -> DVector<f64> {
    let rows: Vec<DVector<f64>> = samples
        .iter()
        .flat_map(|sample| sample.row_iter().map(|row| row.transpose().map(&function)))
        .collect();
    rows.iter().sum::<DVector<f64>>() / rows.len() as f64
}

pub(crate) fn damped(matrix: Matrix, damping: f64) -> Matrix {
    let size = matrix.nrows();
    matrix + Matrix::identity(size, size) * damping
}

pub(crate) fn inverse(matrix: Matrix) -> Matrix {
    matrix.try_inverse().expect("it is regular")
}

/// One of them, with what its formula needs.
#[derive(Debug, Clone)]
pub(crate) enum Curvature {
    Mac(MacConfig),
    Foof(FoofConfig),
    Eva(EvaConfig),
    Kfac(KfacConfig),
    Smac(SmacConfig),
}

impl Curvature {
    pub(crate) fn preconditioner(&self) -> MacPreconditioner<F64> {
        match self {
            Self::Mac(config) => config.init_preconditioner(),
            Self::Foof(config) => config.init_preconditioner(),
            Self::Eva(config) => config.init_preconditioner(),
            Self::Kfac(config) => config.init_preconditioner(),
            Self::Smac(config) => config.init_preconditioner(),
        }
    }

    pub(crate) fn with_auxiliary_biases(self) -> Self {
        match self {
            Self::Mac(config) => Self::Mac(config.with_auxiliary_biases(true)),
            Self::Foof(config) => Self::Foof(config.with_auxiliary_biases(true)),
            Self::Eva(config) => Self::Eva(config.with_auxiliary_biases(true)),
            Self::Kfac(config) => Self::Kfac(config.with_auxiliary_biases(true)),
            Self::Smac(config) => Self::Smac(config.with_auxiliary_biases(true)),
        }
    }

    /// The gradient of a block, preconditioned by what was seen in one step; `is_fused` for a part of one projection to queries, keys and
    /// values.
    pub(crate) fn applied(&self, gradient: Matrix, seen: &Seen, is_fused: bool) -> Matrix {
        let inputs = seen.curvature_inputs();
        match self {
            Self::Mac(config) => gradient * rank_one(inputs, config.damping),
            Self::Foof(config) => {
                let moment = second_moment(inputs, WeightSharing::Expand);
                // After one update `(β I + (1 − β) A) / (1 − β)`.
                let start = match config.identity_start {
                    true => config.stat_decay / (1.0 - config.stat_decay),
                    false => 0.0,
                };
                gradient * inverse(damped(moment, config.damping + start))
            }
            Self::Kfac(config) => {
                let samples = seen.outputs.len() as f64;
                // Of each sample its rows, or their sum.
                let rows: Vec<Matrix> = match config.weight_sharing {
                    WeightSharing::Expand => seen.outputs.clone(),
                    WeightSharing::Reduce => {
                        let sums = seen.outputs.iter().map(|sample| sample.row_sum());
                        sums.map(|sum| Matrix::from_rows(&[sum])).collect()
                    }
                };
                let count: usize = rows.iter().map(Matrix::nrows).sum();
                let sum = rows.iter().map(|sample| sample.transpose() * sample);
                let sum = sum
                    .reduce(|left, right| left + right)
                    .expect("there are samples");
                let outputs = match (config.gradient_scale, config.weight_sharing) {
                    (GradientScale::MeanLoss, _) => sum * samples,
                    (GradientScale::MeanLossOverRows, _) => sum * samples * seen.places as f64,
                    (GradientScale::SummedLoss, _) => sum / samples,
                    (GradientScale::Unscaled, WeightSharing::Expand) => sum / count as f64,
                    (GradientScale::Unscaled, WeightSharing::Reduce) => {
                        sum / (count * seen.places * seen.places) as f64
                    }
                };
                let inputs = second_moment(inputs, config.weight_sharing);
                let mean = |matrix: &Matrix, one: usize| {
                    (matrix.trace() + one as f64) / (matrix.nrows() + one) as f64
                };
                let pi =
                    (mean(&inputs, usize::from(seen.has_fixed_bias)) / mean(&outputs, 0)).sqrt();
                let root = config.damping.sqrt();
                inverse(damped(outputs, root / pi)) * gradient * inverse(damped(inputs, root * pi))
            }
            Self::Eva(config) => {
                // By the Kronecker product itself, column after column.
                let (a, g) = (mean(inputs, |x| x), mean(&seen.outputs, |x| x));
                let vector = a.kronecker(&g);
                let curvature = damped(&vector * vector.transpose(), config.damping);
                let flat = DVector::from_column_slice(gradient.as_slice());
                let solved = inverse(curvature) * flat;
                Matrix::from_column_slice(gradient.nrows(), gradient.ncols(), solved.as_slice())
            }
            Self::Smac(config) => {
                let input = rank_one(inputs, config.damping);
                let z = mean(&seen.outputs, |x| x * x);
                let output = z.map(|z| 1.0 / (z + config.damping));
                match is_fused {
                    true => gradient * input,
                    false => Matrix::from_diagonal(&output) * gradient * input,
                }
            }
        }
    }
}

/// `ρ (ρ I + ā āᵀ)⁻¹`.
fn rank_one(inputs: &[Matrix], damping: f64) -> Matrix {
    let a = mean(inputs, |x| x);
    inverse(damped(&a * a.transpose(), damping)) * damping
}

pub(crate) fn curvatures() -> impl Strategy<Value = Curvature> {
    let damping = 0.01..2.0f64;
    let kfac = (
        damping.clone(),
        prop_oneof![Just(WeightSharing::Expand), Just(WeightSharing::Reduce)],
        prop_oneof![
            Just(GradientScale::MeanLoss),
            Just(GradientScale::MeanLossOverRows),
            Just(GradientScale::SummedLoss),
            Just(GradientScale::Unscaled)
        ],
    );
    prop_oneof![
        (damping.clone(), any::<bool>()).prop_map(|(damping, identity)| Curvature::Foof(
            FoofConfig::new()
                .with_damping(damping)
                .with_identity_start(identity)
        )),
        damping.clone().prop_map(|damping| Curvature::Eva(
            EvaConfig::new().with_damping(damping).with_kl_clip(None)
        )),
        damping
            .clone()
            .prop_map(|damping| Curvature::Smac(SmacConfig::new().with_damping(damping))),
        damping.prop_map(|damping| Curvature::Mac(MacConfig::new().with_damping(damping))),
        kfac.prop_map(|(damping, sharing, scale)| Curvature::Kfac(
            KfacConfig::new()
                .with_damping(damping)
                .with_weight_sharing(sharing)
                .with_gradient_scale(scale)
                .with_kl_clip(None)
        )),
    ]
}
