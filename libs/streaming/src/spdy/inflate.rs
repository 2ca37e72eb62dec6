//! Unpacking header blocks: one zlib stream for a whole connection, each block bounded.

use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::dictionary;
use super::frame::Fault;

/// Bytes that a block may have when unpacked.
pub(super) const MOST: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Inflate {
    /// Apart: zlib's state is large, and this lies in futures that are moved.
    stream: Box<Decompress>,
}

impl Inflate {
    pub(super) fn new() -> Self {
        Self { stream: Box::new(Decompress::new(true)) }
    }

    /// Unpacks the next block. After a fault there is no next one.
    pub(super) fn block(&mut self, packed: &[u8]) -> Result<Vec<u8>, Fault> {
        // One more, so that a full buffer means too much.
        let mut unpacked = vec![0; MOST + 1];
        let (mut read, mut written) = (0, 0);
        while read < packed.len() {
            let (input, output) = (packed.get(read..), unpacked.get_mut(written..));
            let (input, output) = input.zip(output).ok_or(Fault::LargeBlock)?;
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input, output, FlushDecompress::Sync);
            read += usize::try_from(self.stream.total_in() - before_in).unwrap_or(usize::MAX);
            written += usize::try_from(self.stream.total_out() - before_out).unwrap_or(usize::MAX);
            match status {
                Err(failure) if failure.needs_dictionary().is_some() => {
                    self.stream.set_dictionary(&dictionary()).map_err(|_| Fault::Block)?;
                }
                Ok(Status::Ok | Status::BufError) if written > MOST => {
                    return Err(Fault::LargeBlock);
                }
                Ok(Status::Ok) => {}
                Ok(Status::BufError) if read == packed.len() => {}
                Ok(Status::BufError | Status::StreamEnd) | Err(_) => return Err(Fault::Block),
            }
        }
        unpacked.truncate(written);
        Ok(unpacked)
    }
}
