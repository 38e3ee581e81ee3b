use crate::inventory::{Inventory, Parameter};
use crate::layer::Layer;
use burn::module::ParamId;
use burn::tensor::backend::AutodiffBackend;
use std::collections::HashSet;
use std::fmt;

/// The names that a list of parameters gives in full.
const NAMED: usize = 3;

/// Burn's layers that have a recorded form, and this crate's own, with what to use in their place.
const RECORDED_FORMS: [(&str, &str); 23] = [
    ("Linear", "MacLinear"),
    ("Conv1d", "MacConv1d"),
    ("Conv2d", "MacConv2d"),
    ("Conv3d", "MacConv3d"),
    ("ConvTranspose1d", "MacConvTranspose1d"),
    ("ConvTranspose2d", "MacConvTranspose2d"),
    ("ConvTranspose3d", "MacConvTranspose3d"),
    ("MultiHeadAttention", "MacMultiHeadAttention"),
    ("CrossAttention", "MacCrossAttention"),
    ("SelfAttention", "MacSelfAttention"),
    ("TransformerEncoder", "MacTransformerEncoder"),
    ("TransformerEncoderLayer", "MacTransformerEncoderLayer"),
    ("TransformerDecoder", "MacTransformerDecoder"),
    ("TransformerDecoderLayer", "MacTransformerDecoderLayer"),
    // Its fields have the types of plain layers.
    ("PositionWiseFeedForward", "two MacLinear and an activation"),
    ("Lstm", "MacLstm"),
    ("BiLstm", "MacBiLstm"),
    ("Gru", "MacGru"),
    ("BiGru", "MacBiGru"),
    ("Rnn", "MacRnn"),
    ("BiRnn", "MacBiRnn"),
    ("SwiGlu", "MacSwiGlu"),
    ("Embedding", "MacEmbedding"),
];

/// Burn's norms.
const NORMS: [&str; 5] = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RmsNorm",
];

/// A parameter of a [`Report`](crate::Report) that is trained and belongs to no recorded layer, so that its gradient is not preconditioned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UncoveredParameter {
    /// The names of the fields down to the parameter, joined by dots.
    pub path: String,
    /// The path of the layer whose type is to be changed, or that the reason is about. It may hold the layer of the parameter. For a parameter by
    /// itself it is `path`.
    pub layer_path: String,
    /// The shape of the parameter.
    pub shape: Vec<usize>,
    /// The kind of parameter that it is, or the layer to use in place of its own.
    pub reason: UncoveredReason,
}

/// The reason why a parameter belongs to no recorded layer. It is found by the names of types and fields, so a module of your own that is named like one
/// of Burn's layers is mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UncoveredReason {
    /// A scale or shift of a norm: it multiplies or adds element by element, and is no matrix that inputs go through.
    Norm,
    /// A table of embeddings.
    Embedding,
    /// A parameter that tells positions apart: one by itself, or table of embeddings, with a field name such as `pos`, `position_bias` or `pos_embedding`.
    Position,
    /// A parameter of an activation function, such as that of `PRelu`.
    Activation,
    /// A plain layer that has a recorded form: of those on the path to the parameter, the outermost.
    PlainLayer {
        /// The type of the layer.
        layer: &'static str,
        /// The layer to use in its place.
        recorded_form: &'static str,
    },
    /// A layer of Burn's that has no recorded form.
    NoRecordedForm {
        /// The type of the layer.
        layer: &'static str,
    },
    /// The bias of a recorded transposed convolution. It sees a 1 at each position of the output, and the weight's inputs are those at positions
    /// of the input: it is no part of them.
    TransposedConvolutionBias,
    /// A parameter that a [backend that records](crate::recording_backend) saw as the weight of several maps, such as an embedding whose table is the
    /// weight of the output layer too: no single mean stands for the inputs of both.
    WeightOfSeveralMaps,
    /// A bias that is added by an operation of its own to what its layer's weight makes, so that a backend that records does not see it with the
    /// weight.
    BiasAddedApart,
    /// A parameter that the [backend that records](crate::recording_backend) never saw as the weight of a linear map: it may be unused, changed before it is
    /// used, or multiplied element by element.
    NotSeenAsWeight,
    /// A parameter of a module of one's own. If it is a matrix that inputs go through, hand these to a [`Recorder`](crate::Recorder), which is
    /// known after the first pass.
    CustomModule {
        /// The type of the module.
        module: String,
    },
}

impl fmt::Display for UncoveredReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Norm => f.write_str("norm"),
            Self::Embedding => f.write_str(
                "embedding, leave it alone or use MacEmbedding with `embedding_damping`",
            ),
            Self::Position => f.write_str("position"),
            Self::Activation => f.write_str("activation function"),
            Self::PlainLayer {
                layer,
                recorded_form,
            } => write!(f, "plain {layer}, use {recorded_form}"),
            Self::NoRecordedForm { layer } => write!(f, "{layer}, which has no recorded form"),
            Self::TransposedConvolutionBias => {
                f.write_str("bias of a transposed convolution, no part of what its weight sees")
            }
            Self::WeightOfSeveralMaps => f.write_str("weight of several maps"),
            Self::BiasAddedApart => {
                f.write_str("bias that is added apart from what its layer's weight makes")
            }
            Self::NotSeenAsWeight => f.write_str("not seen as the weight of a linear map"),
            Self::CustomModule { module } => write!(f, "parameter of {module}, use a Recorder"),
        }
    }
}

/// The trained parameters of a module that belong to none of these layers, in the order of the module.
pub(crate) fn uncovered<B: AutodiffBackend>(
    inventory: &Inventory<B>,
    layers: impl Iterator<Item = Layer>,
) -> Vec<UncoveredParameter> {
    let covered: HashSet<ParamId> = layers
        .flat_map(|layer| layer.parameters().collect::<Vec<_>>())
        .collect();
    let is_covered = |parameter: &&Parameter<B>| covered.contains(&parameter.id);
    let layers_in_part: HashSet<&str> = inventory
        .parameters
        .iter()
        .filter(is_covered)
        .map(Parameter::layer_path)
        .collect();
    // A parameter that two modules share is found twice.
    let mut known = HashSet::new();
    let found = inventory.parameters.iter().filter(|parameter| {
        parameter.trained && !is_covered(parameter) && known.insert(parameter.id)
    });
    found
        .map(|parameter| {
            let in_part = layers_in_part.contains(parameter.layer_path());
            let (reason, layer_path) = match inventory.is_in_several_maps(parameter.id) {
                true => (UncoveredReason::WeightOfSeveralMaps, parameter.path.clone()),
                false => reason_and_layer(parameter, in_part, inventory.backend_records),
            };
            UncoveredParameter {
                path: parameter.path.clone(),
                layer_path,
                shape: parameter.shape.clone(),
                reason,
            }
        })
        .collect()
}

/// The reason, and the path of what it is about; `in_part` if the layer of the parameter is recorded without it, `by_backend` if the backend
/// records.
fn reason_and_layer<B: AutodiffBackend>(
    parameter: &Parameter<B>,
    in_part: bool,
    by_backend: bool,
) -> (UncoveredReason, String) {
    let Parameter {
        path, containers, ..
    } = parameter;
    let fields: Vec<Field<'_>> = path
        .split('.')
        .zip(containers.split('.'))
        .map(|(name, container)| Field { name, container })
        .collect();
    // An empty path is that of a module that is a parameter by itself.
    let Some(holder) = fields.iter().rposition(|field| field.module().is_some()) else {
        let module = "Param".to_string();
        return (UncoveredReason::CustomModule { module }, path.clone());
    };
    // Up to the module with this field; the module itself may be the whole.
    let path_of = |field: usize| match field {
        0 => path.clone(),
        field => fields[..field]
            .iter()
            .map(|field| field.name)
            .collect::<Vec<_>>()
            .join("."),
    };
    let module = fields[holder].module().unwrap_or_default();
    if NORMS.contains(&module) {
        return (UncoveredReason::Norm, path_of(holder));
    }
    match module {
        "PRelu" => return (UncoveredReason::Activation, path_of(holder)),
        "DeformConv2d" => {
            let layer = "DeformConv2d";
            return (UncoveredReason::NoRecordedForm { layer }, path_of(holder));
        }
        "Embedding" => {
            let outside = fields[..holder].iter();
            let field = outside.rev().find(|field| field.module().is_some());
            let reason = match field.is_some_and(|field| tells_positions_apart(field.name)) {
                true => UncoveredReason::Position,
                false => UncoveredReason::Embedding,
            };
            return (reason, path_of(holder));
        }
        _ => {}
    }
    if in_part && module.starts_with("ConvTranspose") {
        return (UncoveredReason::TransposedConvolutionBias, path.clone());
    }
    if by_backend {
        let reason = match tells_positions_apart(fields[holder].name) {
            true => UncoveredReason::Position,
            false if in_part => UncoveredReason::BiasAddedApart,
            false => UncoveredReason::NotSeenAsWeight,
        };
        return (reason, path.clone());
    }
    let outermost = fields.iter().enumerate().find_map(|(index, field)| {
        let module = field.module()?;
        let form = RECORDED_FORMS.iter().find(|(layer, _)| *layer == module)?;
        Some((index, *form))
    });
    if let Some((index, (layer, recorded_form))) = outermost {
        let reason = UncoveredReason::PlainLayer {
            layer,
            recorded_form,
        };
        return (reason, path_of(index));
    }
    let reason = match tells_positions_apart(fields[holder].name) {
        true => UncoveredReason::Position,
        false => UncoveredReason::CustomModule {
            module: module.to_string(),
        },
    };
    (reason, path.clone())
}

/// A name on a path, and the type of what holds it.
struct Field<'a> {
    name: &'a str,
    container: &'a str,
}

impl<'a> Field<'a> {
    /// The module's type; none for a list, whose names are numbers.
    fn module(&self) -> Option<&'a str> {
        let (kind, name) = self.container.split_once(':')?;
        matches!(kind, "Struct" | "Enum").then_some(name)
    }
}

/// Whether a word of a field's name is `pos` or begins as `position` does. `composed` and `posterior` are none.
fn tells_positions_apart(name: &str) -> bool {
    name.split('_').any(|word| {
        let word = word.trim_end_matches(char::is_numeric);
        word == "pos" || word.starts_with("posit") || word.starts_with("posemb")
    })
}

/// A line for each reason, in the order of the first of each: how many parameters there are and where.
pub(crate) fn lines_by_reason(uncovered: &[UncoveredParameter]) -> Vec<String> {
    let mut reasons: Vec<&UncoveredReason> = Vec::new();
    for parameter in uncovered {
        if !reasons.contains(&&parameter.reason) {
            reasons.push(&parameter.reason);
        }
    }
    let line = |reason: &UncoveredReason| {
        let of_reason = || uncovered.iter().filter(|found| found.reason == *reason);
        let elements = of_reason().map(|found| found.shape.iter().product::<usize>());
        let mut layers: Vec<&str> = of_reason().map(|found| found.layer_path.as_str()).collect();
        // Those of a layer follow each other.
        layers.dedup();
        let named: Vec<String> = layers
            .iter()
            .take(NAMED)
            .map(|path| format!("`{path}`"))
            .collect();
        let more = match layers.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let elements = match elements.sum::<usize>() {
            1 => "1 parameter".to_string(),
            elements => format!("{elements} parameters"),
        };
        format!("{reason}: {}{more} ({elements})", named.join(", "))
    };
    reasons.into_iter().map(line).collect()
}
