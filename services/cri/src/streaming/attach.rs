//! The streams of a container's own process, at the socket that its shim has for those who attach.
//!
//! The shim's words are in its own `io/attach`: a byte of what one takes part in; then frames of a kind, a length of
//! four bytes, and so many bytes.

use std::io;

use berth_streaming::{Asked, Input, Output, Size, Sizes, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::containers::{Container, Containers};
use crate::{Error, Result};

/// The most bytes in a frame.
const MOST: usize = 64 << 10;
/// What one takes part in.
const STDIN: u8 = 1;
const STDOUT: u8 = 2;
const STDERR: u8 = 4;
/// Frames that we send.
const DATA: u8 = 0;
const END_OF_STDIN: u8 = 1;
/// Frames that we are sent.
const TO_STDOUT: u8 = 1;
const TO_STDERR: u8 = 2;
const END: u8 = 3;

/// Leads a client's streams to a container's process, until that has no more output or the client is gone.
///
/// # Errors
/// [`Error::File`] for a socket that is not there; [`Error::Refused`] when the shim breaks off.
pub(super) async fn run(
    containers: &Containers,
    container: &Container,
    asked: Asked,
    streams: Streams,
) -> Result<()> {
    let socket = containers.attach_socket(container);
    let connected =
        UnixStream::connect(&socket).await.map_err(Error::file("attach at", &socket))?;
    let Streams { stdin, stdout, stderr, sizes, gone } = streams;
    let (reader, mut writer) = connected.into_split();
    let parts =
        [(asked.stdin, STDIN), (asked.stdout, STDOUT), (asked.stderr && !asked.tty, STDERR)];
    let flags: u8 = parts.iter().filter(|(is_asked, _)| *is_asked).map(|(_, flag)| flag).sum();
    writer.write_u8(flags).await.map_err(Error::file("attach at", &socket))?;
    let beside = async {
        let input = async {
            // A process that takes no more input may print on.
            let _ = input(stdin, writer).await;
        };
        tokio::join!(input, resize(containers, container, sizes));
        std::future::pending::<()>().await;
    };
    let outputs = async {
        match output(reader, stdout, stderr).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let why = "the shim broke off: its reader was too slow, or it has ended";
                Err(Error::Refused(format!("attach to container {:?}: {why}", container.id())))
            }
            Err(error) => Err(Error::file("read what is printed at", &socket)(error)),
        }
    };
    tokio::select! {
        ended = outputs => ended,
        () = beside => Ok(()),
        () = gone.cancelled() => Ok(()),
    }
}

async fn input(from: Option<Input>, mut to: OwnedWriteHalf) -> io::Result<()> {
    let Some(mut from) = from else {
        // The connection is not to end before the output does.
        std::future::pending::<()>().await;
        return Ok(());
    };
    let mut piece = vec![0; MOST];
    loop {
        let length = from.read(&mut piece).await?;
        let kind = if length == 0 { END_OF_STDIN } else { DATA };
        to.write_u8(kind).await?;
        to.write_u32(u32::try_from(length).unwrap_or_default()).await?;
        to.write_all(&piece[..length]).await?;
        if length == 0 {
            std::future::pending::<()>().await;
        }
    }
}

/// Answers whether the process has told that there is no more.
async fn output(
    mut from: OwnedReadHalf,
    mut stdout: Option<Output>,
    mut stderr: Option<Output>,
) -> io::Result<bool> {
    let mut piece = vec![0; MOST];
    loop {
        let kind = match from.read_u8().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            kind => kind?,
        };
        let length = from.read_u32().await? as usize;
        if length > MOST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {length} bytes"),
            ));
        }
        from.read_exact(&mut piece[..length]).await?;
        let to = match kind {
            TO_STDOUT => &mut stdout,
            TO_STDERR => &mut stderr,
            END => return Ok(true),
            // Newer shims may have more to tell.
            _ => continue,
        };
        if let Some(output) = to
            && output.write_all(&piece[..length]).await.is_err()
        {
            // The client reads this one no more.
            *to = None;
        }
    }
}

async fn resize(containers: &Containers, container: &Container, sizes: Option<Sizes>) {
    let Some(mut sizes) = sizes else { return };
    while let Some(Size { width, height }) = sizes.next().await {
        if let Err(error) = containers.resize(container, width, height).await {
            let error = berth_errors::chain(&error);
            tracing::debug!(id = container.id(), error, "resize a container's terminal");
        }
    }
}
