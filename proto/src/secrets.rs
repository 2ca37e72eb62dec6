//! What is shown of messages that hold secrets. Whatever is not named here stays out of logs.

use std::fmt;

use crate::runtime::v1::AuthConfig;

impl fmt::Debug for AuthConfig {
    /// Who asks whom, and nothing that lets anybody in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}
