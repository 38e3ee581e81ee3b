use crate::MacError;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::HashSet;

/// Path patterns such as `head`, `blocks.*.mlp` or `**.norm`.
///
/// A path is the names of the fields down to a module or parameter, joined by dots, as Burn's
/// records and visitors have it. `*` stands for anything within one name, `**` for any number of
/// names. A pattern covers what it names and everything below it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PathPatterns {
    patterns: Vec<String>,
    globs: GlobSet,
}

impl PathPatterns {
    pub(crate) fn new(field: &'static str, patterns: &[String]) -> Result<Self, MacError> {
        let mut globs = GlobSetBuilder::new();
        for pattern in patterns {
            globs.add(parse(field, pattern)?);
        }
        let globs = globs
            .build()
            .map_err(|_| invalid(field, &patterns.join(", ")))?;
        Ok(Self {
            patterns: patterns.to_vec(),
            globs,
        })
    }

    /// Whether a pattern names this path or one that it is below of.
    pub(crate) fn cover(&self, path: &str) -> bool {
        !self.globs.is_empty() && !self.covering(path).is_empty()
    }

    /// The patterns that cover none of these paths, which may be misspelt.
    pub(crate) fn unused<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Vec<&str> {
        let used: HashSet<usize> = paths.flat_map(|path| self.covering(path)).collect();
        let unused = (0..self.patterns.len()).filter(|index| !used.contains(index));
        unused.map(|index| self.patterns[index].as_str()).collect()
    }

    fn covering(&self, path: &str) -> Vec<usize> {
        let path = path.replace('.', "/");
        let ends = path.match_indices('/').map(|(end, _)| end);
        ends.chain([path.len()])
            .flat_map(|end| self.globs.matches(&path[..end]))
            .collect()
    }
}

fn parse(field: &'static str, pattern: &str) -> Result<Glob, MacError> {
    if pattern.is_empty() || pattern.contains('/') {
        return Err(invalid(field, pattern));
    }
    GlobBuilder::new(&pattern.replace('.', "/"))
        .literal_separator(true)
        .build()
        .map_err(|_| invalid(field, pattern))
}

fn invalid(field: &'static str, pattern: &str) -> MacError {
    MacError::InvalidConfig {
        field,
        value: format!("\"{pattern}\""),
        allowed: "a path of names joined by dots, with `*` for any one name and `**` for any number of names",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        PathPatterns::new("skip_layers", &[pattern.to_string()])
            .expect("the pattern is valid")
            .cover(path)
    }

    #[test]
    fn a_pattern_covers_what_it_names_and_all_below() {
        assert!(covers("head", "head"));
        assert!(covers("head", "head.weight"));
        assert!(!covers("head", "heads.weight"));
        assert!(!covers("head", "model.head"));
    }

    #[test]
    fn one_star_stays_within_a_name_and_two_cross_names() {
        assert!(covers("blocks.*.mlp", "blocks.3.mlp.fc1"));
        assert!(!covers("blocks.*.mlp", "blocks.3.4.mlp.fc1"));
        assert!(covers("**.norm*", "blocks.3.norm1.gamma"));
        assert!(covers("**.norm", "norm"));
        assert!(covers("fc[12]", "fc2.weight"));
    }

    #[test]
    fn a_pattern_that_covers_nothing_is_told() {
        let patterns = ["head", "blocks.*.mpl"].map(String::from);
        let patterns = PathPatterns::new("skip_layers", &patterns).expect("they are valid");
        let unused = patterns.unused(["head", "blocks.0.mlp"].into_iter());
        assert_eq!(unused, ["blocks.*.mpl"]);
    }

    #[test]
    fn nothing_is_covered_by_no_pattern() {
        assert!(!PathPatterns::default().cover("head"));
    }

    #[test]
    fn a_broken_pattern_is_an_error_that_names_it() {
        for pattern in ["", "a/b", "a[", "{a"] {
            let error = PathPatterns::new("no_decay", &[pattern.to_string()])
                .expect_err("the pattern is broken")
                .to_string();
            assert!(
                error.contains("no_decay") && error.contains(pattern),
                "{error}"
            );
        }
    }
}
