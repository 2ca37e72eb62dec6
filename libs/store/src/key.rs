//! Keys made of strings, in bytes that sort as the strings do.
//!
//! Parts are joined by a NUL, `namespace NUL id`. A NUL inside a part is written as `NUL FF`; FF
//! occurs in no UTF-8 text, so that no two keys are written alike and a shorter part sorts first.

const SEPARATOR: u8 = 0;
pub(crate) const ESCAPE: u8 = 0xff;

/// A table's key: [`String`] or a tuple of two or three.
pub trait Key: Sized {
    /// Takes the parts back; `None` when the bytes are not of this key.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Anything that names a key of type `K` by reference: `&("default", "web")` for two strings.
pub trait KeyRef<K> {
    /// Writes the key's bytes.
    fn encode(&self) -> Vec<u8>;
}

/// The leading parts of a key of type `K`: `()` for all records, `("default",)` for one namespace.
pub trait Prefix<K> {
    /// Writes the bytes that all such keys begin with.
    fn encode(&self) -> Vec<u8>;
}

fn push(out: &mut Vec<u8>, part: &str) {
    for byte in part.bytes() {
        out.push(byte);
        if byte == SEPARATOR {
            out.push(ESCAPE);
        }
    }
}

fn join(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len() + 1).sum());
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push(SEPARATOR);
        }
        push(&mut out, part);
    }
    out
}

fn lead(parts: &[&str]) -> Vec<u8> {
    let mut out = join(parts);
    out.push(SEPARATOR);
    out
}

fn split<const N: usize>(bytes: &[u8]) -> Option<[String; N]> {
    let mut parts = vec![Vec::new()];
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte == SEPARATOR && rest.next_if_eq(&ESCAPE).is_none() {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
    }
    let texts: Vec<String> =
        parts.into_iter().map(String::from_utf8).collect::<Result<_, _>>().ok()?;
    texts.try_into().ok()
}

impl Key for String {
    fn decode(bytes: &[u8]) -> Option<Self> {
        split::<1>(bytes).map(|[only]| only)
    }
}

impl Key for (String, String) {
    fn decode(bytes: &[u8]) -> Option<Self> {
        split::<2>(bytes).map(Into::into)
    }
}

impl Key for (String, String, String) {
    fn decode(bytes: &[u8]) -> Option<Self> {
        split::<3>(bytes).map(Into::into)
    }
}

impl<A: AsRef<str> + ?Sized> KeyRef<String> for A {
    fn encode(&self) -> Vec<u8> {
        join(&[self.as_ref()])
    }
}

impl<A: AsRef<str>, B: AsRef<str>> KeyRef<(String, String)> for (A, B) {
    fn encode(&self) -> Vec<u8> {
        join(&[self.0.as_ref(), self.1.as_ref()])
    }
}

impl<A: AsRef<str>, B: AsRef<str>, C: AsRef<str>> KeyRef<(String, String, String)> for (A, B, C) {
    fn encode(&self) -> Vec<u8> {
        join(&[self.0.as_ref(), self.1.as_ref(), self.2.as_ref()])
    }
}

impl<K> Prefix<K> for () {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl<A: AsRef<str>> Prefix<(String, String)> for (A,) {
    fn encode(&self) -> Vec<u8> {
        lead(&[self.0.as_ref()])
    }
}

impl<A: AsRef<str>> Prefix<(String, String, String)> for (A,) {
    fn encode(&self) -> Vec<u8> {
        lead(&[self.0.as_ref()])
    }
}

impl<A: AsRef<str>, B: AsRef<str>> Prefix<(String, String, String)> for (A, B) {
    fn encode(&self) -> Vec<u8> {
        lead(&[self.0.as_ref(), self.1.as_ref()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pair = (String, String);

    proptest! {
        #[test]
        fn pairs_come_back_and_sort_as_their_parts(
            a in "[\u{0}a-c\u{1}é]{0,4}", b in "[\u{0}a-c]{0,4}",
            c in "[\u{0}a-c\u{1}é]{0,4}", d in "[\u{0}a-c]{0,4}",
        ) {
            let (left, right) = ((a.clone(), b.clone()), (c.clone(), d.clone()));
            let (x, y) = (KeyRef::<Pair>::encode(&left), KeyRef::<Pair>::encode(&right));
            prop_assert_eq!(Pair::decode(&x), Some(left.clone()));
            prop_assert_eq!(x == y, left == right);
            // Exactly the keys with this first part begin with its prefix.
            let prefix = Prefix::<Pair>::encode(&(a.as_str(),));
            let inside = y.starts_with(&prefix) && !y[prefix.len()..].starts_with(&[ESCAPE]);
            prop_assert_eq!(inside, a == c);
        }
    }

    #[test]
    fn keys_of_another_shape_are_refused() {
        let pair = KeyRef::<Pair>::encode(&("a", "b"));
        assert_eq!(String::decode(&pair), None);
        assert_eq!(<(String, String, String)>::decode(&pair), None);
        assert_eq!(Pair::decode(&[0xff, 0, 0x61]), None);
    }
}
