use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Applies a function of tokens to a tensor of any rank, with all axes but the last as one.
///
/// Burn 0.21 multiplies a tensor of more axes by a weight once for each index of all but its last two. The gradient of the
/// weight is then the sum of as many products of the weight's size, all of which are in memory: 28 for two maps of 14×14.
///
/// # Shapes
/// - input and output: `[.., size]`, where the sizes may differ
pub(crate) fn by_rows<B: Backend, const D: usize>(
    input: Tensor<B, D>,
    function: impl FnOnce(Tensor<B, 2>) -> Tensor<B, 2>,
) -> Tensor<B, D> {
    let mut shape = input.dims();
    let rows: usize = shape[..D - 1].iter().product();
    let output = function(input.reshape([rows, shape[D - 1]]));
    shape[D - 1] = output.dims()[1];
    output.reshape(shape)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;

    use super::*;
    use crate::testing::TestBackend;

    /// `[a + 10 b + 100 c, b + 2 c]` of each row `[a, b, c]`; the rows count from 0.
    fn changed<const D: usize>(shape: [usize; D]) -> Tensor<TestBackend, D> {
        let device = Default::default();
        let weight = [[1.0, 0.0], [10.0, 1.0], [100.0, 2.0]];
        let weight = Tensor::<TestBackend, 2>::from_data(weight, &device);
        let count = shape.iter().product::<usize>() as i64;
        let input = Tensor::<TestBackend, 1, Int>::arange(0..count, &device);
        by_rows(input.float().reshape(shape), |rows| rows.matmul(weight))
    }

    /// Breaks when rows are put together to another shape, or the last axis keeps its size.
    #[test]
    fn each_row_of_a_tensor_of_any_rank_is_changed() {
        let expected: [f32; 8] = [210., 5., 543., 14., 876., 23., 1209., 32.];
        let map = changed([2, 1, 2, 3]);
        assert_eq!(map.dims(), [2, 1, 2, 2]);
        let found: Vec<f32> = map.into_data().iter().collect();
        assert_eq!(found, expected);
        let found: Vec<f32> = changed([3]).into_data().iter().collect();
        assert_eq!(found, expected[..2]);
    }
}
