//! Recording: what the forward passes saw.

mod attention_input;
mod attention_sums;
pub(crate) mod collector;
mod conv2d;
pub(crate) mod layer;
mod linear;
mod multi_head_attention;
mod recorded;
mod recorder;
mod recorder_attention;
mod recorder_module;
mod self_attention;
mod self_attention_config;
pub(crate) mod statistics;
mod transformer_decoder;
mod transformer_encoder;
mod unrecorded;

pub use attention_input::AttentionInput;
pub use conv2d::MacConv2d;
pub use linear::MacLinear;
pub use multi_head_attention::MacMultiHeadAttention;
pub use recorded::{Recorded, RecordedLayer};
pub use recorder::Recorder;
pub use self_attention::{MacSelfAttention, SelfAttention};
pub use self_attention_config::SelfAttentionConfig;
pub use transformer_decoder::{DecoderInput, MacTransformerDecoder, MacTransformerDecoderLayer};
pub use transformer_encoder::{EncoderInput, MacTransformerEncoder, MacTransformerEncoderLayer};
pub use unrecorded::unrecorded;
