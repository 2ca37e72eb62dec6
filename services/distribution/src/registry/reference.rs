//! Names of images at registries: `HOST/REPOSITORY[:TAG][@DIGEST]`.

use std::fmt;

use berth_ids::Digest;

use super::Error;

/// A fully qualified reference. Its parts are safe in a URL's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Takes a fully qualified reference apart. Nothing is filled in.
    ///
    /// # Errors
    /// [`Error::Reference`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong =
            |reason: &str| Error::Reference { reference: text.to_owned(), reason: reason.into() };
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => {
                (named, Some(digest.parse::<Digest>().map_err(|e| wrong(&e.to_string()))?))
            }
            None => (text, None),
        };
        let Some((host, rest)) = named.split_once('/') else {
            return Err(wrong("no registry host, write it out as in docker.io/library/NAME:TAG"));
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if host.is_empty() || !host.bytes().all(is_host_byte) {
            return Err(wrong("the registry host has characters that no host has"));
        }
        if !Self::is_repository(repository) {
            return Err(wrong("a repository is lower-case letters, digits, '.', '_', '-' and '/'"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("a tag is at most 128 letters, digits, '.', '_' and '-'"));
        }
        let (host, repository) = (host.to_owned(), repository.to_owned());
        Ok(Self { host, repository, tag: tag.map(str::to_owned), digest })
    }

    /// Whether a text is the name of a repository: it is safe in a URL and in a token's scope.
    #[must_use]
    pub fn is_repository(text: &str) -> bool {
        text.split('/').all(is_component)
    }

    /// What a person means by a short name, as docker has it: `busybox` is
    /// `docker.io/library/busybox:latest`.
    ///
    /// # Errors
    /// [`Error::Reference`].
    pub fn normalize(text: &str) -> Result<Self, Error> {
        let named = text
            .parse::<oci_spec::distribution::Reference>()
            .map_err(|e| Error::Reference { reference: text.into(), reason: e.to_string() })?;
        Self::parse(&named.whole())
    }

    /// The registry, `host[:port]`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path at the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, when there is one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when there is one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same without tag and digest, `HOST/REPOSITORY`.
    #[must_use]
    pub fn locator(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// What is asked for: the digest before the tag.
    ///
    /// # Errors
    /// [`Error::Reference`] when there is neither.
    pub fn object(&self) -> Result<&str, Error> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Ok(digest.as_str()),
            (None, Some(tag)) => Ok(tag),
            (None, None) => Err(Error::Reference {
                reference: self.to_string(),
                reason: "object required, add a tag or a digest".to_owned(),
            }),
        }
    }

    /// The name as docker shortens it: without `docker.io/` and `library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let whole = self.to_string();
        let short = whole.strip_prefix("docker.io/").unwrap_or(&whole);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn is_host_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']')
}

fn is_component(component: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edge = |b: Option<&u8>| b.is_some_and(|b| inner(*b));
    let bytes = component.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| inner(*b) || matches!(b, b'.' | b'_' | b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_full_references_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let whole = format!("127.0.0.1:5000/a/b-c:v1@{digest}");
        let reference = Reference::parse(&whole).unwrap();
        assert_eq!((reference.host(), reference.repository()), ("127.0.0.1:5000", "a/b-c"));
        assert_eq!((reference.tag(), reference.object().unwrap()), (Some("v1"), &*digest));
        assert_eq!(reference.to_string(), whole);
        assert!(Reference::parse("localhost:5000/x").unwrap().object().is_err());
    }

    #[test]
    fn refuses_what_would_change_a_url() {
        for text in [
            "busybox:latest",
            "",
            "/x:y",
            "h/../x:y",
            "h/a//b:t",
            "h/a?b:t",
            "h/a:t#x",
            "h/a:..",
            "h/A:t",
            "h x/a:t",
            "h/a@sha256:12",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn short_names_are_dockers() {
        let named = |text: &str| Reference::normalize(text).unwrap().to_string();
        assert_eq!(named("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(named("a/b:1"), "docker.io/a/b:1");
        assert_eq!(named("localhost:5000/b"), "localhost:5000/b:latest");
        assert_eq!(Reference::normalize("busybox").unwrap().familiar(), "busybox:latest");
    }
}
