//! Which names the specification allows. What breaks a rule is told in words that follow the name.

/// The longest interface name that the kernel takes, in bytes.
const MAX_INTERFACE: usize = 15;
/// The longest name of a file.
const MAX_FILE_NAME: usize = 255;

/// Of networks and containers.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let mut letters = name.bytes();
    match letters.next() {
        None => return Err("is empty"),
        Some(first) if !first.is_ascii_alphanumeric() => {
            return Err("does not begin with a letter or digit");
        }
        Some(_) => {}
    }
    if !letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Err("has something else than letters, digits, '_', '.' and '-'");
    }
    if name.len() > MAX_FILE_NAME {
        return Err("is longer than 255 bytes");
    }
    Ok(())
}

/// Of plugins: a file's, in one of the folders of plugins.
pub(crate) fn check_plugin(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("is empty"),
        "." | ".." => Err("is a folder's"),
        _ if name.contains(['/', '\\', '\0']) => Err("has a slash, a backslash or a NUL"),
        _ if name.len() > MAX_FILE_NAME => Err("is longer than 255 bytes"),
        _ => Ok(()),
    }
}

/// Of interfaces.
pub(crate) fn check_interface(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("is empty"),
        "." | ".." => Err("is a folder's"),
        _ if name.len() > MAX_INTERFACE => Err("is longer than 15 bytes"),
        _ if name.contains(|c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace()) => {
            Err("has a slash, a colon, a NUL or white space")
        }
        _ => Ok(()),
    }
}

/// One of `CNI_ARGS`, where `;` is between them and `=` within.
pub(crate) fn check_arg(key: &str, value: &str) -> Result<(), &'static str> {
    if key.is_empty() || key.contains([';', '=', '\0']) {
        return Err("has a key that is empty or has ';', '=' or a NUL");
    }
    if value.contains([';', '\0']) {
        return Err("has a value with ';' or a NUL");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for good in ["a", "0", "net-1_x.y", "A-", "a..b"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "ä", "a\n", "../x"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name(&"x".repeat(256)).is_err());
    }

    #[test]
    fn plugins_and_interfaces_are_plain_names() {
        for bad in ["", ".", "..", "a/b", "/bridge", "a\\b", "a\0"] {
            assert!(check_plugin(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_plugin("win-bridge.exe"), Ok(()));
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\t", "sixteen-bytes-xx"] {
            assert!(check_interface(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_interface("fifteen-bytes-x"), Ok(()));
    }

    #[test]
    fn arguments_cannot_become_others() {
        assert_eq!(check_arg("IP", "10.0.0.1/8=x"), Ok(()));
        for (key, value) in [("", "x"), ("a;b", "x"), ("a=b", "x"), ("a", "x;IP=1"), ("a", "\0")] {
            assert!(check_arg(key, value).is_err(), "{key:?}={value:?}");
        }
    }
}
