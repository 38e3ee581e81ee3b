//! Numbers in files, for `#[serde(with)]`: JSON has no infinity, so there it is the text `"inf"`.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

const INFINITY: &str = "inf";

pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if *number == f64::INFINITY && serializer.is_human_readable() {
        serializer.serialize_str(INFINITY)
    } else {
        serializer.serialize_f64(*number)
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(f64),
        Text(String),
    }
    if !deserializer.is_human_readable() {
        return f64::deserialize(deserializer);
    }
    match Number::deserialize(deserializer)? {
        Number::Number(number) => Ok(number),
        Number::Text(text) if text == INFINITY => Ok(f64::INFINITY),
        Number::Text(text) => Err(Error::custom(format!(
            "\"{text}\" is not a number or \"{INFINITY}\""
        ))),
    }
}
