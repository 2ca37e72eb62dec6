//! What is let through to the log, as it is written in files and on command lines.

use crate::Error;

/// The names of levels, those of containerd's that are called otherwise here among them, and what they
/// are here.
const LEVELS: [(&str, &str); 9] = [
    ("panic", "error"),
    ("fatal", "error"),
    ("error", "error"),
    ("warning", "warn"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
    ("off", "off"),
];

const RULE: &str =
    "error, warn, info, debug, trace, off, or such and targets with levels, \"info,h2=warn\"";

/// A level, or targets with levels, in the names that are used here.
///
/// # Errors
/// [`Error::Value`] for what is no level. A word alone is never taken for a target: nothing else would be
/// logged then.
pub(crate) fn normalised(text: &str) -> Result<String, Error> {
    let wrong = || Error::Value { key: "log.level".to_owned(), value: text.to_owned(), rule: RULE };
    let named = |part: &str| match part.trim().rsplit_once('=') {
        Some((target, level)) if !target.is_empty() => Some(format!("{target}={}", of(level)?)),
        Some(_) => None,
        None => of(part).map(str::to_owned),
    };
    let parts: Option<Vec<_>> = text.split(',').map(named).collect();
    parts.map(|parts| parts.join(",")).ok_or_else(wrong)
}

fn of(name: &str) -> Option<&'static str> {
    let name = name.trim();
    let found = LEVELS.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(name));
    found.map(|(_, ours)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_one_name_each() {
        for (text, expected) in [
            ("info", "info"),
            ("WARNING", "warn"),
            ("fatal", "error"),
            ("info,h2=warning, berth_gateway=debug", "info,h2=warn,berth_gateway=debug"),
            ("berth_runtime::tasks=trace", "berth_runtime::tasks=trace"),
            ("off", "off"),
        ] {
            assert_eq!(normalised(text).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for text in ["inof", "", "info,", "h2=loud", "=info", "info,h2", "h2"] {
            let error = normalised(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("log.level is {text:?}: it must be error, ")),
                "{error}"
            );
        }
    }
}
