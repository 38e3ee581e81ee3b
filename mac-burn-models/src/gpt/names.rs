/// The name in the `state_dict` of nanoGPT's `GPT`, which the authors use, of the parameter at a path of a
/// [`Gpt`](super::Gpt). The tied head is listed under the name of the token embedding.
///
/// ```
/// use mac_burn_models::gpt::authors_name;
///
/// let path = "blocks.0.mlp.fc1.weight";
/// assert_eq!(authors_name(path), "transformer.h.0.mlp.c_fc.weight");
/// ```
pub fn authors_name(path: &str) -> String {
    let names = path.split('.').map(|name| match name {
        "token_embedding" => "wte",
        "position_embedding" => "wpe",
        "blocks" => "h",
        "norm1" => "ln_1",
        "norm2" => "ln_2",
        "norm" => "ln_f",
        "attention" => "attn",
        "qkv" => "c_attn",
        "output" | "fc2" => "c_proj",
        "fc1" => "c_fc",
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    });

    format!("transformer.{}", names.collect::<Vec<_>>().join("."))
}
