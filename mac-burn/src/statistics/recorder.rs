mod convolutions;
mod module;
mod of_backend;

use super::activation_sums::{token_counts, untracked};
use super::attention_sums::{AttendedValues, attended_sums, valid_token_sums};
use super::backward_hook::on_backward;
use super::layer_statistics::{Demand, LayerStatistics, Statistic};
use super::moments::{self, Moment};
use super::output_gradients::GradientRows;
use super::pass::{PassWeight, RowCounts, SeenInputs};
use super::passes::{Passes, RecordedStatistics, lock};
use super::patches::Incidence;
use super::schedule::{Schedule, ScheduleObserver, recording_is_paused};
use super::second_moments::{SampleRows, counted};
use super::shared_input::SharedInput;
use super::step_outputs::MapPass;
use crate::layer::{Layer, LayerKind};
use crate::precision::wider_of_f32;
use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};
use std::sync::{Arc, Mutex};
use std::{fmt, iter};

/// A recorder of the inputs that a layer saw since an optimizer step last took them.
///
/// For MAC it keeps the sums of the layer's augmented inputs `[x ; 1]`, one vector for each mean of the layer: one for a
/// `Linear`, one a group for a convolution, two for the fused projection of attention. For other curvatures it keeps what those are made of in place of
/// that or beside it, as [`KfacConfig`](crate::KfacConfig) matrices and sums over gradients at outputs. Micro-batches, repeated calls
/// and devices add up to the mean of the whole batch: exactly, but for the value projection of attention, see
/// [`MacMultiHeadAttention`](crate::MacMultiHeadAttention). Sums are in the input's float type, but at least in
/// `f32`; they hold no graph.
///
/// # Which passes count
///
/// A forward pass is recorded when the backend differentiates, the weight is trained and the optimizer's schedule
/// ([`tcov`](crate::MacConfig::tcov)) is due, and it counts when gradients flow back through it. A layer without a
/// statistic is always recorded, and so are all layers while an optimizer has yet to take its first step: a clone of
/// an optimizer that never steps makes every model record every pass. Before
/// the process has made an optimizer for the backend, or an [`OutputSpectrum`](crate::spectrum::OutputSpectrum), a pass counts at once.
/// [`without_recording`](crate::without_recording) excludes passes that only propagate gradients to other parameters.
///
/// # Who owns the sums
///
/// A step takes the sums. A clone starts with the passes that its original has counted, and its own count for the
/// original too, until either takes a step. So a model that is cloned or forked for one step, by threads or by Burn's
/// multi-device training, has the sums of all parts, and models that were made from one clone do not see each other.
/// Passes that a step of a clone has taken stay in the original until another pass counts there, so that several
/// clones may try a step each. [`with_fresh_recorders`](crate::with_fresh_recorders) separates a copy from its
/// original at once.
///
/// Burn 0.21 may deadlock when one thread runs a forward pass while another runs a backward pass through tensors
/// of the same graph, with plain layers too. Threads that share parameters must take turns, or each work on a
/// `fork`.
///
/// # A layer of your own
///
/// [Recorded layers](crate::Recorded) hold their recorders already. A layer of your own
/// holds one for each weight as a field, and passes its output through it:
///
/// ```
/// use burn::module::{Initializer, Module, Param};
/// use burn::tensor::{Tensor, backend::Backend};
/// use mac_burn::Recorder;
///
/// /// A linear layer whose output is scaled.
/// #[derive(Module, Debug)]
/// struct ScaledLinear<B: Backend> {
///     weight: Param<Tensor<B, 2>>,
///     scale: f64,
///     recorder: Recorder<B>,
/// }
///
/// impl<B: Backend> ScaledLinear<B> {
///     fn new(size: usize, device: &B::Device) -> Self {
///         let weight = Initializer::Normal { mean: 0.0, std: 0.1 };
///         Self {
///             weight: weight.init([size, size], device),
///             scale: 0.5,
///             recorder: Recorder::new(),
///         }
///     }
///
///     fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
///         let output = input.clone().matmul(self.weight.val());
///         let output = self.recorder.record_linear(&self.weight, None, &input, output);
///         output.mul_scalar(self.scale)
///     }
/// }
/// # use burn::backend::Autodiff;
/// # use burn::optim::{GradientsParams, Optimizer};
/// # type B = Autodiff<burn::backend::Flex>;
/// # let device = Default::default();
/// # let layer = ScaledLinear::<B>::new(3, &device);
/// # let mut optim = mac_burn::MacConfig::new().init::<B, ScaledLinear<B>>();
/// # let grads = layer.forward(Tensor::ones([2, 3], &device)).sum().backward();
/// # let grads = GradientsParams::from_grads(grads, &layer);
/// # let layer = optim.step(0.1, layer, grads);
/// # let report = optim.report(&layer);
/// # assert_eq!((report.layers[0].path.as_str(), report.layers[0].updates), ("weight", 1));
/// ```
///
/// A step panics with [`MacError::SharedRecorder`](crate::MacError::SharedRecorder) if one recorder was used for two
/// weights.
pub struct Recorder<B: Backend> {
    /// None in a recorder that is [off](crate::unrecorded).
    shared: Option<Shared<B>>,
}

struct Shared<B: Backend> {
    passes: Passes<B>,
    state: Arc<Mutex<State>>,
    /// Matrices that a convolution's sums are made with, kept from pass to pass.
    incidence: Arc<Mutex<Option<Incidence<B>>>>,
}

#[derive(Clone, Default)]
struct State {
    /// The layer of the latest pass, counted or not.
    layer: Option<Layer>,
    /// Whether the last step that ended recording found passes of several maps, and discarded them. Only a backend's recorder sees such.
    in_several_maps: bool,
    subscriptions: Vec<Subscription>,
}

/// The passes that an optimizer wants of a recorder.
#[derive(Debug, Clone)]
struct Subscription {
    optimizer: ScheduleObserver,
    /// The statistics that it asks for; empty if it does not precondition the layer by what it saw.
    demand: Demand,
    /// Whether it has no statistic of the layer yet, and so wants all passes, and not only those that its schedule is due for.
    without_statistic: bool,
}

/// A linear map `input · weight (+ bias)`, as its parameters.
type Weight<'a, B> = &'a Param<Tensor<B, 2>>;
type Bias<'a, B> = Option<&'a Param<Tensor<B, 1>>>;

impl<B: Backend> Default for Recorder<B> {
    fn default() -> Self {
        Self::new()
    }
}

/// Recording. Each function returns `output`, or any other tensor that it is given: the pass counts when gradients
/// flow back through what is returned. Curvatures that are made of the gradients at the outputs too, those of SMAC, Eva and K-FAC, need the
/// layer's own output, bias included: a tensor made of that has other gradients, which cannot be told from these if it has the same shape.
impl<B: Backend> Recorder<B> {
    /// A recorder that has seen nothing.
    pub fn new() -> Self {
        Self {
            shared: Some(Shared {
                passes: Passes::new(),
                state: Arc::default(),
                incidence: Arc::default(),
            }),
        }
    }

    /// Records the input of a linear map `input · weight (+ bias)`.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_input, size_output]`
    /// - input: `[.., size_input]`; the mean is over all leading dimensions
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_linear<const D: usize, const O: usize>(
        &self,
        weight: Weight<'_, B>,
        bias: Bias<'_, B>,
        input: &Tensor<B, D>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        self.record_shared(weight, bias, &mut SharedInput::new(input.clone()), output)
    }

    /// Records the input of a linear map `input · weightᵀ (+ bias)`, with a weight in PyTorch's layout.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_output, size_input]`
    /// - input: `[.., size_input]`; the mean is over all leading dimensions
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_transposed_linear<const D: usize, const O: usize>(
        &self,
        weight: Weight<'_, B>,
        bias: Bias<'_, B>,
        input: &Tensor<B, D>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let layer = Layer::matrix(LayerKind::TransposedLinear, weight, bias);
        let mut input = SharedInput::new(input.clone());
        self.record_rows(PassWeight::of(layer, weight), &mut input, output)
    }

    /// Records an input that other linear maps see as well: its sums are made once.
    pub(crate) fn record_shared<const D: usize, const O: usize>(
        &self,
        weight: Weight<'_, B>,
        bias: Bias<'_, B>,
        input: &mut SharedInput<B, D>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let layer = Layer::matrix(LayerKind::Linear, weight, bias);
        self.record_rows(PassWeight::of(layer, weight), input, output)
    }

    fn record_rows<const D: usize, const O: usize>(
        &self,
        weight: PassWeight,
        input: &mut SharedInput<B, D>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let layer = weight.layer;
        moments::observe(|| input.moment(layer));
        let rows = RowCounts::of(&input.dims(), None);
        self.record(weight, rows, output, |demand| {
            input.statistics(layer, demand)
        })
    }

    /// Begins a pass of a linear map that a layer applies at each step of a sequence.
    pub(crate) fn begin_steps(&self, linear: &Linear<B>, device: &B::Device) -> MapPass<B> {
        let layer = Layer::linear(linear);
        let demand = self.demand(linear.weight.is_require_grad(), device);
        let shared = self.shared.as_ref().filter(|_| !demand.is_empty());
        let passes = shared.map(|shared| {
            lock(&shared.state).layer = Some(layer);
            shared.passes.add_up();
            shared.passes.shared()
        });
        MapPass::new(layer, demand, passes)
    }

    /// Records the tokens that a linear map sees, but those that are padding.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_input, size_output]`
    /// - input: `[batch, tokens, size_input]`
    /// - padded: `[batch, tokens]`, true at padded tokens
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_tokens<const O: usize>(
        &self,
        weight: Weight<'_, B>,
        bias: Bias<'_, B>,
        input: &Tensor<B, 3>,
        padded: Option<&Tensor<B, 2, Bool>>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let layer = Layer::matrix(LayerKind::Linear, weight, bias);
        moments::observe(|| Moment::of_rows(layer, input));
        let rows = RowCounts::of(&input.dims(), padded);
        self.record(PassWeight::of(layer, weight), rows, output, |demand| {
            let mut seen = SeenInputs::new(layer, demand);
            seen.activations(|| valid_token_sums(untracked(input), padded));
            seen.rows(|| iter::once(SampleRows::of_tokens(untracked(input), padded)));
            seen.statistics
        })
    }

    /// Records what the value projection of attention sees, see
    /// [`MacMultiHeadAttention`](crate::MacMultiHeadAttention) for the mean that this makes.
    ///
    /// The output may be that of the projection or any tensor made of it alone, such as the attended values. For gradients at the output it
    /// is the projection's own, or that split into heads.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_input, size_output]`
    /// - output: any, or of the gradients to be seen `[batch, keys, size_output]` or `[batch, heads, keys, size_output / heads]`
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_attended<const O: usize>(
        &self,
        weight: Weight<'_, B>,
        bias: Bias<'_, B>,
        attended: AttendedValues<'_, B>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let layer = Layer::matrix(LayerKind::Linear, weight, bias);
        moments::observe(|| Moment::of_attended(layer, &attended));
        let rows = RowCounts::of(&attended.values.dims(), attended.keys_padded);
        self.record(PassWeight::of(layer, weight), rows, output, |demand| {
            let mut seen = SeenInputs::new(layer, demand);
            seen.activations(|| attended_sums(&attended));
            seen.attended_rows(&attended);
            seen.statistics
        })
    }

    /// Records what one projection to queries, keys and values sees: its tokens, `attended.values`, for the columns of
    /// the queries and keys, and the attended ones for the last `value_columns` columns. Tokens that are padded as keys
    /// count in neither. The output may be any tensor that is made of the projection.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_input, size_output]`
    ///
    /// # Panics
    ///
    /// If the weight has fewer columns than `value_columns`.
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_fused_attention<const O: usize>(
        &self,
        weight: Weight<'_, B>,
        bias: Bias<'_, B>,
        value_columns: usize,
        attended: AttendedValues<'_, B>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let layer = fused_attention(weight, bias, value_columns);
        moments::observe(|| Moment::of_rows(layer, attended.values));
        moments::observe(|| Moment::of_attended(layer, &attended));
        let (values, padded) = (attended.values, attended.keys_padded);
        self.record_pass(&PassWeight::of(layer, weight), None, output, |demand| {
            let mut seen = SeenInputs::new(layer, demand);
            seen.activations(|| {
                let tokens = valid_token_sums(untracked(values), padded);
                tokens.beside(attended_sums(&attended))
            });
            seen.rows(|| iter::once(SampleRows::of_tokens(untracked(values), padded)));
            seen.attended_rows(&attended);
            seen.statistics
        })
    }

    /// Records the gradients at the output of one projection to queries, keys and values, which curvatures such as K-FAC's are made of,
    /// beside what [`record_fused_attention`](Self::record_fused_attention) records. For others it does nothing.
    ///
    /// # Shapes
    ///
    /// - weight: `[size_input, size_output]`
    /// - padded: `[batch, tokens]`, true at padded tokens
    /// - output: that of the projection, `[batch, tokens, size_output]`
    ///
    /// # Panics
    ///
    /// If the weight has fewer columns than `value_columns`.
    #[must_use = "gradients are seen when they flow back through the output that is returned"]
    pub fn record_fused_output(
        &self,
        weight: Weight<'_, B>,
        bias: Bias<'_, B>,
        value_columns: usize,
        padded: Option<&Tensor<B, 2, Bool>>,
        output: Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let layer = fused_attention(weight, bias, value_columns);
        let rows = RowCounts::of(&output.dims(), padded);
        self.record(PassWeight::of(layer, weight), rows, output, |_| {
            LayerStatistics::none()
        })
    }

    /// Counts the tokens that an embedding looks up. Their frequencies are of use with an
    /// [`embedding_damping`](crate::MacConfig::embedding_damping).
    ///
    /// # Shapes
    ///
    /// - weight: `[tokens, size_output]`
    /// - tokens: of any, each in `0..tokens`
    #[must_use = "a pass counts when gradients flow back through the output that is returned"]
    pub fn record_embedding<const D: usize, const O: usize>(
        &self,
        weight: Weight<'_, B>,
        tokens: &Tensor<B, D, Int>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let weight = PassWeight::of(Layer::embedding(weight), weight);
        self.record_token_counts(weight, tokens, output)
    }

    fn record_token_counts<const D: usize, const O: usize>(
        &self,
        weight: PassWeight,
        tokens: &Tensor<B, D, Int>,
        output: Tensor<B, O>,
    ) -> Tensor<B, O> {
        let dtype = wider_of_f32(output.dtype());
        self.record_pass(&weight, None, output, |_| {
            let mut statistics = LayerStatistics::none();
            statistics.activations = Some(token_counts(tokens.clone(), weight.shape[0], dtype));
            statistics
        })
    }

    /// Records what a layer saw, and the gradients at its output, which has the rows of its input.
    fn record<const O: usize>(
        &self,
        weight: PassWeight,
        rows: RowCounts<'_, B>,
        output: Tensor<B, O>,
        seen: impl FnOnce(Demand) -> LayerStatistics<B>,
    ) -> Tensor<B, O> {
        let (shape, dtype) = (output.dims(), wider_of_f32(output.dtype()));
        let layer = weight.layer;
        let size_output = layer.kind.size_output(&weight.shape);
        let gradients = |demand| {
            let valid = || rows.padded.map(|padded| counted(padded, dtype));
            let RowCounts {
                samples,
                places,
                patches,
                ..
            } = rows;
            GradientRows::of(
                demand,
                layer.kind,
                &shape,
                size_output,
                [samples, places],
                patches,
                valid,
            )
        };
        let output = moments::observe_gradients(layer, output, gradients);
        self.record_pass(&weight, Some(&gradients), output, seen)
    }

    fn record_pass<const O: usize>(
        &self,
        weight: &PassWeight,
        gradients: Option<&dyn Fn(Demand) -> Option<GradientRows<Tensor<B, 2>>>>,
        output: Tensor<B, O>,
        seen: impl FnOnce(Demand) -> LayerStatistics<B>,
    ) -> Tensor<B, O> {
        let Some(shared) = &self.shared else {
            return output;
        };
        let layer = weight.layer;
        let demand = self.demand(weight.trained, &output.device());
        if demand.is_empty() {
            return output;
        }
        let seen = seen(demand);
        lock(&shared.state).layer = Some(layer);
        let gradients = gradients.and_then(|gradients| gradients(demand));
        if seen.is_empty() && gradients.is_none() {
            return output;
        }
        shared.passes.add_up();
        let passes = shared.passes.shared();
        on_backward(output, gradients, move |sums| {
            let mut statistics = seen.clone();
            for (statistic, sums) in sums {
                statistics.insert(statistic, sums);
            }
            if !statistics.is_empty() {
                passes.count(layer, statistics);
            }
        })
    }

    /// The statistics that are asked of a pass on this device, of a weight that is trained or not; none if it is not to be recorded.
    fn demand(&self, trained: bool, device: &B::Device) -> Demand {
        let differentiates = B::ad_enabled(device) && trained;
        match &self.shared {
            Some(shared) if differentiates && !recording_is_paused() => {
                lock(&shared.state).demand()
            }
            _ => Demand::default(),
        }
    }
}

impl State {
    /// The statistics that optimizers ask of the next pass. No optimizer may have stepped the layer yet, or all of those that
    /// have may be gone: the next to come wants its first pass. It may be any that there is, or one that is not made yet, which is taken
    /// for MAC.
    fn demand(&self) -> Demand {
        let awaited = Schedule::demand_before_first_steps();
        let present = self.subscriptions.iter();
        let mut present = present
            .filter_map(|subscription| Some((subscription, subscription.optimizer.is_due()?)))
            .peekable();
        if present.peek().is_none() {
            return Schedule::demand_of_all().and(Demand::of(&[Statistic::Activations]));
        }
        let asked = present.filter(|(subscription, due)| *due || subscription.without_statistic);
        asked.fold(awaited, |demand, (subscription, _)| {
            demand.and(subscription.demand)
        })
    }
}

/// The functions that the optimizer and this crate's passes over modules use.
impl<B: Backend> Recorder<B> {
    /// A recorder that never records and reports itself to nobody.
    pub(crate) fn off() -> Self {
        Self { shared: None }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.shared.is_none()
    }

    /// A recorder without passes, subscriptions and originals.
    pub(crate) fn fresh(&self) -> Self {
        match self.is_off() {
            true => Self::off(),
            false => Self::new(),
        }
    }

    /// The layer of the latest pass here, or else of one that counts here.
    pub(crate) fn layer(&self) -> Option<Layer> {
        let shared = self.shared.as_ref()?;
        let latest = lock(&shared.state).layer;
        latest.or_else(|| shared.passes.layers().last().copied())
    }

    /// The statistics that a step takes, with the layer of each.
    pub(crate) fn statistics(&self) -> Vec<RecordedStatistics<B>> {
        let shared = self.shared.as_ref();
        shared.map_or_else(Vec::new, |shared| shared.passes.all())
    }

    /// Forgets what a step of this layer has taken, and separates the recorder from its clones and originals.
    pub(crate) fn end_step(&self, layer: Layer) {
        if let Some(shared) = &self.shared {
            shared.passes.end_step();
            let mut state = lock(&shared.state);
            state.in_several_maps = false;
            // Passes of clones that are gone may have been all that told it.
            state.layer.get_or_insert(layer);
        }
    }

    /// Enters what an optimizer wants, in place of what it wanted before and of those that are gone.
    ///
    /// `demand` is none where it has no statistic of the layer yet.
    pub(crate) fn subscribe(&self, schedule: &Schedule, demand: Option<Demand>) {
        if let Some(shared) = &self.shared {
            let subscriptions = &mut lock(&shared.state).subscriptions;
            subscriptions.retain(|known| {
                known.optimizer.is_due().is_some() && !known.optimizer.is_of(schedule)
            });
            subscriptions.push(Subscription {
                optimizer: schedule.observer(),
                demand: demand.unwrap_or(schedule.demand()),
                without_statistic: demand.is_none(),
            });
        }
    }
}

/// A projection to queries, keys and values.
fn fused_attention<B: Backend>(
    weight: Weight<'_, B>,
    bias: Bias<'_, B>,
    value_columns: usize,
) -> Layer {
    let [_, columns] = weight.dims();
    assert!(
        value_columns <= columns,
        "`value_columns` is {value_columns}, but the weight has {columns} columns"
    );
    let kind = match 3 * value_columns == columns {
        true => LayerKind::FusedAttention,
        false => LayerKind::GroupedQueryAttention { value_columns },
    };
    Layer::matrix(kind, weight, bias)
}

/// A clone starts with the passes of its original, and its own passes count for the original too.
impl<B: Backend> Clone for Recorder<B> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.as_ref().map(|shared| Shared {
                passes: shared.passes.clone(),
                state: Arc::new(Mutex::new(lock(&shared.state).clone())),
                incidence: shared.incidence.clone(),
            }),
        }
    }
}

impl<B: Backend> fmt::Debug for Recorder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shared) = &self.shared else {
            return f.write_str("Recorder(off)");
        };
        f.debug_struct("Recorder")
            .field("layer", &self.layer())
            .field("passes", &shared.passes.all().len())
            .finish()
    }
}
