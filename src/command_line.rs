//! Command lines on which the optimizer is chosen.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Parser, ValueEnum};

use crate::optimizers::OptimizerChoice;

/// The help heading of the options that only optimizers with a curvature have.
pub const CURVATURE_HEADING: &str = "Options of MAC, SMAC, FOOF, Eva and K-FAC";

/// The help heading of the options of those that measure the inputs of the first layer.
pub const COVARIANCE_HEADING: &str =
    "Options of MAC and SMAC, where they measure the inputs of the first layer";

/// The help heading of the options of AdamW beside another optimizer.
pub const AUXILIARY_HEADING: &str = "Options of AdamW beside another optimizer";

/// A command line of which a part chooses the optimizer.
pub trait ChoosesOptimizer: Parser {
    /// The optimizer chosen.
    fn optimizer(&self) -> OptimizerChoice;

    /// The defaults of options that depend on the program, by the name of the option, for its help.
    fn defaults() -> Vec<(&'static str, String)>;

    /// Reads the command line of the process; explains itself and ends the program when that is wrong, or
    /// asks for help.
    fn read() -> Self {
        Self::try_read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads a command line.
    ///
    /// # Errors
    /// clap's; and for an option that the optimizer would ignore.
    fn try_read<T: Into<OsString> + Clone>(
        line: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        for (option, default) in Self::defaults() {
            command = command.mut_arg(option, |option| {
                let help = option.get_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                option.help(format!("{help} [default: {default}]"))
            });
        }
        let matches = command.try_get_matches_from_mut(line)?;
        let args = Self::from_arg_matches(&matches)?;

        match ignored_option(args.optimizer(), &command, &matches) {
            None => Ok(args),
            Some((option, owner)) => {
                let optimizer = args.optimizer().name();
                let text =
                    format!("--{option} is an option of {owner}, and the optimizer is {optimizer}");
                Err(command.error(ErrorKind::ArgumentConflict, text))
            }
        }
    }
}

/// A value as it is named on the command line; empty where it is hidden there.
pub fn value_name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_string())
}

/// An option that was given and that the optimizer does not have, and what has it.
fn ignored_option(
    optimizer: OptimizerChoice,
    command: &Command,
    matches: &ArgMatches,
) -> Option<(String, &'static str)> {
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let owner = |option: &Arg| match option.get_help_heading() {
        Some(CURVATURE_HEADING) if !optimizer.is_preconditioned() => {
            Some("MAC, SMAC, FOOF, Eva and K-FAC")
        }
        Some(COVARIANCE_HEADING) if !optimizer.input_covariance => {
            Some("those that measure the inputs of the first layer")
        }
        Some(AUXILIARY_HEADING) if !optimizer.auxiliary => Some("AdamW beside another optimizer"),
        _ => None,
    };
    command
        .get_arguments()
        .filter(|option| given(option.get_id().as_str()))
        .find_map(|option| Some((option.get_long()?.to_string(), owner(option)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers::OptimizerArgs;

    #[derive(Parser, Debug)]
    struct Args {
        #[command(flatten)]
        optimizer: OptimizerArgs,
    }

    impl ChoosesOptimizer for Args {
        fn optimizer(&self) -> OptimizerChoice {
            self.optimizer.optimizer.unwrap_or(OptimizerChoice::MAC)
        }

        fn defaults() -> Vec<(&'static str, String)> {
            vec![("damping", "0.5".to_string())]
        }
    }

    fn read(options: &str) -> Result<Args, String> {
        Args::try_read(["example"].into_iter().chain(options.split_whitespace()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_option_that_would_be_ignored_is_refused() {
        let error = read("--optimizer sgd --damping 1").expect_err("SGD has no damping");
        let expected =
            "--damping is an option of MAC, SMAC, FOOF, Eva and K-FAC, and the optimizer is sgd";
        assert!(error.contains(expected), "{error}");
        let error = read("--auxiliary-lr 0.1").expect_err("there is no other optimizer");
        let expected = "--auxiliary-lr is an option of AdamW beside another optimizer, and the optimizer is mac";
        assert!(error.contains(expected), "{error}");

        let error =
            read("--optimizer foof --no-input-covariance").expect_err("FOOF measures nothing");
        assert!(error.contains("measure the inputs"), "{error}");

        assert!(read("--optimizer kfac --damping 1").is_ok());
        assert!(read("--optimizer mac-in-adamw --damping 1").is_ok());
        assert!(read("--optimizer muon --auxiliary-lr 1e-3").is_ok());
        assert!(read("--optimizer sgd").is_ok(), "a default is no option");
    }

    #[test]
    fn the_help_has_the_defaults_of_the_program() {
        let help = read("--help").expect_err("the help ends the program");
        let options = help.split("\n      --");
        let damping = options.filter(|option| option.starts_with("damping"));
        let texts: Vec<&str> = damping.collect();
        assert!(
            matches!(*texts, [text] if text.contains("[default: 0.5]")),
            "{help}"
        );
    }
}
