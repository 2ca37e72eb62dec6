//! A label: `USER:ROLE:TYPE`, and `:LEVEL` where the policy has levels.

use std::fmt;
use std::str::FromStr;

/// The longest label, in bytes: what is longer no file system takes.
const MAX_LENGTH: usize = 4096;

/// The parts of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Who, as the policy calls it.
    pub user: String,
    /// As what.
    pub role: String,
    /// The type, which most rules are about.
    pub kind: String,
    /// The level, which may have colons of its own; empty where the policy has none.
    pub level: String,
}

/// A text that is no label.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no label of SELinux")]
pub struct NotALabel(String);

impl Label {
    /// The same at another level, if it has one at all.
    #[must_use]
    pub fn at(&self, level: &str) -> Self {
        let level = if self.level.is_empty() { "" } else { level };
        Self { level: level.to_owned(), ..self.clone() }
    }
}

impl FromStr for Label {
    type Err = NotALabel;

    fn from_str(text: &str) -> Result<Self, NotALabel> {
        let not = || NotALabel(text.chars().take(MAX_LENGTH).collect());
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        if text.len() > MAX_LENGTH || !visible {
            return Err(not());
        }
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or_else(not);
        let (user, role, kind) = (part()?, part()?, part()?);
        Ok(Self { user, role, kind, level: parts.next().unwrap_or_default() })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, role, kind, level } = self;
        write!(f, "{user}:{role}:{kind}")?;
        if level.is_empty() { Ok(()) } else { write!(f, ":{level}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_and_written() {
        for text in ["u:r:t", "system_u:system_r:container_t:s0-s0:c0.c1023"] {
            let label: Label = text.parse().unwrap();
            assert_eq!(label.to_string(), text);
        }
        let label: Label = "u:r:t:s0:c1,c2".parse().unwrap();
        assert_eq!(label.level, "s0:c1,c2");
        assert_eq!(label.at("s0:c3,c4").to_string(), "u:r:t:s0:c3,c4");
        let plain: Label = "u:r:t".parse().unwrap();
        assert_eq!(plain.at("s0:c3,c4"), plain);
    }

    #[test]
    fn what_is_no_label_is_refused() {
        let long = format!("u:r:t:{}", "c".repeat(MAX_LENGTH));
        for text in ["", "u", "u:r", "u::t", ":r:t", "u:r:", "u:r:t t", "u:r:t\n", "u:r:\"", &long]
        {
            assert!(text.parse::<Label>().is_err(), "{text:?}");
        }
    }
}
