//! Ranks that are connected over TCP.

mod handshake;
mod messages;
mod wire;

use self::handshake::{accept, connect, tell};
use self::wire::{Connection, Deadline, Kind, frame_head};
use super::{AllReduce, ReplicaError, RunDescription};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Other ranks are told of an error for so long, at most, before this one ends with it.
const TELL: Duration = Duration::from_secs(2);
/// The time in which what rank 0 has said before it closed a connection is read.
const LOOK: Duration = Duration::from_millis(500);
/// Values are added in parts of so many bytes.
const PART: usize = 1 << 16;
/// The longest limit of time, a year: sums of times do not overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Bytes before the values of a vector: its number in the run, and the size of an element.
const VALUES_HEAD: usize = 9;

/// Configuration of [`TcpAllReduce`].
///
/// ```no_run
/// use mac_burn::replicas::{ReplicaError, RunDescription, TcpAllReduceConfig};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), ReplicaError> {
/// let description = RunDescription::new().with("seed", 7);
/// // The second of two machines; the first has the address and is rank 0.
/// let connection = TcpAllReduceConfig::new("10.0.0.1:29500", 1, 2)
///     .with_timeout(Duration::from_secs(120))
///     .init(&description)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpAllReduceConfig {
    /// The address of rank 0, `host:port`, where it listens and the others find it. Rank 0 itself may have `0.0.0.0:port`, to listen on all networks.
    pub address: String,
    /// The number of this rank, from 0.
    pub rank: usize,
    /// The number of ranks, at least 1.
    pub world_size: usize,
    /// The time that rank 0 waits for the others, and then for each sum's vector of each of them; above 0. The others wait twice as long
    /// for rank 0, which may be waiting for one of them. It must be more than what the slowest rank needs for a step, with its transfer, and for a
    /// checkpoint. [`TcpAllReduce`] tells when ranks end with an error. Default: 60 s
    pub timeout: Duration,
}

impl TcpAllReduceConfig {
    /// The rank `rank` of `world_size`, with the address of rank 0.
    pub fn new(address: impl Into<String>, rank: usize, world_size: usize) -> Self {
        Self {
            address: address.into(),
            rank,
            world_size,
            timeout: Duration::from_secs(60),
        }
    }

    /// Sets [`timeout`](Self::timeout).
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn validate(&self) -> Result<(), ReplicaError> {
        let invalid = |field, value: String, allowed: String| {
            Err(ReplicaError::Invalid {
                field,
                value,
                allowed,
            })
        };
        if self.world_size == 0 {
            return invalid("world_size", "0".to_string(), "at least 1".to_string());
        }
        if self.rank >= self.world_size {
            let allowed = format!("below the {} ranks that there are", self.world_size);
            return invalid("rank", self.rank.to_string(), allowed);
        }
        if self.timeout.is_zero() || self.timeout > LONGEST {
            let value = format!("{:?}", self.timeout);
            return invalid("timeout", value, "above 0, and at most a year".to_string());
        }
        Ok(())
    }

    /// Connects, and returns when all ranks have. Rank 0 compares the description of each rank with its own.
    ///
    /// # Errors
    ///
    /// On all ranks that have connected: if one does not come in time, or if the model, the configuration, the version of this crate or whatever else is
    /// described differs on one, with its number and both values. On this one: if rank 0 cannot listen at the address, or is not reached.
    pub fn init(&self, description: &RunDescription) -> Result<TcpAllReduce, ReplicaError> {
        self.validate()?;
        if self.rank > 0 {
            let connection = connect(self, description)?;
            return Ok(TcpAllReduce::new(self, vec![connection]));
        }
        if self.world_size == 1 {
            return Ok(TcpAllReduce::new(self, Vec::new()));
        }
        let listener = TcpListener::bind(&self.address);
        let listener = listener.map_err(|error| ReplicaError::Failed {
            rank: 0,
            reason: format!("it cannot listen at {}: {error}", self.address),
        })?;
        self.init_with_listener(&listener, description)
    }

    /// Like [`init`](Self::init) on rank 0, with a listener that exists already, as on a port that the system has chosen.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init), and if this is another rank.
    pub fn init_with_listener(
        &self,
        listener: &TcpListener,
        description: &RunDescription,
    ) -> Result<TcpAllReduce, ReplicaError> {
        self.validate()?;
        if self.rank > 0 {
            return Err(ReplicaError::Invalid {
                field: "rank",
                value: self.rank.to_string(),
                allowed: "0 where there is a listener".to_string(),
            });
        }
        let connections = accept(listener, self, description)?;
        Ok(TcpAllReduce::new(self, connections))
    }
}

/// A rank that is connected to the others over TCP: each to rank 0, which adds up in the order of the ranks and sends back the sum. So the sum has
/// the same bits on all ranks, and in a run that is repeated.
///
/// Values are sent in `f32`, or in `f64` if they are; in half precision they are summed in `f32`. A connection is neither encrypted nor
/// authenticated: it is for a network that is trusted.
///
/// # Errors within a stated time
///
/// Every rank gets an error that names the rank at fault, and every later call returns it again:
///
/// - within 2 s of its next sum where that rank's process has ended, whose connection is closed by the system;
/// - within [`timeout`](TcpAllReduceConfig::timeout) and 2 s of its next sum on rank 0, and twice that on the others, where it is silent: it hangs, or its
///   machine is gone.
///
/// When a rank is dropped it tells the others that it has left, and a sum that one of them still waits for is an error.
#[derive(Debug)]
pub struct TcpAllReduce {
    rank: usize,
    world_size: usize,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of rank 0 to all others, in their order; of the others to rank 0.
    connections: Vec<Connection>,
    /// Sums so far.
    sums: u64,
    /// The error that has ended the run.
    failed: Option<ReplicaError>,
    /// Bytes sent over connections that are closed.
    sent: u64,
}

impl TcpAllReduce {
    fn new(config: &TcpAllReduceConfig, connections: Vec<Connection>) -> Self {
        Self {
            rank: config.rank,
            world_size: config.world_size,
            timeout: config.timeout,
            state: Mutex::new(State {
                connections,
                sums: 0,
                failed: None,
                sent: 0,
            }),
        }
    }

    /// All ranks of a run in threads of this process, in their order: for the devices of one machine, and tests.
    ///
    /// # Errors
    ///
    /// If the machine has no loopback, or an argument is outside its range.
    pub fn in_process(world_size: usize, timeout: Duration) -> Result<Vec<Self>, ReplicaError> {
        let failed = |error: std::io::Error| ReplicaError::Failed {
            rank: 0,
            reason: format!("it cannot listen on this machine: {error}"),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        let description = RunDescription::new();
        let config =
            |rank| TcpAllReduceConfig::new(address.clone(), rank, world_size).with_timeout(timeout);
        thread::scope(|scope| {
            let others = (1..world_size).map(|rank| {
                let (config, description) = (config(rank), &description);
                scope.spawn(move || config.init(description))
            });
            let others: Vec<_> = others.collect();
            let first = config(0).init_with_listener(&listener, &description);
            let others = others.into_iter().enumerate().map(|(index, thread)| {
                let panicked = |_| ReplicaError::Failed {
                    rank: index + 1,
                    reason: "its thread has panicked".to_string(),
                };
                thread.join().map_err(panicked).flatten()
            });
            std::iter::once(first).chain(others).collect()
        })
    }

    /// The number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of ranks.
    pub fn world_size(&self) -> usize {
        self.world_size
    }

    /// The bytes that this rank has sent so far.
    pub fn bytes_sent(&self) -> u64 {
        let state = self.state();
        let open = state.connections.iter().map(|connection| connection.sent);
        state.sent + open.sum::<u64>()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum of numbers of all ranks.
    fn sum_of<E: Number>(&self, values: &mut [E]) -> Result<(), ReplicaError> {
        let state = &mut *self.state();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        state.sums += 1;
        let summed = match self.rank {
            0 => self.sum_on_first(state, values),
            _ => self.sum_on_other(state, values),
        };
        if let Err(error) = &summed {
            state.failed = Some(error.clone());
            if self.rank == 0 {
                tell(&mut state.connections, error);
            }
            let closed = state.connections.drain(..);
            state.sent += closed.map(|connection| connection.sent).sum::<u64>();
        }
        summed
    }

    fn sum_on_first<E: Number>(
        &self,
        state: &mut State,
        values: &mut [E],
    ) -> Result<(), ReplicaError> {
        let deadline = Deadline::after(self.timeout);
        for connection in &mut state.connections {
            read_values(connection, state.sums, values, deadline, |sum, value| {
                *sum = sum.plus(value);
            })?;
        }
        let frame = values_frame(state.sums, values);
        let deadline = Deadline::after(self.timeout);
        let mut all = state.connections.iter_mut();
        all.try_for_each(|connection| connection.write(&frame, deadline))
    }

    fn sum_on_other<E: Number>(
        &self,
        state: &mut State,
        values: &mut [E],
    ) -> Result<(), ReplicaError> {
        let Some(connection) = state.connections.first_mut() else {
            return Ok(());
        };
        connection.check_silent(LOOK)?;
        // Rank 0 may come later, and then wait for others.
        let deadline = Deadline::after(2 * self.timeout);
        let frame = values_frame(state.sums, values);
        if let Err(error) = connection.write(&frame, deadline) {
            // It may have said why it reads no more.
            return Err(match connection.read_head(Deadline::after(LOOK)) {
                Err(
                    told @ (ReplicaError::Lost { rank, .. } | ReplicaError::TimedOut { rank, .. }),
                ) if rank == 0 => {
                    log::debug!("rank 0 has not said why it reads no more: {told}");
                    error
                }
                Err(told) => told,
                Ok(_) => error,
            });
        }
        read_values(connection, state.sums, values, deadline, |sum, value| {
            *sum = value;
        })
    }
}

/// A rank that has not failed says that it leaves.
impl Drop for TcpAllReduce {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let deadline = Deadline::after(TELL);
        for connection in &mut self.state().connections {
            // One that has left before does not listen.
            drop(connection.write_frame(Kind::Leave, &[], deadline));
        }
    }
}

impl<B: Backend> AllReduce<B> for TcpAllReduce {
    fn rank(&self, _device: &B::Device) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn sum(&self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>, ReplicaError> {
        let (device, dtype) = (values.device(), values.dtype());
        let failed = |reason: String| ReplicaError::Failed {
            rank: self.rank,
            reason,
        };
        let data = values
            .try_into_data()
            .map_err(|error| failed(format!("{error:?}")))?;
        let not_read = |error| failed(format!("{error:?}"));
        let summed = match dtype {
            DType::F64 => {
                let mut values: Vec<f64> = data.into_vec().map_err(not_read)?;
                self.sum_of(&mut values)?;
                let length = values.len();
                TensorData::new(values, [length])
            }
            _ => {
                let data = data.convert_dtype(DType::F32);
                let mut values: Vec<f32> = data.into_vec().map_err(not_read)?;
                self.sum_of(&mut values)?;
                let length = values.len();
                TensorData::new(values, [length]).convert_dtype(dtype)
            }
        };
        Ok(Tensor::from_data(summed, (&device, dtype)))
    }
}

/// A float type that is sent.
trait Number: Copy {
    const BYTES: usize;

    fn plus(self, other: Self) -> Self;

    fn put(self, bytes: &mut [u8]);

    fn get(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();

            fn plus(self, other: Self) -> Self {
                self + other
            }

            fn put(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }

            fn get(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$type>()];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }
        }
    };
}

number!(f32);
number!(f64);

fn values_frame<E: Number>(sums: u64, values: &[E]) -> Vec<u8> {
    let length = VALUES_HEAD + values.len() * E::BYTES;
    let mut frame = Vec::with_capacity(frame_head(Kind::Values, 0).len() + length);
    frame.extend(frame_head(Kind::Values, length));
    frame.extend(sums.to_le_bytes());
    frame.push(E::BYTES as u8);
    let start = frame.len();
    frame.resize(start + values.len() * E::BYTES, 0);
    let places = frame[start..].chunks_exact_mut(E::BYTES);
    places
        .zip(values)
        .for_each(|(place, value)| value.put(place));
    frame
}

/// Reads a vector of the same kind and takes each number in.
fn read_values<E: Number>(
    connection: &mut Connection,
    sums: u64,
    values: &mut [E],
    deadline: Deadline,
    take: impl Fn(&mut E, E),
) -> Result<(), ReplicaError> {
    let (kind, length) = connection.read_head(deadline)?;
    if kind != Kind::Values || length < VALUES_HEAD as u64 {
        return Err(ReplicaError::Lost {
            rank: connection.rank,
            reason: "it sends what is no vector".to_string(),
        });
    }
    let mut head = [0; VALUES_HEAD];
    connection.read(&mut head, deadline)?;
    let [number @ .., size] = head;
    let (number, length) = (u64::from_le_bytes(number), length - VALUES_HEAD as u64);
    let expected = (values.len() * E::BYTES) as u64;
    let compared = [
        ("the number of the sum", number, sums),
        ("the bytes of an element", size.into(), E::BYTES as u64),
        (
            "the length of the vector in bytes (gradients or statistics of other layers)",
            length,
            expected,
        ),
    ];
    for (what, found, expected) in compared {
        if found != expected {
            return Err(ReplicaError::Mismatch {
                rank: connection.rank,
                what: what.to_string(),
                found: found.to_string(),
                expected: expected.to_string(),
            });
        }
    }
    let mut buffer = vec![0; PART.min(values.len() * E::BYTES)];
    for part in values.chunks_mut(PART / E::BYTES) {
        let bytes = &mut buffer[..part.len() * E::BYTES];
        connection.read(bytes, deadline)?;
        let numbers = bytes.chunks_exact(E::BYTES);
        part.iter_mut()
            .zip(numbers)
            .for_each(|(own, bytes)| take(own, E::get(bytes)));
    }
    Ok(())
}
