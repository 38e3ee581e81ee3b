//! The methods that panic on a backend, whatever their arguments are.

/// Methods by the text that they panic with.
pub(crate) type Panics = &'static [(&'static str, &'static [&'static str])];

/// The operations that `Autodiff` has not got, or no processor's backend.
pub(crate) const COMMON: Panics = &[
    (
        "not implemented: topk is not implemented for autodiff",
        &["FloatTensorOps::float_topk"],
    ),
    (
        "not implemented: int_scatter_nd is not implemented for this backend",
        &["IntTensorOps::int_scatter_nd"],
    ),
    (
        "not implemented: int_gather_nd is not implemented for this backend",
        &["IntTensorOps::int_gather_nd"],
    ),
    (
        "Can't differentiate embedding backward.",
        &["ModuleOps::embedding_backward"],
    ),
    (
        "Can't differentiate linear_x_backward.",
        &["ModuleOps::linear_x_backward"],
    ),
    (
        "Can't differentiate linear_weight_backward.",
        &["ModuleOps::linear_weight_backward"],
    ),
    (
        "Can't differentiate linear_bias_backward.",
        &["ModuleOps::linear_bias_backward"],
    ),
    (
        "Can't differentiate deform conv 2d backward.",
        &["ModuleOps::deform_conv2d_backward"],
    ),
    (
        "Can't differentiate avg pool 2d backward.",
        &[
            "ModuleOps::avg_pool1d_backward",
            "ModuleOps::avg_pool2d_backward",
        ],
    ),
    (
        "Can't differentiate adaptive avg pool2d backward.",
        &[
            "ModuleOps::adaptive_avg_pool2d_backward",
            "ModuleOps::adaptive_avg_pool1d_backward",
        ],
    ),
    (
        "Can't differentiate max pool2d with indices backward.",
        &["ModuleOps::max_pool2d_with_indices_backward"],
    ),
    (
        "Can't differentiate interpolate backward.",
        &["ModuleOps::interpolate_backward"],
    ),
    (
        "internal error: entered unreachable code: ctc_loss_backward called on a backend whose has_ctc_loss_backward() returns false",
        &["ModuleOps::ctc_loss_backward"],
    ),
    (
        "not yet implemented: rfft not yet supported for autodiff",
        &["ModuleOps::rfft"],
    ),
    (
        "not yet implemented: irfft not yet supported for autodiff",
        &["ModuleOps::irfft"],
    ),
    (
        "not yet implemented",
        &[
            "QTensorOps::q_from_data",
            "QTensorOps::quantize",
            "QTensorOps::quantize_dynamic",
            "QTensorOps::dequantize",
            "QTensorOps::q_repeat_dim",
            "QTensorOps::q_add",
            "QTensorOps::q_add_scalar",
            "QTensorOps::q_clamp_min",
            "QTensorOps::q_clamp_max",
            "QTensorOps::q_clamp",
            "QTensorOps::q_sub",
            "QTensorOps::q_sub_scalar",
            "QTensorOps::q_mul",
            "QTensorOps::q_mul_scalar",
            "QTensorOps::q_div",
            "QTensorOps::q_div_scalar",
            "QTensorOps::q_matmul",
            "QTensorOps::q_neg",
            "QTensorOps::q_recip",
            "QTensorOps::q_sum",
            "QTensorOps::q_sum_dim",
            "QTensorOps::q_prod",
            "QTensorOps::q_prod_dim",
            "QTensorOps::q_mean",
            "QTensorOps::q_mean_dim",
            "QTensorOps::q_cumsum",
            "QTensorOps::q_cumprod",
            "QTensorOps::q_cummin",
            "QTensorOps::q_cummax",
            "QTensorOps::q_exp",
            "QTensorOps::q_log",
            "QTensorOps::q_log1p",
            "QTensorOps::q_powf",
            "QTensorOps::q_powi",
            "QTensorOps::q_powi_scalar",
            "QTensorOps::q_powf_scalar",
            "QTensorOps::q_sqrt",
            "QTensorOps::q_abs",
            "QTensorOps::q_cos",
            "QTensorOps::q_sin",
            "QTensorOps::q_tan",
            "QTensorOps::q_cosh",
            "QTensorOps::q_sinh",
            "QTensorOps::q_tanh",
            "QTensorOps::q_erf",
            "QTensorOps::q_cat",
            "QTensorOps::q_argtopk",
            "QTensorOps::q_topk",
            "QTensorOps::q_max_abs",
            "QTensorOps::q_max_abs_dim",
            "QTensorOps::q_any",
            "QTensorOps::q_any_dim",
            "QTensorOps::q_all",
            "QTensorOps::q_all_dim",
            "QTensorOps::q_sort",
            "QTensorOps::q_sort_with_indices",
            "QTensorOps::q_argsort",
        ],
    ),
    (
        "not implemented",
        &[
            "QTensorOps::q_to_device",
            "QTensorOps::q_expand",
            "QTensorOps::q_transpose",
            "QTensorOps::q_swap_dims",
            "QTensorOps::q_permute",
            "QTensorOps::q_flip",
            "QTensorOps::q_select",
            "QTensorOps::q_slice",
            "QTensorOps::q_gather",
            "QTensorOps::q_max",
            "QTensorOps::q_max_dim",
            "QTensorOps::q_max_dim_with_indices",
            "QTensorOps::q_min",
            "QTensorOps::q_min_dim",
            "QTensorOps::q_min_dim_with_indices",
        ],
    ),
];

pub(crate) const FLEX: Panics = &[
    (
        "not implemented: float_argtopk not implemented for flex",
        &["FloatTensorOps::float_argtopk"],
    ),
    (
        "argtopk not implemented for flex",
        &["IntTensorOps::int_argtopk"],
    ),
];

pub(crate) const NDARRAY: Panics = &[
    (
        "not implemented: float_argtopk not implemented for ndarray",
        &["FloatTensorOps::float_argtopk"],
    ),
    (
        "not implemented: argtopk not implemented for ndarray",
        &["IntTensorOps::int_argtopk"],
    ),
];

/// Layers that `NdArray` cannot go backward through.
pub(crate) const NDARRAY_LAYERS: Panics = &[
    (
        "bilinear interpolation backward is not supported for ndarray backend",
        &["Interpolate2d, linear"],
    ),
    (
        "bicubic interpolation backward is not supported for ndarray backend",
        &["Interpolate2d, cubic"],
    ),
];
