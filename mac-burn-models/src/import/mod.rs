//! Weights that PyTorch stored, for the networks of this crate (feature `import`).
//!
//! ```no_run
//! use burn::nn::LinearConfig;
//! use burn::tensor::backend::Backend;
//! use mac_burn_models::{VisionTransformer, VisionTransformerConfig, import, vision_transformer};
//!
//! /// timm's DeiT-Ti, with a head for ten classes of one's own.
//! fn network<B: Backend>(device: &B::Device) -> Result<VisionTransformer<B>, import::ImportError> {
//!     let network = VisionTransformerConfig::deit_tiny().init(device);
//!     let file = "deit_tiny_patch16_224.safetensors";
//!     let mut network = import::load(network, file, vision_transformer::timm_name)?;
//!     network.head = LinearConfig::new(192, 10).init(device).into();
//!     Ok(network)
//! }
//! ```
//!
//! # Files
//!
//! - `.safetensors`;
//! - `.pth`, `.pt`, `.bin`, `.ckpt` and `.tar`, which `torch.save` wrote, with the feature `pth`. Burn's reader does
//!   not look at strides. A tensor that is not contiguous in the file, such as a kernel in `channels_last`, would be read
//!   in the wrong order and is [refused](ImportError::Strided); in the formats of PyTorch before 1.6, which are no
//!   archives, it is not noticed. PyTorch's `contiguous` before storing helps, and so does safetensors, which stores
//!   nothing else.
//!
//! The weights may be the whole file or a part of it: they are taken from below `state_dict`, `model_state_dict`,
//! `model`, `net`, `module` or `_orig_mod`, or several of these, as the training scripts of timm, of nanoGPT and of MAC's
//! authors for CIFAR, data parallelism and `torch.compile` make them. What is next to such a part, like an optimizer's
//! state, is not looked at.
//!
//! Checkpoints of training may have an average of the weights besides, timm's under `state_dict_ema`, and torchvision's
//! and those of DeiT's authors under `model_ema`. [`load_part`] loads the part that it is told, of which `module` and
//! `_orig_mod` are taken off as well; so torchvision's number of averaged steps, next to a `module`, is not looked at.
//!
//! # Tensors
//!
//! Every tensor of the network must be in the file and the other way round, with the same shape; otherwise a
//! [`Mismatch`] lists all that is not so. Linear weights are transposed, and values of `f16`, `bf16`, `f32` and `f64`
//! become values of the network's own type. Projections to queries, keys and values are one tensor here as in PyTorch.
//!
//! Two kinds of tensors may be in the file besides. Buffers that PyTorch makes of shapes or counts are passed over:
//! those whose names end in `num_batches_tracked`, `relative_position_index`, `attn_mask`, `attn.bias` or
//! `attn.masked_bias`. And a tied tensor is listed twice by PyTorch: nanoGPT's `lm_head.weight` must have the values of
//! `transformer.wte.weight`, and so must the `patch_embed` of the authors' DeiT those of `deit.patch_embed`. One of the two
//! is enough, since safetensors keeps but one.
//!
//! # Weights of other definitions
//!
//! A family has functions for the names of the definitions that it knows: `timm_name`, `authors_name` and, of Swin,
//! `microsoft_name`. The layers of torchvision's published DenseNets have older names, which are read as those of today. Other
//! definitions of a network differ by more than names. Hugging Face's GPT-2 has the weights of its `Conv1D` as `[in, out]` and
//! is refused as mis-shaped; nanoGPT's `GPT.from_pretrained` makes its own of them, whose state can be read, by a network
//! with [`approximate_gelu`](crate::GptConfig::approximate_gelu).

mod checkpoint;
mod error;
mod mismatch;
mod parameters;
#[cfg(feature = "pth")]
mod strides;

use std::collections::BTreeSet;
use std::path::Path;

use burn::module::Module;
use burn::tensor::backend::Backend;

pub use error::ImportError;
pub use mismatch::{Mismatch, Misshaped, Mistyped, Untied};

use self::checkpoint::Checkpoint;
use self::mismatch::compare;
use self::parameters::{Expected, Filler};
use crate::pytorch::{Name, settle};

/// The module with the weights of a file that PyTorch stored, in place of its own.
///
/// `name` gives PyTorch's name to the parameter at a path, such as [`vision_transformer::timm_name`](crate::vision_transformer::timm_name).
/// Parameters keep their ids, so that an optimizer's record still belongs to them. What was not initialized yet is
/// never drawn, so a network may come straight from its configuration. The whole file is read into memory before the
/// first parameter is set.
///
/// # Errors
///
/// If the file cannot be read, if it and the module do not have the same tensors, if the values of one are not stored in the
/// order of its indices, or if `name` gives the same name to two parameters. Nothing was changed then, the running statistics
/// of norms included, which clones of the module share.
///
/// # Panics
///
/// If a parameter is quantized.
pub fn load<B: Backend, M: Module<B>>(
    module: M,
    path: impl AsRef<Path>,
    name: Name,
) -> Result<M, ImportError> {
    load_from(module, path.as_ref(), None, name)
}

/// As [`load`], of a part of a file that has several, such as the average of the weights in a checkpoint of training.
///
/// `part` is the key of the dictionary that was stored, or several with dots between them. [`load`] without one takes
/// the weights themselves.
///
/// ```no_run
/// use burn::tensor::backend::Backend;
/// use mac_burn_models::{ResNet, ResNetConfig, import, resnet};
///
/// /// The average that torchvision's reference script stores next to the weights of its last step.
/// fn average<B: Backend>(device: &B::Device) -> Result<ResNet<B>, import::ImportError> {
///     let network = ResNetConfig::resnet50().init(device);
///     import::load_part(network, "checkpoint.pth", "model_ema", resnet::timm_name)
/// }
/// ```
///
/// # Errors
///
/// As [`load`], and if the file has no tensor in such a part.
///
/// # Panics
///
/// As [`load`].
pub fn load_part<B: Backend, M: Module<B>>(
    module: M,
    path: impl AsRef<Path>,
    part: &str,
    name: Name,
) -> Result<M, ImportError> {
    load_from(module, path.as_ref(), Some(part), name)
}

fn load_from<B: Backend, M: Module<B>>(
    module: M,
    path: &Path,
    part: Option<&str>,
    name: Name,
) -> Result<M, ImportError> {
    let expected = Expected::of(&module, name);
    check_names(&expected)?;
    let file = match part {
        Some(part) => Checkpoint::open(path)?.part(part)?,
        None => Checkpoint::open(path)?,
    };
    let file = file.unwrapped(&expected);
    let mismatch = compare(&expected, &file)?;
    if !mismatch.is_empty() {
        return Err(ImportError::Mismatch {
            path: path.to_owned(),
            part: part.map(str::to_owned),
            mismatch: Box::new(mismatch),
        });
    }
    file.check_order(&expected)?;
    // All is read before anything is changed: what a clone shares would not come back.
    let mut filler = Filler::read(&expected, &file, name)?;
    // A module with a parameter that was never needed saw no batch, and the parameter need not be drawn.
    if expected.iter().all(|tensor| tensor.initialized) {
        settle(&module);
    }

    Ok(module.map(&mut filler))
}

fn check_names(expected: &[Expected]) -> Result<(), ImportError> {
    let mut names = BTreeSet::new();
    match expected.iter().find(|tensor| !names.insert(&tensor.name)) {
        None => Ok(()),
        Some(tensor) => Err(ImportError::SameName {
            name: tensor.name.clone(),
        }),
    }
}
