//! Values of other types than the network's.

use std::path::Path;

use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::DType;
use burn::tensor::{bf16, f16};
use mac_burn_models::export::save;
use mac_burn_models::import::load;
use mac_burn_models::vision_transformer;
use safetensors::Dtype;
use tempfile::tempdir;

use crate::files::{self, Stored, Tensors};
use crate::networks::{self, Double, Single};
use crate::parameters::{filled, parameters};

/// Exact in every type.
const VALUES: [f32; 3] = [0.5, -1.25, 3.0];

/// Makes the bytes of a value.
type Store = fn(f32) -> Vec<u8>;

/// The names of a norm, whose scale is a weight in PyTorch.
fn name(path: &str) -> String {
    path.replace("gamma", "weight").replace("beta", "bias")
}

fn norm() -> BatchNorm<Single> {
    BatchNormConfig::new(3).init(&Default::default())
}

/// A file with the tensors of a norm, made by `store` of values.
fn write_norm(path: &Path, dtype: Dtype, store: Store) {
    let stored = Stored {
        dtype,
        shape: vec![3],
        bytes: VALUES.into_iter().flat_map(store).collect(),
    };
    let names = ["weight", "bias", "running_mean", "running_var"];
    let tensors: Tensors = names
        .map(|name| (name.to_owned(), stored.clone()))
        .into_iter()
        .collect();
    files::write(path, &tensors);
}

/// Breaks when a type is read as another, or the network takes the type of the file.
#[test]
fn values_of_every_float_type_get_the_type_of_the_network() {
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("norm.safetensors");
    let types: [(Dtype, Store); 4] = [
        (Dtype::F16, |value| {
            f16::from_f32(value).to_le_bytes().into()
        }),
        (Dtype::BF16, |value| {
            bf16::from_f32(value).to_le_bytes().into()
        }),
        (Dtype::F32, |value| value.to_le_bytes().into()),
        (Dtype::F64, |value| f64::from(value).to_le_bytes().into()),
    ];
    for (dtype, store) in types {
        write_norm(&path, dtype, store);
        let norm = load(norm(), &path, name).expect("the file is of this norm");
        let found = parameters(&norm);
        assert_eq!(found.len(), 4);
        for parameter in found {
            assert_eq!(parameter.values.dtype, DType::F32, "{dtype:?}");
            let values: Vec<f32> = parameter.values.iter().collect();
            assert_eq!(values, VALUES, "{dtype:?}: {}", parameter.path);
        }
    }
}

/// Breaks when a value goes through single precision, or a network of double precision becomes another.
#[test]
fn double_precision_is_kept() {
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("deit.safetensors");
    let fine = |value: f32| f64::from(value) + 2f64.powi(-40);
    let double = filled(networks::deit::<Double>(), 1);
    save(&double, &path, vision_transformer::timm_name).expect("the folder can be written to");
    let mut file = files::read(&path);
    assert!(file.values().all(|tensor| tensor.dtype == Dtype::F64));
    let bias = file.get_mut("head.bias").expect("the head has a bias");
    bias.bytes = VALUES
        .into_iter()
        .flat_map(|value| fine(value).to_le_bytes())
        .collect();
    files::write(&path, &file);

    let lazy = load(
        networks::deit::<Double>(),
        &path,
        vision_transformer::timm_name,
    );
    let filled = load(double, &path, vision_transformer::timm_name);
    for loaded in [lazy, filled] {
        let loaded = loaded.expect("the file is of this network");
        let bias = loaded.head.bias.as_ref().expect("the head has a bias");
        let found: Vec<f64> = bias.val().into_data().iter().collect();
        assert_eq!(found, VALUES.map(fine));
    }
    // A file of double precision is no other network's.
    let single = load(
        networks::deit::<Single>(),
        &path,
        vision_transformer::timm_name,
    );
    let single = single.expect("the file is of this network");
    let bias = single.head.bias.as_ref().expect("the head has a bias");
    let found: Vec<f32> = bias.val().into_data().iter().collect();
    assert_eq!(found, VALUES);
}
