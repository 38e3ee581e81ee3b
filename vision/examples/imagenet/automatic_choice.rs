//! Automatic augmentation.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use mac_burn_vision::augment::AutomaticAugmentation;

/// Automatic augmentation or none, as named on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AutomaticChoice(pub(crate) Option<AutomaticAugmentation>);

impl ValueEnum for AutomaticChoice {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self(None),
            Self(Some(AutomaticAugmentation::TrivialAugmentWide)),
            Self(Some(AutomaticAugmentation::RandAugment)),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self.0 {
            None => Some(PossibleValue::new("none").help("No such change")),
            Some(automatic) => automatic.to_possible_value(),
        }
    }
}
