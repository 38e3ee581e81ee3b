//! Whether each method of `Recording<A>` gives bit for bit what `A`'s gives, and its gradients.

mod call;
mod calls;
mod panics;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn_backend::backend::Backend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use call::{Outcome, outcome};
use calls::calls;
use mac_burn_recording::Recording;
use panics::Panics;

#[test]
fn flex_is_forwarded() {
    assert_forwarded::<Flex, NoCheckpointing>(panics::FLEX);
}

#[test]
fn ndarray_is_forwarded() {
    assert_forwarded::<NdArray, NoCheckpointing>(panics::NDARRAY);
}

#[test]
fn checkpoints_are_forwarded() {
    assert_forwarded::<Flex, BalancedCheckpointing>(panics::FLEX);
}

/// # Panics
///
/// If a method of `Recording` does something else than that of `Autodiff`, or one panics that is not listed, or one that is listed does not.
fn assert_forwarded<B, C>(of_the_backend: Panics)
where
    B: Backend<Device: Default>,
    C: CheckpointStrategy,
{
    let plain = calls::<Autodiff<B, C>>();
    let recording = calls::<Recording<Autodiff<B, C>>>();
    let mut wrong = Vec::new();
    for ((name, plain), (_, recording)) in plain.into_iter().zip(recording) {
        let expected = outcome(plain);
        let found = outcome(recording);
        if found != expected {
            wrong.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
        let listed = panics::COMMON
            .iter()
            .chain(of_the_backend)
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
        "{} methods:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Methods whose effect no tensor shows.
const RESULTLESS: [&str; 1] = ["Backend::memory_cleanup"];
