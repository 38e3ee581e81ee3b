//! Messages of the crate's log, for each thread by itself: tests run in threads.
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "each test is a crate of its own"
)]

use log::{LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static MESSAGES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Collector;

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.target().starts_with("mac_burn") {
            MESSAGES.with_borrow_mut(|messages| messages.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// The messages of this thread since the last call, of this level and above. The first call of a process sets the level.
pub fn logged(level: LevelFilter) -> Vec<String> {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&Collector).expect("nobody else collects");
        log::set_max_level(level);
    });
    MESSAGES.take()
}
