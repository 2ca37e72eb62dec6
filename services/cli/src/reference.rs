//! Names of images, as typed and as stored.
//!
//! Stored names are whole: `docker.io/library/busybox:latest`. People leave out what is usual.

use anyhow::{Result, bail};

const HUB: &str = "docker.io";

/// The longest name, without tag and digest (OCI distribution specification).
const MAX_NAME: usize = 255;

/// The whole name of what was typed: with a registry, and with a tag unless it has a digest.
pub fn normalise(typed: &str) -> Result<String> {
    let (rest, digest) = match typed.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (typed, None),
    };
    // A colon before the last slash belongs to a registry's port.
    let name_at = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[name_at..].split_once(':') {
        Some((last, tag)) => (&rest[..name_at + last.len()], Some(tag)),
        None => (rest, None),
    };
    let name = with_registry(name);
    let path = name.split_once('/').map_or("", |(_, path)| path);
    if let Some(what) = wrong(&name, path, tag, digest) {
        bail!("image name {typed:?}: {what}, see NAME[:TAG][@DIGEST]");
    }
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => format!("{name}:{tag}@{digest}"),
        (None, Some(digest)) => format!("{name}@{digest}"),
        (Some(tag), None) => format!("{name}:{tag}"),
        (None, None) => format!("{name}:latest"),
    })
}

/// The registry of a whole name.
pub fn registry(whole: &str) -> &str {
    whole.split('/').next().unwrap_or_default()
}

/// The name as people would type it, for tables.
pub fn familiar(whole: &str) -> &str {
    let rest = whole.strip_prefix("docker.io/").unwrap_or(whole);
    if rest.len() < whole.len() { rest.strip_prefix("library/").unwrap_or(rest) } else { whole }
}

/// Puts Docker's registry before a name whose first part is no host.
fn with_registry(name: &str) -> String {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => with_registry(&format!("{HUB}/{rest}")),
        Some((HUB, rest)) if !rest.contains('/') => format!("{HUB}/library/{rest}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("{HUB}/{name}"),
        None => format!("{HUB}/library/{name}"),
    }
}

/// What is wrong with the parts of a name.
fn wrong(name: &str, path: &str, tag: Option<&str>, digest: Option<&str>) -> Option<String> {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part_ok = |part: &str| {
        let inner = |b: u8| lower(b) || matches!(b, b'.' | b'_' | b'-');
        let ends = part.bytes().next().is_some_and(lower) && part.bytes().last().is_some_and(lower);
        ends && part.bytes().all(inner)
    };
    if name.len() > MAX_NAME {
        return Some(format!("longer than {MAX_NAME} bytes"));
    }
    let host = registry(name);
    if !host.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'[') {
        return Some(format!("{host:?} is no registry"));
    }
    if !path.split('/').all(part_ok) {
        return Some(format!("{path:?} must be lower-case words joined by / . _ or -"));
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let tag_ok = |tag: &str| {
        tag.bytes().next().is_some_and(word)
            && tag.len() <= 128
            && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
    };
    match (tag, digest.map(str::parse::<berth_ids::Digest>)) {
        (Some(tag), _) if !tag_ok(tag) => Some(format!("{tag:?} is no tag")),
        (_, Some(Err(error))) => Some(error.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[rstest]
    #[case("busybox", "docker.io/library/busybox:latest")]
    #[case("busybox:1.36", "docker.io/library/busybox:1.36")]
    #[case("grafana/loki", "docker.io/grafana/loki:latest")]
    #[case("docker.io/busybox", "docker.io/library/busybox:latest")]
    #[case("index.docker.io/busybox", "docker.io/library/busybox:latest")]
    #[case("localhost/x", "localhost/x:latest")]
    #[case("localhost:5000/x", "localhost:5000/x:latest")]
    #[case("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1")]
    #[case("ghcr.io/a/b.c_d-e", "ghcr.io/a/b.c_d-e:latest")]
    fn a_short_name_is_completed(#[case] typed: &str, #[case] whole: &str) {
        assert_eq!(normalise(typed).unwrap(), whole);
        assert_eq!(normalise(whole).unwrap(), whole, "twice is as good as once");
    }

    #[test]
    fn a_digest_stands_for_a_tag() {
        let whole = format!("docker.io/library/busybox@{DIGEST}");
        assert_eq!(normalise(&format!("busybox@{DIGEST}")).unwrap(), whole);
        let both = normalise(&format!("busybox:1@{DIGEST}")).unwrap();
        assert_eq!(both, format!("docker.io/library/busybox:1@{DIGEST}"));
    }

    #[rstest]
    #[case("")]
    #[case("Busybox")]
    #[case("a//b")]
    #[case("busybox:")]
    #[case("busybox:a b")]
    #[case("busybox@sha256:12")]
    #[case("localhost:5000/")]
    #[case("../etc/passwd")]
    fn what_is_no_name_is_refused(#[case] typed: &str) {
        let error = normalise(typed).unwrap_err().to_string();
        assert!(error.contains(&format!("{typed:?}")), "{error}");
    }

    #[test]
    fn familiar_names_are_short() {
        assert_eq!(familiar("docker.io/library/busybox:latest"), "busybox:latest");
        assert_eq!(familiar("docker.io/grafana/loki:1"), "grafana/loki:1");
        assert_eq!(familiar("ghcr.io/library/x:1"), "ghcr.io/library/x:1");
        assert_eq!(registry("localhost:5000/x:1"), "localhost:5000");
    }
}
