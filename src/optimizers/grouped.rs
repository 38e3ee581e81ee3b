use std::collections::HashMap;
use std::mem;

use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{GradientsParams, LearningRate, MultiGradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use mac_burn::{MacPreconditioner, MacPreconditionerRecord};

use super::rule::Rule;

/// Burn's optimizers over groups of a module's parameters, and MAC's preconditioner in front of them if there is one.
#[derive(Clone)]
pub struct GroupedOptimizer<M: AutodiffModule<B>, B: AutodiffBackend> {
    preconditioner: Option<MacPreconditioner<B>>,
    groups: Vec<Group<M, B>>,
    /// The group of each parameter by its path: ids are others in a resumed run.
    members: HashMap<String, usize>,
}

#[derive(Clone)]
struct Group<M: AutodiffModule<B>, B: AutodiffBackend> {
    optimizer: Adaptor<M, B>,
    lr_factor: f64,
}

type Adaptor<M, B> = OptimizerAdaptor<Rule<<B as AutodiffBackend>::InnerBackend>, M, B>;

impl<M: AutodiffModule<B>, B: AutodiffBackend> GroupedOptimizer<M, B> {
    /// Groups the parameters of a module, given by path and number of axes, by what `member_of` says; `rule` makes the optimizer of
    /// a group, and the factor of its learning rate.
    pub(super) fn new<G: PartialEq>(
        module: &M,
        preconditioner: Option<MacPreconditioner<B>>,
        member_of: impl Fn(&str, usize) -> G,
        rule: impl Fn(&G) -> (Rule<B::InnerBackend>, f64),
    ) -> Self {
        let mut parameters = Parameters::default();
        module.visit(&mut parameters);
        let mut keys: Vec<G> = Vec::new();
        let mut members = HashMap::new();
        for (path, axes) in parameters.found {
            let key = member_of(&path, axes);
            let known = keys.iter().position(|known| *known == key);
            let group = known.unwrap_or_else(|| {
                keys.push(key);
                keys.len() - 1
            });
            members.insert(path, group);
        }
        let groups = keys.iter().map(|key| {
            let (rule, lr_factor) = rule(key);
            let optimizer = OptimizerAdaptor::from(rule);
            Group {
                optimizer,
                lr_factor,
            }
        });
        Self {
            preconditioner,
            groups: groups.collect(),
            members,
        }
    }

    /// The preconditioner, if there is one.
    pub fn preconditioner(&self) -> Option<&MacPreconditioner<B>> {
        self.preconditioner.as_ref()
    }
}

impl<M: AutodiffModule<B>, B: AutodiffBackend> Optimizer<M, B> for GroupedOptimizer<M, B> {
    type Record = (
        Option<MacPreconditionerRecord>,
        Vec<<Adaptor<M, B> as Optimizer<M, B>>::Record>,
    );

    fn step(&mut self, lr: LearningRate, mut module: M, mut grads: GradientsParams) -> M {
        if let Some(preconditioner) = &mut self.preconditioner {
            grads = preconditioner.precondition(&module, grads);
        }
        let mut parts = Parts {
            members: &self.members,
            path: Vec::new(),
            grads: &mut grads,
            parts: self.groups.iter().map(|_| GradientsParams::new()).collect(),
        };
        module.visit(&mut parts);
        for (group, grads) in self.groups.iter_mut().zip(parts.parts) {
            module = group.optimizer.step(lr * group.lr_factor, module, grads);
        }
        module
    }

    fn step_multi(&mut self, lr: LearningRate, module: M, grads: MultiGradientsParams) -> M {
        let mut sums = Sums {
            grads,
            sums: GradientsParams::new(),
        };
        module.visit(&mut sums);
        let sums = mem::take(&mut sums.sums);
        self.step(lr, module, sums)
    }

    fn to_record(&self) -> Self::Record {
        let preconditioner = self.preconditioner.as_ref();
        let groups = self.groups.iter().map(|group| group.optimizer.to_record());
        (
            preconditioner.map(MacPreconditioner::to_record),
            groups.collect(),
        )
    }

    fn load_record(self, (preconditioner, groups): Self::Record) -> Self {
        let pairs = self.preconditioner.zip(preconditioner);
        let loaded = self
            .groups
            .into_iter()
            .zip(groups)
            .map(|(group, record)| Group {
                optimizer: group.optimizer.load_record(record),
                ..group
            });
        Self {
            preconditioner: pairs.map(|(own, record)| own.load_record(record)),
            groups: loaded.collect(),
            ..self
        }
    }
}

/// Path and number of axes of each parameter.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    found: Vec<(String, usize)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Parameters {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<B, D>>) {
        self.found.push((self.path.join("."), D));
    }
}

/// Hands the gradients of a module to their groups.
struct Parts<'a> {
    members: &'a HashMap<String, usize>,
    path: Vec<String>,
    grads: &'a mut GradientsParams,
    parts: Vec<GradientsParams>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Parts<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(group) = self.members.get(&self.path.join("."))
            && let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id)
        {
            self.parts[*group].register(param.id, grad);
        }
    }
}

/// Adds up the gradients of several devices.
struct Sums {
    grads: MultiGradientsParams,
    sums: GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Sums {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some((grad, _)) = self.grads.remove::<B::InnerBackend, D>(param.id) {
            self.sums.register(param.id, grad);
        }
    }
}
