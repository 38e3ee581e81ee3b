//! `spectrum` sees the maps of a recurrent layer as it sees a linear layer with the same rows.

use crate::dense_curvatures::{F64, Matrix};
use crate::layers::{Case, Runs, cases};
use crate::unrolled::Unrolls;
use burn::module::AutodiffModule;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use burn_ndarray::NdArray;
use mac_burn::spectrum::{OutputSpectrum, Spectrum};
use mac_burn::{MacLinear, Recorded, RecordedLayer};
use proptest::prelude::*;

/// Of eigenvalues, relative to the largest.
const ROUNDING: f64 = 1e-12;

fn rows(samples: &[Matrix], columns: usize) -> Tensor<F64, 3> {
    let shape = [samples.len(), samples[0].nrows(), columns];
    let values: Vec<f64> = samples
        .iter()
        .flat_map(|sample| sample.row_iter())
        .flat_map(|row| row.iter().take(columns).copied().collect::<Vec<_>>())
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn assert_near(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected
        .iter()
        .fold(0.0f64, |largest, x| largest.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let difference = (found - expected).abs();
        assert!(
            difference <= ROUNDING * largest,
            "{what}: {found}, not {expected}"
        );
    }
}

fn check<L>(layer: L, case: &Case)
where
    L: RecordedLayer<F64> + AutodiffModule<F64> + Unrolls,
    L::InnerModule: RecordedLayer<NdArray<f64>>,
    Recorded<L, F64>: Runs<F64> + AutodiffModule<F64>,
{
    let input = || case.input::<F64, L>(0);
    let loss = |results: Vec<Tensor<F64, 3>>| {
        let squares = results.into_iter().map(|result| result.square().sum());
        squares
            .reduce(|left, right| left + right)
            .expect("there are results")
    };
    let recorded = Recorded::from(layer.clone());
    let inputs = Spectrum::of(&recorded, |layer| {
        layer.run(input());
    });
    let outputs = OutputSpectrum::of(&recorded, |layer| {
        GradientsParams::from_grads(loss(layer.run(input())).backward(), layer)
    });
    let (results, maps) = layer.unroll(case, input());
    let gradients = loss(results).backward();
    assert_eq!(
        (inputs.layers.len(), outputs.layers.len()),
        (maps.len(), maps.len())
    );
    let found = inputs.layers.iter().zip(&outputs.layers);
    for (map, (found_inputs, found_outputs)) in maps.into_iter().zip(found) {
        let what = format!("{}, {case:?}", found_inputs.path);
        let [size_input, size_output] = map.linear.weight.dims();
        let seen = rows(&map.samples_of_inputs(), size_input);
        let gradient = map.samples_of_gradients(&gradients);
        let gradient = rows(&gradient.expect("it has gradients"), size_output);
        let linear: MacLinear<F64> = map.linear.into();
        let expected = Spectrum::of(&linear, |linear| {
            linear.forward(seen.clone());
        });
        let expected = &expected.layers[0];
        assert_eq!(found_inputs.rows, expected.rows, "{what}");
        assert_near(&found_inputs.eigenvalues, &expected.eigenvalues, &what);

        let expected = OutputSpectrum::of(&linear, |linear| {
            let loss = (linear.forward(seen.clone()) * gradient.clone()).sum();
            GradientsParams::from_grads(loss.backward(), linear)
        });
        let expected = &expected.layers[0];
        assert_eq!(found_outputs.rows, expected.rows, "{what}");
        assert_near(&found_outputs.eigenvalues, &expected.eigenvalues, &what);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Breaks when a map is not seen, or with other rows or gradients than its own.
    #[test]
    fn each_map_is_seen_as_a_linear_layer_with_its_rows(case in cases()) {
        check(case.lstm(), &case);
        check(case.bi_gru(), &case);
        check(case.swiglu(), &case);
    }
}
