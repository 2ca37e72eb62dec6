//! Names of devices.

/// Whether this is `VENDOR/CLASS=NAME`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else { return false };
    is_kind(kind) && is_device(name)
}

/// Whether this is `VENDOR/CLASS`.
pub(crate) fn is_kind(text: &str) -> bool {
    let Some((vendor, class)) = text.split_once('/') else { return false };
    let is_part = |text: &str| is(text, |byte| byte.is_ascii_alphabetic(), b"-_.");
    is_part(vendor) && is_part(class)
}

/// Whether this is the last part of a name.
pub(crate) fn is_device(text: &str) -> bool {
    is(text, |byte| byte.is_ascii_alphanumeric(), b"-_.:")
}

/// Letters and digits, and within them these signs.
fn is(text: &str, first: fn(u8) -> bool, more: &[u8]) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| first(*byte))
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || more.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_three_parts() {
        for name in ["v.com/gpu=0", "a/b=c", "a-b.c/d_e.f=0:1.2-x", "V/C=N"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "", "a", "a/b", "a/b=", "/b=c", "a/=c", "1/b=c", "a/b=c=d/", "a/b=-", "a/b/c=d",
            "ä/b=c",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
