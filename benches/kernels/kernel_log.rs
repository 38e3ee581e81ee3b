use std::cell::Cell;
use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// The runtime writes its log in a thread of its own; after this long without a line it has caught up.
const QUIET: Duration = Duration::from_millis(300);

/// A kernel that was launched.
pub(crate) struct Launch {
    pub(crate) name: String,
    /// Its time in milliseconds, if the log has times.
    pub(crate) time: Option<f64>,
}

/// The kernels that the runtime launches, as it logs them.
pub(crate) struct KernelLog {
    folder: TempDir,
    read: Cell<usize>,
    timed: bool,
}

impl KernelLog {
    /// Starts the log. The runtime reads its configuration from the working directory when a device is first used, so this
    /// comes before that. With times, each kernel is waited for.
    pub(crate) fn start(timed: bool) -> io::Result<Self> {
        let log = Self {
            folder: tempfile::tempdir()?,
            read: Cell::new(0),
            timed,
        };
        let path = log.path();
        fs::write(&path, "")?;
        let level = if timed { "medium" } else { "minimal" };
        let config = format!(
            "[profiling]\nlogger = {{ level = {level:?}, file = {path:?}, append = true }}\n"
        );
        fs::write(log.folder.path().join("cubecl.toml"), config)?;
        env::set_current_dir(log.folder.path())?;
        Ok(log)
    }

    /// The kernels since the last call.
    pub(crate) fn drain(&self) -> io::Result<Vec<Launch>> {
        let mut text = fs::read_to_string(self.path())?;
        loop {
            sleep(QUIET);
            let later = fs::read_to_string(self.path())?;
            if later == text {
                break;
            }
            text = later;
        }
        let lines: Vec<&str> = text.lines().collect();
        let new = lines[self.read.replace(lines.len())..].iter();
        Ok(new.filter_map(|line| self.launch(line)).collect())
    }

    /// A line of a log with times is `| 1.5ms | name`, or belongs to a table of sums, which begins with names.
    fn launch(&self, line: &str) -> Option<Launch> {
        if !self.timed {
            let name = line.to_string();
            return Some(Launch { name, time: None });
        }
        let (time, name) = line.strip_prefix("| ")?.split_once(" | ")?;
        Some(Launch {
            name: name.trim().to_string(),
            time: Some(milliseconds(time.trim())?),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kernels.log")
    }
}

/// Of a duration as Rust prints it.
fn milliseconds(text: &str) -> Option<f64> {
    let unit = text.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
    let factor = match &text[unit..] {
        "s" => 1e3,
        "ms" => 1.0,
        "µs" => 1e-3,
        "ns" => 1e-6,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}
