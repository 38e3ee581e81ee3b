//! How a program ends.

use std::error::Error;
use std::process::ExitCode;

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
