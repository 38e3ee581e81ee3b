//! The files that are checked in, against the traits of the Burn in use.

use crate::burn_traits::BurnTraits;
use crate::forward::BY_HAND;
use crate::generated::{GeneratedFile, package, parsed};
use crate::sources;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use syn::{Attribute, File, ImplItem, Item, ItemImpl, Visibility};

/// The command that writes the generated files.
const COMMAND: &str = "cargo run -p mac-burn-recording-forwarding";

#[test]
fn forwarding_is_that_of_the_burn_in_use() {
    for file in crate::files() {
        check(&file);
    }
}

/// Compares the file with its content, whatever its format.
fn check(file: &GeneratedFile) {
    let written = parsed(&package().join(file.path));
    assert!(
        printed(&written) == printed(&file.content),
        "{} is not what the traits of the Burn in use make: {}.\nWrite it anew by `{COMMAND}`.",
        file.path,
        difference(&functions(&written), &functions(&file.content))
    );
}

#[test]
fn no_method_by_hand_is_left_to_its_default() {
    const FILE: &str = "src/backend.rs";
    let traits = BurnTraits::of_the_burn_in_use();
    let written = functions(&parsed(&package().join(FILE)));
    let missing: Vec<_> = BY_HAND
        .iter()
        .flat_map(|name| traits.methods(name))
        .filter(|method| {
            let written = written.get(&method.path());
            let configurations = configurations(&method.item.attrs);
            written.is_none_or(|function| function.configurations != configurations)
        })
        .map(|method| method.path())
        .collect();
    assert!(
        missing.is_empty(),
        "{FILE} lacks these, or has them under another cfg: {missing:?}"
    );
}

/// Parts of other modules, which are run with them, and the enumeration of the activations.
const PARTS: [&str; 4] = [
    "Activation",
    "GateController",
    "TransformerEncoderLayer",
    "TransformerDecoderLayer",
];

#[test]
fn every_layer_and_loss_of_burn_is_compared() {
    let folder = package().join("tests/forwarding");
    let names: Vec<_> = ["layers.rs", "losses.rs"]
        .iter()
        .flat_map(|file| literals(parsed(&folder.join(file)).to_token_stream()))
        .collect();
    let missing: Vec<_> = sources::files(&["burn", "burn_nn"])
        .into_iter()
        .flat_map(|file| file.items)
        .filter_map(|item| module(&item))
        .filter(|module| !PARTS.contains(&module.as_str()))
        .filter(|module| !names.contains(module))
        .collect();
    assert!(
        missing.is_empty(),
        "no entry of tests/forwarding/layers.rs or losses.rs is named after {missing:?}"
    );
}

/// The first words of the texts in a file.
fn literals(tokens: TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => words.extend(literals(group.stream())),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let end = [' ', ',', '"'];
                let mut parts = text.trim_start_matches('"').split(end);
                words.extend(parts.next().map(str::to_owned));
            }
            _ => {}
        }
    }
    words
}

/// The name of a public structure or enumeration that is a module.
fn module(item: &Item) -> Option<String> {
    let (name, visibility, attributes) = match item {
        Item::Struct(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Enum(item) => (&item.ident, &item.vis, &item.attrs),
        _ => return None,
    };
    let derives = |attribute: &Attribute| {
        let mut tokens = attribute.to_token_stream().to_string();
        tokens.retain(|character| character != ' ');
        attribute.path().is_ident("derive")
            && tokens.split(['(', ',', ')']).any(|part| part == "Module")
    };
    let is_module = matches!(visibility, Visibility::Public(_)) && attributes.iter().any(derives);
    is_module.then(|| name.to_string())
}

/// The text in one format, without the comments of the file.
fn printed(file: &File) -> String {
    let mut file = file.clone();
    file.attrs
        .retain(|attribute| !attribute.path().is_ident("doc"));
    prettyplease::unparse(&file)
}

fn difference(written: &Functions, expected: &Functions) -> String {
    let [mut missing, mut surplus, mut changed] = [const { Vec::new() }; 3];
    let names: BTreeSet<_> = written.keys().chain(expected.keys()).collect();
    for name in names {
        match (written.get(name), expected.get(name)) {
            (None, _) => missing.push(name.as_str()),
            (_, None) => surplus.push(name.as_str()),
            (written, expected) if written != expected => changed.push(name.as_str()),
            _ => {}
        }
    }
    let parts = [
        ("missing", missing),
        ("not in Burn", surplus),
        ("changed", changed),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    if parts.is_empty() {
        "what is outside of functions, or their order".to_owned()
    } else {
        parts.join("; ")
    }
}

/// A function as it is written, and where it is there.
#[derive(PartialEq, Eq)]
struct Function {
    text: String,
    configurations: Vec<String>,
}

impl Function {
    /// The only function of an item.
    fn new(item: Item, attributes: &[Attribute]) -> Self {
        let file = File {
            shebang: None,
            attrs: vec![],
            items: vec![item],
        };
        Self {
            text: printed(&file),
            configurations: configurations(attributes),
        }
    }
}

/// Functions by their names, those of a trait's implementation as `Trait::name`.
type Functions = BTreeMap<String, Function>;

fn functions(file: &File) -> Functions {
    let mut functions = Functions::new();
    for item in &file.items {
        match item {
            Item::Fn(function) => {
                let name = function.sig.ident.to_string();
                functions.insert(name, Function::new(item.clone(), &function.attrs));
            }
            Item::Impl(item) => {
                let path = item.trait_.as_ref().map(|(_, path, _)| path);
                let Some(of) = path.and_then(|path| path.segments.last()) else {
                    continue;
                };
                for method in &item.items {
                    if let ImplItem::Fn(function) = method {
                        let name = format!("{}::{}", of.ident, function.sig.ident);
                        let alone = ItemImpl {
                            items: vec![method.clone()],
                            ..item.clone()
                        };
                        functions.insert(name, Function::new(alone.into(), &function.attrs));
                    }
                }
            }
            _ => {}
        }
    }
    functions
}

fn configurations(attributes: &[Attribute]) -> Vec<String> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .map(|attribute| attribute.to_token_stream().to_string())
        .collect()
}
