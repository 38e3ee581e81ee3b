//! Panics of other crates as errors.

use std::any::Any;
use std::panic::{self, UnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

/// The panic hook is one for the process, so one at a time may replace it.
static HOOK: Mutex<()> = Mutex::new(());

/// The messages of a panic.
#[derive(Debug, PartialEq, Eq)]
pub struct Panicked {
    /// Its message.
    pub message: String,
    /// The message of the first panic of any thread since the work began: the cause, where this one is only its consequence.
    pub first: String,
}

/// The result of `work`, or what it panicked with: burn-dataset, and backends without a device, report no error otherwise.
///
/// Nothing is written to standard error meanwhile.
///
/// # Errors
/// If it panics.
pub fn caught<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, Panicked> {
    let _alone = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let said = Arc::new(Mutex::new(None));
    let listener = Arc::clone(&said);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let mut said = listener.lock().unwrap_or_else(PoisonError::into_inner);
        said.get_or_insert_with(|| message(info.payload()));
    }));
    let result = panic::catch_unwind(work);
    panic::set_hook(hook);
    result.map_err(|panic| {
        let message = message(panic.as_ref());
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        Panicked {
            first: said.take().unwrap_or_else(|| message.clone()),
            message,
        }
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(message), _) => message.clone(),
        (None, Some(message)) => (*message).to_string(),
        (None, None) => "the reason is unknown".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        let message = |work: fn() -> i32| caught(work).map_err(|panicked| panicked.message);
        assert_eq!(message(|| 3), Ok(3));
        assert_eq!(
            message(|| panic!("no network {}", 1)),
            Err("no network 1".to_string())
        );
        assert_eq!(message(|| panic!("no disk")), Err("no disk".to_string()));
    }

    /// Breaks when the thread that asks is heard alone. (Another test may panic before both.)
    #[test]
    fn the_first_panic_of_any_thread_is_told() {
        let panicked = caught(|| {
            let thread = std::thread::spawn(|| panic!("no driver"));
            thread.join().expect("the thread gives an answer");
        });
        let panicked = panicked.expect_err("the thread panics");
        assert!(panicked.message.contains("gives an answer"));
        assert_ne!(panicked.first, panicked.message);
    }
}
