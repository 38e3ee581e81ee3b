//! What convolutions and linear layers start with. The normal ones are of K. He et al., "Delving Deep into Rectifiers",
//! [arXiv:1502.01852](https://arxiv.org/abs/1502.01852).

use std::f64::consts::SQRT_2;

use burn::module::Initializer;

/// A variance of 2 / fan-out, which keeps the size of gradients from layer to layer.
pub(crate) const NORMAL_BY_FAN_OUT: Initializer = Initializer::KaimingNormal {
    gain: SQRT_2,
    fan_out_only: true,
};

/// A variance of 2 / fan-in, which keeps the size of activations from layer to layer.
pub(crate) const NORMAL_BY_FAN_IN: Initializer = Initializer::KaimingNormal {
    gain: SQRT_2,
    fan_out_only: false,
};

/// In ±1/√fan-in: PyTorch's own default and Burn's.
pub(crate) const UNIFORM_BY_FAN_IN: Initializer = Initializer::KaimingUniform {
    // 1/√3, by which the bound of a uniform distribution is larger than its standard deviation.
    gain: 0.577_350_269_189_625_7,
    fan_out_only: false,
};
