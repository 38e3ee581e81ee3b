//! The bodies of frames but those of vectors.

use crate::replicas::{ReplicaError, RunDescription};
use std::time::Duration;

/// Numbers and texts, after each other.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        let mut written = self.number(text.len() as u64);
        written.0.extend(text.as_bytes());
        written
    }
}

/// The rest of a body. Its functions are none where it is damaged.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

/// A rank's description of itself.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) world_size: u64,
    pub(super) description: RunDescription,
}

impl Hello {
    pub(super) fn write(&self) -> Vec<u8> {
        let entries = &self.description.entries;
        let start = Writer::default()
            .number(self.world_size)
            .number(entries.len() as u64);
        let all = entries
            .iter()
            .fold(start, |writer, (name, value)| writer.text(name).text(value));
        all.0
    }

    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let (world_size, entries) = (reader.number()?, reader.number()?);
        let entries = (0..entries).map(|_| Some((reader.text()?, reader.text()?)));
        Some(Self {
            world_size,
            description: RunDescription {
                entries: entries.collect::<Option<_>>()?,
            },
        })
    }
}

/// An error that goes to all ranks. One of arguments or of reaching rank 0 never does.
pub(super) fn write_error(error: &ReplicaError) -> Vec<u8> {
    let writer = Writer::default();
    let written = match error {
        ReplicaError::Lost { rank, reason } => writer.number(0).number(*rank as u64).text(reason),
        ReplicaError::TimedOut { rank, timeout } => writer
            .number(1)
            .number(*rank as u64)
            .number(timeout.as_micros() as u64),
        ReplicaError::LeftEarly { rank } => writer.number(2).number(*rank as u64),
        ReplicaError::Mismatch {
            rank,
            what,
            found,
            expected,
        } => {
            let writer = writer.number(3).number(*rank as u64);
            writer.text(what).text(found).text(expected)
        }
        ReplicaError::Failed { rank, reason } => writer.number(4).number(*rank as u64).text(reason),
        other => writer.number(4).number(0).text(&other.to_string()),
    };
    written.0
}

pub(super) fn read_error(body: &[u8]) -> Option<ReplicaError> {
    let mut reader = Reader(body);
    let kind = reader.number()?;
    let rank = usize::try_from(reader.number()?).ok()?;
    Some(match kind {
        0 => ReplicaError::Lost {
            rank,
            reason: reader.text()?,
        },
        1 => ReplicaError::TimedOut {
            rank,
            timeout: Duration::from_micros(reader.number()?),
        },
        2 => ReplicaError::LeftEarly { rank },
        3 => ReplicaError::Mismatch {
            rank,
            what: reader.text()?,
            found: reader.text()?,
            expected: reader.text()?,
        },
        4 => ReplicaError::Failed {
            rank,
            reason: reader.text()?,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when a field of an error is written and read in another order, and when damaged bytes are taken for a message.
    #[test]
    fn messages_are_read_as_they_were_written() {
        let errors = [
            ReplicaError::Lost {
                rank: 3,
                reason: "gone".to_string(),
            },
            ReplicaError::TimedOut {
                rank: 2,
                timeout: Duration::from_millis(1500),
            },
            ReplicaError::LeftEarly { rank: 1 },
            ReplicaError::Mismatch {
                rank: 1,
                what: "a".to_string(),
                found: "b".to_string(),
                expected: "c".to_string(),
            },
            ReplicaError::Failed {
                rank: 0,
                reason: "why".to_string(),
            },
        ];
        for error in errors {
            let bytes = write_error(&error);
            assert_eq!(read_error(&bytes), Some(error));
            assert_eq!(read_error(&bytes[..bytes.len() - 1]), None);
        }
        let hello = Hello {
            world_size: 4,
            description: RunDescription::new().with("a", 1).with("b", "two"),
        };
        let bytes = hello.write();
        let read = Hello::read(&bytes).expect("it is whole");
        assert_eq!((read.world_size, read.description), (4, hello.description));
        assert!(Hello::read(&bytes[..bytes.len() - 1]).is_none());
    }
}
