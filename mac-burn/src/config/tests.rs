use super::*;

#[test]
fn every_bad_field_is_named_with_its_value() {
    let new = MacConfig::new;
    let bad = [
        (new().with_damping(0.0), "damping", "0"),
        (new().with_damping(9e-31), "damping", "9"),
        (new().with_damping(f64::NAN), "damping", "NaN"),
        (new().with_stat_decay(1.0), "stat_decay", "1"),
        (new().with_momentum(-0.1), "momentum", "-0.1"),
        (
            new().with_weight_decay(f64::INFINITY),
            "weight_decay",
            "inf",
        ),
        (
            new().with_auxiliary_weight_decay(-0.2),
            "auxiliary_weight_decay",
            "-0.2",
        ),
        (new().with_tcov(0), "tcov", "0"),
        (new().with_tinv(0), "tinv", "0"),
        (
            new().with_gradient_clipping(Some(GradientClippingConfig::Norm(0.0))),
            "gradient_clipping",
            "0",
        ),
        (new().with_max_grad_norm(Some(0.0)), "max_grad_norm", "0"),
        (
            new().with_max_grad_norm(Some(f64::NAN)),
            "max_grad_norm",
            "NaN",
        ),
        (
            new().with_max_preconditioned_norm(Some(-2.5)),
            "max_preconditioned_norm",
            "-2.5",
        ),
        (
            MacConfig::resnet_cifar().with_step(StepForm::Normalized),
            "weight_decay_form",
            "Coupled",
        ),
        (
            new().with_step(StepForm::Orthogonal { iterations: 0 }),
            "step",
            "Orthogonal { iterations: 0 }",
        ),
        (
            new()
                .with_step(StepForm::Normalized)
                .with_max_preconditioned_norm(Some(0.5)),
            "max_preconditioned_norm",
            "0.5",
        ),
        // One would undo the other.
        (
            new()
                .with_gradient_clipping(Some(GradientClippingConfig::Value(0.5)))
                .with_max_grad_norm(Some(1.0)),
            "gradient_clipping",
            "Value(0.5)",
        ),
        (
            new().with_skip_layers(vec!["a[".into()]),
            "skip_layers",
            "a[",
        ),
        (new().with_no_decay(vec!["{".into()]), "no_decay", "{"),
    ];
    for (config, field, value) in bad {
        let text = config.validate().expect_err(field).to_string();
        assert!(text.contains(&format!("`{field}` is ")), "{text}");
        assert!(text.contains(value), "{text}");
    }
}

#[test]
fn presets_and_the_edges_of_ranges_are_valid() {
    for config in [
        MacConfig::new(),
        MacConfig::resnet_cifar(),
        MacConfig::resnet_imagenet(),
        MacConfig::vit_imagenet(),
        MacConfig::new()
            .with_damping(f64::INFINITY)
            .with_stat_decay(0.0)
            .with_momentum(0.0),
        MacConfig::new().with_damping(1e-30),
        MacConfig::new()
            .with_max_grad_norm(Some(1e-9))
            .with_max_preconditioned_norm(Some(1.0)),
        // Each gradient by itself before preconditioning, and all together after.
        MacConfig::new()
            .with_gradient_clipping(Some(GradientClippingConfig::Norm(1.0)))
            .with_max_preconditioned_norm(Some(1.0)),
    ] {
        config.validate().expect("the configuration is valid");
    }
}

fn read(json: &str) -> std::io::Result<MacConfig> {
    MacConfig::load_binary(json.as_bytes()).map_err(std::io::Error::other)
}

#[test]
fn a_configuration_survives_json() {
    let all = MacConfig::vit_imagenet()
        .with_nesterov(true)
        .with_weight_decay_form(WeightDecayForm::Coupled)
        .with_max_grad_norm(Some(1.5))
        .with_max_preconditioned_norm(Some(0.25))
        .with_skip_layers(vec!["head".into()])
        .with_guard_gradients(true)
        .with_curvature(InputCurvature::MeanVariance)
        .with_step(StepForm::Orthogonal { iterations: 3 })
        .with_auxiliary_biases(true)
        .with_auxiliary_weight_decay(0.125)
        .with_embedding_damping(Some(0.25));
    let clipping = Some(GradientClippingConfig::Norm(2.0));
    for config in [
        MacConfig::vit_imagenet().with_gradient_clipping(clipping),
        all.clone(),
    ] {
        let text = config.to_string();
        let read = read(&text).expect("the text is a configuration");
        assert_eq!(read.to_string(), text);
        assert_eq!(read.damping, 3.0);
        assert_eq!(read.max_grad_norm, config.max_grad_norm);
        assert_eq!((read.curvature, read.step), (config.curvature, config.step));
        assert_eq!(read.auxiliary_weight_decay, config.auxiliary_weight_decay);
        assert_eq!(read.embedding_damping, config.embedding_damping);
        assert_eq!(read.nesterov_first_step, config.nesterov_first_step);
    }
    let written: serde_json::Value =
        serde_json::from_str(&all.to_string()).expect("it is written as JSON");
    assert_eq!(written.as_object().expect("it has fields").len(), 21);
}

/// Breaks when a field must be there: configurations that were written before it was could no longer be read.
#[test]
fn a_field_that_is_not_there_has_its_default() {
    let read = read(r#"{ "damping": 3.0 }"#).expect("the text is a configuration");
    let expected = MacConfig::new().with_damping(3.0);
    assert_eq!(read.to_string(), expected.to_string());
}

/// Breaks when infinity is written as JSON's `null`, or read from anything else than what it is written as.
#[test]
fn infinite_damping_survives_json_and_no_other_text_is_read_as_it() {
    let config = MacConfig::new().with_damping(f64::INFINITY);
    let read_again = read(&config.to_string()).expect("the text is a configuration");
    assert_eq!(read_again.damping, f64::INFINITY);
    for damping in [r#""infinite""#, "null", r#""1.0""#] {
        let text = format!(r#"{{ "damping": {damping} }}"#);
        assert!(read(&text).is_err(), "{text}");
    }
}

/// Breaks when a preset has a value that is refused, or two are the same.
#[test]
fn the_presets_are_valid_and_differ() {
    let presets = [
        MacConfig::new(),
        MacConfig::resnet_cifar(),
        MacConfig::resnet_imagenet(),
        MacConfig::vit_imagenet(),
        MacConfig::convolutional(),
        MacConfig::transformer(),
        MacConfig::mlp(),
    ];
    let mut texts: Vec<String> = Vec::new();
    for preset in presets {
        preset.validate().expect("it is a preset");
        let text = preset.to_string();
        assert!(!texts.contains(&text), "{text}");
        texts.push(text);
    }
}
