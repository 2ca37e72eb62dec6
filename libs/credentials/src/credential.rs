//! The forms that credentials take.

use std::fmt;

/// Credentials of one registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user's name and password.
    Basic {
        /// The name.
        username: String,
        /// The password or access token.
        secret: String,
    },
    /// An identity token, to be exchanged for access tokens.
    Refresh(String),
    /// A whole `Authorization` header.
    Header(String),
}

impl fmt::Debug for Credential {
    /// The secret is never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Basic { username, .. } => write!(f, "Basic({username})"),
            Credential::Refresh(_) => f.write_str("Refresh"),
            Credential::Header(_) => f.write_str("Header"),
        }
    }
}
