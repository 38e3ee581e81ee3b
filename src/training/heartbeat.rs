use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Calls `say` from another thread after each interval, until what it returns is dropped.
#[must_use = "it ends when this is dropped"]
pub(super) fn heartbeat(interval: Duration, say: impl Fn() + Send + 'static) -> Sender<()> {
    let (alive, dropped) = mpsc::channel();
    thread::spawn(move || {
        while dropped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            say();
        }
    });
    alive
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks when it says nothing, says it once only, or goes on for ever.
    #[test]
    fn it_goes_on_until_it_is_dropped() {
        let (said, heard) = mpsc::channel();
        let alive = heartbeat(Duration::from_millis(1), move || {
            said.send(()).unwrap_or(())
        });
        for _ in 0..3 {
            heard.recv().expect("it is alive");
        }
        drop(alive);
        // That ends with the thread, which holds the sender.
        heard.iter().for_each(drop);
    }
}
