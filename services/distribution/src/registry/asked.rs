//! One request that has to be authenticated.

use reqwest::Client;

use super::Error;
use super::dump::Dump;
use super::endpoint::Endpoint;

/// One request to authenticate.
pub(super) struct Asked<'a> {
    pub(super) client: &'a Client,
    pub(super) endpoint: &'a Endpoint,
    pub(super) step: &'a str,
    /// What the token must allow, `repository:NAME:pull`, several with spaces between.
    pub(super) scope: &'a str,
    /// Who wants to see what is sent for it.
    pub(super) dump: Option<&'a dyn Dump>,
}

impl Asked<'_> {
    /// What its answer is remembered under: the host and the scope.
    pub(super) fn key(&self) -> (String, String) {
        (format!("{}://{}", self.endpoint.scheme(), self.endpoint.host), self.scope.to_owned())
    }

    pub(super) fn refused(&self, reason: impl Into<String>) -> Error {
        Error::Unauthorized {
            access: if self.scope.contains("push") { "push" } else { "pull" },
            step: self.step.to_owned(),
            host: self.endpoint.host.clone(),
            reason: reason.into(),
        }
    }
}
