//! The start of a run: rank 0 waits for the others, compares what they say of themselves with its own, and tells all.

use super::messages::{Hello, Writer, write_error};
use super::wire::{Connection, Deadline, Kind};
use super::{TELL, TcpAllReduceConfig};
use crate::replicas::{ReplicaError, RunDescription};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::Duration;

/// The first bytes on every connection, in all versions.
const MAGIC: [u8; 8] = *b"MACBURN\0";
/// The version of what follows the preamble.
const PROTOCOL: u64 = 1;
/// The time between two looks at whether somebody connects, or tries to.
const PAUSE: Duration = Duration::from_millis(5);
/// A connection that does not say in this time who it is is none of a rank.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// The first bytes of each side. Its form is the same in all versions, so that they can be told.
struct Preamble {
    protocol: u64,
    rank: u64,
    crate_version: String,
}

impl Preamble {
    fn of(rank: usize) -> Self {
        Self {
            protocol: PROTOCOL,
            rank: rank as u64,
            crate_version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }

    fn write(&self) -> Vec<u8> {
        let numbers = Writer(MAGIC.to_vec())
            .number(self.protocol)
            .number(self.rank);
        numbers.text(&self.crate_version).0
    }

    /// None if it is none of this crate's.
    fn read(connection: &mut Connection, deadline: Deadline) -> Result<Option<Self>, ReplicaError> {
        let mut start = [0; 32];
        connection.read(&mut start, deadline)?;
        let number = |at: usize| {
            let bytes: [u8; 8] = std::array::from_fn(|index| start[at + index]);
            u64::from_le_bytes(bytes)
        };
        let length = number(24);
        if start[..8] != MAGIC || length > 256 {
            return Ok(None);
        }
        let version = connection.read_body(length, deadline)?;
        Ok(Some(Self {
            protocol: number(8),
            rank: number(16),
            crate_version: String::from_utf8_lossy(&version).into_owned(),
        }))
    }

    /// The difference of a rank's version from that of rank 0.
    fn check(&self, rank: usize, expected: &Self) -> Result<(), ReplicaError> {
        let differs = |what: &str, found: String, expected: String| {
            Err(ReplicaError::Mismatch {
                rank,
                what: what.to_string(),
                found,
                expected,
            })
        };
        if self.protocol != expected.protocol {
            let (found, expected) = (self.protocol.to_string(), expected.protocol.to_string());
            return differs("the version of the protocol", found, expected);
        }
        if self.crate_version != expected.crate_version {
            let (found, expected) = (self.crate_version.clone(), expected.crate_version.clone());
            return differs("the version of mac-burn", found, expected);
        }
        Ok(())
    }
}

/// A rank that has connected.
struct Arrival {
    connection: Connection,
    preamble: Preamble,
    /// None from another version.
    hello: Option<Hello>,
}

/// The connections of rank 0 to all others, in their order.
pub(super) fn accept(
    listener: &TcpListener,
    config: &TcpAllReduceConfig,
    description: &RunDescription,
) -> Result<Vec<Connection>, ReplicaError> {
    let mut arrivals: Vec<Option<Arrival>> = (1..config.world_size).map(|_| None).collect();
    let mut others = Vec::new();
    let outcome = collect(listener, config, &mut arrivals, &mut others)
        .and_then(|()| compare(config, &arrivals, description));
    let arrived = arrivals.into_iter().flatten();
    let mut connections: Vec<_> = arrived.map(|arrival| arrival.connection).collect();
    let deadline = Deadline::after(config.timeout);
    let outcome = outcome.and_then(|()| {
        let mut all = connections.iter_mut();
        all.try_for_each(|connection| connection.write_frame(Kind::Welcome, &[], deadline))
    });
    match outcome {
        Ok(()) => Ok(connections),
        Err(error) => {
            connections.append(&mut others);
            tell(&mut connections, &error);
            Err(error)
        }
    }
}

/// Tells other ranks of the error that ends the run, and closes the connections.
pub(super) fn tell(connections: &mut [Connection], error: &ReplicaError) {
    let body = write_error(error);
    std::thread::scope(|scope| {
        for connection in connections {
            let body = &body;
            scope.spawn(move || {
                let deadline = Deadline::after(TELL);
                let told = connection.write_frame(Kind::Error, body, deadline);
                // One that is lost itself does not listen.
                let listens = error.failed_rank() != Some(connection.rank);
                if told.is_ok() && listens {
                    connection.close(deadline);
                }
            });
        }
    });
}

/// Waits until all ranks have connected. What connects beside them goes to `others`.
fn collect(
    listener: &TcpListener,
    config: &TcpAllReduceConfig,
    arrivals: &mut [Option<Arrival>],
    others: &mut Vec<Connection>,
) -> Result<(), ReplicaError> {
    let deadline = Deadline::after(config.timeout);
    let failed = |error: std::io::Error| ReplicaError::Failed {
        rank: 0,
        reason: format!("it cannot listen at {}: {error}", config.address),
    };
    listener.set_nonblocking(true).map_err(failed)?;
    loop {
        let Some(missing) = arrivals.iter().position(Option::is_none) else {
            return Ok(());
        };
        if deadline.left().is_zero() {
            return Err(ReplicaError::TimedOut {
                rank: missing + 1,
                timeout: config.timeout,
            });
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                sleep(PAUSE);
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        let introduction = Deadline::after(INTRODUCTION.min(deadline.left()));
        // Whatever fails before a connection has said which rank it is: it is none of this run's.
        let Ok(Some(arrival)) = introduce(stream, introduction) else {
            log::warn!("a connection to rank 0 that is no rank's was closed");
            continue;
        };
        let rank = arrival.preamble.rank as usize;
        match rank
            .checked_sub(1)
            .and_then(|index| arrivals.get_mut(index))
        {
            Some(place @ None) => *place = Some(arrival),
            place => {
                let taken = place.is_some();
                let ranks = arrival.hello.map(|hello| hello.world_size.to_string());
                let ranks = ranks.unwrap_or_else(|| format!("more than {rank}"));
                others.push(arrival.connection);
                let (what, found, expected) = match taken {
                    true => ("the number of processes", "2".to_string(), 1),
                    false => ("the number of ranks", ranks, config.world_size),
                };
                return Err(ReplicaError::Mismatch {
                    rank,
                    what: what.to_string(),
                    found,
                    expected: expected.to_string(),
                });
            }
        }
    }
}

/// The introduction of what has connected; none if it is no rank.
fn introduce(stream: TcpStream, deadline: Deadline) -> Result<Option<Arrival>, ReplicaError> {
    let mut connection = Connection::new(stream, 0);
    let prepared = connection
        .stream
        .set_nonblocking(false)
        .and_then(|()| connection.stream.set_nodelay(true));
    if prepared.is_err() {
        return Ok(None);
    }
    connection.write(&Preamble::of(0).write(), deadline)?;
    let Some(preamble) = Preamble::read(&mut connection, deadline)? else {
        return Ok(None);
    };
    connection.rank = preamble.rank as usize;
    let hello = match preamble.protocol == PROTOCOL {
        true => match connection.read_head(deadline)? {
            (Kind::Hello, length) => Hello::read(&connection.read_body(length, deadline)?),
            _ => None,
        },
        false => None,
    };
    Ok(Some(Arrival {
        connection,
        preamble,
        hello,
    }))
}

/// Compares what ranks say with what rank 0 does.
fn compare(
    config: &TcpAllReduceConfig,
    arrivals: &[Option<Arrival>],
    description: &RunDescription,
) -> Result<(), ReplicaError> {
    for arrival in arrivals.iter().flatten() {
        let rank = arrival.connection.rank;
        arrival.preamble.check(rank, &Preamble::of(0))?;
        let Some(hello) = &arrival.hello else {
            return Err(ReplicaError::Lost {
                rank,
                reason: "it does not say what it runs".to_string(),
            });
        };
        let differs = |what: String, found: String, expected: String| ReplicaError::Mismatch {
            rank,
            what,
            found,
            expected,
        };
        if hello.world_size != config.world_size as u64 {
            return Err(differs(
                "the number of ranks".to_string(),
                hello.world_size.to_string(),
                config.world_size.to_string(),
            ));
        }
        if let Some(found) = hello.description.difference(description) {
            return Err(differs(found.what, found.found, found.expected));
        }
    }
    Ok(())
}

/// The connection of another rank to rank 0.
pub(super) fn connect(
    config: &TcpAllReduceConfig,
    description: &RunDescription,
) -> Result<Connection, ReplicaError> {
    let mut connection = Connection::new(reach(config)?, 0);
    // Rank 0 waits for the others before it answers, which may be as long again.
    let deadline = Deadline::after(2 * config.timeout);
    let own = Preamble::of(config.rank);
    let hello = Hello {
        world_size: config.world_size as u64,
        description: description.clone(),
    };
    connection.write(&own.write(), deadline)?;
    connection.write_frame(Kind::Hello, &hello.write(), deadline)?;
    let Some(first) = Preamble::read(&mut connection, deadline)? else {
        return Err(ReplicaError::Unreachable {
            address: config.address.clone(),
            timeout: config.timeout,
            reason: "what answers there is no rank of mac-burn".to_string(),
        });
    };
    if let Err(error) = own.check(config.rank, &first) {
        // Not before rank 0 has read what this rank is.
        connection.close(Deadline::after(TELL));
        return Err(error);
    }
    match connection.read_head(deadline)? {
        (Kind::Welcome, 0) => Ok(connection),
        _ => Err(ReplicaError::Lost {
            rank: 0,
            reason: "it does not answer as rank 0 does".to_string(),
        }),
    }
}

/// Connects to rank 0, which may start later.
fn reach(config: &TcpAllReduceConfig) -> Result<TcpStream, ReplicaError> {
    let deadline = Deadline::after(config.timeout);
    loop {
        let left = deadline.left().max(PAUSE);
        let stream = config.address.to_socket_addrs().and_then(|addresses| {
            let mut last = ErrorKind::AddrNotAvailable.into();
            for address in addresses {
                match TcpStream::connect_timeout(&address, left) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        });
        let stream = stream.and_then(|stream: TcpStream| {
            stream.set_nodelay(true)?;
            // A port that nobody listens at may be the one that the system has given this connection.
            match stream.local_addr()? == stream.peer_addr()? {
                true => Err(ErrorKind::ConnectionRefused.into()),
                false => Ok(stream),
            }
        });
        match stream {
            Ok(stream) => return Ok(stream),
            Err(error) if deadline.left().is_zero() => {
                return Err(ReplicaError::Unreachable {
                    address: config.address.clone(),
                    timeout: config.timeout,
                    reason: error.to_string(),
                });
            }
            Err(_) => sleep(PAUSE),
        }
    }
}
