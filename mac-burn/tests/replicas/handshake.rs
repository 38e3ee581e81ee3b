//! The comparison of ranks when they connect.

use super::network::{Shared, config};
use super::support::{Network, filled};
use burn::backend::Autodiff;
use burn_flex::Flex;
use mac_burn::replicas::{ReplicaError, RunDescription, TcpAllReduce, TcpAllReduceConfig};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

type B = Autodiff<Flex>;

const TIMEOUT: Duration = Duration::from_secs(20);

fn description() -> RunDescription {
    let model = Shared::<B>::new();
    let description = RunDescription::new().with_model(&model);
    description
        .with_parameter_values(&model)
        .with("configuration", config())
}

/// Connects something that sends these bytes before any rank is there, and then ranks with these descriptions. Returns what ranks make of it, and
/// what the former is answered until it is closed.
fn start_beside(
    bytes: &[u8],
    timeout: Duration,
    world_size: usize,
    ranks: Vec<(usize, RunDescription)>,
) -> (Vec<Result<TcpAllReduce, ReplicaError>>, Vec<u8>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a loopback");
    let address = listener.local_addr().expect("it is bound").to_string();
    // The system takes it before rank 0 does.
    let mut beside = (!bytes.is_empty()).then(|| {
        let mut stream = TcpStream::connect(&address).expect("somebody listens");
        let limit = stream.set_read_timeout(Some(TIMEOUT));
        limit
            .and_then(|()| stream.write_all(bytes))
            .expect("it is taken");
        stream
    });
    thread::scope(|scope| {
        let (address, listener) = (&address, &listener);
        let answered = scope.spawn(move || {
            let mut answer = Vec::new();
            if let Some(stream) = &mut beside {
                // What it has sent and nobody has read may make an error of the end.
                drop(stream.read_to_end(&mut answer));
            }
            answer
        });
        let ranks = ranks.into_iter().map(|(rank, description)| {
            scope.spawn(move || {
                let config = TcpAllReduceConfig::new(address, rank, world_size);
                let config = config.with_timeout(timeout);
                match rank {
                    0 => config.init_with_listener(listener, &description),
                    _ => config.init(&description),
                }
            })
        });
        let ranks: Vec<_> = ranks.collect();
        let ranks = ranks.into_iter().map(|rank| rank.join());
        let ranks = ranks.map(|rank| rank.expect("no panic")).collect();
        (ranks, answered.join().expect("no panic"))
    })
}

/// Starts ranks with these descriptions.
fn start(
    timeout: Duration,
    world_size: usize,
    ranks: Vec<(usize, RunDescription)>,
) -> Vec<Result<TcpAllReduce, ReplicaError>> {
    start_beside(&[], timeout, world_size, ranks).0
}

/// Checks that all ranks end with an error that names the rank, and has these texts.
#[track_caller]
fn assert_named(
    outcomes: Vec<Result<TcpAllReduce, ReplicaError>>,
    named: usize,
    texts: &[&str],
    within: Duration,
    start: Instant,
) {
    assert!(start.elapsed() < within, "{:?}", start.elapsed());
    for (rank, outcome) in outcomes.into_iter().enumerate() {
        let error = outcome.expect_err("one differs");
        let text = error.to_string();
        println!("rank {rank}: {text}");
        assert!(text.contains(&format!("rank {named}")), "{text}");
        for part in texts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn ranks_that_agree_are_connected() {
    let ranks = (0..3).map(|rank| (rank, description())).collect();
    // Not a rank: it is closed, and the run starts all the same.
    let (outcomes, _) = start_beside(&[b'x'; 64], TIMEOUT, 3, ranks);
    for (rank, outcome) in outcomes.into_iter().enumerate() {
        let connected = outcome.expect("they agree");
        assert_eq!((connected.rank(), connected.world_size()), (rank, 3));
    }
}

/// Breaks when one of these is not compared, or a rank is not told.
#[test]
fn another_model_configuration_or_values_are_errors_of_all() {
    let model = Network::<B>::new(1);
    let other_model = RunDescription::new().with_model(&model);
    let other_values = filled(Shared::<B>::new(), 2);
    let other_values = RunDescription::new()
        .with_model(&other_values)
        .with_parameter_values(&other_values)
        .with("configuration", config());
    let own = Shared::<B>::new();
    let other_config = RunDescription::new()
        .with_model(&own)
        .with_parameter_values(&own)
        .with("configuration", config().with_damping(0.5));
    for (other, texts) in [
        (
            other_model,
            &["`conv.weight` [3, 1, 3, 3]", "`conv.weight` [4, 1, 2, 2]"][..],
        ),
        (other_values, &["hash of the parameters"]),
        (other_config, &["configuration", "0.3", "0.5"]),
    ] {
        let begin = Instant::now();
        let ranks = vec![(0, description()), (1, description()), (2, other)];
        let outcomes = start(TIMEOUT, 3, ranks);
        assert_named(outcomes, 2, texts, Duration::from_secs(8), begin);
    }
}

/// A rank of another version, which says so in the bytes that are the same in all.
#[test]
fn another_version_is_an_error_of_all() {
    for (protocol, version, texts) in [
        (2_u64, env!("CARGO_PKG_VERSION"), ["protocol", "2", "1"]),
        (1, "0.0.9", ["mac-burn", "0.0.9", env!("CARGO_PKG_VERSION")]),
    ] {
        let begin = Instant::now();
        let ranks = vec![(0, description()), (1, description())];
        let mut bytes = b"MACBURN\0".to_vec();
        for number in [protocol, 2, version.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(version.as_bytes());
        // An empty description of three ranks.
        bytes.push(4);
        for number in [16_u64, 3, 0] {
            bytes.extend(number.to_le_bytes());
        }
        let (outcomes, answer) = start_beside(&bytes, TIMEOUT, 3, ranks);
        assert!(answer.starts_with(b"MACBURN\0"));
        assert_named(outcomes, 2, &texts, Duration::from_secs(8), begin);
    }
}

#[test]
fn another_number_of_ranks_is_an_error_of_all() {
    let begin = Instant::now();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a loopback");
    let address = listener.local_addr().expect("it is bound").to_string();
    let outcomes = thread::scope(|scope| {
        let address = &address;
        let other = scope.spawn(move || {
            let config = TcpAllReduceConfig::new(address, 1, 3).with_timeout(TIMEOUT);
            config.init(&description())
        });
        let config = TcpAllReduceConfig::new(address, 0, 2).with_timeout(TIMEOUT);
        let first = config.init_with_listener(&listener, &description());
        vec![first, other.join().expect("no panic")]
    });
    let texts = ["number of ranks", "3", "2"];
    assert_named(outcomes, 1, &texts, Duration::from_secs(8), begin);
}

/// Breaks when a rank that never comes, or comes twice, is waited for without a limit.
#[test]
fn a_missing_rank_and_one_that_comes_twice_are_named() {
    let timeout = Duration::from_millis(700);
    let begin = Instant::now();
    let ranks = vec![(0, description()), (2, description())];
    let outcomes = start(timeout, 3, ranks);
    assert_named(
        outcomes,
        1,
        &["did not answer"],
        Duration::from_secs(4),
        begin,
    );

    let begin = Instant::now();
    let ranks = vec![(0, description()), (1, description()), (1, description())];
    let outcomes = start(TIMEOUT, 3, ranks);
    assert_named(
        outcomes,
        1,
        &["number of processes", "2"],
        Duration::from_secs(8),
        begin,
    );
}

#[test]
fn arguments_and_an_address_where_nobody_listens_are_errors() {
    let invalid = |config: TcpAllReduceConfig| match config.init(&RunDescription::new()) {
        Err(ReplicaError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        invalid(TcpAllReduceConfig::new("127.0.0.1:1", 0, 0)),
        "world_size"
    );
    assert_eq!(
        invalid(TcpAllReduceConfig::new("127.0.0.1:1", 2, 2)),
        "rank"
    );
    let config = TcpAllReduceConfig::new("127.0.0.1:1", 1, 2);
    assert_eq!(invalid(config.with_timeout(Duration::ZERO)), "timeout");

    let timeout = Duration::from_millis(300);
    let begin = Instant::now();
    let config = TcpAllReduceConfig::new("127.0.0.1:1", 1, 2).with_timeout(timeout);
    let error = config
        .init(&RunDescription::new())
        .expect_err("nobody listens");
    println!("{error}");
    assert!(matches!(error, ReplicaError::Unreachable { .. }));
    assert!(begin.elapsed() < Duration::from_secs(3));
}
