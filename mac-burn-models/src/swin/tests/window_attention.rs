//! Window attention against its definition, in loops over single tokens and in `f64`.

use burn::module::Param;
use burn::nn::Linear;
use burn::optim::GradientsParams;
use burn::tensor::{Distribution, Tensor};
use mac_burn::MacConfig;

use super::super::*;
use crate::testing::TrainBackend;

const IMAGES: usize = 2;
const D_MODEL: usize = 4;
const HEADS: usize = 2;
const D_HEAD: usize = D_MODEL / HEADS;

/// Outputs are sums of a dozen products of magnitude 1 in `f32`, where one rounding is 6e-8. A token in another window, a
/// bias or a mask of another pair, or a token more or less in a mean shows at 1e-3 and above.
const ROUNDING: f64 = 2e-5;

/// A linear layer on the host, `[size_input, size_output]` by rows.
struct Host {
    weight: Vec<f64>,
    bias: Vec<f64>,
}

impl Host {
    fn apply(&self, input: &[f64]) -> Vec<f64> {
        let columns = self.bias.len();
        let output = (0..columns).map(|column| {
            let products = input.iter().enumerate();
            let products = products.map(|(row, x)| x * self.weight[row * columns + column]);
            products.sum::<f64>() + self.bias[column]
        });
        output.collect()
    }
}

/// A token of a window.
struct Token {
    /// Its place in the map, if it does not only fill it up.
    place: Option<usize>,
    region: [usize; 2],
    input: Vec<f64>,
}

/// The output for a map, and the means that the recorders take.
struct Expected {
    output: Vec<f64>,
    qkv: Vec<f64>,
    projection: Vec<f64>,
}

fn host<const D: usize>(tensor: &Tensor<TrainBackend, D>) -> Vec<f64> {
    tensor.to_data().iter::<f64>().collect()
}

fn layer(windows: Windows) -> WindowAttention<TrainBackend> {
    let config = SwinConfig::new(vec![SwinStageConfig::new(D_MODEL, 1, HEADS)]);
    let mut layer = WindowAttention::new(&config, 0, windows, &Default::default());
    // From 0.02 to 1, so that probabilities differ.
    let larger = |param: Param<Tensor<TrainBackend, 2>>| changed(param, |weight| weight * 50.0);
    let bias = |param: Param<Tensor<TrainBackend, 1>>| changed(param, |bias| bias + 0.5);
    let mut attention = layer.attention.into_inner();
    for linear in [&mut attention.qkv, &mut attention.output] {
        linear.weight = larger(linear.weight.clone());
        linear.bias = linear.bias.clone().map(bias);
    }
    layer.attention = attention.into();
    layer.relative_position_bias.table = larger(layer.relative_position_bias.table);
    layer
}

/// A parameter with other values, which is trained as it was.
fn changed<const D: usize>(
    param: Param<Tensor<TrainBackend, D>>,
    change: impl FnOnce(Tensor<TrainBackend, D>) -> Tensor<TrainBackend, D>,
) -> Param<Tensor<TrainBackend, D>> {
    param.map(|tensor| change(tensor).detach().require_grad())
}

/// The third of an axis to which timm gives a number of its own.
fn piece(position: usize, length: usize, size: usize, shift: usize) -> usize {
    match position {
        position if position < length - size => 0,
        position if position < length - shift => 1,
        _ => 2,
    }
}

/// The windows of one image, in order.
fn cut(windows: Windows, size: [usize; 2], image: &[f64]) -> Vec<Vec<Token>> {
    let [grid_rows, grid_columns] = windows.grid(size);
    let mut all = Vec::new();
    for window in 0..grid_rows * grid_columns {
        let corner = [window / grid_columns, window % grid_columns];
        let token = |index: usize| {
            let inside = [index / windows.size[1], index % windows.size[1]];
            let at = [0, 1].map(|axis| corner[axis] * windows.size[axis] + inside[axis]);
            let [row, column] = [0, 1].map(|axis| (at[axis] + windows.shift[axis]) % size[axis]);
            let inside_map = at[0] < size[0] && at[1] < size[1];
            let place = inside_map.then_some(row * size[1] + column);
            let lengths = [grid_rows * windows.size[0], grid_columns * windows.size[1]];
            Token {
                place,
                region: [0, 1].map(|axis| {
                    piece(
                        at[axis],
                        lengths[axis],
                        windows.size[axis],
                        windows.shift[axis],
                    )
                }),
                input: match place {
                    Some(place) => image[place * D_MODEL..][..D_MODEL].to_vec(),
                    None => vec![0.0; D_MODEL],
                },
            }
        };
        all.push((0..windows.area()).map(token).collect());
    }
    all
}

/// The probabilities of a query in a head.
fn probabilities(
    layer: &WindowAttention<TrainBackend>,
    window: &[Token],
    projected: &[Vec<f64>],
    (query, head): (usize, usize),
) -> Vec<f64> {
    let [height, width] = layer.windows.size;
    let table = host(&layer.relative_position_bias.table.val());
    let scores = (0..window.len()).map(|key| {
        let products = (0..D_HEAD).map(|index| {
            let column = head * D_HEAD + index;
            projected[query][column] * projected[key][D_MODEL + column]
        });
        let down = (query / width) as isize - (key / width) as isize + height as isize - 1;
        let right = (query % width) as isize - (key % width) as isize + width as isize - 1;
        let row = down as usize * (2 * width - 1) + right as usize;
        let apart = window[query].region != window[key].region;
        let bias = table[row * HEADS + head] - if apart { 100.0 } else { 0.0 };
        products.sum::<f64>() / (D_HEAD as f64).sqrt() + bias
    });
    let exponentials: Vec<f64> = scores.map(f64::exp).collect();
    let total: f64 = exponentials.iter().sum();
    exponentials.iter().map(|part| part / total).collect()
}

/// Everything from the definition.
fn expected(layer: &WindowAttention<TrainBackend>, size: [usize; 2], map: &[f64]) -> Expected {
    let linear = |linear: &Linear<TrainBackend>| Host {
        weight: host(&linear.weight.val()),
        bias: linear
            .bias
            .as_ref()
            .map_or(Vec::new(), |bias| host(&bias.val())),
    };
    let (qkv, projection) = (
        linear(&layer.attention.qkv),
        linear(&layer.attention.output),
    );
    let (area, places) = (layer.windows.area(), size[0] * size[1]);
    let count = (IMAGES * places) as f64;
    let mut expected = Expected {
        output: vec![0.0; map.len()],
        qkv: Vec::new(),
        projection: vec![0.0; D_MODEL],
    };
    let mut tokens = vec![0.0; D_MODEL];
    let mut attention = vec![0.0; area];
    let mut positions = vec![(0.0, vec![0.0; D_MODEL]); area];
    for image in 0..IMAGES {
        let start = image * places * D_MODEL;
        for window in cut(layer.windows, size, &map[start..][..places * D_MODEL]) {
            let projected: Vec<Vec<f64>> =
                window.iter().map(|token| qkv.apply(&token.input)).collect();
            for (query, token) in window.iter().enumerate() {
                let Some(place) = token.place else { continue };
                positions[query].0 += 1.0;
                for (column, x) in token.input.iter().enumerate() {
                    tokens[column] += x / count;
                    positions[query].1[column] += x;
                }
                let mut context = vec![0.0; D_MODEL];
                for head in 0..HEADS {
                    let weights = probabilities(layer, &window, &projected, (query, head));
                    for (key, weight) in weights.iter().enumerate() {
                        attention[key] += weight / (count * HEADS as f64);
                        for column in head * D_HEAD..(head + 1) * D_HEAD {
                            context[column] += weight * projected[key][2 * D_MODEL + column];
                        }
                    }
                }
                for (mean, x) in expected.projection.iter_mut().zip(&context) {
                    *mean += x / count;
                }
                let output = projection.apply(&context);
                expected.output[start + place * D_MODEL..][..D_MODEL].copy_from_slice(&output);
            }
        }
    }
    let attended = (0..D_MODEL).map(|column| {
        let terms = attention.iter().zip(&positions);
        terms
            .map(|(weight, (count, sums))| weight * sums[column] / f64::max(*count, 1.0))
            .sum()
    });
    let attended: Vec<f64> = attended.collect();
    expected.qkv = [tokens, vec![1.0], attended, vec![1.0]].concat();
    expected.projection.push(1.0);
    expected
}

/// The means that the recorders of both projections saw in the pass with this output.
fn means(layer: &WindowAttention<TrainBackend>, output: Tensor<TrainBackend, 4>) -> [Vec<f64>; 2] {
    let config = MacConfig::new()
        .with_stat_decay(0.0)
        .with_tcov(1)
        .with_tinv(1);
    let mut preconditioner = config.init_preconditioner();
    let grads = GradientsParams::from_grads(output.sum().backward(), layer);
    preconditioner.precondition(layer, grads);
    [&layer.attention.qkv, &layer.attention.output].map(|linear| {
        let mean = preconditioner.activation_ema(linear.weight.id);
        let mean = mean.expect("the layer recorded").into_data();
        mean.iter::<f64>().collect()
    })
}

fn assert_close(found: &[f64], expected: &[f64], case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (found, expected) in found.iter().zip(expected) {
        let difference = (found - expected).abs();
        assert!(difference < ROUNDING, "{case}: {found} is not {expected}");
    }
}

/// Breaks when a token attends to one of another window or region, to another offset's bias, or not to what fills up the
/// map; when the output is put elsewhere; and when a mean is over other tokens, or pairs probabilities with the values of
/// another position.
#[test]
fn output_and_means_are_those_of_the_definition() {
    let windows = [
        Windows::new([3, 2]),
        Windows::shifted([3, 2]),
        Windows::shifted([2, 4]),
    ];
    for windows in windows {
        for size in [[6, 4], [4, 5], [2, 3]] {
            let layer = layer(windows);
            let shape = [IMAGES, size[0], size[1], D_MODEL];
            let map = Tensor::random(shape, Distribution::Default, &Default::default());
            let expected = expected(&layer, size, &host(&map));
            let case = format!("{windows:?} on {size:?}");

            let output = layer.forward(map);
            assert_close(&host(&output), &expected.output, &case);
            let [qkv, projection] = means(&layer, output);
            assert_close(&qkv, &expected.qkv, &case);
            assert_close(&projection, &expected.projection, &case);
        }
    }
}
