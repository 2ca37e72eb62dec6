//! Tests of the format, and of lines under rotation.

use super::*;

const NEVER: Rotation = Rotation { max_size: 0, max_files: 5 };

fn texts(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.split_terminator('\n').map(|line| {
        let mut words = line.splitn(4, ' ');
        let (time, stream) = (words.next().unwrap(), words.next().unwrap());
        assert!(time.ends_with('Z') && time.len() == 30, "{time}");
        (format!("{stream} {}", words.next().unwrap()), words.next().unwrap().to_owned())
    });
    lines.collect()
}

/// What is in the log after the stream wrote these chunks, with lines of at most 4 bytes.
fn written(chunks: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let mut log = CriLog::open(&path, NEVER, 4).unwrap();
    let mut out = Partial::default();
    for chunk in chunks {
        log.write("stdout", &mut out, chunk.as_bytes()).unwrap();
    }
    log.finish("stdout", &mut out).unwrap();
    assert!(out.0.is_empty());
    let lines = texts(&path).into_iter();
    lines.map(|(tag, text)| format!("{} {text}", tag.strip_prefix("stdout ").unwrap())).collect()
}

#[test]
fn lines_are_tagged_and_cut_as_containerd_does() {
    let table: [(&str, &[&str]); 18] = [
        ("", &[]),
        ("a\n", &["F a"]),
        ("\n", &["F "]),
        ("\r\n", &["F "]),
        ("a\r\n", &["F a"]),
        ("a\r\r\n", &["F a\r"]),
        ("a\rb\n", &["F a\rb"]),
        ("a", &["P a"]),
        ("a\r", &["P a\r"]),
        ("a\nb", &["F a", "P b"]),
        ("1234\n", &["F 1234"]),
        ("1234\r\n", &["F 1234"]),
        ("12345\n", &["P 1234", "F 5"]),
        ("12345678\n", &["P 1234", "F 5678"]),
        ("12345678\r\n9\n", &["P 1234", "F 5678", "F 9"]),
        ("1234", &["P 1234"]),
        ("1234\r", &["P 1234", "P \r"]),
        ("1234\r5\n", &["P 1234", "F \r5"]),
    ];
    for (text, lines) in table {
        assert_eq!(written(&[text]), lines, "{text:?}");
        // However it arrives.
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(written(&[head, tail]), lines, "{head:?} {tail:?}");
        }
        let bytes: Vec<_> = text.split("").filter(|byte| !byte.is_empty()).collect();
        assert_eq!(written(&bytes), lines, "{bytes:?}");
    }
}

#[test]
fn streams_have_lines_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/x.log");
    let mut log = CriLog::open(&path, NEVER, DEFAULT_LINE).unwrap();
    let (mut out, mut err) = (Partial::default(), Partial::default());
    assert!(log.write("stdout", &mut out, b"one\ntw").unwrap());
    log.write("stderr", &mut err, b"bad\n").unwrap();
    assert!(!log.write("stdout", &mut out, b"o").unwrap());
    log.write("stdout", &mut out, b"\n\n").unwrap();
    log.write("stdout", &mut out, &vec![b'x'; DEFAULT_LINE + 3]).unwrap();
    log.finish("stdout", &mut out).unwrap();
    log.finish("stderr", &mut err).unwrap();
    let lines = texts(&path);
    let short: Vec<_> = lines[..4].iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let expected =
        [("stdout F", "one"), ("stderr F", "bad"), ("stdout F", "two"), ("stdout F", "")];
    assert_eq!(short, expected);
    assert_eq!((lines[4].0.as_str(), lines[4].1.len()), ("stdout P", DEFAULT_LINE));
    assert_eq!((lines[5].0.as_str(), lines[5].1.as_str()), ("stdout P", "xxx"));
    assert_eq!(lines.len(), 6);
}

#[test]
fn files_are_rotated_and_none_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let mut log =
        CriLog::open(&path, Rotation { max_size: 200, max_files: 3 }, DEFAULT_LINE).unwrap();
    let mut out = Partial::default();
    for number in 0..20 {
        log.write("stdout", &mut out, format!("line {number}\n").as_bytes()).unwrap();
    }
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.metadata().unwrap().len() <= 200));
    assert_eq!(texts(&path).last().unwrap().1, "line 19");
    let older = texts(&dir.path().join("x.log.1"));
    let first = texts(&path)[0].1[5..].parse::<u32>().unwrap();
    assert_eq!(older.last().unwrap().1, format!("line {}", first - 1));
}

#[test]
fn a_line_that_is_begun_when_others_rotate_goes_wholly_to_the_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("x.log"), dir.path().join("x.log.old"));
    let mut log = CriLog::open(&path, NEVER, DEFAULT_LINE).unwrap();
    let mut out = Partial::default();
    log.write("stdout", &mut out, b"one\ntw").unwrap();
    std::fs::rename(&path, &old).unwrap();
    log.write("stdout", &mut out, b"o\nthree\n").unwrap();
    let only = |path: &Path| texts(path).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    assert_eq!(only(&old), ["one"]);
    assert_eq!(only(&path), ["two", "three"]);
}

#[test]
fn what_is_lost_is_counted_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sub");
    let path = folder.join("x.log");
    let mut log = CriLog::open(&path, NEVER, 4).unwrap();
    let mut out = Partial::default();
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    // Two lines are lost with their ends, the third has not been written yet.
    let lost = log.write("stdout", &mut out, b"ab\nc\nd").unwrap_err();
    assert_eq!(lost.bytes, 5);
    assert!(!log.write("stdout", &mut out, b"e").unwrap());
    std::fs::remove_file(&folder).unwrap();
    assert!(log.write("stdout", &mut out, b"f\n").unwrap());
    assert_eq!(texts(&path), [("stdout F".to_owned(), "def".to_owned())]);
}
