use super::*;
use mac_burn::WeightDecayForm;

fn read(options: &str) -> Result<Args, String> {
    Args::try_read(["cifar"].into_iter().chain(options.split_whitespace()))
        .map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_the_authors() {
    let args = read("").expect("nothing is required");
    let plan = args.optimizer.plan(&args.optimizer_defaults());
    let (mac, course, config) = (&plan.mac, args.course(50_000), args.config(50_000));

    assert_eq!(plan.choice, OptimizerChoice::MAC);
    assert_eq!(
        (mac.damping, mac.stat_decay, mac.momentum),
        (1.0, 0.95, 0.9)
    );
    assert_eq!((mac.tcov, mac.tinv), (5, 50));
    assert_eq!(mac.weight_decay, 5e-4);
    assert_eq!(mac.weight_decay_form, WeightDecayForm::Coupled);
    assert_eq!((plan.lr, course.batch_size), (0.1, 128));
    assert_eq!(config.augmentation.padding, 4);
    assert!(config.augmentation.flip && plan.input_covariance);
    let schedule = args
        .optimizer
        .schedule(&args.optimizer_defaults(), course.steps);
    assert_eq!((schedule.steps, schedule.warmup), (200 * 390, 0));
    assert_eq!(course.every, 390);
}

#[test]
fn the_other_optimizers_have_the_authors_settings_too() {
    let plan = |options: &str| {
        let args = read(options).expect("the options are right");
        args.optimizer.plan(&args.optimizer_defaults())
    };
    let adamw = plan("--optimizer adamw");
    assert_eq!((adamw.lr, adamw.weight_decay), (0.001, 0.5));
    let sgd = plan("--optimizer sgd");
    assert_eq!(
        (sgd.lr, sgd.weight_decay, sgd.sgd_nesterov),
        (0.1, 5e-4, false)
    );
    assert!(plan("--optimizer sgd --dataset cifar100").sgd_nesterov);
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
    let args = read("--steps 7 --seed 3").expect("the options are right");
    assert_eq!((args.course(50_000).steps, args.run.seed), (7, 3));
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
        ("--lr 0", "must be a number in (0, 10]"),
        ("--damping 0", "must be a number in (0, inf]"),
        ("--steps 0", "0 is not in 1.."),
        ("--steps 1 --epochs 1", "cannot be used with"),
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
