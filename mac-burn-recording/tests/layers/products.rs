//! Products with a parameter that no layer of Burn's has as its weight.

use super::{
    A, A64, METHODS, Method, R, R64, assert_trained_alike, support::random, support::values,
    trained,
};
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::{EmbeddingConfig, Gru, GruConfig, LinearConfig, Lstm, LstmConfig};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::module::linear;
use burn::tensor::{DType, Int, Tensor};
use mac_burn::{
    KfacConfig, Mac, MacConfig, MacGru, MacLinear, MacLstm, Recorder, Report, UncoveredReason,
};

const IN: usize = 5;
const OUT: usize = 3;

/// A weight by itself.
#[derive(Module, Debug)]
struct Product<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    recorder: Recorder<B>,
}

impl<B: Backend> Product<B> {
    fn new(shape: [usize; 2]) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros(shape, &Default::default())),
            recorder: Recorder::new(),
        }
    }
}

fn loss<B: Backend, const D: usize>(output: Tensor<B, D>) -> Tensor<B, 1> {
    output.square().mean()
}

fn rows<B: Backend>(step: u64) -> Tensor<B, 2> {
    random([6, IN], 70 + step)
}

/// Rows as two samples of three.
fn samples<B: Backend>(step: u64) -> Tensor<B, 3> {
    rows(step).reshape([2, 3, IN])
}

type Forward<B> = fn(&Product<B>, u64) -> Tensor<B, 1>;

/// Breaks when a product with a parameter, or with one that was given further axes, is not recorded as a linear layer without a bias is.
#[test]
fn products_with_a_parameter_are_linear_layers() {
    let plain: [Forward<R>; 3] = [
        |product, step| loss(rows(step).matmul(product.weight.val())),
        |product, step| loss(samples(step).matmul(product.weight.val().unsqueeze())),
        |product, step| {
            let weight = product.weight.val().unsqueeze_dim::<3>(0);
            loss(samples(step).matmul(weight))
        },
    ];
    for method in METHODS {
        for (form, forward) in plain.into_iter().enumerate() {
            let linear = LinearConfig::new(IN, OUT).with_bias(false);
            let linear: MacLinear<A> = linear.init(&Default::default()).into();
            let recorded = trained(linear, method, |linear, step| match form {
                0 => loss(linear.forward(rows(step))),
                _ => loss(linear.forward(samples(step))),
            });
            let found = trained(Product::new([IN, OUT]), method, forward);
            // The product of a batch of matrices adds up in another order than that of one.
            let tolerance = if form == 0 { 0.0 } else { 1e-6 };
            assert_trained_alike(
                &format!("form {form} with {method:?}"),
                tolerance,
                recorded,
                found,
            );
        }
    }
}

/// Breaks when a parameter that is transposed, by whichever operation, is taken for one that is not; or columns for rows where it comes first.
#[test]
fn products_with_a_transposed_parameter_are_transposed_linear_layers() {
    let plain: [Forward<R64>; 5] = [
        |product, step| loss(rows(step).matmul(product.weight.val().transpose())),
        |product, step| loss(rows(step).matmul(product.weight.val().swap_dims(0, 1))),
        |product, step| loss(rows(step).matmul(product.weight.val().permute([1, 0]))),
        |product, step| {
            let weight = product.weight.val().transpose().unsqueeze();
            loss(samples(step).matmul(weight))
        },
        // The parameter first: the columns are the inputs.
        |product, step| {
            let columns = product.weight.val().matmul(rows(step).transpose());
            loss(columns)
        },
    ];
    for method in METHODS {
        for (form, forward) in plain.into_iter().enumerate() {
            let product = Product::<A64>::new([OUT, IN]);
            let recorded = trained(product, method, |product, step| {
                let (weight, recorder) = (&product.weight, &product.recorder);
                let output = rows(step).matmul(weight.val().transpose());
                // In samples, where the form has it so: K-FAC tells them from rows.
                match form {
                    3 => {
                        let (input, output) = (samples(step), output.reshape([2, 3, OUT]));
                        loss(recorder.record_transposed_linear(weight, None, &input, output))
                    }
                    _ => {
                        let input = rows(step);
                        loss(recorder.record_transposed_linear(weight, None, &input, output))
                    }
                }
            });
            let found = trained(Product::new([OUT, IN]), method, forward);
            let what = format!("form {form} with {method:?}");
            assert_trained_alike(&what, 1e-12, recorded, found);
        }
    }
}

/// Breaks when a parameter is not known in another type, as mixed precision has it.
#[test]
fn a_parameter_in_another_type_is_known() {
    for method in METHODS {
        let (found, report) = trained(Product::<R>::new([IN, OUT]), method, |product, step| {
            let weight = product.weight.val().cast(DType::F16);
            let output = rows::<R>(step).cast(DType::F16).matmul(weight);
            loss(output.cast(DType::F32))
        });
        assert_eq!(report.covered_parameters, IN * OUT, "{report}");
        let linear = LinearConfig::new(IN, OUT).with_bias(false);
        let linear: MacLinear<A> = linear.init(&Default::default()).into();
        let start = values(&super::filled::<A, _>(linear.clone(), 1));
        let (expected, _) = trained(linear, method, |linear, step| {
            loss(linear.forward(rows(step)))
        });
        let differs = super::difference(&found, &expected);
        let moved = super::difference(&start, &expected);
        assert!(
            differs < 0.02 * moved,
            "{method:?}: {differs:e} of {moved:e}"
        );
    }
}

/// Breaks when a gate's weight is not seen at each time step. Sums over steps are made in another order than recorded layers have it. For K-FAC a
/// step is a sample here, so it is not compared.
#[test]
fn recurrent_layers_have_the_means_of_all_steps() {
    let input = |step| random::<R64, 3>([3, 4, IN], 90 + step);
    let of_recorded = |step| random::<A64, 3>([3, 4, IN], 90 + step);
    let device = Default::default();
    let recorded: MacLstm<A64> = LstmConfig::new(IN, OUT, true).init(&device).into();
    let recorded = trained(recorded, Method::Mac, |lstm, step| {
        loss(lstm.forward(of_recorded(step), None).0)
    });
    let plain: Lstm<R64> = LstmConfig::new(IN, OUT, true).init(&device);
    let plain = trained(plain, Method::Mac, |lstm, step| {
        loss(lstm.forward(input(step), None).0)
    });
    assert_trained_alike("Lstm", 1e-12, recorded, plain);

    let recorded: MacGru<A64> = GruConfig::new(IN, OUT, false).init(&device).into();
    let recorded = trained(recorded, Method::Mac, |gru, step| {
        loss(gru.forward(of_recorded(step), None))
    });
    let plain: Gru<R64> = GruConfig::new(IN, OUT, false).init(&device);
    let plain = trained(plain, Method::Mac, |gru, step| {
        loss(gru.forward(input(step), None))
    });
    assert_trained_alike("Gru", 1e-12, recorded, plain);

    // Its biases are added by operations of their own.
    let plain: Gru<R64> = GruConfig::new(IN, OUT, true).init(&device);
    let (_, report) = trained(plain, Method::Mac, |gru, step| {
        loss(gru.forward(input(step), None))
    });
    let apart = report.uncovered.iter();
    let apart = apart.filter(|found| found.reason == UncoveredReason::BiasAddedApart);
    assert_eq!((report.uncovered.len(), apart.count()), (6, 6), "{report}");
}

/// An embedding whose table is the weight of the output layer too.
#[derive(Module, Debug)]
struct Tied<B: Backend> {
    table: burn::nn::Embedding<B>,
    hidden: burn::nn::Linear<B>,
}

/// Breaks when a weight of two maps is recorded as either, or stops a training.
#[test]
fn a_weight_of_two_maps_is_left_alone() {
    let device = Default::default();
    let tied = Tied::<R> {
        table: EmbeddingConfig::new(7, IN).init(&device),
        hidden: LinearConfig::new(IN, IN).init(&device),
    };
    let tokens = Tensor::<R, 2, Int>::from_ints([[0, 3, 6], [2, 2, 1]], &device);
    let (values, report) = trained(tied, Method::Mac, |tied, _| {
        let hidden = tied.hidden.forward(tied.table.forward(tokens.clone()));
        let [samples, length, size] = hidden.dims();
        let rows = hidden.reshape([samples * length, size]);
        loss(rows.matmul(tied.table.weight.val().transpose()))
    });
    assert!(values.iter().flatten().all(|value| value.is_finite()));
    assert_eq!(report.covered_parameters, IN * IN + IN);
    let text = report.to_string();
    assert!(
        text.contains("weight of several maps: `table.weight`"),
        "{text}"
    );
}

/// The use of a weight in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Plain,
    Transposed,
    Both,
    /// Plain, with a parameter that is linked to none before.
    PlainAnew,
    TransposedAnew,
}

/// The report on a weight after steps with these uses. Passes are those of forks, or of the module itself.
fn report_after(uses: &[Use], tinv: usize, forks: bool) -> Report {
    let mut product = Product::<R>::new([IN, IN]);
    let mut optim = MacConfig::new().with_tcov(1).with_tinv(tinv).init();
    for (step, used) in uses.iter().enumerate() {
        let rows = random::<R, 2>([4, IN], step as u64);
        if matches!(used, Use::PlainAnew | Use::TransposedAnew) {
            product.weight = product.weight.map(|weight| {
                Tensor::from_data(weight.into_data(), &Default::default()).require_grad()
            });
        }
        let copy = match forks {
            true => product.clone().fork(&Default::default()),
            false => product.clone(),
        };
        let plain = rows.clone().matmul(copy.weight.val());
        let transposed = rows.matmul(copy.weight.val().transpose());
        let output = match used {
            Use::Plain | Use::PlainAnew => plain,
            Use::Transposed | Use::TransposedAnew => transposed,
            Use::Both => plain + transposed,
        };
        let grads = GradientsParams::from_grads(loss(output).backward(), &copy);
        product = optim.step(0.1, product, grads);
    }
    optim.report(&product)
}

/// Breaks when the statistics of two maps are added up; when those that it has are lost to a step with another; or when a use through which no gradient comes
/// back counts.
#[test]
fn a_weight_has_the_statistics_of_steps_with_one_map() {
    use Use::{Both, Plain, PlainAnew, Transposed, TransposedAnew};
    for forks in [false, true] {
        let updates = |uses: &[Use]| {
            let report = report_after(uses, 1, forks);
            report.layers.first().map_or(0, |layer| layer.updates)
        };
        assert_eq!(updates(&[Plain, Plain, Plain]), 3);
        assert_eq!(updates(&[Transposed, Transposed]), 2);
        assert_eq!(updates(&[Both, Both, Both]), 0);
        assert_eq!(updates(&[Plain, Both, Both]), 1);
        assert_eq!(updates(&[Plain, Both, Plain]), 2);
        assert_eq!(updates(&[Both, Plain, Plain]), 2);
        assert_eq!(updates(&[Plain, Transposed, Plain]), 2);
        assert_eq!(updates(&[Plain, TransposedAnew, PlainAnew, Plain]), 3);
    }
}

/// A weight that two tasks share, each with a bias of its own.
#[derive(Module, Debug)]
struct Tasks<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    biases: [Param<Tensor<B, 1>>; 2],
}

/// Breaks when the statistics of two layers with one weight are taken for those of a layer with either bias.
#[test]
fn a_weight_with_two_biases_is_that_of_two_maps() {
    fn updates(mut optim: Mac<Tasks<R>, R>, tasks: &[&[usize]]) -> (u64, usize) {
        let device = Default::default();
        let bias = || Param::from_tensor(Tensor::<R, 1>::ones([IN], &device));
        let mut shared = Tasks::<R> {
            weight: Param::from_tensor(random([IN, IN], 1)),
            biases: [(); 2].map(|()| bias()),
        };
        for tasks in tasks {
            let outputs = tasks.iter().map(|task| {
                let bias = Some(shared.biases[*task].val());
                let output = linear(random::<R, 2>([4, IN], 2), shared.weight.val(), bias);
                loss(output)
            });
            let loss = outputs.reduce(|left, right| left + right).expect("tasks");
            let grads = GradientsParams::from_grads(loss.backward(), &shared);
            shared = optim.step(0.1, shared, grads);
        }
        let report = optim.report(&shared);
        (report.layers[0].updates, report.covered_parameters)
    }
    fn assert_two_maps(optim: impl Fn() -> Mac<Tasks<R>, R>) {
        assert_eq!(updates(optim(), &[&[0], &[0]]), (2, IN * IN + IN));
        assert_eq!(updates(optim(), &[&[0], &[1]]), (1, IN * IN + IN));
        assert_eq!(updates(optim(), &[&[0, 1], &[0, 1]]), (0, 0));
        // Passes that are added up.
        let many: Vec<usize> = (0..200).map(|pass| pass % 2).collect();
        assert_eq!(updates(optim(), &[&many]), (0, 0));
    }
    assert_two_maps(|| MacConfig::new().with_tcov(1).init());
    assert_two_maps(|| KfacConfig::new().with_tcov(1).init());
}

/// Breaks when a look at an embedding, without a gradient, ends the recording of what its table is the weight of.
#[test]
fn a_table_that_is_looked_up_without_gradients_is_recorded() {
    let device = Default::default();
    let mut tied = Tied::<R> {
        table: EmbeddingConfig::new(7, IN).init(&device),
        hidden: LinearConfig::new(IN, IN).init(&device),
    };
    let mut optim = MacConfig::new().with_tcov(1).init();
    for step in 0..3 {
        let tokens = Tensor::<R, 2, Int>::from_ints([[0, 3, 6], [2, 2, 1]], &device);
        let rows = tied.table.forward(tokens).detach().reshape([6, IN]);
        let hidden = tied.hidden.forward(rows);
        let output = match step {
            0 => hidden,
            _ => hidden.matmul(tied.table.weight.val().transpose()),
        };
        let grads = GradientsParams::from_grads(loss(output).backward(), &tied);
        tied = optim.step(0.1, tied, grads);
    }
    let updates: Vec<_> = optim
        .report(&tied)
        .layers
        .iter()
        .map(|layer| layer.updates)
        .collect();
    assert_eq!(updates, [2, 3]);
}

/// Breaks when statistics that were taken before do not come into use in a step with several maps.
#[test]
fn a_curvature_is_refreshed_in_a_step_with_several_maps() {
    use Use::{Both, Plain};
    let report = report_after(&[Plain, Plain, Both, Both], 3, false);
    assert_eq!(report.layers[0].updates, 2);
    assert_eq!(report.layers[0].last_refresh, Some(4));
}

/// Breaks when an embedding's tokens are not counted, or it is not left alone by default.
#[test]
fn embeddings_are_recorded_as_recorded_ones_are() {
    fn run<B: AutodiffBackend, M: AutodiffModule<B>>(
        module: M,
        damping: Option<f64>,
        forward: impl Fn(&M, Tensor<B, 2, Int>) -> Tensor<B, 3>,
    ) -> (Vec<Vec<f64>>, String) {
        let mut module = super::filled::<B, M>(module, 1);
        let config = MacConfig::new().with_embedding_damping(damping);
        let mut optim = config.init();
        for _ in 0..3 {
            let tokens = Tensor::from_ints([[0, 3, 6], [2, 2, 1]], &Default::default());
            let loss = forward(&module, tokens).square().mean();
            let grads = GradientsParams::from_grads(loss.backward(), &module);
            module = optim.step(0.1, module, grads);
        }
        (values(&module), optim.report(&module).to_string())
    }
    let device = Default::default();
    for damping in [None, Some(0.1)] {
        let recorded: mac_burn::MacEmbedding<A> = EmbeddingConfig::new(7, IN).init(&device).into();
        let recorded = run::<A, _>(recorded, damping, |table, tokens| table.forward(tokens));
        let plain: burn::nn::Embedding<R> = EmbeddingConfig::new(7, IN).init(&device);
        let plain = run::<R, _>(plain, damping, |table, tokens| table.forward(tokens));
        assert_eq!(recorded, plain);
    }
}
