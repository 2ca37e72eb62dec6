//! A gzip-compressed layer applied, and what GNU tar needs for the same file.

use std::path::{Path, PathBuf};

use berth_bundle::layer::{Limits, Target, Whiteouts, apply};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// A layer as distributions have them: many small files, some large ones, half of it compressible.
fn layer() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = |length: usize| -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            // Every second word repeats.
            bytes.extend_from_slice(&noise.to_le_bytes()[..4]);
            bytes.extend_from_slice(b"text");
        }
        bytes.truncate(length);
        bytes
    };
    for directory in 0..200 {
        for file in 0..20 {
            let large = file == 0 && directory % 20 == 0;
            let content = bytes(if large { 4 << 20 } else { 500 * (file + 1) });
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_000_000);
            let path = format!("usr/share/d{directory}/f{file}");
            archive.append_data(&mut header, path, &*content).expect("a file");
        }
    }
    let plain = archive.into_inner().expect("an archive");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, &plain).expect("compressed");
    gzip.finish().expect("compressed")
}

fn layers(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let blob = layer();
    let file = folder.path().join("layer.tar.gz");
    fs_err::write(&file, &blob).expect("a file");
    let mut number = 0;
    let mut place = || -> PathBuf {
        number += 1;
        let path = folder.path().join(number.to_string());
        fs_err::create_dir(&path).expect("a folder");
        path
    };
    let limits = Limits::default();
    let mut group = c.benchmark_group("layer");
    group.sample_size(10).throughput(Throughput::Bytes(blob.len() as u64));
    let into = |root: &Path, whiteouts| {
        let target = Target { layer: "bench", root, whiteouts, limits: &limits };
        let input = fs_err::File::open(&file).expect("the layer");
        apply(input, &target).expect("applied")
    };
    group.bench_function("apply", |b| {
        let overlay = Whiteouts::Overlay { userxattr: false };
        b.iter_batched(&mut place, |root| into(&root, overlay), BatchSize::PerIteration);
    });
    group.bench_function("tar xzf", |b| {
        let extract = |root: PathBuf| {
            let tar = berth_testkit::program("tar").args(["xzf"]).args([&file]).args(["-C"]);
            tar.args([root]).output().and_then(berth_testkit::Output::ok).expect("extracted")
        };
        b.iter_batched(&mut place, extract, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, layers);
criterion_main!(benches);
