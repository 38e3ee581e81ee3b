use crate::bits::Bits;
use crate::digits_run::{STEPS, train};
use crate::element_dtype::element_dtype;
use crate::half_gradient::roundings;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use mac_burn::{Coverage, Mac};
use mac_burn_models::LeNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The digits network trained in half precision, and layers preconditioned in it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HalfRun {
    pub(crate) first_loss: Bits,
    pub(crate) last_loss: Bits,
    /// The types of the parameters after training.
    pub(crate) parameters: BTreeMap<String, String>,
    /// The types of the statistics after training, of every layer that has some.
    pub(crate) statistics: BTreeMap<String, String>,
    /// The largest errors of preconditioned gradients, in units of half an epsilon of the largest element, by layer.
    pub(crate) roundings: BTreeMap<String, Bits>,
}

/// Half-precision types, and the distance of 1 to the next larger number of each.
const TYPES: [(DType, f64); 2] = [(DType::F16, 1.0 / 1024.0), (DType::BF16, 1.0 / 128.0)];

/// Trains in each type that the backend and its device compute in.
pub(crate) fn half_runs<B: AutodiffBackend>() -> Vec<(String, Option<HalfRun>)> {
    // The oracle is asked for its f64 only.
    if element_dtype::<B>() == DType::F64 {
        return Vec::new();
    }
    let runs = TYPES.map(|(dtype, epsilon)| {
        let supported = B::supports_dtype(&Default::default(), dtype);
        let run = supported.then(|| half_run::<B>(dtype, epsilon));
        (format!("{dtype:?}"), run)
    });
    runs.into()
}

fn half_run<B: AutodiffBackend>(dtype: DType, epsilon: f64) -> HalfRun {
    let (network, optim, losses) = train::<B>(dtype, None, |_, _| {});
    let mut parameters = Types::default();
    network.visit(&mut parameters);
    HalfRun {
        first_loss: Bits(losses[0]),
        last_loss: Bits(losses[STEPS - 3..].iter().sum::<f64>() / 3.0),
        parameters: parameters.types,
        statistics: statistics(&network, &optim),
        roundings: roundings::<B>(dtype, epsilon),
    }
}

/// The types of the moving averages and of the means in use. The first layer's covariance is kept in `f64`, on the host.
fn statistics<B: AutodiffBackend>(
    network: &LeNet<B>,
    optim: &Mac<LeNet<B>, B>,
) -> BTreeMap<String, String> {
    let layers = [
        ("conv2", network.conv2.weight.id),
        ("fc1", network.fc1.weight.id),
        ("fc2", network.fc2.weight.id),
        ("head", network.head.weight.id),
    ];
    let covered = optim.report(network).layers;
    let covered = covered
        .iter()
        .filter(|layer| layer.coverage == Coverage::MeanActivation)
        .map(|layer| layer.path.as_str());
    assert!(covered.eq(layers.map(|(name, _)| name)));
    let preconditioner = optim.preconditioner();
    let types = layers.into_iter().flat_map(|(name, id)| {
        let kept = [
            ("average", preconditioner.activation_ema(id)),
            ("mean in use", preconditioner.mean_activation(id)),
        ];
        kept.map(|(what, kept)| {
            let dtype = kept.map_or("none".into(), |kept| format!("{:?}", kept.dtype()));
            (format!("{name} {what}"), dtype)
        })
    });
    types.collect()
}

/// The types of parameters.
#[derive(Default)]
struct Types {
    path: Vec<String>,
    types: BTreeMap<String, String>,
}

impl<B: Backend> ModuleVisitor<B> for Types {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let dtype = format!("{:?}", param.val().dtype());
        self.types.insert(self.path.join("."), dtype);
    }
}

impl fmt::Display for HalfRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first_loss.0, self.last_loss.0);
        write!(f, "loss {first:.3} to {last:.3} in {STEPS} steps; ")?;
        write!(f, "preconditioned gradients off by, in roundings:")?;
        for (layer, off) in &self.roundings {
            write!(f, " {layer} {:.2}", off.0)?;
        }
        Ok(())
    }
}
