//! What addresses carry is a secret of some registries: it is told to nobody.

/// The same text, with the values of all query parameters of addresses in it left out.
pub(super) fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["http://", "https://"].iter().filter_map(|scheme| rest.find(scheme)).min()
    {
        redacted.push_str(&rest[..at]);
        rest = &rest[at..];
        let is_end = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>\\".contains(c);
        let url = &rest[..rest.find(is_end).unwrap_or(rest.len())];
        // What ends a sentence or a part of a message is not the address's.
        let url = url.trim_end_matches([':', ',', ';', '.', ')']);
        rest = &rest[url.len()..];
        let (path, query) =
            url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        redacted.push_str(path);
        for (at, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            redacted.push(if at == 0 { '?' } else { '&' });
            let (name, _) = parameter.split_once('=').unwrap_or(("", parameter));
            redacted.push_str(name);
            redacted.push_str(if name.is_empty() { "[REDACTED]" } else { "=[REDACTED]" });
        }
    }
    redacted + rest
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn values_of_parameters_are_left_out() {
        for (text, redacted) in [
            ("", ""),
            ("no address? a=b", "no address? a=b"),
            ("GET https://h.x/p: 404", "GET https://h.x/p: 404"),
            (
                "x \"https://h.x/p?token=s&sig=a%20b\": y http://i.y?q=1, z",
                "x \"https://h.x/p?token=[REDACTED]&sig=[REDACTED]\": y http://i.y?q=[REDACTED], z",
            ),
            ("https://h.x/p?secret", "https://h.x/p?[REDACTED]"),
            ("é http://é?é=é", "é http://é?é=[REDACTED]"),
            ("http://a?b=http://c?d=e", "http://a?b=[REDACTED]"),
        ] {
            assert_eq!(redact(text), redacted);
        }
    }
}
