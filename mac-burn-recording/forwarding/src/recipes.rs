//! Recipes for the arguments of a call: shapes that fit, indices that exist, values in the domain of the function.

/// Arguments by method and parameter: names of methods, `*` at an end standing for anything, then the name or the type of a parameter, then what it is made of. The first that
/// fits counts. Tensors come of `tests/forwarding/call.rs`, where each argument has other values than the one before.
pub(crate) const ARGUMENTS: &[(&str, &str, &str)] = &[
    // Domains of functions.
    (
        "float_log float_log1p float_sqrt float_prod float_prod_dim",
        "tensor",
        "call.float_in(0.25..4.0, [2, 3, 4])",
    ),
    (
        "float_powf float_powf_scalar float_powf_scalar_impl",
        "lhs tensor",
        "call.float_in(0.25..4.0, [2, 3, 4])",
    ),
    (
        "float_acos float_asin float_atanh",
        "tensor",
        "call.float_in(-0.9..0.9, [2, 3, 4])",
    ),
    (
        "float_acosh",
        "tensor",
        "call.float_in(1.25..4.0, [2, 3, 4])",
    ),
    (
        "float_div float_remainder",
        "rhs",
        "call.float_in(0.5..2.0, [2, 3, 4])",
    ),
    (
        "float_any* float_all* float_sign",
        "tensor",
        "call.float_with_zeros([2, 3, 4])",
    ),
    (
        "int_any* int_all*",
        "tensor",
        "call.int_in(0..2, [2, 3, 4])",
    ),
    (
        "float_is_nan float_is_inf",
        "tensor",
        "call.not_finite([2, 3, 4])",
    ),
    (
        "sigmoid_backward",
        "output",
        "call.float_in(0.1..0.9, [2, 3, 4])",
    ),
    (
        "int_div int_remainder",
        "rhs",
        "call.int_in(1..5, [2, 3, 4])",
    ),
    (
        "int_powi float_powi q_powi bitwise_left_shift bitwise_right_shift",
        "rhs",
        "call.int_in(0..4, [2, 3, 4])",
    ),
    ("float_powi_scalar* q_powi_scalar", "rhs", "Scalar::Int(3)"),
    (
        "float_powf_scalar* q_powf_scalar",
        "value",
        "Scalar::Float(1.5)",
    ),
    ("int_clamp*", "min", "Scalar::Int(-2)"),
    ("int_clamp*", "max", "Scalar::Int(3)"),
    ("*_clamp* hard_sigmoid", "min alpha", "Scalar::Float(-0.5)"),
    ("*_clamp* hard_sigmoid", "max beta", "Scalar::Float(0.75)"),
    // Shapes of operations.
    (
        "q_matmul",
        "lhs",
        "TensorPrimitive::QFloat(call.quantized([2, 3, 4]))",
    ),
    (
        "q_matmul",
        "rhs",
        "TensorPrimitive::QFloat(call.quantized([2, 4, 5]))",
    ),
    ("*_matmul", "IntTensor<B>", "call.int_in(-4..5, [2, 4, 4])"),
    ("*_matmul", "lhs", "call.float([2, 3, 4])"),
    ("*_matmul", "rhs", "call.float([2, 4, 5])"),
    ("*_reshape", "shape", "Shape::new([4, 6])"),
    ("float_expand", "tensor", "call.float([2, 1, 4])"),
    ("int_expand", "tensor", "call.int([2, 1, 4])"),
    ("bool_expand", "tensor", "call.bool([2, 1, 4])"),
    ("q_expand", "tensor", "call.quantized([2, 1, 4])"),
    (
        "*_scatter_nd *_gather_nd",
        "indices",
        "call.int_in(0..2, [3, 2])",
    ),
    ("float_scatter_nd", "values", "call.float([3, 4])"),
    ("int_scatter_nd", "values", "call.int([3, 4])"),
    (
        "*_gather *_scatter_add *_scatter_or",
        "indices",
        "call.int_in(0..3, [2, 2, 4])",
    ),
    ("*_select *_select_*", "indices", "call.int_in(0..3, [2])"),
    (
        "float_scatter_add float_select_add",
        "value",
        "call.float([2, 2, 4])",
    ),
    (
        "int_scatter_add int_select_add",
        "value",
        "call.int([2, 2, 4])",
    ),
    (
        "bool_scatter_or bool_select_or",
        "value",
        "call.bool([2, 2, 4])",
    ),
    ("float_slice_assign", "value", "call.float([2, 2, 2])"),
    ("int_slice_assign", "value", "call.int([2, 2, 2])"),
    ("bool_slice_assign", "value", "call.bool([2, 2, 2])"),
    ("*_flip", "axes", "[0usize, 2]"),
    ("float_grid_sample_2d", "tensor", "call.float([2, 3, 5, 4])"),
    (
        "float_grid_sample_2d",
        "grid",
        "call.float_in(-1.0..1.0, [2, 6, 7, 2])",
    ),
    ("*_unfold", "dim", "2"),
    ("prelu", "alpha", "call.float([1, 3, 1])"),
    ("embedding*", "weights", "call.float([5, 3])"),
    ("embedding*", "indices", "call.int_in(0..5, [2, 4])"),
    ("embedding_backward", "output_grad", "call.float([2, 4, 3])"),
    ("linear*", "x", "call.float([2, 3, 4])"),
    ("linear*", "weight", "call.float([4, 5])"),
    ("linear*", "bias", "call.float([5])"),
    ("linear*", "output_grad", "call.float([2, 3, 5])"),
    ("conv1d*", "x", "call.float([2, 4, 7])"),
    ("conv1d*", "weight", "call.float([6, 2, 3])"),
    ("conv1d*", "output_grad", "call.float([2, 6, 4])"),
    ("conv1d*", "options", "ConvOptions::new([2], [1], [1], 2)"),
    ("conv2d*", "x", "call.float([2, 4, 9, 6])"),
    ("conv2d*", "weight", "call.float([6, 2, 3, 2])"),
    ("conv2d*", "output_grad", "call.float([2, 6, 5, 4])"),
    (
        "conv2d*",
        "options",
        "ConvOptions::new([2, 1], [1, 0], [1, 2], 2)",
    ),
    ("conv3d*", "x", "call.float([2, 4, 5, 4, 6])"),
    ("conv3d*", "weight", "call.float([6, 2, 3, 2, 2])"),
    ("conv3d*", "output_grad", "call.float([2, 6, 3, 3, 6])"),
    (
        "conv3d*",
        "options",
        "ConvOptions::new([2, 1, 1], [1, 0, 1], [1, 1, 2], 2)",
    ),
    ("conv_transpose1d*", "x", "call.float([2, 4, 5])"),
    ("conv_transpose1d*", "weight", "call.float([4, 3, 3])"),
    ("conv_transpose1d*", "output_grad", "call.float([2, 6, 9])"),
    (
        "conv_transpose1d*",
        "options",
        "ConvTransposeOptions::new([2], [1], [0], [1], 2)",
    ),
    ("conv_transpose2d*", "x", "call.float([2, 4, 5, 3])"),
    ("conv_transpose2d*", "weight", "call.float([4, 3, 3, 2])"),
    (
        "conv_transpose2d*",
        "output_grad",
        "call.float([2, 6, 10, 5])",
    ),
    (
        "conv_transpose2d*",
        "options",
        "ConvTransposeOptions::new([2, 1], [1, 0], [1, 0], [1, 2], 2)",
    ),
    ("conv_transpose3d*", "x", "call.float([2, 4, 3, 2, 3])"),
    ("conv_transpose3d*", "weight", "call.float([4, 3, 3, 2, 2])"),
    (
        "conv_transpose3d*",
        "output_grad",
        "call.float([2, 6, 6, 3, 5])",
    ),
    (
        "conv_transpose3d*",
        "options",
        "ConvTransposeOptions::new([2, 1, 1], [1, 0, 0], [1, 0, 0], [1, 1, 2], 2)",
    ),
    ("deform_conv2d*", "x", "call.float([2, 4, 5, 6])"),
    ("deform_conv2d*", "offset", "call.float([2, 24, 5, 3])"),
    ("deform_conv2d*", "weight", "call.float([6, 2, 3, 2])"),
    ("deform_conv2d*", "mask", "call.float([2, 12, 5, 3])"),
    ("deform_conv2d*", "output_grad", "call.float([2, 6, 5, 3])"),
    (
        "deform_conv2d*",
        "options",
        "DeformConvOptions::new([1, 2], [1, 0], [1, 1], 2, 2)",
    ),
    ("conv* deform_conv*", "bias", "call.float([6])"),
    ("unfold4d", "x", "call.float([2, 3, 5, 4])"),
    ("unfold4d", "kernel_size", "[2, 3]"),
    (
        "unfold4d",
        "options",
        "UnfoldOptions::new([2, 1], [1, 0], [1, 1])",
    ),
    ("*pool1d*", "x", "call.float([2, 3, 7])"),
    ("*pool1d*", "indices", "call.int_in(0..7, [2, 3, 3])"),
    ("avg_pool1d*", "grad", "call.float([2, 3, 4])"),
    ("*pool1d*", "grad output_grad", "call.float([2, 3, 3])"),
    ("*pool2d*", "x", "call.float([2, 3, 7, 6])"),
    ("*pool2d*", "indices", "call.int_in(0..42, [2, 3, 3, 5])"),
    ("avg_pool2d*", "grad", "call.float([2, 3, 4, 5])"),
    ("adaptive_avg_pool2d*", "grad", "call.float([2, 3, 3, 4])"),
    ("max_pool2d*", "output_grad", "call.float([2, 3, 3, 5])"),
    ("adaptive_avg_pool1d", "output_size", "3"),
    ("adaptive_avg_pool2d", "output_size", "[3, 4]"),
    ("*pool1d*", "kernel_size", "3"),
    ("*pool1d*", "stride dilation", "2"),
    ("*pool1d*", "padding", "1"),
    ("*pool2d*", "kernel_size", "[3, 2]"),
    ("*pool2d*", "stride dilation", "[2, 1]"),
    ("*pool2d*", "padding", "[1, 0]"),
    ("interpolate*", "x", "call.float([2, 3, 4, 5])"),
    ("interpolate*", "grad", "call.float([2, 3, 7, 6])"),
    ("interpolate*", "output_size", "[7, 6]"),
    ("attention", "query", "call.float([2, 2, 3, 4])"),
    ("attention", "key", "call.float([2, 2, 5, 4])"),
    ("attention", "value", "call.float([2, 2, 5, 6])"),
    ("attention", "mask", "call.bool([2, 2, 3, 5])"),
    ("attention", "attn_bias", "call.float([2, 2, 3, 5])"),
    ("layer_norm", "gamma beta", "call.float([4])"),
    (
        "ctc_loss*",
        "log_probs",
        "call.float_in(-3.0..-0.1, [6, 2, 4])",
    ),
    ("ctc_loss*", "targets", "call.int_in(1..4, [2, 2])"),
    ("ctc_loss*", "input_lengths", "call.int_in(5..7, [2])"),
    ("ctc_loss*", "target_lengths", "call.int_in(1..3, [2])"),
    ("ctc_loss*", "grad_loss", "call.float([2])"),
    ("ctc_loss*", "blank", "0"),
    ("rfft", "signal", "call.float([2, 3, 8])"),
    ("irfft", "spectrum_re spectrum_im", "call.float([2, 3, 5])"),
    ("rfft irfft", "dim", "2"),
    // By the name of a parameter.
    ("*", "dim dim1", "1"),
    ("*", "dim2", "2"),
    ("*", "axes", "[2usize, 0, 1]"),
    ("*", "times", "3"),
    ("*", "k size", "2"),
    ("int_arange_step", "step", "2"),
    ("*", "step", "1"),
    ("*", "n", "8"),
    ("*", "epsilon", "1e-3"),
    ("*", "descending require_grad count_include_pad", "true"),
    ("*", "ceil_mode", "false"),
    (
        "*",
        "slices",
        "[Slice::new(0, None, 1), Slice::new(1, Some(3), 1), Slice::new(0, Some(4), 2)]",
    ),
    // By the type of a parameter.
    (
        "*",
        "FloatTensor<Self::InnerBackend>",
        "call.inner_float([2, 3, 4])",
    ),
    (
        "*",
        "IntTensor<Self::InnerBackend>",
        "call.inner_int([2, 3, 4])",
    ),
    (
        "*",
        "BoolTensor<Self::InnerBackend>",
        "call.inner_bool([2, 3, 4])",
    ),
    (
        "*",
        "QuantizedTensor<Self::InnerBackend>",
        "call.inner_quantized([2, 3, 4])",
    ),
    ("*", "FloatTensor<B>", "call.float([2, 3, 4])"),
    ("*", "IntTensor<B>", "call.int([2, 3, 4])"),
    ("*", "BoolTensor<B>", "call.bool([2, 3, 4])"),
    ("*", "QuantizedTensor<B>", "call.quantized([2, 3, 4])"),
    (
        "*",
        "Vec<FloatTensor<B>>",
        "vec![call.float([2, 3, 4]), call.float([2, 2, 4])]",
    ),
    (
        "*",
        "Vec<IntTensor<B>>",
        "vec![call.int([2, 3, 4]), call.int([2, 2, 4])]",
    ),
    (
        "*",
        "Vec<BoolTensor<B>>",
        "vec![call.bool([2, 3, 4]), call.bool([2, 2, 4])]",
    ),
    (
        "*",
        "Vec<QuantizedTensor<B>>",
        "vec![call.quantized([2, 3, 4]), call.quantized([2, 2, 4])]",
    ),
    ("float_*", "TensorData", "call.float_data([2, 3, 4])"),
    ("int_*", "TensorData", "call.int_data([2, 3, 4])"),
    ("bool_*", "TensorData", "call.bool_data([2, 3, 4])"),
    ("q_*", "TensorData", "call.quantized_data([2, 3, 4])"),
    ("int_* bitwise_*", "Scalar", "Scalar::Int(3)"),
    ("bool_*", "Scalar", "Scalar::Bool(true)"),
    ("*", "Scalar", "Scalar::Float(0.375)"),
    ("*", "Shape", "Shape::new([2, 3, 4])"),
    ("*", "Device<B>", "call.device()"),
    ("*", "type_id", "0"),
    ("*", "DType", "DType::F16"),
    ("*", "FloatDType", "FloatDType::F64"),
    ("*", "IntDType", "IntDType::I32"),
    ("*", "BoolDType", "BoolDType::Native"),
    ("*", "Distribution", "Distribution::Uniform(-3.0, 7.0)"),
    ("*", "Range<i64>", "-3..8"),
    (
        "*",
        "crate::tensor::IndexingUpdateOp",
        "IndexingUpdateOp::Add",
    ),
    ("*", "QuantScheme", "call.scheme()"),
    (
        "*",
        "QuantizationParametersPrimitive<B>",
        "QuantizationParametersPrimitive { scales: call.float_in(0.01..0.02, [1]) }",
    ),
    (
        "*",
        "GridSampleOptions",
        "GridSampleOptions::new(InterpolateMode::Bilinear)",
    ),
    (
        "*",
        "InterpolateOptions",
        "InterpolateOptions::new(InterpolateMode::Nearest)",
    ),
    (
        "*",
        "AttentionModuleOptions",
        "AttentionModuleOptions { scale: Some(0.4), softcap: Some(1.5), is_causal: false }",
    ),
];

/// Calls whose arguments depend on one another, or whose results are to be read with others.
pub(crate) const WHOLE: &[(&str, &str)] = &[
    // The content of what is empty is anything.
    (
        "float_empty",
        "let result = R::float_empty(Shape::new([2, 3, 4]), &call.device(), FloatDType::F64);
        call.value((result.shape(), result.dtype()));",
    ),
    (
        "int_empty",
        "let result = R::int_empty(Shape::new([2, 3, 4]), &call.device(), IntDType::I32);
        call.value((result.shape(), result.dtype()));",
    ),
    (
        "bool_empty",
        "let result = R::bool_empty(Shape::new([2, 3, 4]), &call.device(), BoolDType::Native);
        call.value((result.shape(), result.dtype()));",
    ),
    (
        "tr_execute",
        "let floats = vec![call.float([2, 3]), call.float([4])];
        let quantized = vec![call.quantized([2, 3, 4])];
        let ints = vec![call.int([3])];
        let bools = vec![call.bool([2, 2])];
        let transaction = TransactionPrimitive::new(floats, quantized, ints, bools);
        call.transaction_result(R::tr_execute(transaction));",
    ),
    (
        "memory_persistent_allocations",
        "let device = call.device();
        let result = R::memory_persistent_allocations(&device, 3, |input: i32| input + 4);
        call.value(result);",
    ),
    (
        "staging",
        "let mut data = [call.float_data([2, 3]), call.int_data([4])];
        R::staging(data.iter_mut(), &call.device());
        for data in data {
            call.data_result(data);
        }",
    ),
    (
        "seed",
        "let device = call.device();
        R::seed(&device, 5);
        let result = R::float_random(Shape::new([2, 3, 4]), Distribution::Default, &device, FloatDType::F32);
        call.float_result(result);",
    ),
    (
        "backward",
        "let input = call.float([2, 3, 4]);
        let output = R::float_sum(R::float_exp(input.clone()));
        let gradients = R::backward(output);
        call.gradient_result(R::grad(&input, &gradients));",
    ),
    (
        "grad",
        "let (input, gradients) = call.backward_of_square([2, 3, 4]);
        let other = call.float([2, 3, 4]);
        call.gradient_result(R::grad(&input, &gradients));
        call.gradient_result(R::grad(&other, &gradients));",
    ),
    (
        "grad_remove",
        "let (input, mut gradients) = call.backward_of_square([2, 3, 4]);
        call.gradient_result(R::grad_remove(&input, &mut gradients));
        call.gradient_result(R::grad_remove(&input, &mut gradients));",
    ),
    (
        "grad_replace",
        "let (input, mut gradients) = call.backward_of_square([2, 3, 4]);
        let gradient = call.inner_float([2, 3, 4]);
        R::grad_replace(&input, &mut gradients, gradient);
        call.gradient_result(R::grad(&input, &gradients));",
    ),
];

/// How a result is read, by its type. Types have no spaces, which stand between several of them.
pub(crate) const RESULTS: &[(&str, &str)] = &[
    ("FloatTensor<B>", "call.float_result(result);"),
    ("IntTensor<B>", "call.int_result(result);"),
    ("BoolTensor<B>", "call.bool_result(result);"),
    ("QuantizedTensor<B>", "call.quantized_result(result);"),
    ("TensorPrimitive<B>", "call.primitive_result(result);"),
    (
        "(FloatTensor<B>,IntTensor<B>)",
        "call.float_result(result.0); call.int_result(result.1);",
    ),
    (
        "(FloatTensor<B>,FloatTensor<B>)",
        "call.float_result(result.0); call.float_result(result.1);",
    ),
    (
        "(IntTensor<B>,IntTensor<B>)",
        "call.int_result(result.0); call.int_result(result.1);",
    ),
    (
        "(QuantizedTensor<B>,IntTensor<B>)",
        "call.quantized_result(result.0); call.int_result(result.1);",
    ),
    (
        "implFuture<Output=Result<TensorData,ExecutionError>>+Send",
        "call.future_data_result(result);",
    ),
    (
        "implFuture<Output=IntTensor<B>>+'static+Send",
        "call.int_result(ready(result));",
    ),
    (
        "DeformConv2dBackward<B>",
        "call.float_result(result.x_grad); call.float_result(result.offset_grad); call.float_result(result.weight_grad);
        call.optional_result(result.mask_grad); call.optional_result(result.bias_grad);",
    ),
    (
        "MaxPool1dWithIndices<B> MaxPool2dWithIndices<B>",
        "call.float_result(result.output); call.int_result(result.indices);",
    ),
    (
        "MaxPool1dBackward<B> MaxPool2dBackward<B>",
        "call.float_result(result.x_grad);",
    ),
    (
        "FloatTensor<Self::InnerBackend>",
        "call.inner_float_result(result);",
    ),
    (
        "IntTensor<Self::InnerBackend>",
        "call.inner_int_result(result);",
    ),
    (
        "BoolTensor<Self::InnerBackend>",
        "call.inner_bool_result(result);",
    ),
    (
        "QuantizedTensor<Self::InnerBackend>",
        "call.inner_quantized_result(result);",
    ),
    (
        "bool usize String Device<B> DTypeUsageSet Result<(),ExecutionError>",
        "call.value(result);",
    ),
];
