//! The traits of a backend, read from the sources of the Burn in use.

use crate::sources;
use std::collections::BTreeMap;
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
        let files = sources::files(&["burn_backend"]);
        let items = files.into_iter().flat_map(|file| file.items);
        let traits = items.filter_map(|item| match item {
            Item::Trait(item) => Some((item.ident.to_string(), item)),
            _ => None,
        });
        Self(traits.collect())
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
