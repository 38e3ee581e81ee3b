//! Burn's layers and products with parameters on the backend that records: what each is recorded as, against the recorded layer; and what is not, with the
//! reason.

mod attention;
mod convolutions;
mod products;
mod spectra;
#[path = "../../../mac-burn/tests/support/mod.rs"]
mod support;
mod uncovered;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn::{KfacConfig, Mac, MacConfig, Report};
use mac_burn_recording::Recording;
use support::{difference, filled, values};

/// The backend of recorded layers, and the one that records.
type A = Autodiff<Flex>;
type R = Recording<A>;
/// The same in double precision.
type A64 = Autodiff<NdArray<f64>>;
type R64 = Recording<A64>;

const STEPS: u64 = 4;

/// The optimizers that are tried: one of sums of inputs, and one of products of inputs and of gradients at outputs.
#[derive(Debug, Clone, Copy)]
enum Method {
    Mac,
    Kfac,
}

const METHODS: [Method; 2] = [Method::Mac, Method::Kfac];

impl Method {
    fn optimizer<B: AutodiffBackend, M: AutodiffModule<B>>(self) -> Mac<M, B> {
        match self {
            Self::Mac => MacConfig::new().with_tcov(2).with_tinv(1).init(),
            Self::Kfac => KfacConfig::new().with_tcov(2).with_tinv(2).init(),
        }
    }
}

/// The values of a module after some steps, and the report.
fn trained<B: AutodiffBackend, M: AutodiffModule<B>>(
    module: M,
    method: Method,
    loss: impl Fn(&M, u64) -> Tensor<B, 1>,
) -> (Vec<Vec<f64>>, Report) {
    let mut optim = method.optimizer();
    let mut module = filled::<B, M>(module, 1);
    for step in 0..STEPS {
        let grads = loss(&module, step).backward();
        let grads = GradientsParams::from_grads(grads, &module);
        module = optim.step(0.1, module, grads);
    }
    (values(&module), optim.report(&module))
}

/// Compares two trainings: bit by bit, or up to a tolerance where sums are made in another order.
#[track_caller]
fn assert_trained_alike(
    what: &str,
    tolerance: f64,
    (expected, of_recorded): (Vec<Vec<f64>>, Report),
    (found, of_plain): (Vec<Vec<f64>>, Report),
) {
    assert!(of_recorded.covered_parameters > 0, "{what}: {of_recorded}");
    assert_eq!(
        of_plain.covered_parameters, of_recorded.covered_parameters,
        "{what}:\n{of_plain}"
    );
    let updates = |report: &Report| -> Vec<u64> {
        let layers = report.layers.iter();
        layers.map(|layer| layer.updates).collect()
    };
    assert_eq!(updates(&of_plain), updates(&of_recorded), "{what}");
    let differs = difference(&found, &expected);
    assert!(differs <= tolerance, "{what}: differs by {differs:e}");
}
