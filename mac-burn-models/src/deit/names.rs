/// The name in the `state_dict` of timm's `VisionTransformer` of the parameter at a path of a [`Deit`](super::Deit).
///
/// ```
/// use mac_burn_models::deit::timm_name;
///
/// let path = "blocks.0.attention.output.weight";
/// assert_eq!(timm_name(path), "blocks.0.attn.proj.weight");
/// ```
pub fn timm_name(path: &str) -> String {
    let names = path.split('.').map(|name| match name {
        "class_token" => "cls_token",
        "position_embedding" => "pos_embed",
        "patch_embedding" => "patch_embed",
        "projection" | "output" => "proj",
        "attention" => "attn",
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    });

    names.collect::<Vec<_>>().join(".")
}

/// The name in the `state_dict` of the authors' `DeiT32Tiny`, which holds timm's network as `deit`, of the parameter at a path
/// of a [`Deit`](super::Deit). The patch embedding, which is listed as `patch_embed` too, goes by its name within `deit`.
///
/// ```
/// use mac_burn_models::deit::authors_name;
///
/// let path = "patch_embedding.projection.bias";
/// assert_eq!(authors_name(path), "deit.patch_embed.proj.bias");
/// ```
pub fn authors_name(path: &str) -> String {
    format!("deit.{}", timm_name(path))
}
