//! Bytes on a connection, with a deadline for each read and write.

use crate::replicas::ReplicaError;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A vector, or the sum of all.
    Values = 1,
    /// The error that ends the run.
    Error = 2,
    /// The end of a rank's run.
    Leave = 3,
    /// A rank's description of itself.
    Hello = 4,
    /// The end of a handshake that has found nothing.
    Welcome = 5,
}

/// The kind of a frame and the length of its body in bytes.
const FRAME_HEAD: usize = 9;

/// A body longer than this is not read as a whole: those are vectors.
const LONGEST_BODY: u64 = 1 << 28;

/// A limit of time, and how it is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self {
            at: Instant::now() + timeout,
            timeout,
        }
    }

    /// No time if it is over.
    pub(super) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// A connection to another rank.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// The other rank.
    pub(super) rank: usize,
    /// Bytes written.
    pub(super) sent: u64,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, rank: usize) -> Self {
        Self {
            stream,
            rank,
            sent: 0,
        }
    }

    fn lost(&self, reason: impl ToString) -> ReplicaError {
        ReplicaError::Lost {
            rank: self.rank,
            reason: reason.to_string(),
        }
    }

    /// The outcome of a read or write of some bytes: none if it is to be tried again.
    fn outcome(
        &self,
        result: std::io::Result<usize>,
        deadline: Deadline,
    ) -> Result<usize, ReplicaError> {
        match result {
            Ok(0) => Err(self.lost("it has closed its connection")),
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(ReplicaError::TimedOut {
                    rank: self.rank,
                    timeout: deadline.timeout,
                })
            }
            Err(error) => Err(self.lost(error)),
        }
    }

    /// The time that is left, for a socket's limit, which may not be 0.
    fn left(&self, deadline: Deadline) -> Result<Option<Duration>, ReplicaError> {
        match deadline.left() {
            Duration::ZERO => Err(ReplicaError::TimedOut {
                rank: self.rank,
                timeout: deadline.timeout,
            }),
            left => Ok(Some(left)),
        }
    }

    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        deadline: Deadline,
    ) -> Result<(), ReplicaError> {
        let mut done = 0;
        while done < buffer.len() {
            let limit = self.left(deadline)?;
            let result = match self.stream.set_read_timeout(limit) {
                Ok(()) => self.stream.read(&mut buffer[done..]),
                Err(error) => Err(error),
            };
            done += self.outcome(result, deadline)?;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), ReplicaError> {
        let mut done = 0;
        while done < bytes.len() {
            let limit = self.left(deadline)?;
            let result = match self.stream.set_write_timeout(limit) {
                Ok(()) => self.stream.write(&bytes[done..]),
                Err(error) => Err(error),
            };
            let written = self.outcome(result, deadline)?;
            done += written;
            self.sent += written as u64;
        }
        Ok(())
    }

    pub(super) fn write_frame(
        &mut self,
        kind: Kind,
        body: &[u8],
        deadline: Deadline,
    ) -> Result<(), ReplicaError> {
        self.write(&frame_head(kind, body.len()), deadline)?;
        self.write(body, deadline)
    }

    /// The kind of the next frame and the length of its body; an error or a farewell as the error that it stands for.
    pub(super) fn read_head(&mut self, deadline: Deadline) -> Result<(Kind, u64), ReplicaError> {
        let mut head = [0; FRAME_HEAD];
        self.read(&mut head, deadline)?;
        let [kind, length @ ..] = head;
        let length = u64::from_le_bytes(length);
        let kinds = [
            Kind::Values,
            Kind::Error,
            Kind::Leave,
            Kind::Hello,
            Kind::Welcome,
        ];
        match kinds.into_iter().find(|known| *known as u8 == kind) {
            None => Err(self.lost("it sends what is no frame")),
            Some(Kind::Leave) => Err(ReplicaError::LeftEarly { rank: self.rank }),
            Some(Kind::Error) => {
                let body = self.read_body(length, deadline)?;
                let error = super::messages::read_error(&body);
                Err(error.unwrap_or_else(|| self.lost("it sends an error that cannot be read")))
            }
            Some(kind) => Ok((kind, length)),
        }
    }

    pub(super) fn read_body(
        &mut self,
        length: u64,
        deadline: Deadline,
    ) -> Result<Vec<u8>, ReplicaError> {
        if length > LONGEST_BODY {
            return Err(self.lost("it sends a frame that is too long"));
        }
        let mut body = vec![0; length as usize];
        self.read(&mut body, deadline)?;
        Ok(body)
    }

    /// Fails if the other rank has said something that is not an answer: an error, or a farewell.
    pub(super) fn check_silent(&mut self, timeout: Duration) -> Result<(), ReplicaError> {
        let mut one = [0];
        let peeked = self.stream.set_nonblocking(true).and_then(|()| {
            let peeked = self.stream.peek(&mut one);
            self.stream.set_nonblocking(false)?;
            peeked
        });
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.lost(error)),
            Ok(0) => Err(self.lost("it has closed its connection")),
            Ok(_) => {
                self.read_head(Deadline::after(timeout))?;
                Err(self.lost("it answers what was not asked"))
            }
        }
    }

    /// Ends the connection so that the other side reads what was written: what it is writing is read first.
    pub(super) fn close(&mut self, deadline: Deadline) {
        drop(self.stream.shutdown(Shutdown::Write));
        let mut buffer = [0; 1 << 14];
        while let left @ 1.. = deadline.left().as_millis() {
            let limit = Some(Duration::from_millis(left as u64));
            let read = self
                .stream
                .set_read_timeout(limit)
                .and_then(|()| self.stream.read(&mut buffer));
            if !matches!(read, Ok(1..)) {
                return;
            }
        }
    }
}

pub(super) fn frame_head(kind: Kind, length: usize) -> [u8; FRAME_HEAD] {
    let mut head = [kind as u8; FRAME_HEAD];
    head[1..].copy_from_slice(&(length as u64).to_le_bytes());
    head
}
