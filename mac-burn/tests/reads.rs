//! Nothing in recording, preconditioning or stepping waits for the device: reads and synchronisations are counted.

#[path = "support/attention.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod attention;
#[path = "support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;
mod support;

use attention::{BATCH, CAUSAL, HEADS, KEYS, LENGTHS, SIZE, mask_attn, mask_pad};
use burn::backend::Autodiff;
use burn::module::Module;
use burn::nn::LinearConfig;
use burn::nn::attention::MultiHeadAttentionConfig;
use burn::nn::conv::Conv2dConfig;
use burn::nn::transformer::{TransformerDecoderConfig, TransformerEncoderConfig};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer, SimpleOptimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use counting::{Counting, CountingCuda, CountingFusion, Numbered, alone, operations, reads};
use mac_burn::{
    AttentionInput, Coverage, DecoderInput, EncoderInput, EvaConfig, FoofConfig, InputCurvature,
    KfacConfig, Mac, MacConfig, MacConv2d, MacLinear, MacMultiHeadAttention, MacOptimizer,
    MacSelfAttention, MacTransformerDecoder, MacTransformerEncoder, SelfAttentionConfig,
    SmacConfig, StepForm,
};
use support::{busy_optimizer, difference, filled, random, values};

/// A layer of each kind that records.
#[derive(Module, Debug)]
struct AllLayers<B: Backend> {
    conv: MacConv2d<B>,
    linear: MacLinear<B>,
    attention: MacMultiHeadAttention<B>,
    fused: MacSelfAttention<B>,
    encoder: MacTransformerEncoder<B>,
    decoder: MacTransformerDecoder<B>,
}

impl<B: Backend> AllLayers<B> {
    fn new() -> Self {
        let device = Default::default();
        let layers = Self {
            conv: Conv2dConfig::new([1, SIZE], [1, 3]).init(&device).into(),
            linear: LinearConfig::new(SIZE, SIZE).init(&device).into(),
            attention: MultiHeadAttentionConfig::new(SIZE, HEADS)
                .init(&device)
                .into(),
            fused: SelfAttentionConfig::new(SIZE, HEADS).init(&device).into(),
            encoder: TransformerEncoderConfig::new(SIZE, 12, HEADS, 1)
                .init(&device)
                .into(),
            decoder: TransformerDecoderConfig::new(SIZE, 12, HEADS, 1)
                .init(&device)
                .into(),
        };
        filled(layers, 1)
    }

    /// With all masks, from `[batch, 1, tokens, 3]`.
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 3> {
        let pad = || mask_pad([BATCH, KEYS], LENGTHS);
        let mask = || mask_attn([BATCH, KEYS, KEYS], CAUSAL);
        let tokens = self.conv.forward(images).reshape([BATCH, SIZE, KEYS]);
        let tokens = self.linear.forward(tokens.swap_dims(1, 2));
        let input = AttentionInput::self_attn(tokens)
            .mask_pad(pad())
            .mask_attn(mask());
        let tokens = self.attention.forward(input).context;
        let tokens = self.fused.forward(tokens, Some(pad()));
        let input = EncoderInput::new(tokens.clone())
            .mask_pad(pad())
            .mask_attn(mask());
        let memory = self.encoder.forward(input);
        let input = DecoderInput::new(tokens, memory)
            .target_mask_pad(pad())
            .memory_mask_pad(pad());
        self.decoder.forward(input)
    }
}

fn images<B: Backend>(index: u64) -> Tensor<B, 4> {
    random([BATCH, 1, KEYS, 3], index)
}

fn optimizer<B: AutodiffBackend>(network: &AllLayers<B>, guard: bool) -> Mac<AllLayers<B>, B> {
    busy_optimizer(&network.conv, images(100), guard)
}

/// Steps that are counted.
const STEPS: usize = 8;

/// The number of reads from the device and of operations handed to it in so many steps.
fn counted<B: AutodiffBackend, O: Optimizer<AllLayers<B>, B>>(
    network: AllLayers<B>,
    optim: O,
) -> (usize, usize) {
    let before = (reads(), operations());
    trained(network, optim);
    (reads() - before.0, operations() - before.1)
}

fn trained<B: AutodiffBackend, O: Optimizer<AllLayers<B>, B>>(
    mut network: AllLayers<B>,
    mut optim: O,
) -> AllLayers<B> {
    for index in 0..STEPS {
        let loss = network.forward(images(index as u64)).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        network = optim.step(0.05, network, grads);
    }
    network
}

/// Breaks when anything in recording, preconditioning or stepping waits for the device.
fn check_reads<B: AutodiffBackend>() {
    let _alone = alone();
    for guard in [false, true] {
        let network = AllLayers::<B>::new();
        let optim = optimizer(&network, guard);
        let (reads, operations) = counted(network, optim);
        assert!(operations > STEPS * 500, "{operations}");
        assert_eq!(reads, 0, "with guard {guard}");
    }
}

#[test]
fn steps_of_all_layers_read_nothing() {
    check_reads::<Autodiff<Counting>>();
}

/// Gradients are preconditioned by other operations there.
#[test]
fn steps_where_the_backend_fuses_read_nothing() {
    check_reads::<Autodiff<CountingFusion>>();
    check_reads::<Autodiff<CountingCuda>>();
}

#[test]
fn steps_with_an_auxiliary_optimizer_read_nothing() {
    let _alone = alone();
    for guard in [false, true] {
        let network = AllLayers::<Autodiff<Counting>>::new();
        let optim = optimizer(&network, guard)
            .with_auxiliary_optimizer(AdamWConfig::new().init(), 0.5)
            .expect("the factor is allowed");
        let (reads, operations) = counted(network, optim);
        assert!(operations > STEPS * 500, "{operations}");
        assert_eq!(reads, 0, "with guard {guard}");
    }
}

/// Breaks when the host asks for a norm.
#[test]
fn steps_with_limits_of_norms_read_nothing() {
    fn check<B: AutodiffBackend>() {
        let limits = || {
            MacConfig::new()
                .with_max_grad_norm(Some(0.1))
                .with_max_preconditioned_norm(Some(0.05))
        };
        for guard in [false, true] {
            let config = limits().with_guard_gradients(guard);
            let network = AllLayers::<B>::new();
            let (alone, _) = counted(network, config.init());
            let both = config
                .init()
                .with_auxiliary_optimizer(AdamWConfig::new().init(), 0.5);
            let both = both.expect("the factor is allowed");
            let (with_auxiliary, _) = counted(AllLayers::<B>::new(), both);
            assert_eq!((alone, with_auxiliary), (0, 0), "with guard {guard}");
        }
    }
    let _alone = alone();
    check::<Autodiff<Counting>>();
    check::<Autodiff<CountingFusion>>();
    check::<Autodiff<CountingCuda>>();
}

/// Breaks when the host asks for the length of a step.
#[test]
fn steps_of_known_length_read_nothing() {
    fn check<B: AutodiffBackend>() {
        for form in [
            StepForm::Normalized,
            StepForm::RowsAndColumns,
            StepForm::Orthogonal { iterations: 2 },
        ] {
            let config = MacConfig::new()
                .with_step(form)
                .with_curvature(InputCurvature::MeanVariance)
                .with_tcov(2)
                .with_tinv(3)
                .with_auxiliary_biases(true)
                .with_guard_gradients(true);
            let optim = config
                .init()
                .with_auxiliary_optimizer(AdamWConfig::new().init(), 0.5);
            let optim = optim.expect("the factor is allowed");
            let (reads, operations) = counted(AllLayers::<B>::new(), optim);
            assert!(operations > STEPS * 500, "{operations}");
            assert_eq!(reads, 0, "{form:?}");
        }
    }
    let _alone = alone();
    check::<Autodiff<Counting>>();
    check::<Autodiff<CountingFusion>>();
    check::<Autodiff<CountingCuda>>();
}

/// Largest difference of a parameter on backends of other types: 1.2e-7 is measured.
const SAME_STEPS: f64 = 1e-6;

/// Breaks when an operation that only backends of some types have makes something else.
#[test]
fn backends_of_all_types_make_the_same_steps() {
    fn run<B: AutodiffBackend>(optimizer: Mac<AllLayers<B>, B>) -> Vec<Vec<f64>> {
        // For dropout.
        B::seed(&Default::default(), 1);
        values(&trained(AllLayers::new(), optimizer))
    }
    fn runs<B: AutodiffBackend>() -> [Vec<Vec<f64>>; 3] {
        let mac = MacConfig::new().with_damping(0.1).with_tcov(2).with_tinv(3);
        let eva = EvaConfig::new().with_settings_of(&mac);
        let with_variance = mac.clone().with_curvature(InputCurvature::MeanVariance);
        [mac.init(), eva.init(), with_variance.init()].map(run::<B>)
    }
    let _alone = alone();
    let expected = runs::<Autodiff<Counting>>();
    for found in [
        runs::<Autodiff<CountingFusion>>(),
        runs::<Autodiff<CountingCuda>>(),
    ] {
        for (found, expected) in found.iter().zip(&expected) {
            let difference = difference(found, expected);
            assert!(difference <= SAME_STEPS, "{difference:e}");
        }
    }
}

/// The first pass of each optimizer, left to another optimizer that is made only then. Breaks when recorders keep what nobody asks
/// for, which all would pay for, or a layer stays without its statistics after that.
#[test]
fn recorders_keep_what_is_asked_for_and_no_more() {
    type B = Autodiff<Counting>;
    let _alone = alone();
    let optimizer = |name: &str| -> Mac<AllLayers<B>, B> {
        match name {
            "MAC" => MacConfig::new().init(),
            "SMAC" => SmacConfig::new().init(),
            "FOOF" => FoofConfig::new().init(),
            "Eva" => EvaConfig::new().init(),
            _ => KfacConfig::new().init(),
        }
    };
    let all = ["MAC", "SMAC", "FOOF", "Eva", "K-FAC"];
    for asked in all {
        for late in all {
            let pass = |network: &AllLayers<B>, index| {
                let loss = network.forward(images(index)).square().mean();
                GradientsParams::from_grads(loss.backward(), network)
            };
            let network = AllLayers::<B>::new();
            let first = optimizer(asked);
            let grads = pass(&network, 0);
            drop(first);
            let mut late_optimizer = optimizer(late);
            let network = late_optimizer.step(0.01, network, grads);
            let enough = match late {
                // Whoever comes to a layer that no optimizer has stepped is taken for MAC.
                "MAC" => true,
                "FOOF" => matches!(asked, "FOOF" | "K-FAC"),
                _ => asked == late,
            };
            let is_whole = |optimizer: &Mac<AllLayers<B>, B>, network: &AllLayers<B>| {
                let layers = optimizer.report(network).layers;
                let mut coverage = layers.iter().map(|layer| layer.coverage);
                coverage.all(|found| found != Coverage::NothingRecorded)
            };
            let found = is_whole(&late_optimizer, &network);
            assert_eq!(found, enough, "{late} after a pass for {asked}");
            let grads = pass(&network, 1);
            let network = late_optimizer.step(0.01, network, grads);
            assert!(is_whole(&late_optimizer, &network), "{late} after {asked}");
        }
    }
}

/// Breaks when a curvature of vectors reads, or one of matrices reads more than its factors at a refresh.
#[test]
fn other_curvatures_read_at_refreshes_only() {
    let _alone = alone();
    let mac = MacConfig::new()
        .with_tcov(2)
        .with_tinv(3)
        .with_guard_gradients(true);
    type Optim = Mac<AllLayers<Autodiff<Counting>>, Autodiff<Counting>>;
    let network = AllLayers::<Autodiff<Counting>>::new;
    let vectors: [Optim; 2] = [
        EvaConfig::new().with_settings_of(&mac).init(),
        SmacConfig::new().with_settings_of(&mac).init(),
    ];
    for optim in vectors {
        let (reads, operations) = counted(network(), optim);
        assert!(operations > STEPS * 500, "{operations}");
        assert_eq!(reads, 0);
    }
    let refreshes = STEPS.div_ceil(3);
    let layers = network();
    let report = MacConfig::new().init::<_, AllLayers<_>>().report(&layers);
    let recorded = report
        .layers
        .iter()
        .filter(|layer| layer.coverage != Coverage::NoRecorder);
    let kinds: Vec<_> = recorded.map(|layer| layer.kind.clone()).collect();
    let fused = kinds.iter().filter(|kind| *kind == "Linear (qkv)").count();
    // The weight of an average, and its parts: two of what a fused projection sees, three of the gradients at its outputs.
    let inputs = 2 * kinds.len() + fused;
    let outputs = 2 * kinds.len() + 2 * fused;
    let matrices: [(Optim, usize); 2] = [
        (FoofConfig::new().with_settings_of(&mac).init(), inputs),
        (
            KfacConfig::new().with_settings_of(&mac).init(),
            inputs + outputs,
        ),
    ];
    for (optim, of_refresh) in matrices {
        let (reads, _) = counted(network(), optim);
        assert_eq!(reads, refreshes * of_refresh);
    }
}

/// MAC's step with a look at the gradient, as a careless optimizer would take one.
#[derive(Clone)]
struct Looking(MacOptimizer<Counting>);

impl SimpleOptimizer<Counting> for Looking {
    type State<const D: usize> = <MacOptimizer<Counting> as SimpleOptimizer<Counting>>::State<D>;

    fn step<const D: usize>(
        &self,
        lr: f64,
        tensor: Tensor<Counting, D>,
        grad: Tensor<Counting, D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<Counting, D>, Option<Self::State<D>>) {
        let largest = grad.clone().abs().max().into_scalar();
        assert!(largest < 1e6);
        self.0.step(lr, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Numbered) -> Self::State<D> {
        MacOptimizer::to_device(state, device)
    }
}

/// The counts above would see a read in a step: this one reads once for each parameter.
#[test]
fn a_read_in_the_step_is_counted() {
    let _alone = alone();
    let network = AllLayers::<Autodiff<Counting>>::new();
    let parameters = values(&network).len();
    let looking = Looking(MacConfig::new().optimizer());
    let optim = OptimizerAdaptor::<Looking, AllLayers<_>, _>::from(looking);
    let (reads, _) = counted(network, optim);
    assert_eq!(reads, STEPS * parameters);
}
