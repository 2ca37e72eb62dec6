//! Credentials asked of the client over a stream.

use std::time::Duration;

use berth_proto::containerd::types::transfer::{AuthRequest, AuthResponse, AuthType};
use berth_proto::pack;
use tokio::sync::Mutex;

use super::streaming::Stream;
use super::wire::message;
use crate::registry::{Credential, Credentials, Error, Lookup};

/// How long a client may take; a person may have to type.
const DEADLINE: Duration = Duration::from_secs(120);

/// The client's credentials. One question at a time.
pub struct AuthStream(Mutex<Stream>);

impl AuthStream {
    /// Over this stream.
    pub fn new(stream: Stream) -> Self {
        Self(Mutex::new(stream))
    }

    async fn ask(&self, host: &str, reference: &str) -> Result<Option<Credential>, String> {
        let mut stream = self.0.lock().await;
        let question = AuthRequest {
            host: host.to_owned(),
            reference: reference.to_owned(),
            wwwauthenticate: Vec::new(),
        };
        let gone = "its stream has ended";
        stream.to.send(Ok(pack(&question))).await.map_err(|_| gone)?;
        let answer = stream.from.recv().await.ok_or(gone)?;
        let answer = answer.map_err(|status| status.message().to_owned())?;
        let answer: AuthResponse =
            message(&answer).map_err(|status| status.message().to_owned())?;
        Ok(match AuthType::try_from(answer.auth_type) {
            Ok(AuthType::Credentials) => {
                Some(Credential::Basic { username: answer.username, secret: answer.secret })
            }
            // Clients without credentials answer with an empty token.
            Ok(AuthType::Refresh) if !answer.secret.is_empty() => {
                Some(Credential::Refresh(answer.secret))
            }
            Ok(AuthType::Header) => Some(Credential::Header(answer.secret)),
            _ => None,
        })
    }
}

impl Credentials for AuthStream {
    fn lookup<'a>(&'a self, host: &'a str, reference: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            let asked = tokio::time::timeout(DEADLINE, self.ask(host, reference)).await;
            let late = || Err(format!("no answer in {} s", DEADLINE.as_secs()));
            asked
                .unwrap_or_else(|_| late())
                .map_err(|reason| Error::CredentialsSource { host: host.to_owned(), reason })
        })
    }
}
