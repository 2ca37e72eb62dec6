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

/// The client's credentials. One question at a time; none after one that was not answered, as the
/// answer may still come.
pub struct AuthStream {
    stream: Mutex<Option<Stream>>,
    deadline: Duration,
}

impl AuthStream {
    /// Over this stream.
    pub fn new(stream: Stream) -> Self {
        Self { stream: Mutex::new(Some(stream)), deadline: DEADLINE }
    }

    async fn ask(&self, host: &str, reference: &str) -> Result<Option<Credential>, String> {
        let gone = "its stream has ended";
        let mut held = self.stream.lock().await;
        let mut stream = held.take().ok_or(gone)?;
        let question = AuthRequest {
            host: host.to_owned(),
            reference: reference.to_owned(),
            wwwauthenticate: Vec::new(),
        };
        stream.to.send(Ok(pack(&question))).await.map_err(|_| gone)?;
        let answer = stream.from.recv().await.ok_or(gone)?;
        let answer = answer.map_err(|status| status.message().to_owned())?;
        let answer: AuthResponse =
            message(&answer).map_err(|status| status.message().to_owned())?;
        *held = Some(stream);
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
            let asked = tokio::time::timeout(self.deadline, self.ask(host, reference)).await;
            let late = || Err(format!("no answer in {} s", self.deadline.as_secs()));
            asked
                .unwrap_or_else(|_| late())
                .map_err(|reason| Error::CredentialsSource { host: host.to_owned(), reason })
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_late_answer_is_nobodys() {
        let (client, from) = mpsc::channel(4);
        let (to, mut questions) = mpsc::channel(4);
        let mut auth = AuthStream::new(Stream { from, to });
        auth.deadline = Duration::from_millis(20);
        let late = auth.lookup("a.example", "a.example/x:1").await.unwrap_err();
        assert!(late.to_string().contains("no answer in 0 s"), "{late}");
        questions.recv().await.unwrap().unwrap();
        let answer = AuthResponse { secret: "of a".into(), ..AuthResponse::default() };
        client.send(Ok(pack(&answer))).await.unwrap_err();
        let next = auth.lookup("b.example", "b.example/x:1").await.unwrap_err();
        assert!(next.to_string().contains("its stream has ended"), "{next}");
    }
}
