//! Addresses of streams: a path of a pipe or file, or a URI.

use std::path::{Path, PathBuf};

use super::attach::{Place, Stdin};
use super::cri::{DEFAULT_LINE, MAX_LINE, Rotation};
use crate::Error;
use crate::socket::MAX_PATH;

/// The streams that a process was asked to have; empty means none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stdio {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

/// Where output goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nowhere.
    Null,
    /// A named pipe, or a file that exists.
    Path(PathBuf),
    /// A file that both outputs are appended to.
    File(PathBuf),
    /// A log in the format of CRI, for both outputs, and a socket to attach to.
    Cri { log: Option<CriTarget>, attach: Option<Place> },
    /// A program that reads both outputs.
    Program {
        path: PathBuf,
        args: Vec<String>,
        /// It has to say that it is ready.
        strict: bool,
    },
}

/// A log in the format of CRI.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CriTarget {
    pub path: PathBuf,
    pub rotation: Rotation,
    /// At least 1, in bytes.
    pub max_line: usize,
}

const DEFAULT_FILES: u32 = 5;

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Target, Error> {
        if text.is_empty() {
            return Ok(Target::Null);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Target::Path(text.into()));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = PathBuf::from(decode(path, text)?);
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(key, text)?, decode(value, text)?));
        }
        if scheme == "cri" {
            return cri(path, &pairs, text);
        }
        absolute(&path, text)?;
        match scheme {
            "fifo" => Ok(Target::Path(path)),
            "file" => Ok(Target::File(path)),
            "binary" | "binary-v2" => {
                let args = pairs.into_iter().flat_map(|(key, value)| [key, value]);
                let args = args.filter(|word| !word.is_empty()).collect();
                Ok(Target::Program { path, args, strict: scheme == "binary-v2" })
            }
            _ => Err(invalid(text, "use fifo, file, cri or binary")),
        }
    }
}

fn cri(path: PathBuf, pairs: &[(String, String)], text: &str) -> Result<Target, Error> {
    let mut rotation = Rotation { max_size: 0, max_files: DEFAULT_FILES };
    let (mut max_line, mut at, mut stdin) = (DEFAULT_LINE, None, None);
    for (key, value) in pairs {
        let number = || value.parse::<u64>().map_err(|_| invalid(text, "not a number"));
        match (key.as_str(), value.as_str()) {
            ("max-size", _) => rotation.max_size = number()?,
            ("max-files", _) => {
                rotation.max_files = u32::try_from(number()?).unwrap_or(u32::MAX).max(1);
            }
            ("max-line", _) => {
                let most = usize::try_from(number()?).unwrap_or(usize::MAX);
                max_line = if most == 0 { MAX_LINE } else { most.min(MAX_LINE) };
            }
            ("attach", path) => at = Some(PathBuf::from(path)),
            ("stdin", "open") => stdin = Some(Stdin::Open),
            ("stdin", "once") => stdin = Some(Stdin::Once),
            ("stdin", _) => return Err(invalid(text, "stdin is open or once")),
            _ => return Err(invalid(text, "use max-size, max-files, max-line, attach and stdin")),
        }
    }
    let attach = match at {
        Some(path) => {
            absolute(&path, text)?;
            if path.as_os_str().len() > MAX_PATH {
                return Err(invalid(text, "the path to attach at is too long for a socket"));
            }
            Some(Place { path, stdin })
        }
        None if stdin.is_some() => return Err(invalid(text, "stdin needs attach")),
        None => None,
    };
    if path.as_os_str().is_empty() && attach.is_some() {
        return Ok(Target::Cri { log: None, attach });
    }
    absolute(&path, text)?;
    Ok(Target::Cri { log: Some(CriTarget { path, rotation, max_line }), attach })
}

fn absolute(path: &Path, text: &str) -> Result<(), Error> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(invalid(text, "the path has to be absolute")),
    }
}

fn invalid(text: &str, reason: &str) -> Error {
    Error::Invalid { what: format!("stdio address {text:?}"), reason: reason.into() }
}

fn decode(word: &str, text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(invalid(text, "a % needs two hexadecimal digits")),
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid(text, "not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let parse = |text: &str| Target::parse(text).unwrap();
        assert_eq!(parse(""), Target::Null);
        assert_eq!(parse("/run/x-stdout"), Target::Path("/run/x-stdout".into()));
        assert_eq!(parse("file:///a%20b"), Target::File("/a b".into()));
        let log = |max_size, max_files, max_line| {
            let rotation = Rotation { max_size, max_files };
            Some(CriTarget { path: "/x.log".into(), rotation, max_line })
        };
        for (query, log) in [
            ("max-size=10&max-files=2", log(10, 2, DEFAULT_LINE)),
            ("", log(0, DEFAULT_FILES, DEFAULT_LINE)),
            ("max-line=7", log(0, DEFAULT_FILES, 7)),
            ("max-line=0", log(0, DEFAULT_FILES, MAX_LINE)),
            ("max-line=99999999999", log(0, DEFAULT_FILES, MAX_LINE)),
        ] {
            let text = format!("cri:///x.log?{query}");
            assert_eq!(parse(&text), Target::Cri { log, attach: None }, "{text}");
        }
        for (query, stdin) in
            [("", None), ("&stdin=open", Some(Stdin::Open)), ("&stdin=once", Some(Stdin::Once))]
        {
            let attach = Some(Place { path: "/a b.sock".into(), stdin });
            let text = format!("cri://?attach=/a%20b.sock{query}");
            assert_eq!(parse(&text), Target::Cri { log: None, attach: attach.clone() }, "{text}");
            let text = format!("cri:///x.log?attach=/a%20b.sock{query}");
            let log = log(0, DEFAULT_FILES, DEFAULT_LINE);
            assert_eq!(parse(&text), Target::Cri { log, attach }, "{text}");
        }
        assert_eq!(
            parse("binary:///bin/l?k=v&flag"),
            Target::Program {
                path: "/bin/l".into(),
                args: ["k", "v", "flag"].map(String::from).to_vec(),
                strict: false
            }
        );
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let long = format!("cri:///x?attach=/{}", "x".repeat(MAX_PATH));
        for text in [
            "ftp:///x",
            "file://x",
            "cri://",
            "cri://x",
            "cri://x?attach=/a",
            "cri:///x?max-size=a",
            "cri:///x?max-line=-1",
            "cri:///x?y=1",
            "cri:///x?attach=a",
            "cri:///x?attach=",
            "cri:///x?stdin=open",
            "cri:///x?attach=/a&stdin=never",
            long.as_str(),
            "file:///%4",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
