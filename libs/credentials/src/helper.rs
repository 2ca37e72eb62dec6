//! Programs that keep credentials: `docker-credential-NAME`.

use std::time::Duration;

use berth_lifecycle::child;
use serde::Deserialize;

use crate::{Credential, Error};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Runs `docker-credential-HELPER get` with the server's name on its input.
pub(crate) async fn ask(
    helper: &str,
    server: &str,
    deadline: Duration,
) -> Result<Option<Credential>, Error> {
    let program = format!("docker-credential-{helper}");
    let wrong =
        |reason: String| Error::Helper { helper: program.clone(), host: server.to_owned(), reason };
    if helper.contains('/') {
        return Err(wrong("its name has a slash".to_owned()));
    }
    let mut command = child::command(&program);
    command.arg("get");
    let asked = child::output_with_input(command, server.as_bytes(), deadline);
    let output = asked.await.map_err(|e| wrong(berth_errors::chain(&e)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(wrong(format!("{}: {} {}", output.status, said.trim(), errors.trim())));
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|e| wrong(format!("its answer: {e}")))?;
    Ok(match answer.username.as_str() {
        "<token>" => Some(Credential::Refresh(answer.secret)),
        "" => None,
        _ => Some(Credential::Basic { username: answer.username, secret: answer.secret }),
    })
}
