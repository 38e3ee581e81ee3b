use super::Options;
use burn::tensor::backend::Backend;
use clap::Parser;
use mac_burn_examples::machine::describe_machine;
use mac_burn_examples::no_device::{NoDevice, probe};
use mac_burn_examples::{backend, exit};
use std::process::ExitCode;

/// The measurement of a benchmark on each backend.
pub(crate) trait OnBackend {
    /// The first line of its output.
    fn title(options: &Options) -> String;

    /// Prints its tables.
    fn run<B: Backend>(backend: &str, options: &Options);
}

/// Runs a benchmark on the backends that are compiled in and that the command line selects, up to one without a device.
pub(crate) fn on_backends<T: OnBackend>() -> ExitCode {
    let options = Options::parse();
    let run = || -> Result<(), NoDevice> {
        #[cfg(feature = "flex")]
        on_backend::<T, backend::Flex>("flex", &options)?;
        #[cfg(feature = "ndarray")]
        on_backend::<T, backend::NdArray>("ndarray", &options)?;
        #[cfg(feature = "wgpu")]
        on_backend::<T, backend::Wgpu>("wgpu", &options)?;
        #[cfg(feature = "cuda")]
        on_backend::<T, backend::Cuda>("cuda", &options)?;
        Ok(())
    };
    exit::explained(run().map_err(Into::into))
}

fn on_backend<T: OnBackend, B: Backend>(name: &str, options: &Options) -> Result<(), NoDevice> {
    if !options.wants_backend(name) {
        return Ok(());
    }
    probe::<B>(&Default::default())?;
    println!(
        "# {}: {}",
        T::title(options),
        backend::describe::<B>(&Default::default())
    );
    println!("{}\n", describe_machine());
    T::run::<B>(name, options);
    Ok(())
}
