//! Where a shim answers.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The newest version of the task service that we know.
const NEWEST: u32 = 3;

/// Where a shim answers, as its `start` has told and as a task's folder keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Version of the task service: 2 or 3.
    pub version: u32,
    /// Its socket, `unix:///…`.
    pub address: String,
    /// What is spoken there: `ttrpc` or `grpc`.
    pub protocol: String,
}

impl Bootstrap {
    /// Reads JSON, or with older shims the address alone.
    ///
    /// # Errors
    /// What does not fit.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(text);
        let text = text.trim();
        let bootstrap = match serde_json::from_str::<Bootstrap>(text) {
            Ok(bootstrap) if bootstrap.version >= 2 => bootstrap,
            _ => Bootstrap { version: 2, address: text.to_owned(), protocol: "ttrpc".into() },
        };
        bootstrap.checked()
    }

    /// Reads an address as sandboxes tell theirs: `PROTOCOL+unix://PATH`.
    ///
    /// # Errors
    /// What does not fit.
    pub fn of_endpoint(address: &str, version: u32) -> Result<Self, String> {
        let Some((protocol, address)) = address.split_once('+') else {
            return Err(format!(
                "the scheme of sandbox address {address:?} should be in the form of <protocol>+<unix|vsock|tcp>, i.e. ttrpc+unix or grpc+vsock"
            ));
        };
        Bootstrap { version, address: address.into(), protocol: protocol.into() }.checked()
    }

    /// The address as sandboxes tell theirs.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}+{}", self.protocol, self.address)
    }

    /// The same, if we can speak with such a shim.
    ///
    /// # Errors
    /// What does not fit.
    pub fn checked(self) -> Result<Self, String> {
        if self.version > NEWEST {
            return Err(format!("unsupported shim version ({})", self.version));
        }
        if self.is_grpc() {
            if self.version < 3 {
                return Err(format!("unsupported shim version ({}) over gRPC", self.version));
            }
        } else if !self.protocol.eq_ignore_ascii_case("ttrpc") {
            return Err(format!("unexpected protocol: {:?}", self.protocol));
        }
        if !self.socket().is_absolute() {
            let address = &self.address;
            return Err(match address.split_once("://") {
                Some((scheme @ ("vsock" | "hvsock"), _)) => {
                    format!("its address {address:?} is a {scheme}, use a shim on a unix socket")
                }
                _ => format!("it printed no address of a socket: {address:?}"),
            });
        }
        Ok(self)
    }

    /// Whether the shim speaks gRPC.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("grpc")
    }

    /// The path of the shim's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        Path::new(self.address.strip_prefix("unix://").unwrap_or(&self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_texts_are_understood() {
        let plain = Bootstrap::parse(b"unix:///run/containerd/s/ab\n").unwrap();
        assert_eq!((plain.version, plain.socket()), (2, Path::new("/run/containerd/s/ab")));
        let json = br#"{"version":3,"address":"unix:///run/b/s/c","protocol":"ttrpc"}"#;
        let json = Bootstrap::parse(json).unwrap();
        assert_eq!((json.version, json.socket()), (3, Path::new("/run/b/s/c")));
    }

    #[test]
    fn an_endpoint_is_read_as_it_is_told() {
        let endpoint = "ttrpc+unix:///run/b/s/c";
        let shim = Bootstrap::of_endpoint(endpoint, 3).unwrap();
        assert_eq!((shim.socket(), shim.endpoint().as_str()), (Path::new("/run/b/s/c"), endpoint));
        assert!(Bootstrap::of_endpoint("unix:///a", 3).unwrap_err().contains("ttrpc+unix"));
        assert!(Bootstrap::of_endpoint("grpc+vsock://3:1", 3).unwrap_err().contains("vsock"));
    }

    #[test]
    fn what_we_cannot_speak_with_is_refused_by_its_name() {
        for (bad, named) in [
            (&b""[..], "no address"),
            (b"panic: no", "panic: no"),
            (br#"{"version":4,"address":"unix:///a","protocol":"ttrpc"}"#, "version (4)"),
            (br#"{"version":3,"address":"unix:///a","protocol":"http"}"#, "\"http\""),
            (br#"{"version":2,"address":"unix:///a","protocol":"grpc"}"#, "over gRPC"),
            (br#"{"version":3,"address":"vsock://3:1024","protocol":"ttrpc"}"#, "is a vsock"),
            (br#"{"version":3,"address":"unix://@abstract","protocol":"ttrpc"}"#, "@abstract"),
        ] {
            let error = Bootstrap::parse(bad).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
