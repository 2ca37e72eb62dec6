//! `[cri.logins."HOST"]`: whom images are pulled as, where a kubelet does not say it.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// `[cri.logins."HOST"]`: of user and password, a token, and both in base64 the first that is there counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// A user.
    pub username: String,
    /// What proves it.
    pub password: Secret,
    /// User and password with a colon between them, in base64.
    pub auth: Secret,
    /// A token that others are got for.
    pub identity_token: Secret,
}

/// What is read and not told: shown and printed it is `(hidden)`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

const HIDDEN: &str = "(hidden)";

impl Secret {
    /// What it is.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { HIDDEN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_to_nobody() {
        let login: Login = toml::from_str("username = 'u'\npassword = 'p4ss'\n").expect("one");
        assert_eq!(login.password.reveal(), "p4ss");
        let shown = format!("{login:?} {}", toml::to_string(&login).expect("text"));
        assert!(!shown.contains("p4ss") && shown.contains(HIDDEN), "{shown}");
    }
}
