//! Writes what is made of the traits of the Burn in use: `cargo run -p mac-burn-recording-forwarding`. Its tests tell whether that is what is there.

mod burn_traits;
mod calls;
#[cfg(test)]
mod comparison;
mod forward;
mod generated;
mod recipes;
mod sources;

use burn_traits::BurnTraits;
use generated::GeneratedFile;

fn files() -> Vec<GeneratedFile> {
    let traits = BurnTraits::of_the_burn_in_use();
    vec![
        GeneratedFile {
            path: "src/forward.rs",
            header: forward::HEADER,
            content: forward::implementations(&traits),
        },
        GeneratedFile {
            path: "tests/forwarding/calls.rs",
            header: calls::HEADER,
            content: calls::calls(&traits),
        },
    ]
}

fn main() {
    for file in files() {
        file.write();
    }
}
