//! The traits of a backend, read from the sources of the Burn in use.

use crate::generated::{package, parsed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::{Item, ItemTrait, TraitItem, TraitItemFn};

/// A method of a trait.
pub(crate) struct Method<'a> {
    pub(crate) trait_name: &'a str,
    pub(crate) item: &'a TraitItemFn,
}

impl Method<'_> {
    pub(crate) fn name(&self) -> String {
        self.item.sig.ident.to_string()
    }

    pub(crate) fn path(&self) -> String {
        format!("{}::{}", self.trait_name, self.name())
    }

    /// Whether it is only there under a cfg.
    pub(crate) fn is_configured(&self) -> bool {
        let mut attributes = self.item.attrs.iter();
        attributes.any(|attribute| attribute.path().is_ident("cfg"))
    }
}

/// The public traits of burn-backend by their names.
pub(crate) struct BurnTraits(BTreeMap<String, ItemTrait>);

impl BurnTraits {
    pub(crate) fn of_the_burn_in_use() -> Self {
        let mut traits = BTreeMap::new();
        collect(&sources().join("backend"), &mut traits);
        Self(traits)
    }

    /// The methods in the order of the source.
    pub(crate) fn methods<'a>(&'a self, trait_name: &'a str) -> impl Iterator<Item = Method<'a>> {
        let item = self
            .0
            .get(trait_name)
            .unwrap_or_else(|| panic!("this Burn has no trait {trait_name}"));
        item.items.iter().filter_map(move |item| match item {
            TraitItem::Fn(item) => Some(Method { trait_name, item }),
            _ => None,
        })
    }

    /// The traits that a type must have to be a `Backend`, without those of other crates.
    pub(crate) fn supertraits_of_backend(&self) -> Vec<String> {
        let bounds = self.0["Backend"].supertraits.iter();
        bounds
            .filter_map(|bound| match bound {
                syn::TypeParamBound::Trait(bound) => bound.path.segments.last(),
                _ => None,
            })
            .map(|segment| segment.ident.to_string())
            .filter(|name| self.0.contains_key(name))
            .collect()
    }
}

/// The folder `src` of the burn-backend that `mac-burn-recording` is built with.
fn sources() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(package())
        // Packages of other platforms need not have been downloaded.
        .args(["metadata", "--format-version", "1"])
        .args(["--filter-platform", "host-tuple"])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let nodes = array(&metadata["resolve"]["nodes"]);
    let this = &metadata["resolve"]["root"];
    let dependency = nodes
        .iter()
        .filter(|node| node["id"] == *this)
        .flat_map(|node| array(&node["deps"]))
        .find(|dependency| dependency["name"] == "burn_backend")
        .expect("burn-backend is a dependency");
    let manifest = array(&metadata["packages"])
        .iter()
        .find(|package| package["id"] == dependency["pkg"])
        .and_then(|package| package["manifest_path"].as_str())
        .expect("a package has a manifest");
    Path::new(manifest).with_file_name("src")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Adds the public traits of the files of a folder and of those in it.
fn collect(folder: &Path, traits: &mut BTreeMap<String, ItemTrait>) {
    for entry in folder.read_dir().expect("the sources of Burn are there") {
        let path = entry.expect("the sources of Burn are readable").path();
        if path.is_dir() {
            collect(&path, traits);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for item in parsed(&path).items {
                if let Item::Trait(item) = item {
                    traits.insert(item.ident.to_string(), item);
                }
            }
        }
    }
}
