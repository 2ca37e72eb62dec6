//! HPACK's compression of strings (RFC 7541, appendix B), as far as reading goes.

use std::sync::LazyLock;

/// How many bits stand for each byte. The code is canonical: those of equal length count up in the
/// order of the bytes, and longer ones go on from there. The end, 30 ones, stands for nothing.
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LONGEST: usize = 30;

/// By length: the first code, and the bytes in the order of their codes.
type Codes = [(u32, Vec<u8>); LONGEST + 1];

static CODES: LazyLock<Codes> = LazyLock::new(|| {
    let mut code = 0;
    std::array::from_fn(|bits| {
        let of_length = |byte: &u8| usize::from(BITS[usize::from(*byte)]) == bits;
        let bytes: Vec<u8> = (0..=u8::MAX).filter(of_length).collect();
        code <<= 1;
        let first = code;
        code += u32::try_from(bytes.len()).unwrap_or_default();
        (first, bytes)
    })
});

/// The bytes of a string. None if it is not one.
pub fn decode(compressed: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(compressed.len() * 8 / 5);
    let (mut code, mut bits) = (0_u32, 0);
    for bit in compressed.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        code = code << 1 | u32::from(bit);
        bits += 1;
        let (first, bytes) = CODES.get(bits)?;
        let byte = code.checked_sub(*first).and_then(|at| bytes.get(at as usize));
        if let Some(byte) = byte {
            decoded.push(*byte);
            (code, bits) = (0, 0);
        }
    }
    // Up to the end of the byte there are ones.
    (bits < 8 && code + 1 == 1 << bits).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of RFC 7541, appendix C.
    #[test]
    fn the_examples_are_read() {
        for (text, compressed) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("302", "6402"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            ("gzip", "9bd9ab"),
        ] {
            let pairs = (0..compressed.len()).step_by(2);
            let bytes: Vec<u8> = pairs
                .map(|at| u8::from_str_radix(&compressed[at..at + 2], 16).expect("a byte"))
                .collect();
            assert_eq!(decode(&bytes).as_deref(), Some(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_codes_are_complete() {
        let (first, bytes) = &CODES[LONGEST];
        let end = first + u32::try_from(bytes.len()).expect("few");
        assert_eq!(end, (1 << LONGEST) - 1, "the end's own code is what is left");
    }

    #[test]
    fn what_is_no_string_is_not_read() {
        assert_eq!(decode(&[0xff; 4]), None, "the end");
        assert_eq!(decode(&[0xff]), None, "a whole byte of padding");
        assert_eq!(decode(&[0x00]), None, "padding of zeros");
        assert_eq!(decode(&[]).as_deref(), Some(&[][..]));
    }
}
