//! Sizes of a terminal: JSON objects, one after another.

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::Size;
use crate::channel::Input;

/// Bytes that one size may have.
const MOST: usize = 1024;

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

/// Passes sizes on until the client ends, or says something else: then the rest is dropped.
pub(super) async fn pass_on(mut input: Input, sizes: watch::Sender<Option<Size>>) {
    let mut buffer = Vec::new();
    let mut chunk = [0; MOST];
    while let Ok(read @ 1..) = input.read(&mut chunk).await {
        buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let Some(used) = parse(&buffer, &sizes) else { return };
        buffer.drain(..used);
        if buffer.len() >= MOST {
            return;
        }
    }
}

/// Tells of all whole sizes; returns how many bytes they took, or none if it is no JSON of a size.
fn parse(bytes: &[u8], sizes: &watch::Sender<Option<Size>>) -> Option<usize> {
    let mut told = serde_json::Deserializer::from_slice(bytes).into_iter::<Told>();
    loop {
        let used = told.byte_offset();
        match told.next() {
            // A terminal of no size is one that is not known.
            Some(Ok(Told { width: 0, .. } | Told { height: 0, .. })) => {}
            Some(Ok(Told { width, height })) => {
                sizes.send_replace(Some(Size { width, height }));
            }
            Some(Err(failure)) if failure.is_eof() => return Some(used),
            Some(Err(_)) => return None,
            None => return Some(bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Link;

    async fn last_of(parts: &[&[u8]]) -> Option<Size> {
        let (link, _queue) = Link::new();
        let (mut feed, input, _output) = link.open(1);
        let (sizes, last) = watch::channel(None);
        let feeding = async {
            for part in parts {
                feed.push(part).await;
            }
            feed.end();
        };
        tokio::join!(pass_on(input, sizes), feeding);
        *last.borrow()
    }

    #[tokio::test]
    async fn the_last_whole_size_counts() {
        let sized = |width, height| Some(Size { width, height });
        assert_eq!(
            last_of(&[b"{\"Width\":80,\"Height\":24}\n{\"Wid", b"th\":81,\"Height\":25}"]).await,
            sized(81, 25)
        );
        assert_eq!(
            last_of(&[b"{\"Width\":80,\"Height\":24}{\"Width\":0,\"Height\":3}"]).await,
            sized(80, 24)
        );
        assert_eq!(
            last_of(&[b"{\"Width\":80,\"Height\":24}garbage{\"Width\":1,\"Height\":3}"]).await,
            sized(80, 24)
        );
        assert_eq!(last_of(&[b"{\"Width\":70000,\"Height\":24}"]).await, None);
        assert_eq!(last_of(&[&[b' '; 100_000]]).await, None);
        assert_eq!(last_of(&[&[b'['; 100_000]]).await, None);
    }
}
