//! A recorded layer is Burn's layer to everybody but the optimizer.

use crate::layers::{Case, Runs, cases};
use crate::support::values;
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module};
use burn::nn::BiLstm;
use burn::record::{BinBytesRecorder, DoublePrecisionSettings, Recorder as _};
use burn::tensor::backend::AutodiffBackend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use burn_store::ModuleSnapshot;
use mac_burn::{KfacConfig, MacConfig, Recorded, RecordedLayer, unrecorded, without_recording};
use proptest::prelude::*;
use std::fmt::Display;

type F32 = Autodiff<Flex>;
type F64 = Autodiff<NdArray<f64>>;

/// The outputs and states are bitwise those of the plain layer, while everything is recorded that there is.
fn check_forward<B, L>(layer: L, case: &Case)
where
    B: AutodiffBackend,
    L: RecordedLayer<B> + AutodiffModule<B> + Runs<B>,
    L::InnerModule: RecordedLayer<B::InnerBackend>,
    Recorded<L, B>: Runs<B> + AutodiffModule<B>,
{
    let _asks = (
        MacConfig::new().init_preconditioner::<B>(),
        KfacConfig::new()
            .with_kl_clip(None)
            .init_preconditioner::<B>(),
    );
    let recorded = Recorded::from(layer.clone());
    let off = unrecorded(recorded.clone());
    let input = || case.input::<B, L>(0);
    let expected = layer.run(input());
    let all = [
        recorded.run(input()),
        off.run(input()),
        without_recording(|| recorded.run(input())),
    ];
    for found in all {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            found.to_data().assert_eq(&expected.to_data(), true);
        }
    }
}

fn check_all<B: AutodiffBackend>(case: &Case) {
    check_forward::<B, _>(case.lstm(), case);
    check_forward::<B, _>(case.bi_lstm(), case);
    check_forward::<B, _>(case.gru(), case);
    check_forward::<B, _>(case.bi_gru(), case);
    check_forward::<B, _>(case.rnn(), case);
    check_forward::<B, _>(case.bi_rnn(), case);
    check_forward::<B, _>(case.swiglu(), case);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Breaks when any operation of a forward pass, or its order, is not Burn's.
    #[test]
    fn the_forward_pass_is_bitwise_the_same(case in cases()) {
        check_all::<F32>(&case);
        check_all::<F64>(&case);
    }
}

fn case() -> Case {
    Case {
        batch: 3,
        steps: 3,
        d_input: 2,
        d_hidden: 4,
        bias: true,
        batch_first: true,
        reverse: false,
        input_forget: false,
        reset_after: true,
        clip: None,
        other_activations: false,
        has_state: true,
        seed: 1,
    }
}

/// The halves of a layer of two directions have flags of their own, which may be set. Breaks when the reverse half obeys its own, or the forward half
/// does not.
#[test]
fn halves_obey_the_flags_that_they_obey_in_burn() {
    for flags in 0..8 {
        let flag = |bit: usize| flags >> bit & 1 == 1;
        let case = Case {
            batch_first: flag(0),
            ..case()
        };
        let mut layer: BiLstm<F64> = case.bi_lstm();
        layer.forward.batch_first = flag(1);
        layer.reverse.batch_first = flag(2);
        layer.forward.reverse = flag(2);
        check_forward::<F64, _>(layer, &case);
        let mut layer = case.bi_rnn::<F64>();
        layer.forward.batch_first = flag(1);
        layer.reverse.batch_first = flag(2);
        layer.forward.reverse = flag(2);
        check_forward::<F64, _>(layer, &case);
    }
}

fn paths<M: Module<F64>>(module: &M) -> Vec<(String, Vec<usize>)> {
    let tensors = module.collect(None, None, false);
    let named = tensors
        .iter()
        .map(|found| (found.full_path(), found.shape.to_vec()));
    named.collect()
}

/// Shows, counts, stores and saves as the plain layer. `other` has other values.
fn check_record<L>(layer: L, other: L)
where
    L: RecordedLayer<F64> + AutodiffModule<F64> + Display,
    L::InnerModule: RecordedLayer<NdArray<f64>>,
{
    let recorded = Recorded::from(layer.clone());
    assert_eq!(recorded.to_string(), layer.to_string());
    assert_eq!(recorded.num_params(), layer.num_params());
    assert_eq!(paths(&recorded), paths(&layer));
    assert_eq!(values(&recorded.valid()), values(&layer));

    let bytes = BinBytesRecorder::<DoublePrecisionSettings>::default();
    let saved = bytes.record(layer.clone().into_record(), ());
    let saved = saved.expect("it is saved");
    let other = Recorded::from(other);
    assert_ne!(values(&other), values(&layer));
    let record = bytes.load(saved.clone(), &Default::default());
    let loaded = other.load_record(record.expect("it is loaded"));
    assert_eq!(values(&loaded), values(&layer));
    // The bytes hold the ids.
    let back = bytes.record(loaded.into_record(), ());
    assert_eq!(back.expect("it is saved"), saved);
}

/// Breaks when recorders show as a part of a layer, or the record is not the plain layer's.
#[test]
fn it_shows_counts_and_stores_as_the_layer() {
    let (case, other) = (case(), Case { seed: 2, ..case() });
    check_record(case.lstm(), other.lstm());
    check_record(case.bi_lstm(), other.bi_lstm());
    check_record(case.gru(), other.gru());
    check_record(case.bi_gru(), other.bi_gru());
    check_record(case.rnn(), other.rnn());
    check_record(case.bi_rnn(), other.bi_rnn());
    check_record(case.swiglu(), other.swiglu());
}

/// Breaks when a recorder stands for another map than that of its name: an optimizer finds each map of the layer by its path, in the order of the
/// parameters.
#[test]
fn recorders_stand_for_the_maps_in_their_order() {
    let preconditioner = MacConfig::new().init_preconditioner::<F64>();
    let maps = |prefix: &str, gates: &[&str]| -> Vec<String> {
        let maps = ["input_transform", "hidden_transform"];
        let named = gates
            .iter()
            .flat_map(|gate| maps.map(|map| format!("{prefix}{gate}.{map}")));
        named.collect()
    };
    let lstm = preconditioner.report(&Recorded::from(case().lstm::<F64>()));
    let found: Vec<_> = lstm.layers.into_iter().map(|layer| layer.path).collect();
    let gates = ["input_gate", "forget_gate", "output_gate", "cell_gate"];
    assert_eq!(found, maps("", &gates));
    let gru = preconditioner.report(&Recorded::from(case().bi_gru::<F64>()));
    let found: Vec<_> = gru.layers.into_iter().map(|layer| layer.path).collect();
    let gates = ["update_gate", "reset_gate", "new_gate"];
    let expected = [maps("forward.", &gates), maps("reverse.", &gates)];
    assert_eq!(found, expected.concat());
}
