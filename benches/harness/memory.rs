//! The host memory that work takes. For benchmarks that declare this module: counting costs each allocation a little.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MEBIBYTE: f64 = 1048576.0;

/// The bytes that are allocated now.
pub(crate) fn allocated() -> usize {
    MEMORY.current_usage()
}

/// The bytes that are allocated at most while `work` is done, with those that were before.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> usize {
    MEMORY.reset_peak_usage();
    let result = work();
    drop(result);
    MEMORY.peak_usage()
}

/// Bytes as a cell of a table.
pub(crate) fn mebibytes(bytes: usize) -> String {
    format!("{:.2}", bytes as f64 / MEBIBYTE)
}
