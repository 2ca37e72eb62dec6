//! Archives of every form that the reader takes, and of some that it must not.

use std::io::BufRead;

use super::{Entry, Extent, Failure, Kind, TarReader};
use crate::layer::Limits;

fn header(name: &str, kind: u8, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_cksum();
    header
}

fn block(out: &mut Vec<u8>, header: &tar::Header, data: &[u8]) {
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        out.extend_from_slice(format!("{length} {key}=").as_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Failure> {
    let mut reader = TarReader::new(archive, &Limits::default());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        loop {
            let some = reader.data()?.to_vec();
            if some.is_empty() {
                break;
            }
            reader.consume(some.len());
            data.extend_from_slice(&some);
        }
        entries.push((entry, data));
    }
    Ok(entries)
}

#[test]
fn long_names_come_from_the_headers_before() {
    let long = "d/".repeat(100) + "file";
    let mut archive = Vec::new();
    block(&mut archive, &header("x", b'L', long.len() as u64 + 1), format!("{long}\0").as_bytes());
    block(&mut archive, &header("x", b'K', 4), b"to/\0");
    block(&mut archive, &header("short", b'2', 0), b"");
    block(&mut archive, &header("next", b'0', 3), b"abc");
    let entries = read(&archive).unwrap();
    assert_eq!(entries[0].0.name, long.as_bytes());
    assert_eq!((entries[0].0.kind, &*entries[0].0.link), (Kind::Symlink, &b"to/"[..]));
    assert_eq!((&*entries[1].0.name, &*entries[1].1), (&b"next"[..], &b"abc"[..]));
}

#[test]
fn pax_records_override_the_header() {
    let records = pax(&[
        ("path", b"over"),
        ("uid", b"3000000"),
        ("size", b"2"),
        ("mtime", b"7.5"),
        ("SCHILY.xattr.user.x", b"\n\0\n"),
    ]);
    let mut archive = Vec::new();
    block(&mut archive, &header("x", b'x', records.len() as u64), &records);
    block(&mut archive, &header("under", b'0', 0), b"ab");
    let entries = read(&archive).unwrap();
    let (entry, data) = &entries[0];
    assert_eq!(
        (&*entry.name, entry.uid, entry.gid, &**data),
        (&b"over"[..], 3_000_000, 2, &b"ab"[..])
    );
    assert_eq!((entry.mtime.seconds, entry.mtime.nanos), (7, 500_000_000));
    assert_eq!(entry.xattrs, [(b"user.x".to_vec(), b"\n\0\n".to_vec())]);
}

#[test]
fn every_form_of_sparse_file_gives_its_extents() {
    let extents = [Extent { offset: 512, length: 3 }, Extent { offset: 4096, length: 2 }];
    let old_pax = pax(&[
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.size", b"5000"),
        ("GNU.sparse.offset", b"512"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"4096"),
        ("GNU.sparse.numbytes", b"2"),
    ]);
    let middle = pax(&[("GNU.sparse.map", b"512,3,4096,2"), ("GNU.sparse.size", b"5000")]);
    let new = pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"5000"),
    ]);
    let mut map = b"2\n512\n3\n4096\n2\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abcde");
    for (records, data) in [(old_pax, b"abcde".to_vec()), (middle, b"abcde".to_vec()), (new, map)] {
        let mut archive = Vec::new();
        block(&mut archive, &header("x", b'x', records.len() as u64), &records);
        block(&mut archive, &header("s", b'0', data.len() as u64), &data);
        block(&mut archive, &header("after", b'0', 0), b"");
        let entries = read(&archive).unwrap();
        assert_eq!(entries[0].0.extents.as_deref(), Some(&extents[..]));
        assert_eq!((entries[0].0.size, &*entries[0].1), (5000, &b"abcde"[..]));
        assert_eq!(entries[1].0.name, b"after");
    }
}

#[test]
fn archives_that_lie_are_refused() {
    let mut cut = Vec::new();
    block(&mut cut, &header("f", b'0', 2000), b"abc");
    assert!(matches!(read(&cut), Err(Failure::Truncated)));
    assert!(matches!(read(&cut[..100]), Err(Failure::Truncated)));

    let mut bad_sum = header("f", b'0', 0);
    bad_sum.as_mut_bytes()[0] = b'g';
    let mut archive = Vec::new();
    block(&mut archive, &bad_sum, b"");
    assert!(matches!(read(&archive), Err(Failure::Malformed(_))));

    let mut huge = Vec::new();
    block(&mut huge, &header("x", b'L', 1 << 40), b"");
    assert!(matches!(read(&huge), Err(Failure::Extension(_))));

    for map in ["2,3,1,1", "0,9", "0,5,1", "5,18446744073709551615"] {
        let records = pax(&[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", b"8")]);
        let mut archive = Vec::new();
        block(&mut archive, &header("x", b'x', records.len() as u64), &records);
        block(&mut archive, &header("s", b'0', 5), b"abcde");
        assert!(matches!(read(&archive), Err(Failure::Malformed(_))), "{map}");
    }

    let mut alone = Vec::new();
    block(&mut alone, &header("x", b'L', 1), b"n");
    assert!(matches!(read(&alone), Err(Failure::Truncated)));
    let mut strange = Vec::new();
    block(&mut strange, &header("x", b'Z', 0), b"");
    assert!(matches!(read(&strange), Err(Failure::Malformed(_))));
}

#[test]
fn any_bytes_are_read_without_panic() {
    use proptest::prelude::*;
    let mut runner = proptest::test_runner::TestRunner::default();
    let mut good = Vec::new();
    let records = pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")]);
    block(&mut good, &header("x", b'x', records.len() as u64), &records);
    block(&mut good, &header("s", b'0', 600), b"1\n0\n5\n");
    good.resize(good.len() + 1024, 0);
    let flips = prop::collection::vec((0..good.len(), any::<u8>()), 0..6);
    runner
        .run(&flips, |flips| {
            let mut archive = good.clone();
            flips.iter().for_each(|(at, byte)| archive[*at] = *byte);
            for start in [0, 512, 1024] {
                // Checksums would hide what is behind them.
                let sum: u32 = archive[start..start + 512]
                    .iter()
                    .enumerate()
                    .map(|(n, b)| if (148..156).contains(&n) { 32 } else { u32::from(*b) })
                    .sum();
                archive[start + 148..start + 156]
                    .copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            let _ = read(&archive);
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_follows_the_end_is_left_to_the_caller() {
    let mut archive = vec![0; 1024];
    archive.extend_from_slice(b"trailing");
    let mut reader = TarReader::new(&*archive, &Limits::default());
    assert!(reader.next_entry().unwrap().is_none());
    assert!(reader.into_inner().fill_buf().unwrap().ends_with(b"trailing"));
}
