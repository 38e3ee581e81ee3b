//! How often sums of a recurrent layer are made, and when they count without an optimizer: counts of the whole process.

#[path = "support/counting.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, reason = "shared by tests")]
mod counting;

use burn::backend::Autodiff;
use burn::nn::{
    BiLstm, BiLstmConfig, Gru, GruConfig, Lstm, LstmConfig, Rnn, RnnConfig, SwiGlu, SwiGluConfig,
};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use counting::{Counting, CountingFusion, alone, operations, reads, tensors_of};
use mac_burn::{
    EvaConfig, KfacConfig, MacBiLstm, MacConfig, MacGru, MacLstm, MacRnn, MacSwiGlu,
    without_recording,
};

type B = Autodiff<Counting>;

fn operations_of<T>(run: impl FnOnce() -> T) -> usize {
    let before = operations();
    let result = run();
    let found = operations() - before;
    drop(result);
    found
}

fn input(steps: usize) -> Tensor<B, 3> {
    Tensor::ones([2, steps, 3], &Default::default())
}

/// The operations of recording beside those of the forward pass.
fn operations_to_record<P, R, T>(
    (plain, run_plain): (P, impl Fn(&P) -> T),
    (recorded, run): (R, impl Fn(&R) -> T),
) -> usize {
    // The first runs make the parameters.
    run_plain(&plain);
    run(&recorded);
    let of_plain = operations_of(|| run_plain(&plain));
    let of_recorded = operations_of(|| run(&recorded));
    let paused = operations_of(|| without_recording(|| run(&recorded)));
    assert_eq!(
        paused, of_plain,
        "where nothing is recorded, it is the plain layer"
    );
    of_recorded - of_plain
}

/// The operations of a sum: to a matrix, the sum, the squares and their sum.
const SUMS: usize = 4;
/// The initial state as a step, the outputs but one, and both together.
const HIDDEN_SEQUENCE: usize = 3;

/// Breaks when sums are made for each gate, each direction or each step, or a layer that is not recorded costs more than Burn's.
#[test]
fn sums_are_made_once_for_each_input() {
    let _alone = alone();
    let _mac = MacConfig::new().init_preconditioner::<B>();
    let device = Default::default();
    for steps in [2, 7] {
        let lstm: Lstm<B> = LstmConfig::new(3, 4, true).init(&device);
        let recorded = MacLstm::from(lstm.clone());
        let found = operations_to_record(
            (lstm, |layer| layer.forward(input(steps), None).0),
            (recorded, |layer: &MacLstm<B>| {
                layer.forward(input(steps), None).0
            }),
        );
        assert_eq!(found, SUMS + HIDDEN_SEQUENCE + SUMS, "LSTM");

        let rnn: Rnn<B> = RnnConfig::new(3, 4, true).init(&device);
        let recorded = MacRnn::from(rnn.clone());
        let found = operations_to_record(
            (rnn, |layer| layer.forward(input(steps), None).0),
            (recorded, |layer: &MacRnn<B>| {
                layer.forward(input(steps), None).0
            }),
        );
        assert_eq!(found, SUMS + HIDDEN_SEQUENCE + SUMS, "RNN");

        let both: BiLstm<B> = BiLstmConfig::new(3, 4, true).init(&device);
        let recorded = MacBiLstm::from(both.clone());
        let found = operations_to_record(
            (both, |layer: &BiLstm<B>| {
                layer.forward(input(steps), None).0
            }),
            (recorded, |layer: &MacBiLstm<B>| {
                layer.forward(input(steps), None).0
            }),
        );
        assert_eq!(
            found,
            SUMS + 2 * (HIDDEN_SEQUENCE + SUMS),
            "both directions"
        );

        for reset_after in [true, false] {
            let config = GruConfig::new(3, 4, true).with_reset_after(reset_after);
            let gru: Gru<B> = config.init(&device);
            let recorded = MacGru::from(gru.clone());
            let found = operations_to_record(
                (gru, |layer| layer.forward(input(steps), None)),
                (recorded, |layer: &MacGru<B>| {
                    layer.forward(input(steps), None)
                }),
            );
            // Hidden states that are reset are put together of each step's.
            let of_reset = if reset_after { 0 } else { steps + 1 + SUMS };
            assert_eq!(found, SUMS + HIDDEN_SEQUENCE + SUMS + of_reset, "GRU");
        }

        let swiglu: SwiGlu<B> = SwiGluConfig::new(3, 4).init(&device);
        let recorded = MacSwiGlu::from(swiglu.clone());
        let found = operations_to_record(
            (swiglu, |layer| layer.forward(input(steps))),
            (recorded, |layer: &MacSwiGlu<B>| layer.forward(input(steps))),
        );
        assert_eq!(found, SUMS, "SwiGLU");
    }
}

/// Breaks when a pass counts at each step, or for each direction of a gradient into it.
#[test]
fn a_pass_counts_once() {
    let _alone = alone();
    let _mac = MacConfig::new().init_preconditioner::<B>();
    let layer: MacLstm<B> = LstmConfig::new(3, 4, true).init(&Default::default()).into();
    let (output, state) = layer.forward(input(5), None);
    assert_eq!(format!("{layer:?}").matches("passes: 0").count(), 8);
    (output.sum() + state.cell.sum() + state.hidden.sum()).backward();
    assert_eq!(format!("{layer:?}").matches("passes: 1").count(), 8);
}

/// Breaks when the gradients of steps, or those of all steps, stay somewhere after the backward pass, beside the sums.
#[test]
fn gradients_of_steps_are_not_kept() {
    let _alone = alone();
    let _kfac = KfacConfig::new()
        .with_kl_clip(None)
        .init_preconditioner::<B>();
    let layer: MacLstm<B> = LstmConfig::new(3, 11, true)
        .init(&Default::default())
        .into();
    let (batch, steps) = (5, 7);
    let input = Tensor::<B, 3>::ones([batch, steps, 3], &Default::default());
    for passes in 1..3 {
        let (output, _) = layer.forward(input.clone(), None);
        output.sum().backward();
        assert_eq!(
            format!("{layer:?}")
                .matches(&format!("passes: {passes}"))
                .count(),
            8
        );
        for gradients in [batch * 11, batch * steps * 11] {
            assert_eq!(tensors_of(gradients), 0, "tensors of {gradients} elements");
        }
    }
}

/// Breaks when recording, a backward pass with sums over gradients or a step waits for the device.
#[test]
fn nothing_waits_for_the_device() {
    let _alone = alone();
    let eva = EvaConfig::new().with_kl_clip(None).with_tcov(1);
    let mut optim = eva.init();
    let mut layer: MacBiLstm<B> = BiLstmConfig::new(3, 4, true)
        .init(&Default::default())
        .into();
    let before = reads();
    for _ in 0..3 {
        let (output, _) = layer.forward(input(5), None);
        let grads = GradientsParams::from_grads(output.sum().backward(), &layer);
        layer = optim.step(0.1, layer, grads);
    }
    assert_eq!(reads(), before);
    assert_eq!(optim.report(&layer).layers[0].updates, 3);
}

/// Breaks when a pass waits for hooks where no optimizer was made for the backend.
#[test]
fn without_an_optimizer_a_pass_counts_at_once() {
    type B = Autodiff<CountingFusion>;
    let _alone = alone();
    let device = Default::default();
    let input = Tensor::<B, 3>::ones([2, 3, 3], &device);
    let lstm: MacLstm<B> = LstmConfig::new(3, 4, true).init(&device).into();
    lstm.forward(input.clone(), None);
    assert_eq!(format!("{lstm:?}").matches("passes: 1").count(), 8);
    let gru = GruConfig::new(3, 4, true).with_reset_after(false);
    let gru: MacGru<B> = gru.init(&device).into();
    gru.forward(input.clone(), None);
    assert_eq!(format!("{gru:?}").matches("passes: 1").count(), 6);
    let swiglu: MacSwiGlu<B> = SwiGluConfig::new(3, 4).init(&device).into();
    swiglu.forward(input);
    assert_eq!(format!("{swiglu:?}").matches("passes: 1").count(), 2);
}
