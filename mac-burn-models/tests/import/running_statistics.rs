//! The running statistics of norms, which are shared by clones, and of which the last step's are kept aside.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Tensor;
use mac_burn_models::export::save;
use mac_burn_models::import::{ImportError, load};
use tempfile::tempdir;

use crate::files::{self, Stored};
use crate::networks::{Single, images};

type Training = Autodiff<Single>;

/// The names of a norm, whose scale is a weight in PyTorch.
fn name(path: &str) -> String {
    path.replace("gamma", "weight").replace("beta", "bias")
}

/// A norm that saw a batch whose statistics are not yet among the running ones.
fn trained_norm() -> BatchNorm<Training> {
    let norm: BatchNorm<Training> = BatchNormConfig::new(3).init(&Default::default());
    norm.forward(Tensor::from_inner(images([4, 3, 2, 2])) + 5.0);

    norm
}

fn values(tensor: Tensor<Single, 1>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

/// Breaks when the last step is left out of the file.
#[test]
fn the_last_step_is_stored() {
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("norm.safetensors");
    let norm = trained_norm();
    let before = norm.running_mean.value().into_data();
    save(&norm, &path, name).expect("the folder can be written to");

    let file = files::read(&path);
    let evaluated = norm.valid();
    let mean = values(evaluated.running_mean.value());
    assert_ne!(mean, before.iter::<f32>().collect::<Vec<_>>());
    assert_eq!(file["running_mean"].values(), mean);
    let variance = values(evaluated.running_var.value());
    assert_eq!(file["running_var"].values(), variance);
}

/// Breaks when the last step replaces what was loaded, or an error takes it away.
#[test]
fn the_last_step_does_not_replace_what_is_loaded() {
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("norm.safetensors");
    let norm: BatchNorm<Training> = BatchNormConfig::new(3).init(&Default::default());
    save(&norm, &path, name).expect("the folder can be written to");
    let mut file = files::read(&path);
    let mean = Stored::single(&[3], &[0.25, 0.5, 0.75]);
    file.insert("running_mean".to_owned(), mean);
    files::write(&path, &file);

    let loaded = load(trained_norm(), &path, name).expect("the file is of this norm");
    assert_eq!(
        values(loaded.valid().running_mean.value()),
        [0.25, 0.5, 0.75]
    );

    file.remove("bias");
    files::write(&path, &file);
    let norm = trained_norm();
    let before = norm.running_mean.value().into_data();
    let error = load(norm.clone(), &path, name);
    assert!(matches!(error, Err(ImportError::Mismatch { .. })));
    assert_eq!(norm.running_mean.value().into_data(), before);
    let expected = values(trained_norm().valid().running_mean.value());
    assert_eq!(values(norm.valid().running_mean.value()), expected);
}
