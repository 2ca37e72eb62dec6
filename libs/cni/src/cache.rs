//! Attachments on record: `results/NETWORK-CONTAINER-INTERFACE`, as libcni writes and finds them.
//!
//! | folder | file | durable |
//! |---|---|---|
//! | `results` | the record: at first what is about to be done, then with its result | yes |
//! | `partial` | what the plugins of a chain that is not through yet have said | no |
//! | `new` | a file that is about to replace one of the above, by its container: whose turn it is has one at most | |
//!
//! A record whose ADD has not ended says `pending`, which others pass over. Every call blocks.

mod record;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;
use serde_json::Value;

pub(crate) use record::Record;

use crate::names::check_name;
use crate::{AttachmentId, Error};

/// The most that a record may measure, in bytes: a configuration, a result and what they are wrapped in.
const MAX_RECORD: u64 = 8 << 20;
/// The longest name of a file.
const MAX_NAME: usize = 255;
/// Of files: for root alone.
const MODE: u32 = 0o600;

#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// What is under a file's name.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Record(Box<Record>),
    /// Somebody else's: two attachments may lead to one name.
    Other,
    /// Not to be read: what was done there is not known.
    Unreadable,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What is on record of an attachment.
    pub(crate) fn find(&self, id: &AttachmentId) -> Result<Found, Error> {
        let path = self.results().join(file_name(id)?);
        let Some(text) = read(&path)? else { return Ok(Found::Nothing) };
        let Some(mut record) = Record::parse(&text, id) else { return Ok(Found::Unreadable) };
        if record.id != *id {
            return Ok(Found::Other);
        }
        if record.pending {
            let partial = read(&self.folder.join("partial").join(file_name(id)?))?;
            record.result = partial.and_then(|text| serde_json::from_slice(&text).ok());
        }
        Ok(Found::Record(Box::new(record)))
    }

    /// Writes a record, so that it is there whatever happens after.
    pub(crate) fn keep(&self, record: &Record) -> Result<(), Error> {
        self.replace(&self.results(), &record.id, &record.to_json(), true)
    }

    /// Notes what the plugins so far have said. A node that ends loses it, with what it was of.
    pub(crate) fn note(&self, id: &AttachmentId, result: &Value) -> Result<(), Error> {
        self.replace(&self.folder.join("partial"), id, result.to_string().as_bytes(), false)
    }

    /// Drops what was noted of an attachment that is whole now.
    pub(crate) fn forget_notes(&self, id: &AttachmentId) -> Result<(), Error> {
        remove(&self.folder.join("partial").join(file_name(id)?))
    }

    /// Drops all of an attachment. May be repeated.
    pub(crate) fn remove(&self, id: &AttachmentId) -> Result<(), Error> {
        let name = file_name(id)?;
        self.remove_unfinished(&id.container_id)?;
        // The record goes last: while it is there, this is done again.
        ["partial", "results"].iter().try_for_each(|f| remove(&self.folder.join(f).join(&name)))
    }

    /// Drops what an attempt has left that was cut off while it wrote.
    pub(crate) fn remove_unfinished(&self, container: &str) -> Result<(), Error> {
        remove(&self.folder.join("new").join(container))
    }

    /// The containers that have a file under way or a lock. Of most of these somebody is at work.
    pub(crate) fn unfinished(&self) -> Result<BTreeSet<String>, Error> {
        let mut found = BTreeSet::new();
        for folder in [self.folder.join("new"), self.locks()] {
            let entries = match fs_err::read_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(step("list", &folder))?,
            };
            for entry in entries {
                let name = entry.map_err(step("list", &folder))?.file_name().into_string();
                // Others are not ours.
                found.extend(name.ok().filter(|name| check_name(name).is_ok()));
            }
        }
        Ok(found)
    }

    /// The folder of containers' locks.
    pub(crate) fn locks(&self) -> PathBuf {
        self.folder.join("locks")
    }

    /// All records that can be read, by name. The others are nobody's whom we could tell.
    pub(crate) fn list(&self) -> Result<Vec<Record>, Error> {
        let results = self.results();
        let entries = match fs_err::read_dir(&results) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(step("list", &results))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(step("list", &results))?.path();
            match read(&path)?.as_deref().and_then(Record::parse_whole) {
                Some(record) => found.push(record),
                None => {
                    tracing::warn!(file = %path.display(), "skip what is no record of a network")
                }
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    fn results(&self) -> PathBuf {
        self.folder.join("results")
    }

    fn replace(
        &self,
        folder: &Path,
        id: &AttachmentId,
        text: &[u8],
        durable: bool,
    ) -> Result<(), Error> {
        let name = file_name(id)?;
        let new = self.folder.join("new");
        for folder in [&*new, folder] {
            // For root alone.
            berth_durable::make_folder(folder, 0o700).map_err(step("make", folder))?;
        }
        let (new, path) = (new.join(&id.container_id), folder.join(&name));
        let written = match durable {
            true => berth_durable::replace_through(&new, &path, text, MODE),
            false => write(&new, text).and_then(|()| fs_err::rename(&new, &path)),
        };
        written.map_err(step("write", &path))
    }
}

fn file_name(id: &AttachmentId) -> Result<String, Error> {
    let name = format!("{}-{}-{}", id.network, id.container_id, id.ifname);
    if name.len() <= MAX_NAME {
        return Ok(name);
    }
    let reason =
        "is longer than 255 bytes: the names of a network, a container and an interface together";
    Err(Error::Argument { what: "name of record", value: name, reason })
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(MODE);
    options.open(path)?.write_all(text)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let mut options = fs_err::OpenOptions::new();
    // Nobody has to put a pipe there for us to wait at.
    options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(step("read", path))?,
    };
    let mut text = Vec::new();
    if !file.metadata().map_err(step("read", path))?.is_file() {
        return Ok(Some(text));
    }
    file.take(MAX_RECORD + 1).read_to_end(&mut text).map_err(step("read", path))?;
    // A larger one is none of ours, and is not parsed.
    text.truncate(MAX_RECORD as usize);
    Ok(Some(text))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(step("remove", path)(error)),
        _ => Ok(()),
    }
}

fn step(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Cache { step, path, source }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(network: &str, container_id: &str, ifname: &str) -> AttachmentId {
        AttachmentId {
            network: network.into(),
            container_id: container_id.into(),
            ifname: ifname.into(),
        }
    }

    fn record(id: &AttachmentId) -> Record {
        Record {
            id: id.clone(),
            netns: Some("/run/netns/x".into()),
            netns_override: false,
            config: b"{}".to_vec(),
            args: vec![("K".into(), "V".into())],
            capabilities: json!({"mac": "x"}).as_object().cloned().unwrap(),
            result: None,
            pending: true,
        }
    }

    fn whole(found: Found) -> Record {
        match found {
            Found::Record(record) => *record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_is_as_libcni_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("cni"));
        let of = id("net", "c1", "eth0");
        cache.keep(&record(&of)).unwrap();
        assert_eq!(whole(cache.find(&of).unwrap()), record(&of));
        let result = json!({"cniVersion": "1.0.0", "ips": []});
        cache.note(&of, &result).unwrap();
        assert_eq!(whole(cache.find(&of).unwrap()).result, Some(result.clone()));
        let done = Record { result: Some(result), pending: false, ..record(&of) };
        cache.keep(&done).unwrap();
        cache.forget_notes(&of).unwrap();
        let text = fs_err::read(dir.path().join("cni/results/net-c1-eth0")).unwrap();
        let expected = json!({
            "kind": "cniCacheV1", "containerId": "c1", "config": "e30=", "ifName": "eth0",
            "networkName": "net", "netns": "/run/netns/x", "cniArgs": [["K", "V"]],
            "capabilityArgs": {"mac": "x"}, "result": {"cniVersion": "1.0.0", "ips": []}
        });
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected);
        assert_eq!(cache.list().unwrap(), [done]);
        cache.remove(&of).unwrap();
        cache.remove(&of).unwrap();
        assert!(matches!(cache.find(&of).unwrap(), Found::Nothing));
        for folder in ["new", "partial", "results"] {
            let left = fs_err::read_dir(dir.path().join("cni").join(folder)).unwrap().count();
            assert_eq!(left, 0, "{folder}");
        }
    }

    #[test]
    fn two_attachments_of_one_name_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_owned());
        cache.keep(&record(&id("a-b", "c", "eth0"))).unwrap();
        assert!(matches!(cache.find(&id("a", "b-c", "eth0")).unwrap(), Found::Other));
        let long = id(&"n".repeat(200), &"c".repeat(60), "eth0");
        assert!(matches!(cache.find(&long), Err(Error::Argument { .. })));
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_owned());
        assert_eq!(cache.list().unwrap(), []);
        let good = record(&id("n", "good", "eth0"));
        cache.keep(&good).unwrap();
        for (name, text) in [
            ("n-empty-eth0", ""),
            ("n-torn-eth0", "{\"kind\":\"cniC"),
            (
                "n-kind-eth0",
                r#"{"kind":"x","networkName":"n","containerId":"kind","ifName":"eth0"}"#,
            ),
            (
                "n-bad-eth0",
                r#"{"kind":"cniCacheV1","networkName":"../n","containerId":"a","ifName":"b"}"#,
            ),
        ] {
            fs_err::write(dir.path().join("results").join(name), text).unwrap();
        }
        assert_eq!(cache.list().unwrap(), [good]);
        assert!(matches!(cache.find(&id("n", "torn", "eth0")).unwrap(), Found::Unreadable));
        // As libcni before 0.7 wrote it: the result alone.
        let old = json!({"cniVersion": "0.3.1", "ips": []});
        fs_err::write(dir.path().join("results/n-old-eth0"), old.to_string()).unwrap();
        let found = whole(cache.find(&id("n", "old", "eth0")).unwrap());
        assert_eq!((found.result, found.pending), (Some(old), false));
    }
}
