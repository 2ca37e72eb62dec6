//! A block of headers as HPACK writes it (RFC 7541, section 6): where the `:authority` stands in it.

use std::borrow::Cow;

use super::huffman;

/// The pseudo-header, and its place in the static table.
const NAME: &[u8] = b":authority";
const INDEX: usize = 1;
/// A longer string is not looked at.
const LONGEST: usize = 1 << 10;

/// The block with an authority that fits, of the same length. None if it has one that fits, or none
/// that can be changed, or is not understood.
pub fn renamed(block: &[u8], fits: fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let mut reader = Reader { block, at: 0 };
    loop {
        // An indexed field, literals that go into the dynamic table, a new size of that table, and
        // literals that do not go into it.
        let (bits, literal) = match reader.block.get(reader.at)? {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let index = reader.integer(bits)?;
        if !literal {
            continue;
        }
        let is_it = index == INDEX
            || (index == 0 && reader.text()?.decoded().is_some_and(|name| *name == *NAME));
        let start = reader.at;
        let value = reader.text()?;
        if !is_it {
            continue;
        }
        let name = value.decoded()?;
        if name.is_empty() || fits(&name) {
            return None;
        }
        let mut renamed = block[..start].to_vec();
        put_length(&mut renamed, name.len());
        renamed.extend(name.iter().map(|c| if c.is_ascii_alphanumeric() { *c } else { b'-' }));
        renamed.extend_from_slice(&block[reader.at..]);
        return Some(renamed);
    }
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

struct Text<'a> {
    compressed: bool,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// An integer that begins with the low bits of a byte (section 5.1). None beyond 28 bits more.
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let most = (1 << bits) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            value += (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A string (section 5.2).
    fn text(&mut self) -> Option<Text<'a>> {
        let compressed = *self.block.get(self.at)? >= 0x80;
        let length = self.integer(7)?;
        let bytes = self.block.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(Text { compressed, bytes })
    }
}

impl<'a> Text<'a> {
    fn decoded(&self) -> Option<Cow<'a, [u8]>> {
        if self.bytes.len() > LONGEST {
            None
        } else if self.compressed {
            huffman::decode(self.bytes).map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(self.bytes))
        }
    }
}

/// The length of a string that is not compressed.
fn put_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(0x7f) else {
        // Less than seven bits hold.
        return block.extend(u8::try_from(length));
    };
    block.push(0x7f);
    while rest >= 0x80 {
        block.extend(u8::try_from(rest & 0x7f | 0x80));
        rest >>= 7;
    }
    block.extend(u8::try_from(rest));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for length in [0, 1, 126, 127, 128, 254, 255, 256, 16_000, 1 << 20] {
            let mut block = Vec::new();
            put_length(&mut block, length);
            let mut reader = Reader { block: &block, at: 0 };
            assert_eq!(reader.integer(7), Some(length));
            assert_eq!(reader.at, block.len());
        }
    }

    #[test]
    fn a_name_is_found_however_it_is_written() {
        let huffman = [&[0x88, 0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f][..]].concat();
        for literal in [0x40, 0x10, 0x00] {
            let named = [&[literal, 10][..], NAME].concat();
            let compressed = [&[literal][..], &huffman].concat();
            for head in [vec![literal | 1], named, compressed] {
                // Before it an indexed field, a new size, and a literal of another name.
                let before = [&[0x83, 0x3f, 0xe1, 0x1f, 0x44, 2, b'/', b'x'][..], &head].concat();
                let bad = [&before[..], &[4], b"/a.b", &[0x86]].concat();
                let good = [&before[..], &[4], b"-a-b", &[0x86]].concat();
                assert_eq!(renamed(&bad, |_| false), Some(good), "{literal:x} {head:x?}");
                assert_eq!(renamed(&bad, |_| true), None);
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_left_alone() {
        let block = [&[0x41, 0x7f, 74][..], &[b'/'; 200]].concat();
        assert!(renamed(&block, |_| false).is_none());
        let block = [&[0x41, 0x7f, 73][..], &[b'/'; 200]].concat();
        assert!(renamed(&block, |_| false).is_some());
        for end in 0..block.len() {
            assert!(renamed(&block[..end], |_| false).is_none());
        }
    }
}
