//! The command line, in the form that Go programs have: `-name value`, `-name=value`, `--name`.
//!
//! Parsed by hand: a parser for people would triple the program.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::Error;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Print the version.
    Version,
    /// Describe the runtime.
    Info,
    /// Start a shim, or find the one that serves the group, and print its address.
    Start,
    /// Clean up after a shim that died.
    Delete,
    /// Be the shim.
    Serve,
}

/// The parsed command line.
#[derive(Debug)]
pub struct Args {
    /// What to do.
    pub action: Action,
    /// Namespace of the containers.
    pub namespace: String,
    /// Container or sandbox.
    pub id: String,
    /// Where the caller serves its gRPC API.
    pub address: String,
    /// Program that publishes events, when there is no address for them.
    pub publish_binary: PathBuf,
    /// The bundle, for [`Action::Delete`].
    pub bundle: Option<PathBuf>,
    /// The socket to serve on instead of the inherited one.
    pub socket: Option<PathBuf>,
    /// Log more.
    pub debug: bool,
}

impl Args {
    /// Parses what follows the program's name.
    pub fn parse(words: impl Iterator<Item = OsString>) -> Result<Args, Error> {
        let mut args = Args {
            action: Action::Serve,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            publish_binary: PathBuf::new(),
            bundle: None,
            socket: None,
            debug: false,
        };
        let mut words = words.map(|word| {
            word.into_string().map_err(|word| Error::Usage(format!("{word:?} is not UTF-8")))
        });
        while let Some(word) = words.next().transpose()? {
            let Some(flag) = word.strip_prefix('-') else {
                args.verb(&word)?;
                break;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if !args.switch(name, inline.as_deref()) {
                let value = match inline {
                    Some(value) => value,
                    None => words
                        .next()
                        .transpose()?
                        .ok_or_else(|| Error::Usage(format!("flag -{name} needs a value")))?,
                };
                args.value(name, value)?;
            }
        }
        args.checked()
    }

    fn verb(&mut self, word: &str) -> Result<(), Error> {
        self.action = match word {
            "start" => Action::Start,
            "delete" => Action::Delete,
            _ => return Err(Error::Usage(format!("unknown action {word:?}: use start or delete"))),
        };
        Ok(())
    }

    /// Sets a flag that needs no value; false if it is none.
    fn switch(&mut self, name: &str, value: Option<&str>) -> bool {
        let on = !matches!(value, Some("false" | "0" | "f" | "F" | "FALSE" | "False"));
        match name {
            "v" | "version" if on => self.action = Action::Version,
            "info" if on => self.action = Action::Info,
            "debug" => self.debug = on,
            "v" | "version" | "info" => {}
            _ => return false,
        }
        true
    }

    fn value(&mut self, name: &str, value: String) -> Result<(), Error> {
        match name {
            "namespace" => self.namespace = value,
            "id" => self.id = value,
            "address" => self.address = value,
            "publish-binary" => self.publish_binary = value.into(),
            "bundle" => self.bundle = Some(value.into()),
            "socket" => self.socket = Some(value.into()),
            "debug-socket" => {}
            _ => return Err(Error::Usage(format!("unknown flag -{name}"))),
        }
        Ok(())
    }

    fn checked(self) -> Result<Args, Error> {
        if matches!(self.action, Action::Version | Action::Info) {
            return Ok(self);
        }
        if self.namespace.is_empty() {
            return Err(Error::Usage("shim namespace cannot be empty: give -namespace".into()));
        }
        for name in [&self.namespace, &self.id] {
            berth_ids::validate_identifier(name)
                .map_err(|error| Error::Usage(error.to_string()))?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, Error> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_containerd_passes_is_understood() {
        let args = parse(
            "-namespace default -address /run/c.sock -publish-binary /usr/bin/containerd -id x start",
        )
        .unwrap();
        assert_eq!(args.action, Action::Start);
        assert_eq!((args.namespace.as_str(), args.id.as_str()), ("default", "x"));
        let args = parse("--namespace=n -id=y -bundle /b -debug delete").unwrap();
        assert_eq!(args.action, Action::Delete);
        assert!(args.debug);
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, text) in [
            ("-id x start", "namespace"),
            ("-namespace n -id ../x start", "../x"),
            ("-namespace n -id x frob", "frob"),
            ("-namespace n -frob x", "-frob"),
            ("-namespace", "needs a value"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(text), "{line}: {error}");
        }
    }
}
