use burn::module::Module;
use burn::tensor::backend::Backend;

/// Brings the running statistics of norms up to date, in a module and those that share them.
///
/// A training step leaves its statistics aside, for other threads to add theirs. Burn takes them in when it makes a
/// record, and not when it visits or maps a module; a mapped value would be replaced by them later.
pub(crate) fn settle<B: Backend>(module: &impl Module<B>) {
    drop(module.clone().into_record());
}
