//! Layers that programs of the configuration make: real programs, in a row, failing, hanging.
//! Needs root: owners are set.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_bundle::Error;
use berth_bundle::diff::{Apply, apply};
use berth_bundle::layer::{Applied, Limits};
use berth_bundle::processors::{Payloads, Processors};
use berth_config::StreamProcessor;
use berth_errors::{Code, Coded};
use berth_mount::Mount;
use support::{Tar, is_root};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";

/// A shell's script as a processor.
fn shell(accepts: &str, returns: &str, script: &str) -> StreamProcessor {
    StreamProcessor {
        accepts: vec![accepts.to_owned()],
        returns: returns.to_owned(),
        path: "sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec!["CIPHER=aes-256-cbc".to_owned()],
    }
}

fn processors(all: Vec<(&str, StreamProcessor)>) -> Processors {
    let all: BTreeMap<_, _> = all.into_iter().map(|(id, p)| (id.to_owned(), p)).collect();
    Processors::new(&all)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        Self(dir)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    async fn apply(
        &self,
        processors: &Processors,
        media_type: &str,
        payloads: Payloads,
        blob: &Path,
    ) -> Result<Applied, Error> {
        let bind = Mount {
            kind: "bind".into(),
            source: self.root().display().to_string(),
            target: String::new(),
            options: vec!["rw".into(), "rbind".into()],
        };
        let asked = Apply {
            layer: "sha256:l".to_owned(),
            mounts: vec![bind],
            temporary: self.0.path().to_owned(),
            roots: Vec::new(),
            limits: Limits::default(),
        };
        let chain = processors.chain("sha256:l", media_type)?;
        apply(asked, chain, payloads, File::open(blob).unwrap()).await
    }

    /// A file with what a script makes of `bytes`.
    fn blob(&self, bytes: &[u8], script: &str) -> PathBuf {
        let (from, to) = (self.0.path().join("plain"), self.0.path().join("blob"));
        std::fs::write(&from, bytes).unwrap();
        let line = format!("({script}) <{} >{}", from.display(), to.display());
        berth_testkit::program("sh").args(["-c", &line]).output().unwrap().ok().unwrap();
        to
    }
}

fn layer() -> Vec<u8> {
    let large = "content ".repeat(100_000);
    Tar::default().dir("d/").file("d/f", "decrypted").file("large", &large).end()
}

#[tokio::test]
async fn an_encrypted_layer_is_decrypted_with_the_clients_key() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let plain = layer();
    // Without a salt: a wrong key is always found out by the same padding.
    let openssl = "openssl enc -aes-256-cbc -nosalt -pbkdf2 -pass pass:secret";
    let blob = folder.blob(&plain, &format!("gzip -n | {openssl} | base64"));
    // The media type is told, the configuration's variables are set, the key is on descriptor 3.
    let decrypt = format!(
        "test \"$STREAM_PROCESSOR_MEDIATYPE\" = {ENCRYPTED} || exit 9; \
         exec openssl enc -d -$CIPHER -nosalt -pbkdf2 -pass fd:3"
    );
    let processors = processors(vec![
        ("a.base64", shell("x/base64", ENCRYPTED, "exec base64 -d")),
        ("b.decrypt", shell(ENCRYPTED, GZIP, &decrypt)),
    ]);
    let key = |key: &str| Payloads::from([("b.decrypt".to_owned(), key.as_bytes().to_vec())]);
    let applied = folder.apply(&processors, "x/base64", key("secret"), &blob).await.unwrap();
    assert_eq!(applied.size, plain.len() as u64);
    let read = std::fs::read_to_string(folder.root().join("d/f")).unwrap();
    assert_eq!(read, "decrypted");

    let wrong = folder.apply(&processors, "x/base64", key("wrong"), &blob).await.unwrap_err();
    let said = wrong.to_string();
    assert!(said.starts_with("layer sha256:l: stream processor b.decrypt (sh): exit"), "{said}");
    assert!(said.contains("bad decrypt"), "{said}");
    assert_eq!(wrong.code(), Code::Unknown);
}

#[tokio::test]
async fn a_program_comes_before_what_is_a_layer_already() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let blob = folder.blob(&layer(), "gzip -n");
    let processors = processors(vec![("gzip", shell(GZIP, TAR, "exec gzip -d"))]);
    folder.apply(&processors, GZIP, Payloads::new(), &blob).await.unwrap();
    assert!(folder.root().join("d/f").exists());
}

#[tokio::test]
async fn what_a_program_says_of_its_failure_is_told() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let blob = folder.blob(&layer(), "cat");
    // All of the layer, and then a failure; more said than anybody keeps.
    let script = "cat; echo 'no key for it' >&2; head -c 1000000 /dev/zero >&2; exit 3";
    let fails = processors(vec![("p", shell("x/y", TAR, script))]);
    let error = folder.apply(&fails, "x/y", Payloads::new(), &blob).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("stream processor p (sh): exit status: 3: no key for it"), "{said:.200}");
    assert!(said.len() < 70_000, "{}", said.len());

    // Another is at fault: what it reads is no layer, and it says nothing of it.
    let garbage = processors(vec![("p", shell("x/y", TAR, "yes garbage"))]);
    let error = folder.apply(&garbage, "x/y", Payloads::new(), &blob).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");

    let mut missing = shell("x/y", TAR, "");
    missing.path = "/no/such/program".into();
    let missing = processors(vec![("p", missing)]);
    let error = folder.apply(&missing, "x/y", Payloads::new(), &blob).await.unwrap_err();
    assert!(error.to_string().contains("(/no/such/program): start: "), "{error}");

    let none = folder.apply(&missing, "x/z", Payloads::new(), &blob).await.unwrap_err();
    assert!(none.to_string().ends_with("x/z: no processor for media-type"), "{none}");
}

/// Whoever asked has gone, or has read all there is: no program is waited for for ever, none left.
#[tokio::test]
async fn a_program_that_hangs_ends_with_the_call() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let blob = folder.blob(&layer(), "cat");
    let told = folder.0.path().join("pid");
    let script = format!("echo $$ >{}; exec sleep 600", told.display());
    let hangs = processors(vec![("p", shell("x/y", TAR, &script))]);
    let mut pid = String::new();
    let runs = async {
        while !pid.ends_with('\n') {
            tokio::time::sleep(Duration::from_millis(10)).await;
            pid = std::fs::read_to_string(&told).unwrap_or_default();
        }
    };
    tokio::select! {
        _ = folder.apply(&hangs, "x/y", Payloads::new(), &blob) => panic!("it does not hang"),
        runs = tokio::time::timeout(Duration::from_secs(60), runs) => runs.expect("it does not run"),
    }
    // The call is gone.
    let gone = || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        state.map_or(true, |stat| stat.contains(") Z "))
    };
    berth_testkit::until("the program is killed", Duration::from_secs(60), gone).unwrap();

    // It closes its output and stays.
    let script = "cat; exec >&- ; exec sleep 600";
    let stays = processors(vec![("p", shell("x/y", TAR, script))]);
    let error = folder.apply(&stays, "x/y", Payloads::new(), &blob).await.unwrap_err();
    assert!(error.to_string().contains("it goes on 10 s after"), "{error}");
}

/// The programs of containerd's own configuration, which are installed nowhere here.
#[tokio::test]
async fn a_program_that_is_not_there_is_named_with_its_id() {
    let folder = Folder::new();
    let missing = StreamProcessor { path: "no-such-decoder".into(), ..shell(ENCRYPTED, GZIP, "") };
    let processors = processors(vec![("a.decoder", missing)]);
    let blob = folder.blob(&layer(), "gzip -n");
    let refused = folder.apply(&processors, ENCRYPTED, Payloads::new(), &blob).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown, "{refused}");
    for word in ["a.decoder", "no-such-decoder", "No such file"] {
        assert!(refused.to_string().contains(word), "{word}: {refused}");
    }
    // Layers that nobody has encrypted need none of it.
    if is_root() {
        folder.apply(&processors, GZIP, Payloads::new(), &blob).await.unwrap();
    }
}
