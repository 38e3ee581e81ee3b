use super::*;
use mac_burn::WeightDecayForm;

fn read(options: &str) -> Result<Args, String> {
    Args::try_read(["cifar"].into_iter().chain(options.split_whitespace()))
        .map_err(|error| error.to_string())
}

fn config(options: &str) -> RunConfig {
    read(options).expect("the options are right").config(50_000)
}

#[test]
fn the_defaults_are_the_authors() {
    let config = config("");
    let OptimizerConfig::Mac(mac) = &config.optimizer else {
        panic!("MAC is the default, not {:?}", config.optimizer);
    };

    assert_eq!(
        (mac.damping, mac.stat_decay, mac.momentum),
        (1.0, 0.95, 0.9)
    );
    assert_eq!((mac.tcov, mac.tinv), (5, 50));
    assert_eq!(mac.weight_decay, 5e-4);
    assert_eq!(mac.weight_decay_form, WeightDecayForm::Coupled);
    assert_eq!((config.course.lr, config.course.batch_size), (0.1, 128));
    assert_eq!(config.augmentation.padding, 4);
    assert!(config.augmentation.flip && config.input_covariance);
    assert_eq!(config.course.number_of_steps(50_000), 200 * 391);
}

#[test]
fn both_spellings_name_the_data_set() {
    for options in ["--data digits", "--dataset digits"] {
        let args = read(options).expect(options);
        assert_eq!(args.dataset, DatasetChoice::Digits);
        assert!(!args.config(1).augmentation.flip, "digits are not flipped");
    }
}

#[test]
fn a_short_run_has_as_many_steps() {
    let course = config("--steps 7 --seed 3").course;
    assert_eq!((course.number_of_steps(50_000), course.seed), (7, 3));
}

#[test]
fn a_wrong_option_is_answered_with_what_is_allowed() {
    for (options, answer) in [
        ("--model resnet21", "resnet20, resnet32"),
        ("--model x", "densenet-thin, wrn28-10, deit-tiny, lenet5"),
        (
            "--dataset svhn",
            "[possible values: cifar10, cifar100, mnist, digits]",
        ),
        ("--lr 1.5", "must be a number in (0, 1]"),
        ("--damping 0", "must be a number in (0, inf]"),
        ("--steps 0", "0 is not in 1.."),
        ("--steps 1 --epochs 1", "cannot be used with"),
        ("--workers 2", "2 is not in 0..=1"),
        ("--optimizer sgd --tinv 5", "--tinv is an option of MAC"),
        (
            "--dataset digits --data-dir .",
            "--data-dir is an option of cifar10 and cifar100",
        ),
    ] {
        let error = read(options).and_then(|args| args.check().map(|()| args));
        let error = error.expect_err(options);
        assert!(error.contains(answer), "{options}: {error}");
    }
}
