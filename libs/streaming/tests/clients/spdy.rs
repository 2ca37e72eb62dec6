//! A client of SPDY that says whatever it is told to, frame by frame.

use std::net::SocketAddr;

use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wanted::soon;

pub const SYN_STREAM: u16 = 1;
pub const SYN_REPLY: u16 = 2;
pub const RST_STREAM: u16 = 3;
pub const PING: u16 = 6;
pub const GOAWAY: u16 = 7;
pub const WINDOW_UPDATE: u16 = 9;

/// A frame: the kind and body of a control frame, or stream, end and bytes of data.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Control(u16, Vec<u8>),
    Data(u32, bool, Vec<u8>),
}

pub struct Client {
    pub io: TcpStream,
    packer: Compress,
}

pub fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// Asks for an upgrade; returns the answer's head.
pub async fn ask(io: &mut TcpStream, path: &str, protocol: &str) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n"
    );
    io.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon("an answer", io.read_u8()).await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

impl Client {
    pub async fn new(address: SocketAddr, path: &str, protocol: &str) -> Self {
        let mut io = TcpStream::connect(address).await.unwrap();
        let answer = ask(&mut io, path, protocol).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // Without the dictionary, as a zlib stream may be.
        Self { io, packer: Compress::new(Compression::best(), true) }
    }

    pub async fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> std::io::Result<()> {
        let mut frame = (0x8003_0000 | u32::from(kind)).to_be_bytes().to_vec();
        frame.extend(((u32::from(flags) << 24) | body.len() as u32).to_be_bytes());
        frame.extend(body);
        self.io.write_all(&frame).await
    }

    pub async fn data(&mut self, stream: u32, end: bool, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(&stream.to_be_bytes()).await?;
        let length = (u32::from(end) << 24) | bytes.len() as u32;
        self.io.write_all(&length.to_be_bytes()).await?;
        self.io.write_all(bytes).await
    }

    pub async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> std::io::Result<()> {
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend((text.len() as u32).to_be_bytes());
            block.extend(text.as_bytes());
        }
        self.open_with(stream, &block).await
    }

    pub async fn open_with(&mut self, stream: u32, block: &[u8]) -> std::io::Result<()> {
        let mut packed = Vec::with_capacity(block.len() + 1024);
        self.packer.compress_vec(block, &mut packed, FlushCompress::Sync).unwrap();
        let mut body = stream.to_be_bytes().to_vec();
        body.extend([0; 6]);
        body.extend(packed);
        self.control(SYN_STREAM, 0, &body).await
    }

    /// The streams of a command without a terminal: 1 error, 3 stdin, 5 stdout, 7 stderr.
    pub async fn command(&mut self) {
        for (stream, name) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
            self.open(stream, &[("streamtype", name)]).await.unwrap();
            match self.next().await {
                Some(Frame::Control(SYN_REPLY, body)) => assert_eq!(word(&body), stream),
                other => panic!("no reply but {other:?}"),
            }
        }
    }

    /// The next frame; none at the end, of whatever sort it is.
    pub async fn next(&mut self) -> Option<Frame> {
        soon("a frame", self.read()).await.ok()
    }

    async fn read(&mut self) -> std::io::Result<Frame> {
        let (first, second) = (self.io.read_u32().await?, self.io.read_u32().await?);
        let mut body = vec![0; (second & 0x00ff_ffff) as usize];
        self.io.read_exact(&mut body).await?;
        Ok(if first & 0x8000_0000 == 0 {
            Frame::Data(first, second >> 24 == 1, body)
        } else {
            Frame::Control(first as u16, body)
        })
    }

    /// All frames to the end of the connection.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}
