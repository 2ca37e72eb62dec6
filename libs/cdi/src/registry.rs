//! Which devices there are.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::document::Document;
use crate::edits::Edits;
use crate::error::Faults;
use crate::{Error, file};

/// The most documents of a folder that are read, in the order of their names.
const MAX_FILES: usize = 1024;
/// The most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 65_536;
/// The most of a document, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// The most of all of them.
const MAX_BYTES: u64 = 64 << 20;

/// What the documents of some folders say.
#[derive(Debug, Default)]
pub struct Registry {
    folders: Vec<PathBuf>,
    documents: Vec<Document>,
    /// By whole name: its document, and its place in it; `None` if two of one folder have it.
    devices: HashMap<String, Option<(usize, usize)>>,
    faults: Faults,
}

impl Registry {
    /// Reads them. What is no document is left out, a folder that is not there, too.
    #[must_use]
    pub fn read(folders: &[PathBuf]) -> Self {
        let mut registry = Self { folders: folders.to_vec(), ..Self::default() };
        let mut left = MAX_BYTES;
        for folder in folders {
            let names = registry.names(folder);
            let mut own = HashSet::new();
            for name in names {
                let path = folder.join(&name);
                let read = file::read(&path, MAX_FILE.min(left)).and_then(|text| {
                    left -= text.len() as u64;
                    let is_json = path.extension().is_some_and(|kind| kind == "json");
                    Document::read(&text, is_json)
                });
                match read {
                    Ok(document) => registry.add(document, &path, &mut own),
                    Err(why) => registry.fault(&path, &why),
                }
            }
        }
        registry
    }

    /// Whether there was something that is no document.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.faults.0.iter().map(String::as_str)
    }

    /// What devices of these names change, in this order, each after what its document changes.
    ///
    /// # Errors
    /// [`Error::Unresolvable`] with all that nothing describes.
    pub fn edits(&self, names: &[&str]) -> Result<Edits, Error> {
        let mut edits = Edits::default();
        let (mut unknown, mut begun) = (Vec::new(), HashSet::new());
        for name in names {
            let Some((at, device)) = self.devices.get(*name).copied().flatten() else {
                unknown.push((*name).to_owned());
                continue;
            };
            let document = &self.documents[at];
            if begun.insert(at) {
                edits.extend(&document.container_edits);
            }
            edits.extend(&document.devices[device].container_edits);
        }
        if unknown.is_empty() {
            return Ok(edits);
        }
        let (folders, faults) = (self.folders.clone(), self.faults.clone());
        Err(Error::Unresolvable { names: unknown, folders, faults })
    }

    fn fault(&mut self, path: &Path, why: &str) {
        self.faults.0.push(format!("{}: {why}", path.display()));
    }

    /// The names of a folder's documents.
    fn names(&mut self, folder: &Path) -> Vec<OsString> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.fault(folder, &error.to_string());
                return Vec::new();
            }
        };
        let is_document = |name: &OsString| {
            Path::new(name).extension().is_some_and(|kind| kind == "json" || kind == "yaml")
        };
        let names = entries.take(MAX_ENTRIES).filter_map(|entry| Some(entry.ok()?.file_name()));
        let mut names: Vec<_> = names.filter(is_document).collect();
        names.sort();
        if names.len() > MAX_FILES {
            self.fault(folder, &format!("{} files, {MAX_FILES} are read", names.len()));
            names.truncate(MAX_FILES);
        }
        names
    }

    /// Takes a document in. `own` are the devices that its folder has so far.
    fn add(&mut self, document: Document, path: &Path, own: &mut HashSet<String>) {
        let at = self.documents.len();
        for (place, device) in document.devices.iter().enumerate() {
            let name = format!("{}={}", document.kind, device.name);
            if own.insert(name.clone()) {
                self.devices.insert(name, Some((at, place)));
            } else {
                self.fault(path, &format!("conflicting device {name:?}"));
                self.devices.insert(name, None);
            }
        }
        self.documents.push(document);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folders {
        dir: tempfile::TempDir,
    }

    impl Folders {
        fn new() -> Self {
            let folders = Self { dir: tempfile::tempdir().unwrap() };
            folders.paths().iter().for_each(|folder| fs_err::create_dir(folder).unwrap());
            folders
        }

        fn paths(&self) -> Vec<PathBuf> {
            ["low", "high"].map(|name| self.dir.path().join(name)).into()
        }

        /// A document with a device for each name, which says where it is from.
        fn write(&self, file: &str, names: &[&str]) {
            let device = |name: &&str| {
                format!("- name: \"{name}\"\n  containerEdits: {{env: [{name}={file}]}}\n")
            };
            let devices: String = names.iter().map(device).collect();
            let head = "cdiVersion: 0.6.0\nkind: v/c\n";
            let all = format!("containerEdits: {{env: [ALL={file}]}}\n");
            let text = format!("{head}devices:\n{devices}{all}");
            fs_err::write(self.dir.path().join(file), text).unwrap();
        }

        fn env(&self, names: &[&str]) -> Result<Vec<String>, Error> {
            Ok(Registry::read(&self.paths()).edits(names)?.env)
        }
    }

    #[test]
    fn a_later_folder_counts_and_each_document_once() {
        let folders = Folders::new();
        folders.write("low/a.yaml", &["x", "y"]);
        folders.write("high/b.yaml", &["y", "z"]);
        folders.write("high/ignored.txt", &["q"]);
        let env = folders.env(&["v/c=y", "v/c=x", "v/c=z"]).unwrap();
        let expected =
            ["ALL=high/b.yaml", "y=high/b.yaml", "ALL=low/a.yaml", "x=low/a.yaml", "z=high/b.yaml"];
        assert_eq!(env, expected);
        assert_eq!(folders.env(&[]).unwrap(), [""; 0]);
    }

    #[test]
    fn two_in_one_folder_are_nobodys_unless_a_later_one_says_it() {
        let folders = Folders::new();
        folders.write("low/a.yaml", &["x", "y"]);
        folders.write("low/b.yaml", &["x", "y"]);
        folders.write("high/c.yaml", &["y"]);
        let refused = folders.env(&["v/c=x", "v/c=y"]).unwrap_err().to_string();
        assert!(refused.starts_with("unresolvable CDI devices v/c=x (none of"), "{refused}");
        assert!(refused.contains("conflicting device \"v/c=x\""), "{refused}");
        assert!(folders.env(&["v/c=y"]).is_ok());
    }

    #[test]
    fn what_is_no_document_is_told_of_where_a_device_is_missing() {
        let folders = Folders::new();
        folders.write("low/good.yaml", &["x"]);
        let low = &folders.paths()[0];
        fs_err::write(low.join("bad.json"), "{").unwrap();
        fs_err::create_dir(low.join("folder.json")).unwrap();
        let fifo = low.join("fifo.yaml");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let large = fs_err::File::create(low.join("large.yaml")).unwrap();
        large.set_len(1 << 40).unwrap();
        assert!(folders.env(&["v/c=x"]).is_ok());
        let refused = folders.env(&["v/c=x", "o/c=1", "o/c=2"]).unwrap_err().to_string();
        for part in [
            "unresolvable CDI devices o/c=1, o/c=2 (none of",
            "low, ",
            "high describes them; ",
            "bad.json: ",
            "fifo.yaml: it is no regular file; ",
            "; and 1 more)",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
}
