//! Recorded layers: fields of a user's network.

mod attention;
mod recorded;
mod recurrent;
mod self_attention;
mod swiglu;
mod transformer_decoder;
mod transformer_encoder;

pub use attention::{AttentionInput, MacMultiHeadAttention};
pub use recorded::{
    MacConv2d, MacLinear, Recorded, RecordedLayer, unrecorded, with_fresh_recorders,
};
pub use recurrent::{MacBiGru, MacBiLstm, MacBiRnn, MacGru, MacLstm, MacRnn};
pub use self_attention::{MacSelfAttention, SelfAttention, SelfAttentionConfig};
pub use swiglu::MacSwiGlu;
pub use transformer_decoder::{DecoderInput, MacTransformerDecoder, MacTransformerDecoderLayer};
pub use transformer_encoder::{EncoderInput, MacTransformerEncoder, MacTransformerEncoderLayer};
