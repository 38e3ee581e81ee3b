/// The name in the `state_dict` of the authors' `LeNet5` of the parameter at a path of a [`LeNet`](super::LeNet).
///
/// ```
/// use mac_burn_models::lenet::authors_name;
///
/// assert_eq!(authors_name("fc1.weight"), "L1.weight");
/// ```
pub fn authors_name(path: &str) -> String {
    let names = path.split('.').map(|name| match name {
        "fc1" => "L1",
        "fc2" => "L2",
        "head" => "L3",
        other => other,
    });

    names.collect::<Vec<_>>().join(".")
}
