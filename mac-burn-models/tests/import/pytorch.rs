//! Files that PyTorch wrote: the network gives what PyTorch's gives. `tests/fixtures/weights/make.py` wrote them, and fed the
//! same images and tokens to PyTorch's networks.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use mac_burn_models::export::save;
use mac_burn_models::import::load;
use mac_burn_models::{gpt, vision_transformer};
use tempfile::tempdir;

use crate::files::{self, Stored, Tensors};
use crate::networks::{self, Single, images, tokens};

/// The largest difference of a logit, of the largest logit. Single precision leaves up to 2e-6 in these networks; a
/// weight that is transposed, or at the place of another, changes the first digit.
const ROUNDING: f64 = 2e-5;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/weights")
        .join(name)
}

/// Asserts that these are the logits that PyTorch's network gave.
fn assert_logits<const D: usize>(network: &str, found: Tensor<Single, D>) {
    let text = fs::read_to_string(file("logits.json")).expect("the fixture is there");
    let logits: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let expected: Vec<f64> = serde_json::from_value(logits[network].clone())
        .expect("the network is among those of the fixture");
    let found: Vec<f64> = found.into_data().iter().collect();

    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = (found - expected).abs() / largest;
        assert!(difference < ROUNDING, "{index}: {found} for {expected}");
    }
}

/// Of timm, in half precision. Breaks when a name or a layout is not timm's, or values are not converted.
#[test]
fn deit_of_a_safetensors_file() {
    let network = load(
        networks::deit(),
        file("deit.safetensors"),
        vision_transformer::timm_name,
    );
    let network = network.expect("the file has this network");
    assert_logits("deit", network.forward(images([2, 3, 8, 8])));
}

/// A part of a file, as data parallelism makes it. Breaks when a wrapping is not taken off, or what is next to it counts.
#[test]
fn deit_of_a_part_of_a_file() {
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("wrapped.safetensors");
    // The second one is the part of a checkpoint for CIFAR of MAC's authors.
    for (part, beside) in [
        ("state_dict.module", "optimizer.step"),
        ("net.module", "epoch"),
    ] {
        let mut wrapped: Tensors = files::read(&file("deit.safetensors"))
            .into_iter()
            .map(|(name, tensor)| (format!("{part}.{name}"), tensor))
            .collect();
        wrapped.insert(beside.to_owned(), Stored::count(1));
        files::write(&path, &wrapped);

        let network = load(networks::deit(), &path, vision_transformer::timm_name);
        let network = network.expect("the file has this network");
        assert_logits("deit", network.forward(images([2, 3, 8, 8])));
    }
}

/// Under the names of the authors' class, which lists the patch embedding a second time. Breaks when the second one counts as a
/// tensor of its own, or one of the two is not enough.
#[test]
fn deit_of_the_authors_class() {
    let timm = files::read(&file("deit.safetensors"));
    let embedding = |name: &String| name.starts_with("patch_embed.");
    let within: Tensors = timm
        .iter()
        .map(|(name, tensor)| (format!("deit.{name}"), tensor.clone()))
        .collect();
    let mut twice = within.clone();
    twice.extend(timm.clone().into_iter().filter(|(name, _)| embedding(name)));
    assert_eq!(twice.len(), timm.len() + 2);
    let mut second_alone = twice.clone();
    second_alone.retain(|name, _| !name.starts_with("deit.patch_embed."));

    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("deit.safetensors");
    for state in [within, twice, second_alone] {
        files::write(&path, &state);
        let network = load(networks::deit(), &path, vision_transformer::authors_name);
        let network = network.expect("the file has this network");
        assert_logits("deit", network.forward(images([2, 3, 8, 8])));
    }
}

/// As `safetensors.torch.save_model` leaves it: with `lm_head.weight` and no `transformer.wte.weight`, and with masks.
/// Breaks when the one is not taken for the other, or masks count as weights.
#[test]
fn gpt_of_a_safetensors_file() {
    let network = load(networks::gpt(), file("gpt.safetensors"), gpt::authors_name);
    let network = network.expect("the file has this network");
    assert_logits("gpt", network.forward(tokens()));
}

/// Breaks when what is exported is not, byte by byte, what PyTorch stored: the other way than the tests of logits go.
#[test]
fn what_pytorch_stored_is_stored_again() {
    let network = load(
        networks::gpt::<Single>(),
        file("gpt.safetensors"),
        gpt::authors_name,
    );
    let network = network.expect("the file has this network");
    let folder = tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("gpt.safetensors");
    save(&network, &path, gpt::authors_name).expect("the folder can be written to");

    let mut expected = files::read(&file("gpt.safetensors"));
    expected.retain(|name, _| !name.ends_with(".attn.bias"));
    let head = expected["lm_head.weight"].clone();
    expected.insert("transformer.wte.weight".to_owned(), head);
    let found = files::read(&path);
    assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
    for (name, expected) in &expected {
        assert!(found[name] == *expected, "{name}");
    }
}

#[cfg(feature = "pth")]
mod pickled {
    use mac_burn_models::import::{ImportError, load_part};
    use mac_burn_models::{lenet, swin};

    use super::*;

    /// A state and nothing else. Breaks like the test of DeiT.
    #[test]
    fn lenet() {
        let network = load(networks::lenet(), file("lenet.pth"), lenet::authors_name);
        let network = network.expect("the file has this network");
        assert_logits("lenet", network.forward(images([2, 1, 16, 16])));
    }

    /// A state below `model`, with the buffers of older versions of timm. Breaks when these count as weights, or what
    /// is next to the state does.
    #[test]
    fn swin() {
        let network = load(networks::swin(), file("swin.pth"), swin::timm_name);
        let network = network.expect("the file has this network");
        assert_logits("swin", network.forward(images([2, 3, 16, 16])));
    }

    /// A checkpoint of nanoGPT's training script with a compiled network, both tied tensors and the optimizer's state.
    #[test]
    fn gpt() {
        let network = load(networks::gpt(), file("gpt.pt"), gpt::authors_name);
        let network = network.expect("the file has this network");
        assert_logits("gpt", network.forward(tokens()));
    }

    /// Of the same checkpoint. Breaks when a part is no dictionary that PyTorch stored, or one without tensors counts as one.
    #[test]
    fn gpt_of_a_part() {
        let load = |part| {
            let network = networks::gpt::<Single>();
            load_part(network, file("gpt.pt"), part, gpt::authors_name)
        };
        let network = load("model").expect("the part has this network");
        assert_logits("gpt", network.forward(tokens()));

        let error = load("model_ema").expect_err("nanoGPT takes no average");
        assert!(
            matches!(&error, ImportError::MissingPart { found, .. } if *found == ["model", "optimizer"]),
            "{error}"
        );
    }

    /// The checksum of archives.
    fn crc32(bytes: &[u8]) -> [u8; 4] {
        let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
                0 => sum >> 1,
                _ => (sum >> 1) ^ 0xedb8_8320,
            })
        });

        (!sum).to_le_bytes()
    }

    /// Puts bytes in place of as many others, wherever they are.
    fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
        let mut at = 0;
        while let Some(bytes) = bytes.get_mut(at..at + old.len()) {
            if bytes == old {
                bytes.copy_from_slice(new);
            }
            at += 1;
        }
    }

    /// The file of LeNet with other strides of a kernel; PyTorch stores its archives without compression.
    fn with_strides(old: &[u8], new: &[u8]) -> Vec<u8> {
        let mut bytes = fs::read(file("lenet.pth")).expect("the fixture is there");
        let position = |bytes: &[u8], part: &[u8]| {
            let at = bytes.windows(part.len()).position(|it| it == part);
            at.expect("the archive has it")
        };
        let start = position(&bytes, b"\x80\x02ccollections");
        let end = start + position(&bytes[start..], b"PK\x07\x08");
        let pickle = start..end;
        let before = crc32(&bytes[pickle.clone()]);
        replace(&mut bytes[pickle.clone()], old, new);
        let after = crc32(&bytes[pickle]);
        replace(&mut bytes, &before, &after);

        bytes
    }

    /// Breaks when the strides of a tensor are not looked at, or are where they have no meaning: of its one input channel the
    /// first kernel has one value.
    #[test]
    fn kernels_in_another_order_are_an_error() {
        let folder = tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("lenet.pth");
        let load = |bytes: Vec<u8>| {
            fs::write(&path, bytes).expect("the folder can be written to");
            load(networks::lenet::<Single>(), &path, lenet::authors_name)
        };
        // 2 kernels of 1×5×5, and 3 of 2×5×5.
        let first = with_strides(b"(K\x19K\x19K\x05K\x01t", b"(K\x19K\x01K\x05K\x01t");
        let second = with_strides(b"(K2K\x19K\x05K\x01t", b"(K2K\x01K\x0aK\x02t");

        let network = load(first).expect("it is contiguous");
        assert_logits("lenet", network.forward(images([2, 1, 16, 16])));
        let error = load(second).expect_err("it is not contiguous");
        assert!(
            matches!(&error, ImportError::Strided { name, .. } if name == "conv2.weight"),
            "{error}"
        );
    }

    /// Breaks when a storage that does not fit its checksum is read as zeros, or as it is.
    #[test]
    fn a_damaged_storage_is_an_error() {
        let mut bytes = fs::read(file("lenet.pth")).expect("the fixture is there");
        let name = b"lenet/data/0";
        let at = bytes.windows(name.len()).position(|bytes| bytes == name);
        let at = at.expect("PyTorch names its storages");
        // The length of what is between the name and the storage is in the two bytes before the name.
        let between = u16::from_le_bytes([bytes[at - 2], bytes[at - 1]]);
        bytes[at + name.len() + usize::from(between) + 1] ^= 1;
        let folder = tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("lenet.pth");
        fs::write(&path, bytes).expect("the folder can be written to");

        let error = load(networks::lenet::<Single>(), &path, lenet::authors_name);
        assert!(matches!(error, Err(ImportError::Read { .. })), "{error:?}");
    }
}

/// Breaks when the reason does not say what helps.
#[cfg(not(feature = "pth"))]
#[test]
fn a_pickled_file_needs_a_feature() {
    let path = file("lenet.pth");
    let error = load(
        networks::lenet::<Single>(),
        path,
        mac_burn_models::lenet::authors_name,
    );
    let error = error.expect_err("there is no reader").to_string();
    assert!(error.contains("lenet.pth: "), "{error}");
    assert!(error.contains("`pth`"), "{error}");
}
