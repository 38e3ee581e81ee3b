use super::*;

#[test]
fn every_bad_field_is_named_with_its_value() {
    let new = MacConfig::new;
    let bad = [
        (new().with_damping(0.0), "damping", "0"),
        (new().with_damping(f64::NAN), "damping", "NaN"),
        (new().with_stat_decay(1.0), "stat_decay", "1"),
        (new().with_momentum(-0.1), "momentum", "-0.1"),
        (
            new().with_weight_decay(f64::INFINITY),
            "weight_decay",
            "inf",
        ),
        (new().with_tcov(0), "tcov", "0"),
        (new().with_tinv(0), "tinv", "0"),
        (
            new().with_gradient_clipping(Some(GradientClippingConfig::Norm(0.0))),
            "gradient_clipping",
            "0",
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
    ] {
        config.validate().expect("the configuration is valid");
    }
}

#[test]
fn a_configuration_survives_json() {
    let config = MacConfig::vit_imagenet();
    let text = config.to_string();
    let read = MacConfig::load_binary(text.as_bytes()).expect("the text is a configuration");
    assert_eq!(read.to_string(), text);
    assert_eq!(read.damping, 3.0);
}
