//! In what two configurations differ.

use std::collections::BTreeSet;

use serde_json::Value;

/// Differences that are listed; the others are counted.
const LISTED: usize = 5;

/// A line for each value in which the current configuration is not the saved one, with the path to it; none if there is no
/// such value.
pub(super) fn differences(saved: &Value, current: &Value) -> Option<String> {
    let mut found = Vec::new();
    collect("", Some(saved), Some(current), &mut found);
    if found.is_empty() {
        return None;
    }
    let others = found.len().saturating_sub(LISTED);
    found.truncate(LISTED);
    if others > 0 {
        found.push(format!("and {others} more"));
    }
    Some(found.iter().map(|line| format!("\n  {line}")).collect())
}

/// Walks down as long as both have a name in common. Two variants of an enumeration have none: what is in them is of no
/// interest then.
fn collect(path: &str, saved: Option<&Value>, current: Option<&Value>, found: &mut Vec<String>) {
    if saved == current {
        return;
    }
    if let (Some(Value::Object(saved)), Some(Value::Object(current))) = (saved, current) {
        let names: BTreeSet<&String> = saved.keys().chain(current.keys()).collect();
        if names.len() < saved.len() + current.len() {
            for name in names {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                collect(&path, saved.get(name), current.get(name), found);
            }
            return;
        }
    }
    found.push(format!("{path}: {}, not {}", shown(saved), shown(current)));
}

/// A value, or the name of a variant that has some.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_string(),
        Some(Value::Object(fields)) => match fields.keys().next() {
            Some(variant) if fields.len() == 1 => variant.clone(),
            _ => "{…}".to_string(),
        },
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(saved: Value, current: Value) -> Vec<String> {
        let lines = differences(&saved, &current).unwrap_or_default();
        lines.lines().skip(1).map(str::to_string).collect()
    }

    #[test]
    fn a_value_is_named_by_its_path_whatever_is_before_it() {
        let saved = json!({"a": {"depth": [2, 2], "extra": 1}, "b": {"lr": 0.1}, "same": [1]});
        let current = json!({"a": {"depth": [2, 2, 6]}, "b": {"lr": 0.2}, "same": [1]});
        assert_eq!(
            lines(saved.clone(), current),
            [
                "  a.depth: [2,2], not [2,2,6]",
                "  a.extra: 1, not missing",
                "  b.lr: 0.1, not 0.2"
            ]
        );
        assert_eq!(differences(&saved, &saved), None);
    }

    /// Breaks when the values in two variants are compared, which belong to different things.
    #[test]
    fn another_variant_is_one_difference() {
        let saved = json!({"network": {"ResNet": {"blocks": [3, 3], "bias": true}}});
        let current = json!({"network": {"VisionTransformer": {"heads": 3, "bias": true}}});
        assert_eq!(
            lines(saved, current),
            ["  network: ResNet, not VisionTransformer"]
        );
        let (saved, current) = (
            json!({"optimizer": "Mac"}),
            json!({"optimizer": {"Sgd": {}}}),
        );
        assert_eq!(lines(saved, current), ["  optimizer: \"Mac\", not Sgd"]);
    }

    #[test]
    fn many_differences_are_counted() {
        let numbers = |add: usize| -> Value {
            let fields = (0..7).map(|index| (format!("n{index}"), json!(index + add)));
            Value::Object(fields.collect())
        };
        let lines = lines(numbers(0), numbers(1));
        assert_eq!(lines.len(), 6);
        assert_eq!(
            (lines[4].as_str(), lines[5].as_str()),
            ("  n4: 4, not 5", "  and 2 more")
        );
    }
}
