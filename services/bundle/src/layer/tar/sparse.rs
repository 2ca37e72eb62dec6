//! Sparse files: GNU's old header and the three PAX forms (0.0, 0.1, 1.0).

use std::io::{BufRead, Read};

use super::decimal::number;
use super::{BLOCK, Extent, Failure};

/// What PAX records say of a sparse file.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub name: Option<Vec<u8>>,
    pub size: Option<u64>,
    major: Option<u64>,
    numbers: Vec<u64>,
    in_records: bool,
}

const WRONG: Failure = Failure::Malformed("a sparse file's map is out of order or too long");

impl Map {
    /// Takes one record, its key without `GNU.sparse.`.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        match key {
            b"major" => self.major = Some(number(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"numblocks" => self.in_records = true,
            b"offset" | b"numbytes" => self.numbers.push(number(value)?),
            b"map" => {
                self.in_records = true;
                self.numbers = value.split(|b| *b == b',').map(number).collect::<Result<_, _>>()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the map is at the start of the entry's data (form 1.0).
    pub(super) fn in_data(&self) -> bool {
        self.major == Some(1)
    }

    /// The extents, if the records hold a map (forms 0.0 and 0.1).
    pub(super) fn extents(&self) -> Result<Option<Vec<Extent>>, Failure> {
        if !self.in_records {
            return Ok(None);
        }
        pairs(&self.numbers).map(Some)
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Extent>, Failure> {
    if !numbers.len().is_multiple_of(2) {
        return Err(WRONG);
    }
    Ok(numbers.chunks(2).map(|p| Extent { offset: p[0], length: p[1] }).collect())
}

/// Checks that extents are in order, inside a file of `size` bytes and hold `data` bytes.
pub(super) fn check(extents: &[Extent], size: u64, data: u64) -> Result<(), Failure> {
    let mut end = 0;
    let mut sum: u64 = 0;
    for extent in extents {
        if extent.offset < end {
            return Err(WRONG);
        }
        end = extent.offset.checked_add(extent.length).ok_or(WRONG)?;
        sum = sum.checked_add(extent.length).ok_or(WRONG)?;
    }
    if end > size || sum != data {
        return Err(WRONG);
    }
    Ok(())
}

/// Reads the map of form 1.0: decimal numbers, one a line, padded to whole blocks. Returns the
/// extents and how many bytes were read.
pub(super) fn read_map(
    input: &mut impl BufRead,
    available: u64,
    bound: u64,
) -> Result<(Vec<Extent>, u64), Failure> {
    let mut text = Vec::new();
    let mut block = [0; BLOCK];
    // Counted as it comes: a map may be megabytes long.
    let (mut newlines, mut wanted) = (0, None);
    loop {
        let taken = text.len() as u64;
        if taken + BLOCK as u64 > available {
            return Err(WRONG);
        }
        if taken >= bound {
            return Err(Failure::Extension(taken));
        }
        input.read_exact(&mut block)?;
        text.extend_from_slice(&block);
        newlines += block.iter().filter(|b| **b == b'\n').count();
        let count = match wanted {
            Some(count) => count,
            None => *wanted.insert(count(&block, bound)?),
        };
        if newlines > count {
            let lines = text.split(|b| *b == b'\n').skip(1);
            let numbers = lines.take(count).map(number).collect::<Result<Vec<_>, _>>()?;
            return Ok((pairs(&numbers)?, text.len() as u64));
        }
    }
}

/// How many numbers follow the first, which says how many pairs there are.
fn count(first_block: &[u8], bound: u64) -> Result<usize, Failure> {
    let first = first_block.split(|b| *b == b'\n').next();
    let first = first.filter(|first| first.len() < BLOCK).ok_or(WRONG)?;
    let count = number(first)?.checked_mul(2).ok_or(WRONG)?;
    // Each number takes two bytes at least.
    if count > bound / 2 {
        return Err(Failure::Extension(count));
    }
    usize::try_from(count).map_err(|_| WRONG)
}

/// The map of an old GNU sparse header, its extension blocks read from `input`.
pub(super) fn read_old(
    header: &tar::GnuHeader,
    input: &mut impl Read,
    bound: u64,
) -> Result<Vec<Extent>, Failure> {
    let mut extents = Vec::new();
    let mut take = |blocks: &[tar::GnuSparseHeader]| -> Result<(), Failure> {
        for block in blocks.iter().filter(|b| !b.is_empty()) {
            let offset = block.offset().map_err(|_| WRONG)?;
            extents.push(Extent { offset, length: block.length().map_err(|_| WRONG)? });
        }
        Ok(())
    };
    take(&header.sparse)?;
    let mut more = header.is_extended();
    let mut read: u64 = 0;
    while more {
        read += BLOCK as u64;
        if read > bound {
            return Err(Failure::Extension(read));
        }
        let mut extension = tar::GnuExtSparseHeader::new();
        input.read_exact(extension.as_mut_bytes())?;
        take(extension.sparse())?;
        more = extension.is_extended();
    }
    Ok(extents)
}
