//! Whether each method of `Recording<A>` gives bit for bit what `A`'s gives, and its gradients, and so do Burn's layers and losses.

mod call;
mod calls;
mod layers;
mod losses;
mod panics;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn_backend::backend::Backend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use call::{Method, Outcome, Tested, outcome};
use calls::calls;
use layers::layers;
use losses::losses;
use mac_burn_recording::Recording;
use panics::Panics;

#[test]
fn flex_is_forwarded() {
    assert_forwarded::<Flex, NoCheckpointing>(&[panics::COMMON, panics::FLEX]);
}

#[test]
fn ndarray_is_forwarded() {
    assert_forwarded::<NdArray, NoCheckpointing>(&[panics::COMMON, panics::NDARRAY]);
}

#[test]
fn checkpoints_are_forwarded() {
    assert_forwarded::<Flex, BalancedCheckpointing>(&[panics::COMMON, panics::FLEX]);
}

#[test]
fn layers_are_the_same_on_flex() {
    assert_same_layers::<Flex, NoCheckpointing>(&[]);
}

#[test]
fn layers_are_the_same_on_ndarray() {
    assert_same_layers::<NdArray, NoCheckpointing>(&[panics::NDARRAY_LAYERS]);
}

#[test]
fn layers_are_the_same_with_checkpoints() {
    assert_same_layers::<Flex, BalancedCheckpointing>(&[]);
}

fn assert_forwarded<B, C>(panics: &[Panics])
where
    B: Backend<Device: Default>,
    C: CheckpointStrategy,
{
    let recording = calls::<Recording<Autodiff<B, C>>>().into();
    assert_same(calls::<Autodiff<B, C>>().into(), recording, panics);
}

fn assert_same_layers<B, C>(panics: &[Panics])
where
    B: Backend<Device: Default>,
    C: CheckpointStrategy,
{
    let recording = layers::<Recording<Autodiff<B, C>>>();
    assert_same(layers::<Autodiff<B, C>>(), recording, panics);
    let recording = losses::<Recording<Autodiff<B, C>>>();
    assert_same(losses::<Autodiff<B, C>>(), recording, &[]);
}

/// # Panics
///
/// If a method of `R` does something else than that of `A`, or one panics that is not listed, or one that is listed does not.
fn assert_same<A: Tested, R: Tested>(
    plain: Vec<(&'static str, Method<A>)>,
    recording: Vec<(&'static str, Method<R>)>,
    panics: &[Panics],
) {
    let mut wrong = Vec::new();
    for ((name, plain), (_, recording)) in plain.into_iter().zip(recording) {
        let expected = outcome(plain);
        let found = outcome(recording);
        if found != expected {
            wrong.push(format!("{name}: {}", found.difference(&expected)));
        }
        let listed = panics
            .iter()
            .copied()
            .flatten()
            .find(|(_, methods)| methods.contains(&name));
        match (&expected, listed) {
            (Outcome::Panicked(text), Some((listed, _))) if text == listed => {}
            (Outcome::Panicked(text), _) => wrong.push(format!("{name} panics: {text}")),
            (Outcome::Returned(_), Some(_)) => wrong.push(format!("{name} does not panic")),
            (Outcome::Returned(pieces), None) => assert!(
                !pieces.is_empty() || RESULTLESS.contains(&name),
                "nothing of {name} is compared"
            ),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are not as they should be:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Methods whose effect no tensor shows.
const RESULTLESS: [&str; 1] = ["Backend::memory_cleanup"];
