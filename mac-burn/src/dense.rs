use crate::MacError;
use crate::input_covariance::SecondMoment;
use crate::rank_one::LayerGradients;
use crate::record::layer::{LayerParameters, LayerRecord};
use crate::record::statistics::{as_dtype, at_least_f32};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The dense preconditioner `(C + ρ I)⁻¹` of the first layer's input side.
#[derive(Debug, Clone)]
pub(crate) struct DenseCurvature<B: Backend> {
    pub(crate) parameters: LayerParameters,
    moment: SecondMoment,
    damping: f64,
    inverse_data: TensorData,
    /// `[groups, size, size]` on the device, in the type of the gradients but at least `f32`; made at the first use.
    inverse: Option<Tensor<B, 3>>,
}

/// The part of a [`DenseCurvature`] that the next step depends on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DenseRecord {
    pub(crate) layer: LayerRecord,
    groups: usize,
    size: usize,
    moment: Vec<f64>,
}

impl<B: Backend> DenseCurvature<B> {
    pub(crate) fn new(
        parameters: LayerParameters,
        moment: SecondMoment,
        damping: f64,
    ) -> Result<Self, MacError> {
        Ok(Self {
            parameters,
            inverse_data: moment.inverse(damping)?,
            moment,
            damping,
            inverse: None,
        })
    }

    /// Inverts again for another damping.
    pub(crate) fn set_damping(&mut self, damping: f64) -> Result<(), MacError> {
        if damping != self.damping {
            self.inverse_data = self.moment.inverse(damping)?;
            self.inverse = None;
            self.damping = damping;
        }
        Ok(())
    }

    /// Preconditions gradients of a `Linear`, weight `[size, size_output]`.
    pub(crate) fn linear(&mut self, gradients: LayerGradients<B, 2>) -> LayerGradients<B, 2> {
        let dtype = gradients.weight.dtype();
        let weight = at_least_f32(gradients.weight);
        let [size, size_output] = weight.dims();
        let trains_bias = gradients.bias.is_some();
        let rows = match self.bias(gradients.bias, &weight, size_output) {
            Some(bias) => Tensor::cat(vec![weight, bias.reshape([1, size_output])], 0),
            None => weight,
        };
        let rows = self.inverse(&rows).squeeze_dim::<2>(0).matmul(rows);
        LayerGradients {
            weight: as_dtype(rows.clone().narrow(0, 0, size), dtype),
            bias: trains_bias
                .then(|| as_dtype(rows.narrow(0, size, 1).reshape([size_output]), dtype)),
        }
    }

    /// Preconditions gradients of a `Conv2d`, weight `[channels_out, …]`.
    pub(crate) fn conv2d(&mut self, gradients: LayerGradients<B, 4>) -> LayerGradients<B, 4> {
        let dtype = gradients.weight.dtype();
        let shape = gradients.weight.dims();
        let (channels_out, size) = (shape[0], shape[1..].iter().product::<usize>());
        let weight = at_least_f32(gradients.weight).reshape([channels_out, size]);
        let trains_bias = gradients.bias.is_some();
        let rows = match self.bias(gradients.bias, &weight, channels_out) {
            Some(bias) => Tensor::cat(vec![weight, bias.reshape([channels_out, 1])], 1),
            None => weight,
        };
        let inverse = self.inverse(&rows);
        let [groups, width, _] = inverse.dims();
        let rows = rows
            .reshape([groups, channels_out / groups, width])
            .matmul(inverse)
            .reshape([channels_out, width]);
        LayerGradients {
            weight: as_dtype(rows.clone().narrow(1, 0, size).reshape(shape), dtype),
            bias: trains_bias
                .then(|| as_dtype(rows.narrow(1, size, 1).reshape([channels_out]), dtype)),
        }
    }

    /// The gradient of the layer's bias: 0 for one that is not trained, none without a bias.
    fn bias(
        &self,
        gradient: Option<Tensor<B, 1>>,
        like: &Tensor<B, 2>,
        size_output: usize,
    ) -> Option<Tensor<B, 1>> {
        self.parameters.bias.map(|_| match gradient {
            Some(gradient) => at_least_f32(gradient),
            None => Tensor::zeros([size_output], (&like.device(), like.dtype())),
        })
    }

    fn inverse(&mut self, like: &Tensor<B, 2>) -> Tensor<B, 3> {
        let (device, dtype) = (like.device(), like.dtype());
        self.inverse
            .take_if(|found| found.device() != device || found.dtype() != dtype);
        self.inverse
            .get_or_insert_with(|| Tensor::from_data(self.inverse_data.clone(), (&device, dtype)))
            .clone()
    }

    /// Bytes of the tensor held between steps.
    pub(crate) fn bytes(&self) -> usize {
        self.inverse.as_ref().map_or(0, |inverse| {
            inverse.shape().num_elements() * inverse.dtype().size()
        })
    }

    pub(crate) fn to_record(&self) -> DenseRecord {
        DenseRecord {
            layer: self.parameters.to_record(),
            groups: self.moment.groups,
            size: self.moment.size,
            moment: self.moment.elements.clone(),
        }
    }

    pub(crate) fn from_record(
        record: DenseRecord,
        parameters: LayerParameters,
        damping: f64,
    ) -> Result<Self, MacError> {
        let moment = SecondMoment {
            layer: parameters.kind.name(),
            groups: record.groups,
            size: record.size,
            elements: record.moment,
        };
        Self::new(parameters, moment, damping)
    }
}

impl DenseRecord {
    /// Whether this is the covariance of a layer with so many groups, of inputs of that size.
    pub(crate) fn fits(&self, groups: usize, size: usize) -> bool {
        (self.groups, self.size) == (groups, size) && self.moment.len() == groups * size * size
    }
}
