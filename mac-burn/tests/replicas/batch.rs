//! Replicas against one training with the whole batch.

use super::network::{
    CurvatureConfigs, Shared, config, in_threads, moved, relative, train_alone, train_rank,
    train_replicas,
};
use super::support::values;
use burn::backend::Autodiff;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use mac_burn::StepForm;
use mac_burn::replicas::{GradientReduction, ReplicaError, Replicas};
use std::sync::Arc;
use std::time::Duration;

const STEPS: u64 = 50;

#[track_caller]
pub(crate) fn assert_as_alone<B: AutodiffBackend>(
    what: &str,
    config: &impl CurvatureConfigs<B>,
    ranks: usize,
    steps: u64,
    reduction: GradientReduction,
    tolerance: f64,
) {
    let alone = values(&train_alone::<B>(config, ranks, steps));
    let replicas = train_replicas::<B>(config, ranks, steps, reduction, true);
    for (rank, found) in replicas.iter().enumerate() {
        assert_eq!(
            found, &replicas[0],
            "{what}: rank {rank} differs from rank 0"
        );
    }
    let (difference, moved) = (relative(&replicas[0], &alone), moved::<B>(&alone));
    println!(
        "{what}, {ranks} ranks, {steps} steps, {reduction:?}: {difference:.1e} of the whole batch, moved {moved:.2}"
    );
    assert!(moved > 0.05, "{what}: nothing was learnt: {moved}");
    assert!(difference <= tolerance, "{what}: differs by {difference}");
}

/// Breaks when statistics are not reduced, counts are not added up, a layer that a rank has not used is left out of the vector or averaged by
/// the ranks, or parts of the vector are taken in another order.
#[test]
fn replicas_take_the_steps_of_the_whole_batch() {
    for ranks in [2, 4] {
        let mean = GradientReduction::Mean;
        assert_as_alone::<Autodiff<Flex>>("flex f32", &config(), ranks, STEPS, mean, 1e-6);
        assert_as_alone::<Autodiff<NdArray<f64>>>("f64", &config(), ranks, STEPS, mean, 1e-12);
    }
}

/// Other steps and settings, of fewer steps.
#[test]
fn so_they_do_with_other_steps() {
    let guarded = config().with_guard_gradients(true);
    let whitened = config()
        .with_step(StepForm::Normalized)
        .with_max_grad_norm(None);
    for (what, config) in [("guard", guarded), ("normalized", whitened)] {
        let sum = GradientReduction::Sum;
        assert_as_alone::<Autodiff<NdArray<f64>>>(what, &config, 2, 20, sum, 1e-12);
    }
}

/// The drift that the reduction of statistics removes: by gradients alone replicas come apart.
#[test]
fn replicas_drift_apart_without_the_reduction_of_statistics() {
    for ranks in [2, 4] {
        let reduction = GradientReduction::Mean;
        let apart = train_replicas::<Autodiff<Flex>>(&config(), ranks, STEPS, reduction, false);
        let drift = relative(&apart[1], &apart[0]);
        println!("{ranks} ranks without the reduction of statistics: a drift of {drift:.1e}");
        assert!(drift > 1e-3, "{drift}");
    }
}

/// Breaks when the guard, the norm of all gradients or a rejected statistic is decided by what a rank saw itself.
#[test]
fn a_nan_of_one_rank_is_the_same_to_all() {
    type B = Autodiff<Flex>;
    let all = in_threads(2, Duration::from_secs(60), |connection| {
        let rank = connection.rank();
        let replicas = Replicas::new(Arc::new(connection));
        let config = config().with_guard_gradients(true).with_tcov(1);
        let mut optim = CurvatureConfigs::<B>::optimizer(&config).with_replicas(replicas.clone());
        let mut network = Shared::<B>::new();
        network = train_rank(&replicas, network, &mut optim, 0..3).expect("no rank fails");
        let broken = match rank {
            0 => Tensor::ones([4, 2, 3, 3], &Default::default()),
            _ => Tensor::full([4, 2, 3, 3], f64::NAN, &Default::default()),
        };
        let grads = network.loss(broken, false).backward();
        let grads = GradientsParams::from_grads(grads, &network);
        let grads = replicas
            .reduce_gradients(&network, grads)
            .expect("all are there");
        let before = values(&network);
        network = optim.try_step(0.1, network, grads).expect("all are there");
        assert_eq!(before, values(&network), "the guard keeps all");
        network = train_rank(&replicas, network, &mut optim, 4..8).expect("no rank fails");
        let rejected = optim.report(&network).layers[0].rejected;
        (values(&network), rejected)
    });
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0].1, 1);
    assert!(all[0].0.iter().flatten().all(|value| value.is_finite()));
}

/// Breaks when a rank that differs in its step or in what it has gradients of is not told from the others, and which one it is.
#[test]
fn a_rank_that_differs_is_named() {
    type B = Autodiff<Flex>;
    let errors = |run: &(dyn Fn(usize, &Replicas<Flex>) -> Option<ReplicaError> + Sync)| {
        in_threads(3, Duration::from_secs(20), |connection| {
            let replicas = Replicas::new(Arc::new(connection));
            run(replicas.rank(&Default::default()), &replicas)
        })
    };
    // Of another number of values.
    let lengths = errors(&|rank, replicas| {
        let values = Tensor::ones([3 + usize::from(rank == 2)], &Default::default());
        replicas.sum(values).err()
    });
    // The second adds up where the others take the mean.
    let reductions = errors(&|rank, replicas| {
        let reduction = match rank {
            1 => GradientReduction::Sum,
            _ => GradientReduction::Mean,
        };
        let network = Shared::<B>::new();
        let grads = network.loss_of(0, 0, 1).backward();
        let grads = GradientsParams::from_grads(grads, &network);
        let replicas = replicas.clone().with_reduction(reduction);
        replicas.reduce_gradients(&network, grads).err()
    });
    // The second has taken a step more.
    let steps = errors(&|rank, replicas| {
        let mut optim = CurvatureConfigs::<B>::optimizer(&config());
        let mut network = Shared::<B>::new();
        if rank == 1 {
            let grads = network.loss_of(0, 0, 2).backward();
            let grads = GradientsParams::from_grads(grads, &network);
            network = optim.try_step(0.0, network, grads).expect("it is alone");
        }
        let mut optim = optim.with_replicas(replicas.clone());
        let grads = network.loss_of(1, 0, 2).backward();
        let grads = GradientsParams::from_grads(grads, &network);
        match optim.try_step(0.0, network, grads) {
            Err(mac_burn::MacError::Replica(error)) => Some(error),
            _ => None,
        }
    });
    // The third has gradients of all layers, the others of all but one, which nobody reduced.
    let layers = errors(&|rank, replicas| {
        let optim = CurvatureConfigs::<B>::optimizer(&config());
        let mut optim = optim.with_replicas(replicas.clone());
        let network = Shared::<B>::new();
        let images = Tensor::ones([2, 2, 3, 3], &Default::default());
        let grads = network.loss(images, rank != 2).backward();
        let grads = GradientsParams::from_grads(grads, &network);
        match optim.try_step(0.0, network, grads) {
            Err(mac_burn::MacError::Replica(error)) => Some(error),
            _ => None,
        }
    });
    for (errors, named, text) in [
        (lengths, 2, "length"),
        (reductions, 1, "reduction"),
        (steps, 1, "step"),
        (layers, 2, "layers"),
    ] {
        for error in errors {
            let error = error.expect("each rank fails");
            println!("{error}");
            assert!(
                matches!(&error, ReplicaError::Mismatch { rank, what, .. } if *rank == named && what.contains(text)),
                "{error}"
            );
        }
    }
}

/// Breaks when more is sent than the table of the documentation says.
#[test]
fn what_is_sent_is_what_the_documentation_says() {
    type B = Autodiff<Flex>;
    let sent = in_threads(2, Duration::from_secs(60), |connection| {
        let connection = Arc::new(connection);
        let replicas = Replicas::new(connection.clone());
        let config = config().with_tcov(2);
        let mut optim = CurvatureConfigs::<B>::optimizer(&config).with_replicas(replicas.clone());
        let mut network = Shared::<B>::new();
        let mut sent = Vec::new();
        for step in 1..4 {
            let before = connection.bytes_sent();
            network =
                train_rank(&replicas, network, &mut optim, step..step + 1).expect("both are there");
            sent.push(connection.bytes_sent() - before);
        }
        sent
    });
    let frame = 18;
    let header = |numbers: u64| frame + 4 * (2 * 2 + numbers);
    // Parameters, and whether there is a gradient of each.
    let gradients = header(7 + (4 * 4 + 4) + 2 * (16 * 16 + 16) + 16 * 3);
    // Two means of 4 inputs, and three of 16.
    let statistics = header(4 * 6 + 2 * (2 * 4 + 2) + 3 * (2 * 16 + 2));
    let known = header(4);
    for sent in sent {
        assert_eq!(
            sent,
            [
                known + gradients + statistics,
                gradients,
                gradients + statistics
            ]
        );
    }
}
