use burn::config::Config;

/// Configuration of a [`SwinStage`](super::SwinStage): the blocks between two changes of the map's size.
#[derive(Config, Debug)]
pub struct SwinStageConfig {
    /// Channels of the map, the size of a token.
    pub d_model: usize,
    /// The number of blocks. Every second one shifts its windows, by half of their size.
    pub n_layers: usize,
    /// The number of attention heads; it divides the channels, or the size of a head is given.
    pub n_heads: usize,
    /// The size of a head, `d_model / n_heads` unless given.
    #[config(default = "None")]
    pub d_head: Option<usize>,
    /// Height and width of a window, in tokens.
    #[config(default = "[7, 7]")]
    pub window_size: [usize; 2],
    /// The hidden size of the feed-forward layers, in multiples of the size of a token.
    #[config(default = 4.0)]
    pub mlp_ratio: f64,
}
