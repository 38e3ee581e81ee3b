use crate::precision::at_least_f32;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor};

/// Sums of a layer's augmented inputs `a = [x ; 1]` over the rows that it saw, for each of its means.
///
/// Sums of two batches, of repeated calls or of two devices add up, and dividing by the number of rows
/// gives the mean. The statistics are in the input's float type, but at least in `f32`.
#[derive(Debug, Clone)]
pub(crate) struct ActivationSums<B: Backend> {
    /// `Σ x`, `[means, size]`.
    pub(crate) inputs: Tensor<B, 2>,
    /// `Σ x²`, `[means, size]`.
    pub(crate) squares: Tensor<B, 2>,
    pub(crate) rows: Rows<B>,
}

/// The number of rows that were summed, and what a bias saw of them.
#[derive(Debug, Clone)]
pub(crate) enum Rows<B: Backend> {
    /// A number that the host knows; a bias saw a 1 in each row.
    Counted(usize),
    /// Numbers that only the device knows, as those of a padding mask.
    Weighed {
        /// `Σ 1`, what a bias saw, `[means, 1]`. Less than the count where attention keeps less than all of its weight.
        ones: Tensor<B, 2>,
        /// The number of rows, `[means, 1]`.
        count: Tensor<B, 2>,
    },
}

impl<B: Backend> ActivationSums<B> {
    /// The sum over all leading dimensions.
    ///
    /// # Shapes
    ///
    /// - input: `[.., size]`
    pub(crate) fn of_rows<const D: usize>(input: Tensor<B, D>) -> Self {
        let size = input.dims()[D - 1];
        let rows = input.shape().num_elements() / size.max(1);
        let input = at_least_f32(input).reshape([rows, size]);
        Self {
            squares: input.clone().square().sum_dim(0),
            inputs: input.sum_dim(0),
            rows: Rows::Counted(rows),
        }
    }

    /// Whether no row was summed, as far as the host knows.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.rows, Rows::Counted(0))
    }

    /// The sums of both.
    pub(crate) fn add(self, other: Self) -> Self {
        let rows = match (&self.rows, &other.rows) {
            (Rows::Counted(left), Rows::Counted(right)) => Rows::Counted(left + right),
            _ => {
                let (left_ones, left_count) = self.weighed_rows();
                let (right_ones, right_count) = other.weighed_rows();
                Rows::Weighed {
                    ones: left_ones + right_ones,
                    count: left_count + right_count,
                }
            }
        };
        Self {
            inputs: self.inputs + other.inputs,
            squares: self.squares + other.squares,
            rows,
        }
    }

    /// `Σ 1` and the number of rows as tensors, each `[means, 1]`.
    pub(crate) fn weighed_rows(&self) -> (Tensor<B, 2>, Tensor<B, 2>) {
        match &self.rows {
            Rows::Weighed { ones, count } => (ones.clone(), count.clone()),
            Rows::Counted(rows) => {
                let [means, _] = self.inputs.dims();
                let options = (&self.inputs.device(), self.inputs.dtype());
                let count = Tensor::full([means, 1], *rows as f64, options);
                (count.clone(), count)
            }
        }
    }

    /// These and those of another mean of the same layer, as one.
    pub(crate) fn beside(self, other: Self) -> Self {
        let (ones, count) = self.weighed_rows();
        let (other_ones, other_count) = other.weighed_rows();
        Self {
            inputs: Tensor::cat(vec![self.inputs, other.inputs], 0),
            squares: Tensor::cat(vec![self.squares, other.squares], 0),
            rows: Rows::Weighed {
                ones: Tensor::cat(vec![ones, other_ones], 0),
                count: Tensor::cat(vec![count, other_count], 0),
            },
        }
    }

    pub(crate) fn on_device(self, device: &B::Device) -> Self {
        self.map(|tensor| tensor.to_device(device))
    }

    fn map<C: Backend>(
        self,
        mut map: impl FnMut(Tensor<B, 2>) -> Tensor<C, 2>,
    ) -> ActivationSums<C> {
        ActivationSums {
            inputs: map(self.inputs),
            squares: map(self.squares),
            rows: match self.rows {
                Rows::Counted(rows) => Rows::Counted(rows),
                Rows::Weighed { ones, count } => Rows::Weighed {
                    ones: map(ones),
                    count: map(count),
                },
            },
        }
    }
}

impl<B: AutodiffBackend> ActivationSums<B> {
    pub(crate) fn inner(self) -> ActivationSums<B::InnerBackend> {
        self.map(Tensor::inner)
    }
}

/// The sums of the one-hot rows that tokens are: how often there is each.
pub(super) fn token_counts<B: Backend, const D: usize>(
    tokens: Tensor<B, D, Int>,
    known: usize,
    dtype: DType,
) -> ActivationSums<B> {
    let rows = tokens.shape().num_elements();
    let options = (&tokens.device(), dtype);
    let (counts, ones) = (
        Tensor::<B, 1>::zeros([known], options),
        Tensor::ones([rows], options),
    );
    let tokens = tokens.reshape([rows]);
    let counts = counts.select_assign(0, tokens, ones, IndexingUpdateOp::Add);
    let counts = counts.reshape([1, known]);
    ActivationSums {
        squares: counts.clone(),
        inputs: counts,
        rows: Rows::Counted(rows),
    }
}

/// The values of a tensor without its graph. `detach` alone would leave one that requires a gradient
/// itself, as an input may, requiring it.
pub(crate) fn untracked<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Tensor<B, D> {
    tensor.clone().detach().set_require_grad(false)
}
