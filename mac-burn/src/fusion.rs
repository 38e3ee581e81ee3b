use std::any::type_name;

/// Whether a backend fuses element-wise operations: its type is wrapped in burn-fusion's `Fusion`.
///
/// Asked of the type, since `Backend::name` may start the default device.
pub(crate) fn fuses<B>() -> bool {
    type_name::<B>().contains("Fusion<")
}
