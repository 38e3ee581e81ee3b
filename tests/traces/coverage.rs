//! Tests of what is read from a case's words: which optimizer it is of, and with which step.

use std::path::Path;

use mac_burn::WeightDecayForm::{self, Coupled, Decoupled};

use crate::{
    FIXTURES,
    case::{Case, not_covered},
    update_rule::UpdateRule,
};

/// A case of the repository.
fn case(name: &str) -> Case {
    Case::read(&Path::new(FIXTURES).join(name)).expect("the repository has the case")
}

/// Why a case is not covered, after a change.
fn reason(name: &str, change: impl FnOnce(&mut Case)) -> Option<String> {
    let mut case = case(name);
    change(&mut case);

    not_covered(&case).expect("the case can be built")
}

fn rule(
    nesterov: bool,
    nesterov_first_step: bool,
    weight_decay_form: WeightDecayForm,
    decay_from: usize,
) -> UpdateRule {
    UpdateRule {
        nesterov,
        nesterov_first_step,
        weight_decay_form,
        decay_from,
    }
}

/// Breaks when a formula is read as another, or left out.
#[test]
fn the_formulas_of_an_update_decide_over_the_step() {
    let ahead = "first step: buf = g, p -= lr*g; \
                 later: buf = momentum*buf + g, p -= lr*(g + momentum*buf)";
    let sgd = "torch.optim.SGD: g = precond + weight_decay*p; \
               first step buf = g, later buf = momentum*buf + g";
    let foof = "FOOF: coupled weight decay only once step >= 20*Tcov; buf = momentum*buf + g";
    for (text, expected) in [
        (
            "step: buf = momentum*buf + precond; p *= 1 - lr*weight_decay (decoupled); p -= lr*buf",
            rule(false, true, Decoupled, 0),
        ),
        (
            &format!("nag_step: g = precond + weight_decay*p (coupled, per group); {ahead}"),
            rule(true, false, Coupled, 0),
        ),
        (
            &format!("nag_step: p *= 1 - lr*weight_decay; {ahead}"),
            rule(true, false, Decoupled, 0),
        ),
        (
            &format!("{sgd}; p -= lr*buf"),
            rule(false, true, Coupled, 0),
        ),
        (
            &format!("{sgd}; p -= lr*(g + momentum*buf)"),
            rule(true, true, Coupled, 0),
        ),
        (
            &format!("{foof}; p -= lr*buf"),
            rule(false, true, Coupled, 20),
        ),
    ] {
        let read = UpdateRule::read(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, expected, "{text}");
    }
}

/// Breaks when a formula that is not known, or of which there are two or none, passes for what is known.
#[test]
fn an_unknown_update_is_an_error_that_names_it() {
    for (text, named) in [
        ("momentum_step, coupled", "no formula"),
        (
            "step: g = precond + weight_decay*p; buf = 2*buf + g; p -= lr*buf",
            "`buf = 2*buf + g`",
        ),
        (
            "step: coupled weight decay only once step >= 20; p -= lr*buf",
            "`coupled weight decay only once step >= 20`",
        ),
        ("step: buf = momentum*buf + g; p -= lr*buf", "weight decay"),
        ("step: coupled weight decay", "one step"),
        (
            "step: coupled weight decay; p *= 1 - lr*weight_decay; p -= lr*buf",
            "one weight decay",
        ),
        (
            "step: coupled weight decay; p -= lr*buf; p -= lr*(g + momentum*buf)",
            "one step",
        ),
    ] {
        let mut case = case("mlp");
        case.update = text.to_owned();
        let error = not_covered(&case).expect_err("the update is not known");
        assert!(error.to_string().contains(named), "{text}: {error}");
    }
}

/// Breaks when a class whose form in a folder is not known is taken for that of another folder.
#[test]
fn an_optimizer_of_an_unknown_folder_is_not_covered() {
    for name in ["smac-cnn", "foof-cnn", "eva-cnn", "kfac-cnn"] {
        assert_eq!(reason(name, |_| {}), None, "{name}");
        let elsewhere = reason(name, |case| {
            case.official.file = "nanogpt/optimizer.py".to_owned();
        });
        assert!(
            elsewhere.is_some_and(|reason| reason.contains("nanogpt")),
            "{name}"
        );
    }
    let anywhere = reason("cnn", |case| case.official.file.clear());
    assert_eq!(anywhere, None);
}

/// Breaks when a case is replayed whose numbers this project does not mean to have: those of a part of the batch, or of one mean for
/// attention's queries, keys and values.
#[test]
fn what_the_authors_code_does_otherwise_is_not_covered() {
    for name in ["eva-mlp", "kfac-mlp"] {
        let of_folder = |folder: &str, batch| {
            reason(name, |case| {
                case.official.file = format!("{folder}/optimizers/optimizer.py");
                case.batch = batch;
            })
        };
        assert_eq!(of_folder("cifar10", 17), None, "{name}");
        assert_eq!(of_folder("hf_imagenet", 16), None, "{name}");
        let part = of_folder("hf_imagenet", 17);
        assert!(part.is_some_and(|reason| reason.contains("16 samples")));
    }
    for class in ["FOOF", "Eva", "KFAC"] {
        let attention = reason("vit", |case| case.official.cls = class.to_owned());
        assert!(attention.is_some_and(|reason| reason.contains("attention")));
    }
    let refreshes = reason("smac-cnn", |case| case.hyper.tinv += 1);
    assert!(refreshes.is_some_and(|reason| reason.contains("bias correction")));
    assert_eq!(reason("smac-vit", |case| case.hyper.tinv += 1), None);
}

/// Breaks when a KL clip that a case does not state is that of the defaults.
#[test]
fn a_clip_without_its_settings_is_an_error() {
    for name in ["eva-mlp", "kfac-mlp"] {
        for (setting, clear) in [
            ("kl_clip", (|case| case.kl_clip = None) as fn(&mut Case)),
            ("preconditioner_lr", |case| case.preconditioner_lr = None),
        ] {
            let mut case = case(name);
            clear(&mut case);
            let error = not_covered(&case).expect_err("the case has no such setting");
            assert!(error.to_string().contains(setting), "{name}: {error}");
        }
    }
}
