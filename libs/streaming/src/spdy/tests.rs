use std::io::Write;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;

use super::dictionary::dictionary;
use super::frame::{self, Control, Fault, HEAD, Head};
use super::headers::{Empty, Headers};
use super::inflate::{Inflate, MOST};

fn block(headers: &[(String, String)]) -> Vec<u8> {
    let mut bytes = (headers.len() as u32).to_be_bytes().to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        bytes.write_all(&(text.len() as u32).to_be_bytes()).unwrap();
        bytes.write_all(text.as_bytes()).unwrap();
    }
    bytes
}

fn packer() -> Compress {
    let mut packer = Compress::new(Compression::best(), true);
    packer.set_dictionary(&dictionary()).unwrap();
    packer
}

fn pack(packer: &mut Compress, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(bytes.len() + 1024);
    packer.compress_vec(bytes, &mut packed, FlushCompress::Sync).unwrap();
    packed
}

proptest! {
    #[test]
    fn blocks_of_one_stream_unpack(
        blocks in prop::collection::vec(prop::collection::vec(("[a-z-]{1,20}", ".{0,50}"), 0..20), 1..8),
    ) {
        let (mut packer, mut inflate) = (packer(), Inflate::new());
        for headers in blocks {
            let unpacked = inflate.block(&pack(&mut packer, &block(&headers))).unwrap();
            let parsed = Headers::parse(&unpacked).unwrap();
            if let Some((name, value)) = headers.first() {
                let first = value.split('\0').next().filter(|value| !value.is_empty());
                prop_assert_eq!(parsed.get(&name.to_uppercase()), first);
            }
        }
    }

    #[test]
    fn heads_are_read_as_written(stream in 0u32..1 << 31, end: bool, length in 0usize..1 << 24) {
        let head = Head::Data { stream, end, length };
        prop_assert_eq!(Head::parse(head.bytes()), Ok(head));
        let head = Head::Control { kind: (stream & 0xffff) as u16, flags: 3, length: length % 16384 };
        prop_assert_eq!(Head::parse(head.bytes()), Ok(head));
    }

    #[test]
    fn nothing_that_arrives_panics(head: [u8; HEAD], kind in 0u16..12, flags: u8, body: Vec<u8>) {
        let _ = Head::parse(head);
        let _ = Control::parse(kind, flags, &body);
        let _ = Inflate::new().block(&body);
        let _ = Headers::parse(&body);
    }
}

#[test]
fn our_own_frames_parse() {
    let parse = |bytes: &[u8]| {
        let (head, body) = bytes.split_at(HEAD);
        let Head::Control { kind, flags, length } = Head::parse(head.try_into().unwrap()).unwrap()
        else {
            panic!("a control frame")
        };
        assert_eq!(length, body.len());
        format!("{:?}", Control::parse(kind, flags, body).unwrap())
    };
    assert_eq!(parse(&frame::ping(7)), "Ping(7)");
    assert_eq!(parse(&frame::reset(7, 5)), "Reset { stream: 7 }");
    assert_eq!(parse(&frame::go_away(7, 0)), "GoAway");
    assert_eq!(parse(&frame::widen(7, 9)), "Widen { stream: 7, bytes: 9 }");
}

#[test]
fn a_reply_has_no_headers_for_any_zlib() {
    let (mut empty, mut reader) = (Empty::default(), Decompress::new(true));
    for round in 0..3 {
        let packed = empty.next();
        let mut unpacked = Vec::with_capacity(100);
        let mut read = 0;
        if round == 0 {
            let failure =
                reader.decompress_vec(&packed, &mut unpacked, FlushDecompress::Sync).unwrap_err();
            assert_eq!(failure.needs_dictionary(), Some(super::dictionary::CHECKSUM));
            read = reader.total_in() as usize;
            reader.set_dictionary(&dictionary()).unwrap();
        }
        reader.decompress_vec(&packed[read..], &mut unpacked, FlushDecompress::Sync).unwrap();
        assert_eq!(unpacked, [0; 4]);
    }
}

#[test]
fn a_bomb_is_refused() {
    let packed = pack(&mut packer(), &vec![b'a'; 10 << 20]);
    assert!(packed.len() < frame::MOST_CONTROL, "it is one that passes as a frame");
    assert_eq!(Inflate::new().block(&packed), Err(Fault::LargeBlock));
    let most = pack(&mut packer(), &[b'a'; MOST]);
    assert_eq!(Inflate::new().block(&most).unwrap().len(), MOST);
    let more = pack(&mut packer(), &[b'a'; MOST + 1]);
    assert_eq!(Inflate::new().block(&more), Err(Fault::LargeBlock));
}

#[test]
fn blocks_that_are_none_are_refused() {
    assert_eq!(Inflate::new().block(b"garbage"), Err(Fault::Block));
    assert_eq!(Headers::parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']), Err(Fault::Block));
    assert_eq!(Headers::parse(&[0xff; 16]), Err(Fault::LargeBlock));
    assert_eq!(Head::parse([0x80, 2, 0, 1, 0, 0, 0, 0]), Err(Fault::Version(2)));
    assert_eq!(Head::parse([0x80, 3, 0, 1, 0, 0, 0x40, 1]), Err(Fault::TooLarge(16385)));
}
