//! Parts of files: the weights in a checkpoint of training, and their average.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::TensorData;
use mac_burn_models::export::save;
use mac_burn_models::import::{ImportError, load, load_part};
use mac_burn_models::pytorch::Name;
use mac_burn_models::{gpt, lenet, resnet, swin, vision_transformer};
use tempfile::{TempDir, tempdir};

use crate::files::{self, Stored, Tensors};
use crate::networks::{self, Single};
use crate::parameters::{filled, parameters};

/// The name of a part of a checkpoint, and what the names of its tensors begin with.
type Part = [&'static str; 2];

/// Names of the weights and of their average in checkpoints.
const CHECKPOINTS: [[Part; 2]; 4] = [
    // timm's.
    [["state_dict", ""], ["state_dict_ema", ""]],
    // torchvision's, whose average is a module that has the network, and that of DeiT's authors.
    [["model", ""], ["model_ema", "module."]],
    [["model", ""], ["model_ema", ""]],
    // With data parallelism and compilation, and a part within another.
    [["net", "module."], ["averages.slow", "module._orig_mod."]],
];

/// The tensors of a network in a part.
fn within<M: Module<Single>>([part, prefix]: Part, network: &M, name: Name) -> Tensors {
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("weights.safetensors");
    save(network, &path, name).expect("the folder can be written to");
    let tensors = files::read(&path).into_iter();

    tensors
        .map(|(name, tensor)| (format!("{part}.{prefix}{name}"), tensor))
        .collect()
}

/// A folder with a file of these tensors, next to what every checkpoint has.
fn checkpoint(mut tensors: Tensors) -> (TempDir, PathBuf) {
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("checkpoint.safetensors");
    for count in ["epoch", "optimizer.state.0.step"] {
        tensors.insert(count.to_owned(), Stored::count(7));
    }
    files::write(&path, &tensors);

    (folder, path)
}

fn values<M: Module<Single>>(network: &M) -> Vec<TensorData> {
    let parameters = parameters(network).into_iter();
    parameters.map(|parameter| parameter.values).collect()
}

/// Asserts that the weights in a checkpoint are told from their average.
fn assert_told_apart<M: Module<Single>>(network: fn() -> M, name: Name, parts: [Part; 2]) {
    let [weights, average] = [1, 2].map(|seed| filled(network(), seed));
    let mut tensors = within(parts[0], &weights, name);
    tensors.extend(within(parts[1], &average, name));
    let [[part_of_weights, _], [part_of_average, prefix]] = parts;
    if prefix.starts_with("module.") {
        // What PyTorch's `AveragedModel` counts.
        let count = format!("{part_of_average}.n_averaged");
        tensors.insert(count, Stored::count(100));
    }
    let (_folder, path) = checkpoint(tensors);
    let loaded = |part| {
        let network = match part {
            Some(part) => load_part(network(), &path, part, name),
            None => load(network(), &path, name),
        };
        values(&network.expect("the part is of this network"))
    };
    let (weights, average) = (values(&weights), values(&average));

    assert_ne!(weights, average);
    assert_eq!(loaded(Some(part_of_average)), average, "{parts:?}");
    assert_eq!(loaded(Some(part_of_weights)), weights, "{parts:?}");
    assert_eq!(loaded(None), weights, "{parts:?}");
}

/// Breaks when another part is loaded than the one that is named, or the average where none is; when a wrapping is left on
/// the names in it; and when the number of averaged steps counts as a weight.
#[test]
fn weights_are_told_from_their_average() {
    for parts in CHECKPOINTS {
        let network = networks::resnet_of_basic_blocks::<Single>;
        assert_told_apart(network, resnet::timm_name, parts);
        assert_told_apart(
            networks::deit::<Single>,
            vision_transformer::authors_name,
            parts,
        );
        assert_told_apart(networks::swin::<Single>, swin::timm_name, parts);
        assert_told_apart(networks::gpt::<Single>, gpt::authors_name, parts);
    }
}

/// Why a part of a file is not loaded into LeNet, once it is certain that nothing of it was taken.
fn error(path: &Path, part: &str) -> ImportError {
    let network = filled(networks::lenet::<Single>(), 2);
    let before = parameters(&network);
    let loaded = load_part(network.clone(), path, part, lenet::authors_name);
    assert_eq!(parameters(&network), before);

    loaded.expect_err("the part is not of this network")
}

/// Breaks when a part is found by a piece of its name or by a tensor's, or the error does not say which parts there are.
#[test]
fn a_part_that_a_file_does_not_have_is_an_error() {
    let network = filled(networks::lenet::<Single>(), 1);
    let tensors = within(["model", ""], &network, lenet::authors_name);
    let (_folder, path) = checkpoint(tensors);
    for missing in ["model_ema", "mode", "model.", "epoch", "model.L1.bias", ""] {
        let error = error(&path, missing);
        let ImportError::MissingPart { part, found, .. } = &error else {
            panic!("there is no such part, and not {error}");
        };
        assert_eq!(part, missing);
        assert_eq!(*found, ["model", "optimizer"]);
        let text = error.to_string();
        let end = format!("safetensors has no part `{missing}`: it has `model`, `optimizer`");
        assert!(text.ends_with(&end), "{text}");
    }

    let count = ("steps".to_owned(), Stored::count(1));
    files::write(&path, &Tensors::from([count]));
    let text = error(&path, "model").to_string();
    assert!(text.ends_with("no part `model`: it has none"), "{text}");
}

/// Breaks when what a part does not have is taken from another, or the error does not name the part.
#[test]
fn a_part_with_other_tensors_is_an_error() {
    let network = filled(networks::lenet::<Single>(), 1);
    let mut tensors = within(["model", ""], &network, lenet::authors_name);
    let average = within(["model_ema", "module."], &network, lenet::authors_name);
    tensors.extend(average);
    let bias = tensors.remove("model_ema.module.L3.bias");
    assert!(bias.is_some());
    let (_folder, path) = checkpoint(tensors);

    let error = error(&path, "model_ema");
    let ImportError::Mismatch { part, mismatch, .. } = &error else {
        panic!("the part is wrong, and not {error}");
    };
    assert_eq!(part.as_deref(), Some("model_ema"));
    assert_eq!(mismatch.missing, ["L3.bias"]);
    assert!(mismatch.unused.is_empty(), "{mismatch}");
    let start = format!("`model_ema` of {} has the weights", path.display());
    assert!(error.to_string().starts_with(&start), "{error}");
}
