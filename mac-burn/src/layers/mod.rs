//! Recorded layers: fields of a user's network.

mod attention;
mod cross_attention;
mod recorded;
mod recurrent;
mod self_attention;
mod swiglu;
mod transformer_decoder;
mod transformer_encoder;

pub use attention::{AttentionInput, MacMultiHeadAttention};
pub use cross_attention::MacCrossAttention;
pub use recorded::{
    MacConv1d, MacConv2d, MacConv3d, MacConvTranspose1d, MacConvTranspose2d, MacConvTranspose3d,
    MacEmbedding, MacLinear, Recorded, RecordedLayer, unrecorded, with_fresh_recorders,
};
pub use recurrent::{MacBiGru, MacBiLstm, MacBiRnn, MacGru, MacLstm, MacRnn};
pub use self_attention::{MacSelfAttention, SelfAttention, SelfAttentionConfig};
pub use swiglu::MacSwiGlu;
pub use transformer_decoder::{DecoderInput, MacTransformerDecoder, MacTransformerDecoderLayer};
pub use transformer_encoder::{EncoderInput, MacTransformerEncoder, MacTransformerEncoderLayer};
