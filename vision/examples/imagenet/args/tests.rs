use super::*;
use mac_burn::WeightDecayForm;
use mac_burn_examples::optimizers::OptimizerPlan;
use mac_burn_vision::augment::{AutomaticAugmentation, Interpolation};

const IMAGES: usize = 1_281_167;

fn read(options: &str) -> Result<Args, String> {
    let line = ["imagenet", "ROOT"].into_iter();
    Args::try_read(line.chain(options.split_whitespace())).map_err(|error| error.to_string())
}

fn config(options: &str) -> Result<RunConfig, String> {
    read(options)?.config(IMAGES, 1000, 7)
}

fn plan(options: &str) -> OptimizerPlan {
    let args = read(options).expect("the options are right");
    args.optimizer.plan(&args.optimizer_defaults(IMAGES))
}

fn schedule(options: &str) -> Schedule {
    let args = read(options).expect("the options are right");
    args.schedule(IMAGES)
}

fn average(options: &str) -> Option<f64> {
    let args = read(options).expect("the options are right");
    args.average(IMAGES)
}

#[test]
fn the_defaults_are_the_authors() {
    let recipe = config("").expect("the options are right").recipe;
    let mac = plan("").mac;
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
    assert!(!plan("").sgd_nesterov, "as torchvision's SGD");
    let decay = average("").expect("an average is kept");
    assert!((decay - 0.999_795).abs() < 1e-6, "{decay}");
    let resnet = schedule("");
    assert_eq!((resnet.lr, resnet.warmup), (0.5, 5 * 1251));
    assert_eq!(resnet.steps, 100 * 1251);

    for model in ["deit-small", "swin-tiny"] {
        let options = format!("--model {model}");
        let recipe = config(&options).expect("the options are right").recipe;
        let plan = plan(&options);
        let mac = &plan.mac;
        assert_eq!((mac.damping, mac.stat_decay), (3.0, 0.99));
        assert_eq!((mac.tcov, mac.tinv, mac.weight_decay), (5, 5, 1e-4));
        assert_eq!((plan.lr, recipe.mixup), (0.5, 0.8));
        assert_eq!((recipe.train_size, average(&options)), (224, None));
        assert_eq!(plan.choice.name(), "mac");
        assert_eq!(recipe.automatic, Some(AutomaticAugmentation::RandAugment));
        assert_eq!(recipe.erasing, RandomErasing::timm_pixel(0.25));
        assert_eq!((recipe.repeats, recipe.warmup_start), (3, 0.1));
        assert_eq!(
            (recipe.train_interpolation, recipe.valid_interpolation),
            (None, Interpolation::Bicubic)
        );
        assert!(plan.sgd_nesterov, "as timm's SGD");
    }
}

/// Breaks when a recipe has the other's cosine: torchvision's begins after the five epochs of the rise, and timm's has lost
/// `1 − (1 + cos(π · 5/100)) / 2` then, 0.62 %.
#[test]
fn the_cosine_begins_as_in_the_code_of_the_recipe() {
    for (options, after) in [("", 0.5), ("--model deit-small", 0.496_922_085_148_784_5)] {
        let schedule = schedule(options);
        let [risen, next] = [1, 0].map(|before| schedule.lr(schedule.warmup - before));
        assert!((risen - 0.5).abs() < 1e-9, "{risen}");
        assert!((next - after).abs() < 1e-9, "{next}");
    }
}

/// Breaks when the share of the recipe or of the command line does not get to the schedule, whose first step is a 6255th of the
/// way up from it.
#[test]
fn the_learning_rate_begins_to_rise_at_a_share_of_it() {
    for (options, start) in [
        ("", 0.01),
        ("--model swin-tiny", 0.1),
        ("--warmup-start 0", 0.0),
        ("--model deit-tiny --warmup-start 0.5 --lr 0.01", 0.5),
    ] {
        let schedule = schedule(options);
        let expected = start + (1.0 - start) / 6255.0;
        let found = schedule.lr(0) / schedule.lr;
        assert!((found - expected).abs() < 1e-9, "{options}: {found}");
    }
}

/// Breaks when the options of images do not get to what changes them, or an epoch becomes shorter or longer by repeats.
#[test]
fn images_are_changed_as_the_options_say() {
    let batcher = |options: &str| {
        let config = config(options).expect("the options are right");
        config.training_images(7)
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

    let options = "--model swin-tiny --auto-augment ta_wide --random-erase 1 --repeats 1";
    let other = config(options).expect("the options are right");
    let batcher = other.training_images(7);
    assert_eq!(
        batcher.automatic,
        Some(AutomaticAugmentation::TrivialAugmentWide)
    );
    assert_eq!(batcher.erasing, Some(RandomErasing::timm_pixel(1.0)));
    assert_eq!(other.recipe.repeats, 1);
    assert_eq!(schedule(options).steps, 100 * 1251);
    let valid = other.validation_images();
    assert_eq!(valid.crop.interpolation, Interpolation::Bicubic);
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
    let options = "--model deit-tiny --image-size 32 --damping 0.5 --mixup 0 --optimizer mac-adamw --auxiliary-lr 0.1 --steps 6 --ema-decay 0.5";
    let recipe = config(options).expect("the options are right").recipe;
    assert_eq!((recipe.train_size, recipe.valid_size), (32, 32));
    assert_eq!((recipe.mixup, recipe.cutmix), (0.0, 1.0));
    let plan = plan(options);
    assert_eq!((plan.mac.damping, plan.auxiliary_lr), (0.5, 0.1));
    let schedule = schedule(options);
    assert_eq!((schedule.steps, schedule.warmup), (6, 3));
    assert_eq!(average(options), Some(0.5));
}

#[test]
fn an_average_is_kept_where_the_recipe_or_the_options_say_so() {
    assert_eq!(average("--ema-decay 0"), None);
    assert_eq!(average("--model deit-tiny"), None);
    // So short a run is all that the average looks back on.
    assert_eq!(average("--steps 8"), Some(0.0));
}

#[test]
fn the_help_has_the_settings_of_both_recipes() {
    let help = read("--help").expect_err("the help ends the program");
    for text in [
        "[default: 1; transformers: 3]",
        "[default: those of 5 epochs]",
        "[default: 1024]",
    ] {
        assert!(help.contains(text), "{text}: {help}");
    }
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
    ] {
        let error = config(options).expect_err(options);
        assert!(error.contains(answer), "{options}: {error}");
    }
}
