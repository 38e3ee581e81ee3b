//! Tensors that a `state_dict` lists besides the parameters of a module, and names that changed.

/// Tensors that a `state_dict` lists twice, as a copy and its original. A module has the original alone: the head of
/// GPT is the table of its tokens, and the authors' DeiT has the patch embedding of the network that it holds as a part of
/// its own too.
const TIED: [(&str, &str); 3] = [
    ("lm_head.weight", "transformer.wte.weight"),
    ("patch_embed.proj.weight", "deit.patch_embed.proj.weight"),
    ("patch_embed.proj.bias", "deit.patch_embed.proj.bias"),
];

/// How the names of buffers end that PyTorch makes of shapes, or counts, and no module of this crate has: batches that
/// a norm has seen, where a window's biases are in their table, and masks of attention.
#[cfg(feature = "import")]
const DERIVED: [&str; 5] = [
    "num_batches_tracked",
    "relative_position_index",
    "attn_mask",
    "attn.bias",
    "attn.masked_bias",
];

/// The name that a tensor of an old file has today.
///
/// The layers of torchvision's published DenseNets are called `norm.1` and `conv.2`, from a time when names of modules could
/// have dots.
#[cfg(feature = "import")]
pub(crate) fn current_name(name: String) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let old = parts.windows(3).position(|parts| {
        let [layer, part, number] = [parts[0], parts[1], parts[2]];
        layer.starts_with("denselayer")
            && matches!(part, "norm" | "conv")
            && matches!(number, "1" | "2")
    });
    match old {
        Some(layer) => {
            let (before, after) = (&parts[..=layer], &parts[layer + 2..]);
            format!(
                "{}.{}{}",
                before.join("."),
                parts[layer + 1],
                after.join(".")
            )
        }
        None => name,
    }
}

/// The name under which a tensor is listed a second time.
pub(crate) fn copy_of(original: &str) -> Option<&'static str> {
    let pair = TIED.iter().find(|(_, name)| *name == original);

    pair.map(|(copy, _)| *copy)
}

/// The tensor that this one lists a second time.
#[cfg(feature = "import")]
pub(crate) fn original_of(copy: &str) -> Option<&'static str> {
    let pair = TIED.iter().find(|(name, _)| *name == copy);

    pair.map(|(_, original)| *original)
}

/// Whether a tensor of this name is a buffer that no module needs.
#[cfg(feature = "import")]
pub(crate) fn is_derived(name: &str) -> bool {
    DERIVED.iter().any(|end| {
        let before = name.strip_suffix(end);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

#[cfg(all(test, feature = "import"))]
mod tests {
    use super::*;

    /// Breaks when a parameter whose name only ends like a buffer's is passed over.
    #[test]
    fn a_buffer_is_known_by_whole_parts_of_its_name() {
        assert!(is_derived("layers.0.blocks.1.attn_mask"));
        assert!(is_derived("bn1.num_batches_tracked"));
        assert!(is_derived("transformer.h.0.attn.bias"));
        assert!(!is_derived("blocks.0.attn.qkv.bias"));
        assert!(!is_derived("blocks.0.cross_attn.bias"));
        assert!(!is_derived("attn.biases"));
    }

    /// Breaks when an old name stays, or a name of today, of a layer or of a transition, changes.
    #[test]
    fn old_names_of_layers_become_those_of_today() {
        let current = |name: &str| current_name(name.to_owned());
        let old = "features.denseblock4.denselayer16.norm.2.running_var";
        let new = "features.denseblock4.denselayer16.norm2.running_var";
        assert_eq!(current(old), new);
        assert_eq!(current(new), new);
        let layer = current("module.denselayer1.conv.1.weight");
        assert_eq!(layer, "module.denselayer1.conv1.weight");
        let transition = "features.transition1.norm.weight";
        assert_eq!(current(transition), transition);
    }

    /// Breaks when an original is taken for a copy, as timm's patch embedding, which has the name of the authors' copy.
    #[test]
    fn a_copy_and_its_original_are_told_apart() {
        for (copy, original) in TIED {
            assert_eq!(copy_of(original), Some(copy));
            assert_eq!(original_of(copy), Some(original));
            assert_eq!((copy_of(copy), original_of(original)), (None, None));
        }
    }
}
