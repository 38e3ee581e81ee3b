//! A rank that is silent, or has left.

use super::network::in_threads;
use burn::tensor::Tensor;
use burn_flex::Flex;
use mac_burn::replicas::{AllReduce, ReplicaError, Replicas};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn sum(replicas: &Replicas<Flex>, length: usize) -> Result<Vec<f32>, ReplicaError> {
    let ones = Tensor::<Flex, 1>::ones([length], &Default::default());
    let sum = replicas.sum(ones.mul_scalar(replicas.rank(&Default::default()) as f64 + 1.0))?;
    Ok(sum.into_data().iter().collect())
}

/// Checks that all others end in time with the rank that is silent, in a sum of so many numbers.
fn check_silent(length: usize, timeout: Duration) {
    for silent in [0, 1, 3] {
        let held = Mutex::new(Vec::new());
        let outcomes = in_threads(4, timeout, |connection| {
            let connection = Arc::new(connection);
            let replicas = Replicas::<Flex>::new(connection.clone());
            let first = sum(&replicas, 5).expect("all are there");
            assert_eq!(first, [10.0; 5]);
            if replicas.rank(&Default::default()) == silent {
                // It stays connected.
                held.lock().expect("nobody panics").push(connection);
                return None;
            }
            let start = Instant::now();
            let error = sum(&replicas, length).expect_err("one is silent");
            let waited = start.elapsed();
            let again = Instant::now();
            assert_eq!(sum(&replicas, 1), Err(error.clone()));
            assert!(again.elapsed() < Duration::from_millis(100));
            Some((error, waited))
        });
        let mut longest = Duration::ZERO;
        for (error, waited) in outcomes.into_iter().flatten() {
            assert!(
                matches!(error, ReplicaError::TimedOut { rank, .. } if rank == silent),
                "{error}"
            );
            longest = longest.max(waited);
        }
        println!(
            "{length} numbers, a limit of {timeout:?}, rank {silent} silent: {longest:.2?} to the last error"
        );
        assert!(
            longest < 2 * timeout + Duration::from_secs(2),
            "{longest:?}"
        );
    }
}

/// Breaks when a wait has no limit, the rank that is silent is not named, or later calls wait again.
#[test]
fn a_silent_rank_is_named_in_time_by_all_others() {
    check_silent(10, Duration::from_millis(700));
}

/// The vector is larger than what the system takes while nobody reads it: ranks are in the middle of sending when they are told. Breaks when rank 0 closes
/// a connection before the other side has read why.
#[test]
fn so_it_is_in_the_middle_of_a_large_vector() {
    check_silent(3_000_000, Duration::from_secs(3));
}

/// Breaks when the end of a rank is taken for a silence, or the others wait for it.
#[test]
fn a_rank_that_leaves_early_is_named_at_once() {
    for left in [0, 2] {
        let outcomes = in_threads(3, Duration::from_secs(60), |connection| {
            let replicas = Replicas::<Flex>::new(Arc::new(connection));
            sum(&replicas, 5).expect("all are there");
            if replicas.rank(&Default::default()) == left {
                return None;
            }
            sleep(Duration::from_millis(50));
            let start = Instant::now();
            let error = sum(&replicas, 5).expect_err("one has left");
            Some((error, start.elapsed()))
        });
        for (error, waited) in outcomes.into_iter().flatten() {
            assert_eq!(error, ReplicaError::LeftEarly { rank: left });
            assert!(waited < Duration::from_secs(3), "{waited:?}");
        }
    }
}

/// A slow rank is waited for.
#[test]
fn a_slow_rank_is_no_silent_one() {
    let sums = in_threads(3, Duration::from_secs(5), |connection| {
        let replicas = Replicas::<Flex>::new(Arc::new(connection));
        sleep(Duration::from_millis(
            200 * replicas.rank(&Default::default()) as u64,
        ));
        let first = sum(&replicas, 3);
        sleep(Duration::from_millis(
            200 * (2 - replicas.rank(&Default::default())) as u64,
        ));
        (first, sum(&replicas, 3))
    });
    for sums in sums {
        assert_eq!(sums, (Ok(vec![6.0; 3]), Ok(vec![6.0; 3])));
    }
}

/// Breaks when values are added in the order in which they come.
#[test]
fn sums_have_the_same_bits_on_all_ranks_and_each_time() {
    let rounds: usize = 30;
    let all = in_threads(4, Duration::from_secs(60), |connection| {
        let rank = connection.rank();
        let sums = (0..rounds).map(|round| {
            sleep(Duration::from_micros(300 * ((rank + round) % 4) as u64));
            let values = (0..1000).map(|index| ((index * 7919 + rank * 104_729) % 1009) as f32);
            let values: Vec<f32> = values.map(|value| 1e3 / (value + 0.37)).collect();
            let values = Tensor::<Flex, 1>::from_floats(&values[..], &Default::default());
            let sum = connection.sum(values).expect("all are there").into_data();
            sum.iter::<f32>().map(f32::to_bits).collect::<Vec<_>>()
        });
        sums.collect::<Vec<_>>()
    });
    for sums in &all {
        assert!(sums.iter().all(|sum| *sum == all[0][0]));
    }
}

/// Half precision is summed in `f32`, and comes back as it was.
#[test]
fn other_float_types_come_back_as_they_went() {
    use burn::tensor::DType;
    let types = in_threads(2, Duration::from_secs(60), |connection| {
        [DType::F16, DType::BF16, DType::F64].map(|dtype| {
            let values = Tensor::<Flex, 1>::ones([3], (&Default::default(), dtype));
            let sum = connection.sum(values).expect("both are there");
            (
                sum.dtype() == dtype,
                sum.into_data().iter::<f64>().collect::<Vec<_>>(),
            )
        })
    });
    for found in types.into_iter().flatten() {
        assert_eq!(found, (true, vec![2.0; 3]));
    }
}
