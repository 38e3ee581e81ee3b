use super::*;
use burn::config::Config;
use mac_burn::WeightDecayForm;
use mac_burn_vision::augment::{AutomaticAugmentation, Interpolation};

fn read(options: &str) -> Result<Args, String> {
    let line = ["imagenet", "ROOT"].into_iter();
    Args::try_read(line.chain(options.split_whitespace())).map_err(|error| error.to_string())
}

fn config(options: &str) -> Result<RunConfig, String> {
    read(options)?.config(1_281_167, 1000, 7)
}

#[test]
fn the_defaults_are_the_authors() {
    let resnet = config("").expect("the options are right");
    let (mac, recipe) = (&resnet.optimizer.mac, &resnet.recipe);
    assert_eq!(
        (mac.damping, mac.stat_decay, mac.momentum),
        (1.0, 0.95, 0.9)
    );
    assert_eq!((mac.tcov, mac.tinv, mac.weight_decay), (5, 50, 2e-5));
    assert_eq!(mac.weight_decay_form, WeightDecayForm::Decoupled);
    assert_eq!((recipe.train_size, recipe.valid_size), (176, 224));
    assert_eq!(
        (recipe.mixup, recipe.cutmix, recipe.label_smoothing),
        (0.2, 1.0, 0.1)
    );
    assert_eq!(
        recipe.automatic,
        Some(AutomaticAugmentation::TrivialAugmentWide)
    );
    assert_eq!(recipe.erasing, RandomErasing::torchvision(0.1));
    assert_eq!((recipe.repeats, recipe.warmup_start), (4, 0.01));
    assert_eq!(
        (recipe.train_interpolation, recipe.valid_interpolation),
        (Some(Interpolation::Bilinear), Interpolation::Bilinear)
    );
    assert!(!resnet.optimizer.sgd_nesterov, "as torchvision's SGD");
    let decay = resnet.ema_decay.expect("an average is kept");
    assert!((decay - 0.999_795).abs() < 1e-6, "{decay}");
    let schedule = resnet.schedule();
    assert_eq!((schedule.lr, schedule.warmup), (0.5, 5 * 1252));
    assert_eq!(schedule.steps, 100 * 1252);

    for model in ["deit-small", "swin-tiny"] {
        let vit = config(&format!("--model {model}")).expect("the options are right");
        let mac = &vit.optimizer.mac;
        assert_eq!((mac.damping, mac.stat_decay), (3.0, 0.99));
        assert_eq!((mac.tcov, mac.tinv, mac.weight_decay), (5, 5, 1e-4));
        assert_eq!((vit.course.lr, vit.recipe.mixup), (0.5, 0.8));
        assert_eq!((vit.recipe.train_size, vit.ema_decay), (224, None));
        assert_eq!(vit.optimizer.auxiliary_lr, 0.0);
        let recipe = &vit.recipe;
        assert_eq!(recipe.automatic, Some(AutomaticAugmentation::RandAugment));
        assert_eq!(recipe.erasing, RandomErasing::timm_pixel(0.25));
        assert_eq!((recipe.repeats, recipe.warmup_start), (3, 0.1));
        assert_eq!(
            (recipe.train_interpolation, recipe.valid_interpolation),
            (None, Interpolation::Bicubic)
        );
        assert!(vit.optimizer.sgd_nesterov, "as timm's SGD");
    }
}

/// Breaks when a recipe has the other's cosine: torchvision's begins after the five epochs of the rise, and timm's has lost
/// `1 − (1 + cos(π · 5/100)) / 2` then, 0.62 %.
#[test]
fn the_cosine_begins_as_in_the_code_of_the_recipe() {
    for (options, after) in [("", 0.5), ("--model deit-small", 0.496_922_085_148_784_5)] {
        let config = config(options).expect("the options are right");
        let schedule = config.schedule();
        let [risen, next] = [1, 0].map(|before| schedule.lr(schedule.warmup - before));
        assert!((risen - 0.5).abs() < 1e-9, "{risen}");
        assert!((next - after).abs() < 1e-9, "{next}");
    }
}

/// Breaks when the share of the recipe or of the command line does not get to the schedule, whose first step is a 6260th of the
/// way up from it.
#[test]
fn the_learning_rate_begins_to_rise_at_a_share_of_it() {
    for (options, start) in [
        ("", 0.01),
        ("--model swin-tiny", 0.1),
        ("--warmup-start 0", 0.0),
        ("--model deit-tiny --warmup-start 0.5 --lr 0.01", 0.5),
    ] {
        let schedule = config(options).expect("the options are right").schedule();
        let expected = start + (1.0 - start) / 6260.0;
        let found = schedule.lr(0) / schedule.lr;
        assert!((found - expected).abs() < 1e-9, "{options}: {found}");
    }
}

/// Breaks when the options of images do not get to what changes them, or an epoch becomes shorter or longer by repeats.
#[test]
fn images_are_changed_as_the_options_say() {
    let batcher = |options: &str| {
        let config = config(options).expect("the options are right");
        config.training_batcher()
    };
    let resnet = batcher("");
    assert_eq!(
        (resnet.automatic, resnet.erasing),
        (
            Some(AutomaticAugmentation::TrivialAugmentWide),
            Some(RandomErasing::torchvision(0.1))
        )
    );
    assert_eq!(resnet.crop.interpolation, Some(Interpolation::Bilinear));

    let plain = batcher("--model deit-tiny --auto-augment none --random-erase 0");
    assert_eq!((plain.automatic, plain.erasing), (None, None));
    assert_eq!(plain.crop.interpolation, None);

    let other = "--model swin-tiny --auto-augment ta_wide --random-erase 1 --repeats 1";
    let other = config(other).expect("the options are right");
    let batcher = other.training_batcher();
    assert_eq!(
        batcher.automatic,
        Some(AutomaticAugmentation::TrivialAugmentWide)
    );
    assert_eq!(batcher.erasing, Some(RandomErasing::timm_pixel(1.0)));
    assert_eq!(other.recipe.repeats, 1);
    assert_eq!(other.schedule().steps, 100 * 1252);
    let valid = other.validation_batcher();
    assert_eq!(valid.crop.interpolation, Interpolation::Bicubic);
}

/// A run continues by the text of its configuration.
#[test]
fn a_configuration_can_be_read_as_it_was_written() {
    for options in ["", "--model deit-tiny", "--auto-augment none --repeats 2"] {
        let written = config(options).expect("the options are right");
        let read = RunConfig::load_binary(written.to_string().as_bytes());
        let [written, read] = [written, read.expect("it is whole")].map(|config| config.recipe);
        assert_eq!(read.automatic, written.automatic);
        assert_eq!(read.train_interpolation, written.train_interpolation);
        assert_eq!(read.valid_interpolation, written.valid_interpolation);
        assert_eq!(read.erasing.filling, written.erasing.filling);
        assert_eq!(read.repeats, written.repeats);
    }
}

#[test]
fn the_folder_has_two_names_and_one_is_given() {
    let root = |line: &[&str]| {
        let line = ["imagenet"].iter().chain(line);
        let args = Args::try_read(line).map_err(|error| error.to_string())?;
        Ok::<_, String>(args.root().to_owned())
    };
    assert_eq!(root(&["images"]), Ok("images".into()));
    assert_eq!(root(&["--data-dir", "images"]), Ok("images".into()));
    let both = root(&["images", "--data-dir", "images"]).expect_err("there are two");
    assert!(both.contains("cannot be used with"), "{both}");
    let none = root(&[]).expect_err("there is none");
    assert!(none.contains("<ROOT"), "{none}");
}

#[test]
fn options_replace_the_settings_of_the_paper() {
    let config = config(
        "--model deit-tiny --image-size 32 --damping 0.5 --mixup 0 --auxiliary-lr 0.1 --steps 6 --ema-decay 0.5",
    );
    let config = config.expect("the options are right");
    assert_eq!(
        (config.recipe.train_size, config.recipe.valid_size),
        (32, 32)
    );
    assert_eq!(
        (config.optimizer.mac.damping, config.optimizer.auxiliary_lr),
        (0.5, 0.1)
    );
    assert_eq!((config.recipe.mixup, config.recipe.cutmix), (0.0, 1.0));
    assert_eq!((config.schedule().steps, config.schedule().warmup), (6, 3));
    assert_eq!(config.ema_decay, Some(0.5));
}

/// Breaks when the average begins with the initial values, or ends its copies before the warm-up is over.
#[test]
fn the_average_is_a_copy_until_the_warm_up_is_over() {
    let copies = |options: &str| {
        let config = config(options).expect("the options are right");
        config.average(()).map(|average| average.copies())
    };
    assert_eq!(copies(""), Some(5 * 1252 + 1));
    assert_eq!(copies("--steps 8"), Some(5));
    assert_eq!(copies("--warmup-epochs 0"), Some(1));
    assert_eq!(copies("--ema-decay 0"), None);
    assert_eq!(copies("--model deit-tiny"), None);
    // So short a run is all that the average looks back on.
    let short = config("--steps 8").expect("the options are right");
    assert_eq!(short.ema_decay, Some(0.0));
}

#[test]
fn a_wrong_option_is_answered_with_what_is_allowed() {
    for (options, answer) in [
        (
            "--model vgg",
            "resnet18, resnet50, resnet101, deit-tiny, deit-small, swin-tiny",
        ),
        (
            "--model deit-tiny --image-size 40",
            "must be a multiple of 16",
        ),
        ("--image-size 0", "0 is not in 1.."),
        ("--mixup -1", "must be a number in [0, inf)"),
        ("--auto-augment ra", "none, ta_wide, rand-m9-mstd0.5-inc1"),
        ("--random-erase 1.5", "must be a number in [0, 1]"),
        ("--repeats 0", "0 is not in 1.."),
        ("--warmup-start 1", "must be a number in [0, 1)"),
        ("--label-smoothing 2", "must be a number in [0, 1]"),
        ("--ema-decay 1", "must be a number in [0, 1)"),
        ("--lr 0", "must be a number in (0, 10]"),
        ("--damping 0", "must be a number in (0, inf]"),
        ("--steps 1 --epochs 1", "cannot be used with"),
        (
            "--optimizer sgd --damping 1",
            "--damping is an option of MAC",
        ),
        ("--resume 0", "0 is not in 1.."),
    ] {
        let error = config(options).expect_err(options);
        assert!(error.contains(answer), "{options}: {error}");
    }
}
