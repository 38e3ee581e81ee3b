//! Files with the tensors of published checkpoints.

use std::path::PathBuf;

use mac_burn_models::export::save;
use mac_burn_models::import::{ImportError, Misshaped, load};
use mac_burn_models::{
    DenseNet, DenseNetConfig, ResNet, VisionTransformer, VisionTransformerConfig,
};
use mac_burn_models::{densenet, swin, vision_transformer};
use tempfile::{TempDir, tempdir};

use crate::files::{self, Tensors};
use crate::networks::{self, Single};
use crate::parameters::{filled, parameters};

const DEIT: &str = "deit_tiny_patch16_224.fb_in1k";

/// A file as timm's of DeiT-Ti, for a number of classes, after a change.
fn deit(num_classes: usize, change: impl FnOnce(&mut Tensors)) -> (TempDir, PathBuf) {
    let config = VisionTransformerConfig::deit_tiny().with_num_classes(num_classes);
    let network: VisionTransformer<Single> = config.init(&Default::default());
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("model.safetensors");
    save(&network, &path, vision_transformer::timm_name).expect("the folder can be written to");
    let mut tensors = files::read(&path);
    change(&mut tensors);
    files::write(&path, &tensors);

    (folder, path)
}

fn pretrained_deit(path: &PathBuf) -> Result<VisionTransformer<Single>, ImportError> {
    VisionTransformer::pretrained(DEIT, path, &Default::default())
}

/// Breaks when the configuration or the names are those of another network, or the weights stay as they are made.
#[test]
fn a_checkpoint_is_loaded_by_its_name() {
    let mut head = Vec::new();
    let (_folder, path) = deit(1000, |tensors| {
        let bias = tensors.get_mut("head.bias").expect("the file has it");
        // All of it is 0 in a network that is made.
        for (value, index) in bias.bytes.as_chunks_mut::<4>().0.iter_mut().zip(1_u16..) {
            *value = f32::from(index).to_le_bytes();
        }
        head = bias.values();
    });

    let network = pretrained_deit(&path).expect("the file has the checkpoint's tensors");
    let bias = network.head.bias.as_ref().expect("the head has a bias");
    assert_eq!(bias.val().into_data().iter().collect::<Vec<f32>>(), head);
}

/// Breaks when torchvision's older names of layers are unknown, or values are mixed up under them.
#[test]
fn older_names_of_layers_are_those_of_today() {
    let network: DenseNet<Single> = DenseNetConfig::densenet121().init(&Default::default());
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("densenet121-a639ec97.safetensors");
    save(&network, &path, densenet::timm_name).expect("the folder can be written to");
    let renamed = files::read(&path).into_iter().map(|(name, tensor)| {
        let mut old = name.clone();
        if name.contains("denselayer") {
            for layer in ["norm", "conv"] {
                old = old.replace(&format!(".{layer}"), &format!(".{layer}."));
            }
        }
        (old, tensor)
    });
    let renamed: Tensors = renamed.collect();
    assert!(renamed.contains_key("features.denseblock1.denselayer1.norm.1.weight"));
    files::write(&path, &renamed);

    let name = "DenseNet121_Weights.IMAGENET1K_V1";
    let loaded = DenseNet::<Single>::pretrained(name, &path, &Default::default());
    let loaded = loaded.expect("the names are those of torchvision's file");
    let values = |network: &DenseNet<Single>| -> Vec<_> {
        let parameters = parameters(network).into_iter();
        parameters.map(|it| (it.path, it.values)).collect()
    };
    assert_eq!(values(&loaded), values(&network));
}

/// Breaks when the merging of patches is looked for in the stage that it is a part of here.
#[test]
fn patches_are_merged_at_the_end_of_a_stage_of_microsofts() {
    let network = filled(networks::swin::<Single>(), 1);
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("swin.safetensors");
    save(&network, &path, swin::timm_name).expect("the folder can be written to");
    let renamed = files::read(&path).into_iter().map(|(name, tensor)| {
        // timm's own rule for files of Microsoft's, the other way round.
        let name = name.replace("layers.1.downsample", "layers.0.downsample");
        (name.replace("head.fc", "head"), tensor)
    });
    let renamed: Tensors = renamed.collect();
    files::write(&path, &renamed);

    let loaded = load(networks::swin::<Single>(), &path, swin::microsoft_name);
    let loaded = loaded.expect("the names are those of Microsoft's definition");
    let images = networks::images([2, 3, 16, 16]);
    let expected = network.forward(images.clone()).into_data();
    assert_eq!(loaded.forward(images).into_data(), expected);
}

#[test]
fn an_unknown_name_is_refused_with_those_that_are_known() {
    let network = ResNet::<Single>::pretrained("resnet50", "none", &Default::default());
    let error = network.err().map(|error| error.to_string());
    let error = error.unwrap_or_default();
    assert!(
        error.starts_with("no checkpoint `resnet50` is known"),
        "{error}"
    );
    for known in ["`resnet50.a1_in1k`", "`ResNet50_Weights.IMAGENET1K_V2`"] {
        assert!(error.contains(known), "{error}");
    }
}

/// Breaks when the head is taken in another size, or the network keeps a tensor of its own.
#[test]
fn a_file_of_another_network_is_refused() {
    let (_folder, path) = deit(10, |tensors| {
        tensors
            .remove("blocks.11.mlp.fc2.bias")
            .expect("it is there");
    });
    let Err(ImportError::Mismatch { mismatch, .. }) = pretrained_deit(&path) else {
        panic!("the file has another head, and a tensor less");
    };
    let misshaped = |name: &str, expected: &[usize], found: &[usize]| Misshaped {
        name: name.to_owned(),
        expected: expected.to_vec(),
        found: found.to_vec(),
    };
    assert_eq!(mismatch.missing, ["blocks.11.mlp.fc2.bias"]);
    let expected = [
        misshaped("head.bias", &[1000], &[10]),
        misshaped("head.weight", &[1000, 192], &[10, 192]),
    ];
    assert_eq!(mismatch.misshaped, expected);
}
