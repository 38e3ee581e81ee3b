//! The machine that measurements are made on.

use std::fs;
use std::thread::available_parallelism;

/// The processor's name, where the system tells it, and the number of cores to be used.
pub fn describe_machine() -> String {
    let cores = available_parallelism().map_or("?".into(), |cores| cores.to_string());
    format!(
        "{}, {cores} cores",
        processor().unwrap_or_else(|| "unknown processor".into())
    )
}

fn processor() -> Option<String> {
    let information = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = information
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}
