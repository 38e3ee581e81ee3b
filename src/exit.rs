//! How a program ends.

use std::error::Error;
use std::process::ExitCode;

/// The log filter where `RUST_LOG` gives none: warnings, but not those of the graphics interface, which writes several
/// lines where a device is missing.
pub const LOG_FILTER: &str = "warn,wgpu_hal=off,wgpu_core=off";

/// Success, or failure with one line on standard error that says why.
pub fn explained(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
