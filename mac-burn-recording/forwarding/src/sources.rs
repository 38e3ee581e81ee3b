//! The sources of the Burn that `mac-burn-recording` is built with.

use crate::generated::{package, parsed};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::File;

/// The files in the folder `src` of a package, by the names of dependencies that lead to it.
pub(crate) fn files(dependencies: &[&str]) -> Vec<File> {
    let mut files = Vec::new();
    collect(&folder(dependencies), &mut files);
    files
}

fn folder(dependencies: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(package())
        .args(["metadata", "--format-version", "1"])
        // Packages of other platforms need not have been downloaded.
        .args(["--filter-platform", "host-tuple"])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let with_id = |items: &'_ Value, id: &Value| {
        let items = items.as_array().into_iter().flatten();
        let mut items = items.filter(|item| item["id"] == *id);
        items.next().expect("a package is there").clone()
    };
    let mut id = metadata["resolve"]["root"].clone();
    for name in dependencies {
        let node = with_id(&metadata["resolve"]["nodes"], &id);
        let mut dependencies = node["deps"].as_array().into_iter().flatten();
        id = dependencies
            .find(|dependency| dependency["name"] == *name)
            .unwrap_or_else(|| panic!("{name} is a dependency"))["pkg"]
            .clone();
    }
    let found = with_id(&metadata["packages"], &id);
    let manifest = found["manifest_path"].as_str();
    Path::new(manifest.expect("a package has a manifest")).with_file_name("src")
}

/// Adds the files of a folder and of those in it.
fn collect(folder: &Path, files: &mut Vec<File>) {
    for entry in folder.read_dir().expect("the sources of Burn are there") {
        let path = entry.expect("the sources of Burn are readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(parsed(&path));
        }
    }
}
