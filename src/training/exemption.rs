//! Parameters without weight decay, for optimizers that decay all.

use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::MacConfig;

/// The parameters without weight decay: those that have none with MAC.
#[derive(Clone, Debug, Default)]
pub struct Exemption {
    names: Vec<String>,
    norms_and_biases: bool,
}

impl Exemption {
    /// MAC's.
    ///
    /// # Errors
    /// For a pattern that is not `**.NAME`, which the examples do not need.
    pub fn of(mac: &MacConfig) -> Result<Self, String> {
        let names = mac.no_decay.iter().map(|pattern| {
            let name = pattern.strip_prefix("**.");
            let name = name.filter(|name| !name.contains(['*', '.']));
            name.map(str::to_string)
                .ok_or_else(|| format!("no_decay has {pattern}, and must be like **.NAME here"))
        });
        Ok(Self {
            names: names.collect::<Result<_, _>>()?,
            norms_and_biases: mac.no_decay_norms_and_biases,
        })
    }

    /// Takes the gradients of these parameters out of those of a module.
    pub fn take<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        module: &M,
        grads: &mut GradientsParams,
    ) -> GradientsParams {
        let mut taker = Taker {
            exemption: self,
            path: Vec::new(),
            grads,
            taken: GradientsParams::new(),
        };
        module.visit(&mut taker);
        taker.taken
    }

    fn has(&self, path: &[String], rank: usize) -> bool {
        (self.norms_and_biases && rank <= 1) || path.iter().any(|name| self.names.contains(name))
    }
}

struct Taker<'a> {
    exemption: &'a Exemption,
    path: Vec<String>,
    grads: &'a mut GradientsParams,
    taken: GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Taker<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.exemption.has(&self.path, D)
            && let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id)
        {
            self.taken.register(param.id, grad);
        }
    }
}
