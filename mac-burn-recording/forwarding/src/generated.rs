//! A generated file, which is checked in.

use std::path::Path;
use std::process::Command;
use syn::File;

pub(crate) struct GeneratedFile {
    /// From the folder of `mac-burn-recording`.
    pub(crate) path: &'static str,
    /// Comments before the content.
    pub(crate) header: &'static str,
    pub(crate) content: File,
}

impl GeneratedFile {
    pub(crate) fn write(&self) {
        let content = with_empty_lines(&prettyplease::unparse(&self.content));
        let text = format!("{}\n{content}", self.header);
        let path = package().join(self.path);
        std::fs::write(&path, text).expect("a generated file is written");
        format(&path);
    }
}

/// Empty lines between functions and implementations, which have none where they are made of tokens.
fn with_empty_lines(text: &str) -> String {
    text.replace("}\n    fn ", "}\n\n    fn ")
        .replace(";\n///", ";\n\n///")
        .replace(";\nimpl", ";\n\nimpl")
        .replace("}\nimpl", "}\n\nimpl")
        .replace("}\nfn ", "}\n\nfn ")
        .replace(";\nfn ", ";\n\nfn ")
}

fn format(path: &Path) {
    let status = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .arg(path)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "rustfmt of {}",
        path.display()
    );
}

/// The folder of `mac-burn-recording`.
pub(crate) fn package() -> &'static Path {
    let this = Path::new(env!("CARGO_MANIFEST_DIR"));
    this.parent().expect("this package is in another's folder")
}

pub(crate) fn parsed(path: &Path) -> File {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
