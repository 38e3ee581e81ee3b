use super::attention::{AttentionRecorders, fitted_padding, linear};
use super::recorded::sealed::{Function, LayerRecorders};
use super::{Recorded, RecordedLayer};
use crate::layer::{Layer, LayerKind};
use crate::statistics::AttendedValues;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::nn::attention::CrossAttention;
use burn::nn::{Dropout, Linear};
use burn::tensor::activation::{quiet_softmax, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, TensorPrimitive};
use std::sync::Once;

/// Burn's [`CrossAttention`], recorded (MAC, section on attention): queries of one sequence attend to the tokens of another, the context,
/// and several heads of queries may share a head of keys and values.
///
/// The query projection is preconditioned by the mean of the queries, the key projection by that of the context, the output projection by
/// that of the heads' outputs, each as any `Linear`. The value projection acts on the context as it is attended to, and has its
/// attention-weighted mean, see [`MacMultiHeadAttention`](crate::MacMultiHeadAttention). The probabilities are those that dropout left, so what
/// its bias sees is 1 on average only.
///
/// Where heads share a head of values, the gradient of that head's columns is a sum over all that each query of each of them attended to:
///
/// ```text
/// dW = Σ_h Σ_q (A_h X)_q g_hqᵀ
/// ```
///
/// So heads of queries, not those of values, are what the mean and the second moments are taken over, and each counts as much as any other.
/// The gradient at the projection's own output, which curvatures on the output side are made of, is the sum over the heads that share it.
///
/// `forward_cache`, for a context that stays the same, is the plain layer's and records nothing.
///
/// Burn's fields of this layer are private, so its settings are read from its `Debug` text when it is converted. If that has another form, as in another
/// version of Burn, the layer applies Burn's forward pass, records nothing, and logs a warning.
///
/// ```
/// use burn::nn::attention::CrossAttentionConfig;
/// use burn::tensor::Tensor;
/// use mac_burn::MacCrossAttention;
/// # type B = burn::backend::Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
/// # let (query, context) = (Tensor::ones([2, 3, 8], &device), Tensor::ones([2, 5, 6], &device));
/// # let padded = Tensor::full([2, 5], false, &device);
///
/// // Queries of 8, a context of 6; 4 heads of queries share 2 of keys and values, of 4 each.
/// let config = CrossAttentionConfig::new(8, 6, 4, 2, 4);
/// let attention: MacCrossAttention<B> = config.init(&device).into();
/// let output = attention.forward(query, context, Some(padded));
/// assert_eq!(output.dims(), [2, 3, 8]);
/// ```
pub type MacCrossAttention<B> = Recorded<CrossAttention<B>, B>;

/// The recorders of a cross-attention, and what its forward pass needs beside the parameters.
#[derive(Clone, Debug)]
pub struct CrossAttentionRecorders<B: Backend> {
    projections: AttentionRecorders<B>,
    /// None where this crate does not know the layer, and leaves it to Burn.
    settings: Option<Settings>,
}

impl<B: Backend> RecordedLayer<B> for CrossAttention<B> {
    type Recorders = CrossAttentionRecorders<B>;
}

impl<B: Backend> LayerRecorders<CrossAttention<B>, B> for CrossAttentionRecorders<B> {
    fn new(layer: &CrossAttention<B>) -> Self {
        let settings = Settings::of(layer).filter(|_| layers(layer).is_some());
        if settings.is_none() {
            warn_of_unknown_layer();
        }
        Self {
            projections: AttentionRecorders::default(),
            settings,
        }
    }

    fn map(&self, layer: &CrossAttention<B>, function: &mut Function<'_, B>) -> Self {
        // A layer that is not known has recorders that nobody uses.
        let projections = match layers(layer) {
            Some(layers) => self.projections.map_each(layers, function),
            None => AttentionRecorders::default(),
        };
        Self {
            projections,
            settings: self.settings.clone(),
        }
    }
}

/// Once in a process: the version of Burn is the same for all layers.
fn warn_of_unknown_layer() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        log::warn!(
            "the fields of this version of Burn's CrossAttention are not those that MacCrossAttention knows: it is the plain layer, \
             records nothing and is not preconditioned"
        );
    });
}

impl<B: Backend> Recorded<CrossAttention<B>, B> {
    /// Records and applies the layer, see [`CrossAttention::forward`]. Padded tokens of the context are not attended to and count in no
    /// mean.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, queries, d_model]`
    /// - context: `[batch, keys, d_context]`
    /// - mask: `[batch, keys]`, or `[1, keys]` for all samples, true at padded tokens of the context
    /// - output: `[batch, queries, d_model]`
    ///
    /// # Panics
    ///
    /// If the mask has another shape.
    pub fn forward(
        &self,
        query: Tensor<B, 3>,
        context: Tensor<B, 3>,
        mask: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        self.apply(query, context, [mask, None])
    }

    /// The same where queries are padded too: these do not count in the statistics of the query, value and output projections. It does not
    /// change what the layer computes.
    ///
    /// # Shapes
    ///
    /// - query: `[batch, queries, d_model]`
    /// - context: `[batch, keys, d_context]`
    /// - mask: `[batch, keys]`, or `[1, keys]` for all samples, true at padded tokens of the context
    /// - mask_pad_query: `[batch, queries]`, or `[1, queries]` for all samples, true at padded queries
    /// - output: `[batch, queries, d_model]`
    ///
    /// # Panics
    ///
    /// If a mask has another shape.
    pub fn forward_padded(
        &self,
        query: Tensor<B, 3>,
        context: Tensor<B, 3>,
        mask: Option<Tensor<B, 2, Bool>>,
        mask_pad_query: Tensor<B, 2, Bool>,
    ) -> Tensor<B, 3> {
        self.apply(query, context, [mask, Some(mask_pad_query)])
    }

    fn apply(
        &self,
        query: Tensor<B, 3>,
        context: Tensor<B, 3>,
        [mask, mask_pad_query]: [Option<Tensor<B, 2, Bool>>; 2],
    ) -> Tensor<B, 3> {
        let ([batch, queries, _], [_, keys, _]) = (query.dims(), context.dims());
        let mask = fitted_padding("mask", mask, [batch, keys]);
        let queries_padded = fitted_padding("mask_pad_query", mask_pad_query, [batch, queries]);
        let settings = self.recorders.settings.as_ref();
        let Some((settings, projections)) = settings.zip(projections(self)) else {
            return CrossAttention::forward(self, query, context, mask);
        };
        let recorders = &self.recorders.projections;
        let masks = [mask.as_ref(), queries_padded.as_ref()];
        forward(settings, &projections, recorders, [query, context], masks)
    }
}

/// Burn's forward pass, with a recorder at each projection.
fn forward<B: Backend>(
    settings: &Settings,
    [of_query, of_key, of_value, of_output]: &[Linear<B>; 4],
    recorders: &AttentionRecorders<B>,
    [query, context]: [Tensor<B, 3>; 2],
    [keys_padded, queries_padded]: [Option<&Tensor<B, 2, Bool>>; 2],
) -> Tensor<B, 3> {
    let ([batch, queries, _], [_, keys, _]) = (query.dims(), context.dims());
    let &Settings {
        n_heads,
        n_heads_kv,
        d_head,
        ..
    } = settings;
    let heads = |projected: Tensor<B, 3>, tokens, heads| {
        projected
            .reshape([batch, tokens, heads, d_head])
            .swap_dims(1, 2)
    };

    let query = linear(of_query, &recorders.query, query, queries_padded);
    let key = linear(of_key, &recorders.key, context.clone(), keys_padded);
    let value = of_value.forward(context.clone());

    let query = heads(query, queries, n_heads);
    let key = for_queries(heads(key, keys, n_heads_kv), n_heads);
    let weights = settings.weights(query, key, keys_padded);

    // Before heads share it: its gradient is that of the projection.
    let attended = AttendedValues {
        probabilities: &weights,
        values: &context,
        queries_padded,
        keys_padded,
    };
    let (weight, bias) = (&of_value.weight, of_value.bias.as_ref());
    let value = recorders
        .value
        .record_attended(weight, bias, attended, value);
    let value = for_queries(heads(value, keys, n_heads_kv), n_heads);

    let output = weights.matmul(value).swap_dims(1, 2);
    let output = output.reshape([batch, queries, n_heads * d_head]);
    linear(of_output, &recorders.output, output, queries_padded)
}

/// A head of keys or values for each head of queries.
fn for_queries<B: Backend>(shared: Tensor<B, 4>, n_heads: usize) -> Tensor<B, 4> {
    let [batch, heads, keys, size] = shared.dims();
    if heads == n_heads {
        return shared;
    }
    let repeated = n_heads / heads;
    shared
        .reshape([batch, heads, 1, keys, size])
        .expand([batch, heads, repeated, keys, size])
        .reshape([batch, n_heads, keys, size])
}

/// The numbers of the layer that a forward pass needs beside its parameters.
#[derive(Clone, Debug)]
struct Settings {
    dropout: Dropout,
    n_heads: usize,
    n_heads_kv: usize,
    d_head: usize,
    scale: f64,
    min_float: f64,
    quiet_softmax: bool,
}

impl Settings {
    fn of<B: Backend>(layer: &CrossAttention<B>) -> Option<Self> {
        Self::read(&format!("{layer:?}"))
    }

    /// Reads the `Debug` text of a layer, which has all fields and all digits, and, other than its `Display`, initializes no parameter: with a seed
    /// that would change the values of a network. None if there is a field more or less than here, as there may be in another version of
    /// Burn, with another forward pass.
    fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let (_, value) = text.rsplit_once(&format!(" {name}: "))?;
            value.split([',', ' ']).next()
        };
        let settings = Self {
            dropout: Dropout {
                prob: field("prob")?.parse().ok()?,
            },
            n_heads: field("n_heads")?.parse().ok()?,
            n_heads_kv: field("n_heads_kv")?.parse().ok()?,
            d_head: field("d_head")?.parse().ok()?,
            scale: field("scale")?.parse().ok()?,
            min_float: field("min_float")?.parse().ok()?,
            quiet_softmax: field("quiet_softmax")?.parse().ok()?,
        };
        let own = format!("{settings:?}");
        let (_, fields) = own.split_once('{')?;
        // Behind the last projection.
        text.ends_with(&format!("}},{fields}")).then_some(settings)
    }

    /// The attention probabilities that dropout leaves.
    fn weights<B: Backend>(
        &self,
        query: Tensor<B, 4>,
        key: Tensor<B, 4>,
        mask: Option<&Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 4> {
        let mut scores = query.matmul(key.transpose()) * self.scale;
        if let Some(mask) = mask {
            let [batch, keys] = mask.dims();
            let mask = mask.clone().reshape([batch, 1, 1, keys]);
            scores = scores.mask_fill(mask, self.min_float);
        }
        let weights = match self.quiet_softmax {
            true => quiet_softmax(scores, 3),
            false => softmax(scores, 3),
        };
        self.dropout.forward(weights)
    }
}

/// The names of the projections, in the order of their recorders.
const PROJECTIONS: [&str; 4] = ["query", "key", "value", "output"];

/// The parameters of a projection, as far as they are found.
struct Projection<T> {
    weight: T,
    bias: Option<T>,
}

/// The projections as layers: their parameters are the layer's own, which its gradients belong to.
fn projections<B: Backend>(layer: &CrossAttention<B>) -> Option<[Linear<B>; 4]> {
    type Found<B> = (ParamId, TensorPrimitive<B>);
    let found = parameters(layer, |id, value| (id, value()))?;
    Some(found.map(|Projection { weight, bias }| Linear {
        weight: with_rank(weight),
        bias: bias.map(|bias: Found<B>| with_rank(bias)),
    }))
}

fn with_rank<B: Backend, const D: usize>(
    (id, value): (ParamId, TensorPrimitive<B>),
) -> Param<Tensor<B, D>> {
    Param::initialized(id, Tensor::from_primitive(value))
}

/// The projections by the ids of their parameters, which are not initialized for it.
fn layers<B: Backend>(layer: &CrossAttention<B>) -> Option<[Layer; 4]> {
    let found = parameters(layer, |id, _| id)?;
    Some(found.map(|Projection { weight, bias }| Layer {
        kind: LayerKind::Linear,
        weight,
        bias,
    }))
}

/// The results of a function of each parameter of each projection, by its id and its value. None if the layer has others.
fn parameters<B: Backend, T>(
    layer: &CrossAttention<B>,
    of: impl Fn(ParamId, &dyn Fn() -> TensorPrimitive<B>) -> T,
) -> Option<[Projection<T>; 4]> {
    struct Visitor<T, F> {
        of: F,
        path: Vec<String>,
        found: Vec<(String, T)>,
    }
    impl<B, T, F> ModuleVisitor<B> for Visitor<T, F>
    where
        B: Backend,
        F: Fn(ParamId, &dyn Fn() -> TensorPrimitive<B>) -> T,
    {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let value = || param.val().into_primitive();
            let found = (self.of)(param.id, &value);
            self.found.push((self.path.join("."), found));
        }
    }
    let mut visitor = Visitor {
        of,
        path: Vec::new(),
        found: Vec::new(),
    };
    layer.visit(&mut visitor);
    let mut found = visitor.found;
    let mut take = |name: String| {
        let place = found.iter().position(|(path, _)| *path == name)?;
        Some(found.remove(place).1)
    };
    let mut projections = Vec::new();
    for name in PROJECTIONS {
        projections.push(Projection {
            weight: take(format!("{name}.weight"))?,
            bias: take(format!("{name}.bias")),
        });
    }
    let is_all = found.is_empty();
    projections.try_into().ok().filter(|_| is_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacConfig;
    use burn::backend::Autodiff;
    use burn::module::list_param_ids;
    use burn::nn::attention::CrossAttentionConfig;
    use burn::optim::GradientsParams;
    use burn::tensor::Distribution;
    use burn_ndarray::NdArray;

    type B = Autodiff<NdArray<f64>>;

    fn layer() -> CrossAttention<B> {
        let config = CrossAttentionConfig::new(4, 6, 6, 2, 3)
            .with_dropout(0.0)
            .with_min_float(-2.5e7);
        config.init(&Default::default())
    }

    fn text_of(layer: &CrossAttention<B>) -> String {
        let settings = Settings::of(layer).expect("the layer is known");
        format!("{settings:?}")
    }

    /// Breaks with a version of Burn whose layer is not read: there the layer would record nothing.
    #[test]
    fn all_settings_are_read_with_all_digits() {
        let expected = Settings {
            dropout: Dropout { prob: 0.0 },
            n_heads: 6,
            n_heads_kv: 2,
            d_head: 3,
            scale: 3.0f64.sqrt().recip(),
            min_float: -2.5e7,
            quiet_softmax: false,
        };
        assert_eq!(text_of(&layer()), format!("{expected:?}"));
        let config = CrossAttentionConfig::new(4, 6, 2, 1, 3)
            .with_dropout(0.1 + 0.2)
            .with_min_float(-1e-9)
            .with_quiet_softmax(true);
        let expected = Settings {
            dropout: Dropout { prob: 0.1 + 0.2 },
            n_heads: 2,
            n_heads_kv: 1,
            min_float: -1e-9,
            quiet_softmax: true,
            ..expected
        };
        let layer = config.init::<B>(&Default::default());
        assert_eq!(text_of(&layer), format!("{expected:?}"));
    }

    /// Breaks when a layer with other fields is taken for this one.
    #[test]
    fn a_layer_with_other_fields_is_not_read() {
        let text = format!("{:?}", layer());
        assert!(Settings::read(&text).is_some());
        for (from, to) in [
            (" scale: ", " softcap: 1.0, scale: "),
            (" }", ", causal: false }"),
            (" d_head: 3,", ""),
            (" n_heads: 6,", " n_heads: six,"),
            ("}, dropout", "}, norm: 1, dropout"),
        ] {
            let (before, after) = text.rsplit_once(from).expect("it is there");
            let other = format!("{before}{to}{after}");
            assert!(Settings::read(&other).is_none(), "{other}");
        }
    }

    /// Breaks when converting a layer draws the values of its parameters: with a seed a network would have other values than without
    /// recorders.
    #[test]
    fn a_conversion_initializes_no_parameter() {
        struct Initialized(usize, usize);
        impl ModuleVisitor<B> for Initialized {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
                self.0 += usize::from(param.is_initialized());
                self.1 += 1;
            }
        }
        let recorded: MacCrossAttention<B> = layer().into();
        let ids = list_param_ids(&recorded);
        let mut initialized = Initialized(0, 0);
        recorded.visit(&mut initialized);
        assert_eq!((initialized.0, initialized.1), (0, 8));
        assert_eq!(ids.len(), 8);
    }

    /// Breaks when a layer that is not known makes another output than Burn's, records something, or panics.
    #[test]
    fn a_layer_that_is_not_known_is_the_plain_one() {
        let device = Default::default();
        let random = |shape| Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
        let (query, context) = (random([2, 3, 4]), random([2, 5, 6]));
        let plain = layer();
        // Before it is cloned: clones of parameters without values draw their own.
        let mask = Tensor::full([2, 3], true, &device);
        let mask = Tensor::cat(vec![Tensor::full([2, 2], false, &device), mask], 1);
        let expected = plain.forward(query.clone(), context.clone(), Some(mask.clone()));
        let mut recorded: MacCrossAttention<B> = plain.clone().into();
        recorded.recorders.settings = None;
        let recorded = recorded.load_record(plain.clone().into_record());
        let output = recorded.forward(query, context, Some(mask));
        output.to_data().assert_eq(&expected.into_data(), true);

        let grads = GradientsParams::from_grads(output.sum().backward(), &recorded);
        let mut preconditioner = MacConfig::new().init_preconditioner();
        preconditioner.precondition(&recorded, grads);
        let report = preconditioner.report(&recorded);
        assert_eq!(report.covered_parameters, 0);
    }
}
