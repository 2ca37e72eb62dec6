//! What the error channel says of an end. Must not know: the channel.

use serde_json::{Value, json};

use crate::Outcome;

/// How the error channel speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Protocols below version 4: nothing of a success, a text of a failure.
    Text,
    /// From version 4 on: a `Status` of Kubernetes.
    Status,
}

/// What was done, as failures tell it.
#[derive(Clone, Debug)]
pub(crate) enum Doing {
    Exec(Vec<String>),
    Attach,
}

/// The bytes of the error channel.
pub(crate) fn told(dialect: Dialect, doing: &Doing, outcome: &Outcome) -> Vec<u8> {
    let message = message(doing, outcome);
    match (dialect, outcome) {
        (Dialect::Text, _) => message.unwrap_or_default().into_bytes(),
        (Dialect::Status, outcome) => status(message, outcome).to_string().into_bytes(),
    }
}

fn message(doing: &Doing, outcome: &Outcome) -> Option<String> {
    match (doing, outcome) {
        (_, Outcome::Exited(0)) => None,
        (Doing::Exec(command), Outcome::Exited(code)) => Some(format!(
            "command terminated with non-zero exit code: error executing command [{}], exit code {code}",
            command.join(" ")
        )),
        (Doing::Attach, Outcome::Exited(code)) => {
            Some(format!("command terminated with non-zero exit code: exit code {code}"))
        }
        (Doing::Exec(_), Outcome::Failed(why)) => {
            Some(format!("Internal error occurred: error executing command in container: {why}"))
        }
        (Doing::Attach, Outcome::Failed(why)) => {
            Some(format!("Internal error occurred: error attaching to container: {why}"))
        }
    }
}

fn status(message: Option<String>, outcome: &Outcome) -> Value {
    match (message, outcome) {
        (None, _) => json!({"status": "Success"}),
        (Some(message), Outcome::Exited(code)) => json!({
            "status": "Failure",
            "message": message,
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        (Some(message), Outcome::Failed(_)) => json!({
            "status": "Failure",
            "message": message,
            "reason": "InternalError",
            "code": 500,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(dialect: Dialect, outcome: &Outcome) -> String {
        let doing = Doing::Exec(vec!["a".into(), "b".into()]);
        String::from_utf8(told(dialect, &doing, outcome)).unwrap()
    }

    #[test]
    fn an_exit_code_is_a_cause() {
        let status: Value =
            serde_json::from_str(&said(Dialect::Status, &Outcome::Exited(3))).unwrap();
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
        assert_eq!(
            status["message"],
            "command terminated with non-zero exit code: error executing command [a b], exit code 3"
        );
    }

    #[test]
    fn success_and_failure() {
        let status: Value =
            serde_json::from_str(&said(Dialect::Status, &Outcome::Exited(0))).unwrap();
        assert_eq!(status, json!({"status": "Success"}));
        let failed = Outcome::Failed("no \"such\" thing".into());
        let status: Value = serde_json::from_str(&said(Dialect::Status, &failed)).unwrap();
        assert_eq!((&status["reason"], &status["code"]), (&json!("InternalError"), &json!(500)));
        let text =
            "Internal error occurred: error executing command in container: no \"such\" thing";
        assert_eq!(status["message"], text);
        assert_eq!(said(Dialect::Text, &failed), text);
        assert_eq!(said(Dialect::Text, &Outcome::Exited(0)), "");
    }
}
