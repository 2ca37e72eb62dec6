//! Paths as text, made shorter without looking at any file.

/// `path` without empty parts, `.` and what `..` takes back; relative to `/` if it is relative.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("/a//b/./c/", "/a/b/c"),
            ("/a/../../etc/hosts", "/etc/hosts"),
            ("a/b", "/a/b"),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected, "{path}");
        }
    }
}
