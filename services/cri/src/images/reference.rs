//! Names of images, as docker reads them.

use std::fmt;

use berth_ids::Digest;

/// Docker's registry.
const HUB: &str = "docker.io";
/// The longest name, without tag and digest (OCI distribution specification).
const MAX_NAME: usize = 255;
/// The longest tag (the same).
const MAX_TAG: usize = 128;

/// A whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Registry and repository.
    pub repository: String,
    /// Its tag, if it has one.
    pub tag: Option<String>,
    /// Its digest, if it has one.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads a name in which what is usual may be left out. A tag is only there if it was given.
    ///
    /// # Errors
    /// What is wrong with it, in docker's words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() == 64 && text.bytes().all(is_hex) {
            return Err("invalid repository name, cannot specify 64-byte hexadecimal strings");
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| "invalid reference format")?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to a registry's port.
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[last..].split_once(':') {
            Some((name, tag)) => (&rest[..last + name.len()], Some(tag)),
            None => (rest, None),
        };
        let (host, path) = in_two(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err("invalid reference format: repository name must be lowercase");
        }
        let tag_is_right = tag.is_none_or(is_tag);
        if !is_host(host) || !path.split('/').all(is_part) || !tag_is_right {
            return Err("invalid reference format");
        }
        let official = host == HUB && !path.contains('/');
        let repository = format!("{host}/{}{path}", if official { "library/" } else { "" });
        if repository.len() > MAX_NAME {
            return Err("repository name must not be more than 255 characters");
        }
        Ok(Self { repository, tag: tag.map(str::to_owned), digest })
    }

    /// What is pulled and looked up for it: a digest alone, or else a tag.
    #[must_use]
    pub fn exact(self) -> Self {
        match self {
            Self { repository, digest: Some(digest), .. } => {
                Self { repository, tag: None, digest: Some(digest) }
            }
            Self { repository, tag, .. } => {
                let tag = tag.unwrap_or_else(|| "latest".to_owned());
                Self { repository, tag: Some(tag), digest: None }
            }
        }
    }

    /// The registry.
    #[must_use]
    pub fn host(&self) -> &str {
        self.repository.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Registry and path: docker's own for a name whose first part is no host.
fn in_two(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (HUB, path),
        Some((host, path)) if looks_like_host(host) => (host, path),
        _ => (HUB, name),
    }
}

fn looks_like_host(part: &str) -> bool {
    let upper = |b: u8| b.is_ascii_uppercase();
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(upper)
}

fn is_host(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        let address_is_right = address.parse::<std::net::Ipv6Addr>().is_ok();
        return address_is_right
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty()
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Words of lower-case letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let between =
        |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    let ends = part.bytes().next().is_some_and(word) && part.bytes().last().is_some_and(word);
    ends && part.split(|c: char| c.is_ascii() && word(c as u8)).all(between)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = tag.bytes().next().is_some_and(word);
    first && tag.len() <= MAX_TAG && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_usual_is_filled_in() {
        for (typed, whole) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("docker.io/busybox:1", "docker.io/library/busybox:1"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("127.0.0.1:5000/a/b__c-d.e:V_1", "127.0.0.1:5000/a/b__c-d.e:V_1"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("Host/x", "Host/x:latest"),
        ] {
            let exact = Reference::parse(typed).unwrap().exact();
            assert_eq!(exact.to_string(), whole);
            assert_eq!(Reference::parse(whole).unwrap(), exact, "{whole} is whole");
        }
        assert_eq!(Reference::parse("[::1]:5000/x:1").unwrap().host(), "[::1]:5000");
        assert_eq!(Reference::parse("busybox").unwrap().tag, None);
    }

    #[test]
    fn a_digest_stands_for_a_tag() {
        let both = Reference::parse(&format!("busybox:1@{DIGEST}")).unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/busybox:1@{DIGEST}"));
        assert_eq!(both.exact().to_string(), format!("docker.io/library/busybox@{DIGEST}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a/".repeat(200) + "b";
        for typed in [
            "",
            "/",
            "a//b",
            "a:",
            "a:b c",
            "a@sha256:12",
            "../etc",
            "a..b/c",
            "-h.x/a",
            "h.x:y/a",
            "[::1/a",
            "[x]/a",
            "a/b_-c",
            "é",
            "a\n",
            "a/é",
            "a:é",
            &long,
        ] {
            assert!(Reference::parse(typed).is_err(), "{typed:?}");
        }
        let said = |typed: &str| Reference::parse(typed).unwrap_err();
        assert!(said("Busybox").ends_with("must be lowercase"));
        assert!(said(&DIGEST[7..]).contains("64-byte hexadecimal"));
    }
}
