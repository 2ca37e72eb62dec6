//! Addresses of streams: a path of a pipe or file, or a URI.

use std::path::PathBuf;

use crate::Error;

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
    /// A log in the format of CRI, for both outputs.
    Cri {
        path: PathBuf,
        /// 0: it is never rotated.
        max_size: u64,
        /// With the current one.
        max_files: u32,
    },
    /// A program that reads both outputs.
    Program {
        path: PathBuf,
        args: Vec<String>,
        /// It has to say that it is ready.
        strict: bool,
    },
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
        if !path.is_absolute() {
            return Err(invalid(text, "the path has to be absolute"));
        }
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(key, text)?, decode(value, text)?));
        }
        match scheme {
            "fifo" => Ok(Target::Path(path)),
            "file" => Ok(Target::File(path)),
            "cri" => cri(path, &pairs, text),
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
    let (mut max_size, mut max_files) = (0, DEFAULT_FILES);
    for (key, value) in pairs {
        let number = value.parse::<u64>().map_err(|_| invalid(text, "not a number"))?;
        match key.as_str() {
            "max-size" => max_size = number,
            "max-files" => max_files = u32::try_from(number).unwrap_or(u32::MAX).max(1),
            _ => return Err(invalid(text, "use max-size and max-files")),
        }
    }
    Ok(Target::Cri { path, max_size, max_files })
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
        let parse = |text| Target::parse(text).unwrap();
        assert_eq!(parse(""), Target::Null);
        assert_eq!(parse("/run/x-stdout"), Target::Path("/run/x-stdout".into()));
        assert_eq!(parse("file:///a%20b"), Target::File("/a b".into()));
        assert_eq!(
            parse("cri:///x.log?max-size=10&max-files=2"),
            Target::Cri { path: "/x.log".into(), max_size: 10, max_files: 2 }
        );
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
        for text in ["ftp:///x", "file://x", "cri:///x?max-size=a", "cri:///x?y=1", "file:///%4"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
