/// The name in the `state_dict` of timm's `SwinTransformer` of the parameter at a path of a [`Swin`](super::Swin).
///
/// ```
/// use mac_burn_models::swin::timm_name;
///
/// let path = "stages.1.blocks.0.window_attention.relative_position_bias.table";
/// let name = "layers.1.blocks.0.attn.relative_position_bias_table";
/// assert_eq!(timm_name(path), name);
/// ```
pub fn timm_name(path: &str) -> String {
    let names = path.split('.').filter_map(|name| {
        Some(match name {
            // timm's window attention has their parameters itself.
            "attention" | "relative_position_bias" => return None,
            "patch_embedding" => "patch_embed",
            "projection" | "output" => "proj",
            "stages" => "layers",
            "merging" => "downsample",
            "window_attention" => "attn",
            "table" => "relative_position_bias_table",
            "head" => "head.fc",
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        })
    });

    names.collect::<Vec<_>>().join(".")
}
