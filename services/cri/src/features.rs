//! What handlers can do, as kernel and runtime say it.
//!
//! Owns: when a runtime is asked, and what its answer means. Must not know: how it is asked, which is runtime's: this
//! service starts no runtimes.
//!
//! A runtime is asked once, when this service begins, and again when the file of its program is another one. One that did not
//! answer is asked again by whoever wants to know, [`AGAIN`] later at the earliest.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_config::{Cri, Handler};
use berth_lifecycle::{Tasks, blocking};
use berth_proto::runtime::v1::RuntimeHandlerFeatures;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::handlers;
use crate::peers::{Node, runtimes};

/// The program of a handler that names none.
const RUNC: &str = "runc";
/// How long whoever wants to know waits for an answer that was not there yet.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two questions of which the first was not answered.
const AGAIN: Duration = Duration::from_secs(30);
/// The kernel that can make whole trees of mounts read-only.
const RECURSIVE: (u32, u32) = (5, 12);

/// What asks, and remembers. Clones are the same.
#[derive(Clone)]
pub struct Features(Arc<Shared>);

struct Shared {
    node: Node,
    cri: Cri,
    jobs: Tasks,
    kernel: (u32, u32),
    /// By the handlers' names. Each is held while it is asked about, which holds up no other.
    known: HashMap<String, Mutex<Option<Known>>>,
}

/// What was told, and by which program.
struct Known {
    program: Option<Identity>,
    told: Option<RuntimeHandlerFeatures>,
    at: Instant,
}

/// What tells a file from the one that was there before: device, number, size, and when it was changed.
type Identity = (u64, u64, u64, i64, i64);

impl Features {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(node: Node, cri: Cri, jobs: Tasks) -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let kernel = version(&release);
        let known = cri.runtimes.keys().map(|name| (name.clone(), Mutex::default())).collect();
        Self(Arc::new(Shared { node, cri, jobs, kernel, known }))
    }

    /// What a handler can do; nothing where its runtime does not say. An answer that comes when nobody waits for it any
    /// more is there for who asks next.
    pub async fn of(&self, name: &str) -> Option<RuntimeHandlerFeatures> {
        let (this, name) = (self.clone(), name.to_owned());
        let stop = self.0.jobs.token();
        let asking = async move { stop.run_until_cancelled(this.0.of(&name)).await.flatten() };
        let asked = self.0.jobs.spawn("features", asking);
        tokio::time::timeout(PATIENCE, asked).await.ok()?.ok().flatten()
    }

    /// Asks about all of them, however long that takes.
    pub async fn begin(&self) {
        let asking = self.0.cri.runtimes.keys().map(|name| self.0.of(name));
        futures::future::join_all(asking).await;
    }
}

impl Shared {
    async fn of(&self, name: &str) -> Option<RuntimeHandlerFeatures> {
        let handler = self.cri.runtimes.get(name)?;
        let mut known = self.known.get(name)?.lock().await;
        let program = identity(program(handler)).await;
        if let Some(Known { program: before, told, at }) = &*known
            && *before == program
            && (told.is_some() || at.elapsed() < AGAIN)
        {
            return *told;
        }
        let told = self.ask(name, handler).await;
        *known = Some(Known { program, told, at: Instant::now() });
        told
    }

    async fn ask(&self, name: &str, handler: &Handler) -> Option<RuntimeHandlerFeatures> {
        let options = handlers::options(handler);
        match runtimes::features(&self.node, &handler.runtime_type, options).await {
            Ok(told) => Some(meaning(&told?, self.kernel)),
            Err(error) => {
                let error = berth_errors::chain(&error);
                tracing::warn!(name, error, "ask what a runtime can do");
                None
            }
        }
    }
}

/// What a runtime's own words mean for kubelets.
fn meaning(told: &Value, kernel: (u32, u32)) -> RuntimeHandlerFeatures {
    let has = |list: &Value, what: &str| {
        list.as_array().is_some_and(|list| list.iter().any(|one| one == what))
    };
    let linux = &told["linux"];
    RuntimeHandlerFeatures {
        recursive_read_only_mounts: has(&told["mountOptions"], "rro") && kernel >= RECURSIVE,
        user_namespaces: has(&linux["namespaces"], "user")
            && linux["mountExtensions"]["idmap"]["enabled"] == true,
    }
}

/// The program that a handler's shim calls, if it can be told from here.
fn program(handler: &Handler) -> Option<PathBuf> {
    let binary = match &*handler.binary {
        none if none == Path::new("") => Path::new(RUNC),
        binary => binary,
    };
    if binary.is_absolute() {
        return Some(binary.to_owned());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(binary)).find(|path| path.is_file())
}

async fn identity(program: Option<PathBuf>) -> Option<Identity> {
    let path = program?;
    let about = blocking("look at a runtime", move || fs_err::metadata(path)).await.ok()?.ok()?;
    Some((about.dev(), about.ino(), about.size(), about.mtime(), about.mtime_nsec()))
}

/// The first two numbers of a kernel's version; 0 for what is none.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|sign: char| !sign.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or_default();
    (next(), next())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, expected) in
            [("6.18.44-x", (6, 18)), ("5.9", (5, 9)), ("4.19.0-rc1", (4, 19)), ("odd", (0, 0))]
        {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn a_runtimes_words_are_understood() {
        let told = json!({
            "mountOptions": ["ro", "rro"],
            "linux": { "namespaces": ["user", "pid"], "mountExtensions": { "idmap": { "enabled": true } } },
        });
        let features = |rro, users| RuntimeHandlerFeatures {
            recursive_read_only_mounts: rro,
            user_namespaces: users,
        };
        assert_eq!(meaning(&told, (6, 1)), features(true, true));
        assert_eq!(meaning(&told, (5, 9)), features(false, true));
        // runc 1.1 knows namespaces of users, and no mapped mounts.
        let older = json!({ "mountOptions": ["rro"], "linux": { "namespaces": ["user"] } });
        assert_eq!(meaning(&older, (6, 1)), features(true, false));
        for odd in [json!({}), json!([]), json!({ "mountOptions": 3, "linux": "x" }), Value::Null] {
            assert_eq!(meaning(&odd, (6, 1)), features(false, false), "{odd}");
        }
    }

    #[tokio::test]
    async fn a_program_that_was_replaced_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runc");
        assert_eq!(identity(Some(path.clone())).await, None);
        fs_err::write(&path, "one").unwrap();
        let one = identity(Some(path.clone())).await;
        assert_eq!(identity(Some(path.clone())).await, one);
        fs_err::write(dir.path().join("new"), "two").unwrap();
        fs_err::rename(dir.path().join("new"), &path).unwrap();
        assert_ne!(identity(Some(path)).await, one);
    }
}
