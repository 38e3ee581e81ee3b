/// What the command line asks, in the words of Rust's own test harness; no test here is ignored.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Whether a list is asked for, not a run.
    pub(crate) list: bool,
    exact: bool,
    only_ignored: bool,
    filters: Vec<String>,
    skipped: Vec<String>,
}

/// Options whose value may be the next argument, of those that are taken and change nothing here.
const WITH_VALUE: [&str; 6] = [
    "--color",
    "--format",
    "--logfile",
    "--shuffle-seed",
    "--test-threads",
    "-Z",
];

impl Arguments {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut read = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => read.list = true,
                "--exact" => read.exact = true,
                "--ignored" => read.only_ignored = true,
                "--skip" => read.skipped.extend(arguments.next()),
                option if WITH_VALUE.contains(&option) => drop(arguments.next()),
                option if option.starts_with('-') => {
                    let skipped = option.strip_prefix("--skip=");
                    read.skipped.extend(skipped.map(ToString::to_string));
                }
                _ => read.filters.push(argument),
            }
        }
        read
    }

    /// Whether the test of this name is among those asked for.
    pub(crate) fn want(&self, test: &str) -> bool {
        let names = |pattern: &String| match self.exact {
            true => test == pattern,
            false => test.contains(pattern.as_str()),
        };
        let chosen = self.filters.is_empty() || self.filters.iter().any(names);
        chosen && !self.only_ignored && !self.skipped.iter().any(names)
    }
}
