use super::Options;
use burn::tensor::backend::Backend;
use clap::Parser;
use mac_burn_examples::backend;
use mac_burn_examples::machine::describe_machine;

/// The measurement of a benchmark on each backend.
pub(crate) trait OnBackend {
    /// The first line of its output.
    fn title(options: &Options) -> String;

    /// Prints its tables.
    fn run<B: Backend>(backend: &str, options: &Options);
}

/// Runs a benchmark on the backends that are compiled in and that the command line selects.
pub(crate) fn on_backends<T: OnBackend>() {
    let options = Options::parse();
    #[cfg(feature = "flex")]
    on_backend::<T, backend::Flex>("flex", &options);
    #[cfg(feature = "ndarray")]
    on_backend::<T, backend::NdArray>("ndarray", &options);
    #[cfg(feature = "wgpu")]
    on_backend::<T, backend::Wgpu>("wgpu", &options);
    #[cfg(feature = "cuda")]
    on_backend::<T, backend::Cuda>("cuda", &options);
}

fn on_backend<T: OnBackend, B: Backend>(name: &str, options: &Options) {
    if !options.wants_backend(name) {
        return;
    }
    println!(
        "# {}: {}",
        T::title(options),
        backend::describe::<B>(&Default::default())
    );
    println!("{}\n", describe_machine());
    T::run::<B>(name, options);
}
