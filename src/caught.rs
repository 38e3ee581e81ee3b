//! What burn-dataset panics with, as an error.

use std::any::Any;
use std::panic;

/// The result of `load`, or what it panicked with: burn-dataset reports no error otherwise.
///
/// # Errors
/// The message of the panic.
pub(crate) fn caught<T>(load: impl FnOnce() -> T + panic::UnwindSafe) -> Result<T, String> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(load);
    panic::set_hook(hook);
    result.map_err(|panic| message(panic.as_ref()))
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
        assert_eq!(caught(|| 3), Ok(3));
        assert_eq!(
            caught(|| -> i32 { panic!("no network {}", 1) }),
            Err("no network 1".to_string())
        );
        assert_eq!(
            caught(|| -> i32 { panic!("no disk") }),
            Err("no disk".to_string())
        );
    }
}
