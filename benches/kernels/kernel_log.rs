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

/// The names of the kernels that the runtime launches, as it logs them.
pub(crate) struct KernelLog {
    folder: TempDir,
    read: Cell<usize>,
}

impl KernelLog {
    /// Starts the log. The runtime reads its configuration from the working directory when a device is first used, so this
    /// comes before that.
    pub(crate) fn start() -> io::Result<Self> {
        let log = Self {
            folder: tempfile::tempdir()?,
            read: Cell::new(0),
        };
        let path = log.path();
        fs::write(&path, "")?;
        let config = format!(
            "[profiling]\nlogger = {{ level = \"minimal\", file = {path:?}, append = true }}\n"
        );
        fs::write(log.folder.path().join("cubecl.toml"), config)?;
        env::set_current_dir(log.folder.path())?;
        Ok(log)
    }

    /// The kernels since the last call.
    pub(crate) fn drain(&self) -> io::Result<Vec<String>> {
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
        Ok(new.map(ToString::to_string).collect())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kernels.log")
    }
}
