//! The walk from header to header.

use std::io::BufRead;

use super::pax::Pax;
use super::{BLOCK, Entry, Failure, Kind, Mtime, sparse};
use crate::layer::Limits;

/// An archive being read. After [`TarReader::next_entry`] the entry's data can be taken with
/// [`TarReader::data`]; what is not taken is skipped.
pub struct TarReader<R> {
    input: R,
    /// Data bytes of the current entry not taken yet.
    left: u64,
    /// Padding after them.
    padding: u64,
    extension_bound: u64,
}

/// How many headers may come before one entry; writers make three at most.
const MOST_PRECEDING: usize = 32;

/// Headers about the entry that follows them.
#[derive(Default)]
struct Preceding {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: BufRead> TarReader<R> {
    /// Reads an archive from its start.
    pub fn new(input: R, limits: &Limits) -> Self {
        Self { input, left: 0, padding: 0, extension_bound: limits.extension }
    }

    /// The next entry; none at the end-of-archive mark or the end of the input.
    ///
    /// # Errors
    /// Any [`Failure`]; the reader is of no use afterwards.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Failure> {
        let mut preceding = Preceding::default();
        for _ in 0..=MOST_PRECEDING {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                let alone = preceding.name.is_some() || preceding.pax.is_some();
                return if alone { Err(Failure::Truncated) } else { Ok(None) };
            };
            match header.entry_type().as_byte() {
                b'L' => preceding.name = Some(until_nul(self.extension(&header)?)),
                b'K' => preceding.link = Some(until_nul(self.extension(&header)?)),
                b'x' | b'X' => preceding.pax = Some(Pax::parse(&self.extension(&header)?)?),
                // Global records say nothing that matters for extraction.
                b'g' => drop(self.extension(&header)?),
                _ => return self.entry(&header, preceding).map(Some),
            }
        }
        Err(Failure::Malformed("too many headers describe one entry"))
    }

    /// Some of the current entry's data, empty when all was taken. Tell with
    /// [`TarReader::consume`] how much of it was used.
    ///
    /// # Errors
    /// [`Failure::Truncated`] or [`Failure::Read`].
    pub fn data(&mut self) -> Result<&[u8], Failure> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let buffer = self.input.fill_buf()?;
        if buffer.is_empty() {
            return Err(Failure::Truncated);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&buffer[..buffer.len().min(most)])
    }

    /// Takes `length` bytes of what [`TarReader::data`] gave.
    pub fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.left -= length as u64;
    }

    /// The input, at the end of the archive.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn skip_rest(&mut self) -> Result<(), Failure> {
        self.left += std::mem::take(&mut self.padding);
        loop {
            let length = self.data()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }

    /// A header whose checksum is right, or none at the end.
    fn header(&mut self) -> Result<Option<tar::Header>, Failure> {
        let mut header = tar::Header::new_old();
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.input.read_exact(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let stated = header.cksum().map_err(|_| Failure::Malformed("no tar header"))?;
        let others = || bytes[..148].iter().chain(&bytes[156..]);
        let unsigned: u32 = others().map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        let signed: i32 = others().map(|b| i32::from(b.cast_signed())).sum::<i32>() + 8 * 32;
        if stated != unsigned && i64::from(stated) != i64::from(signed) {
            return Err(Failure::Malformed("a tar header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// The data of a header that describes the next one.
    fn extension(&mut self, header: &tar::Header) -> Result<Vec<u8>, Failure> {
        let size = stated_size(header)?;
        if size > self.extension_bound {
            return Err(Failure::Extension(size));
        }
        let mut data = vec![0; usize::try_from(size).map_err(|_| Failure::Extension(size))?];
        self.input.read_exact(&mut data)?;
        self.left = padding(size);
        Ok(data)
    }

    fn entry(&mut self, header: &tar::Header, preceding: Preceding) -> Result<Entry, Failure> {
        let pax = preceding.pax.unwrap_or_default();
        let old_sparse = header.entry_type().as_byte() == b'S';
        let name = pax.sparse.name.clone().or(pax.path).or(preceding.name);
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = kind(header, &name)?;
        let mut entry = Entry {
            kind,
            mode: number32(&header.as_old().mode)? & 0o7777,
            uid: id(pax.uid, &header.as_old().uid)?,
            gid: id(pax.gid, &header.as_old().gid)?,
            mtime: mtime(pax.mtime, header),
            link: pax.link.or(preceding.link).unwrap_or_else(|| {
                header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()
            }),
            device: device(header, kind)?,
            xattrs: pax.xattrs,
            data: 0,
            size: 0,
            extents: None,
            name,
        };
        if kind == Kind::File {
            entry.data = match pax.size {
                Some(size) => size,
                None => stated_size(header)?,
            };
            self.left = entry.data;
            self.padding = padding(entry.data);
            entry.size = entry.data;
            if old_sparse {
                self.old_sparse(header, &mut entry)?;
            } else {
                self.pax_sparse(&pax.sparse, &mut entry)?;
            }
        }
        Ok(entry)
    }

    fn old_sparse(&mut self, header: &tar::Header, entry: &mut Entry) -> Result<(), Failure> {
        let gnu = header.as_gnu().ok_or(Failure::Malformed("a sparse file without GNU header"))?;
        let extents = sparse::read_old(gnu, &mut self.input, self.extension_bound)?;
        entry.size = field(gnu.real_size())?;
        sparse::check(&extents, entry.size, entry.data)?;
        entry.extents = Some(extents);
        Ok(())
    }

    fn pax_sparse(&mut self, map: &sparse::Map, entry: &mut Entry) -> Result<(), Failure> {
        let extents = if map.in_data() {
            let (extents, read) =
                sparse::read_map(&mut self.input, entry.data, self.extension_bound)?;
            self.left -= read;
            entry.data -= read;
            Some(extents)
        } else {
            map.extents()?
        };
        if let Some(extents) = extents {
            entry.size = map.size.ok_or(Failure::Malformed("a sparse file without its size"))?;
            sparse::check(&extents, entry.size, entry.data)?;
            entry.extents = Some(extents);
        }
        Ok(())
    }
}

fn kind(header: &tar::Header, name: &[u8]) -> Result<Kind, Failure> {
    Ok(match header.entry_type().as_byte() {
        // Before POSIX a directory was a file with a slash at its name's end.
        0 | b'0' if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return Err(Failure::Malformed("an entry is of an unknown type")),
    })
}

fn field<T>(value: std::io::Result<T>) -> Result<T, Failure> {
    value.map_err(|_| Failure::Malformed("a header field is no number"))
}

/// A field's number: octal digits between blanks and NULs, or base 256 behind a set first bit. An
/// empty field is 0: many writers leave what they do not use empty.
fn number(field: &[u8]) -> Result<u64, Failure> {
    let wrong = Failure::Malformed("a header field is no number");
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        // The first bit marks the form, the second is the sign.
        let high_is_zero = match high.split_first() {
            Some((first, rest)) => first & 0x7f == 0 && rest.iter().all(|b| *b == 0),
            None => low[0] & 0x7f == 0,
        };
        if !high_is_zero {
            return Err(wrong);
        }
        let marked = high.is_empty();
        return Ok(low.iter().enumerate().fold(0, |sum, (n, byte)| {
            let byte = if marked && n == 0 { byte & 0x7f } else { *byte };
            (sum << 8) | u64::from(byte)
        }));
    }
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'7' => sum
            .checked_mul(8)
            .map(|sum| sum + u64::from(digit - b'0'))
            .ok_or(Failure::Malformed("a header field is no number")),
        _ => Err(Failure::Malformed("a header field is no number")),
    })
}

fn number32(field: &[u8]) -> Result<u32, Failure> {
    let number = number(field)?;
    u32::try_from(number).map_err(|_| Failure::Malformed("a header field has more than 32 bits"))
}

fn stated_size(header: &tar::Header) -> Result<u64, Failure> {
    let size = number(&header.as_old().size)?;
    // Room for the padding, and no sum of two overflows.
    if size > i64::MAX as u64 {
        return Err(Failure::Malformed("an entry's size is negative"));
    }
    Ok(size)
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn id(pax: Option<u64>, header: &[u8]) -> Result<u32, Failure> {
    let id = match pax {
        Some(id) => id,
        None => number(header)?,
    };
    u32::try_from(id).map_err(|_| Failure::Malformed("an owner's number has more than 32 bits"))
}

fn mtime(pax: Option<Mtime>, header: &tar::Header) -> Mtime {
    pax.unwrap_or_else(|| {
        // A time that is no number is no reason to refuse a layer.
        let seconds = number(&header.as_old().mtime).unwrap_or(0);
        Mtime { seconds: i64::try_from(seconds).unwrap_or(0), nanos: 0 }
    })
}

fn device(header: &tar::Header, kind: Kind) -> Result<(u32, u32), Failure> {
    if !matches!(kind, Kind::Character | Kind::Block) {
        return Ok((0, 0));
    }
    // Where USTAR and GNU have them.
    let bytes = header.as_bytes();
    Ok((number32(&bytes[329..337])?, number32(&bytes[337..345])?))
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|b| *b == 0) {
        name.truncate(end);
    }
    name
}
