//! What each file of a folder says.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::watching::Change;
use super::{Bad, MAX_FILES, Networks};
use crate::Network;

/// The files of a folder that may be networks, by name.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
    files: BTreeMap<OsString, Result<Arc<Network>, String>>,
    /// What is wrong with the folder itself.
    wrong: Option<String>,
}

impl Files {
    pub(super) fn read(folder: &Path) -> Self {
        let mut all = Self { folder: folder.to_owned(), files: BTreeMap::new(), wrong: None };
        match names(folder) {
            Ok((names, wrong)) => {
                all.wrong = wrong;
                names.iter().for_each(|name| all.read_file(name));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => all.wrong = Some(error.to_string()),
        }
        all
    }

    pub(super) fn change(&mut self, change: &Change) {
        match change {
            Change::File(name) if is_conf(name) => self.read_file(name),
            Change::New(name) if is_conf(name) => {
                let before = self.files.get(name).cloned();
                self.read_file(name);
                // Half a file is no network, and none that is told.
                if self.files.get(name).is_some_and(Result::is_err) {
                    self.files.remove(name);
                    self.files.extend(before.map(|before| (name.clone(), before)));
                }
            }
            Change::File(_) | Change::New(_) | Change::Folders => {}
            Change::Plugins(network) => {
                // Of those that could not be read it is not known which network they are.
                let of_it = |read: &Result<Arc<Network>, String>| {
                    read.as_ref()
                        .map_or(true, |read| OsStr::new(read.name()) == network.as_os_str())
                };
                let names = self.files.iter().filter(|(_, read)| of_it(read));
                let names: Vec<_> = names.map(|(name, _)| name.clone()).collect();
                names.iter().for_each(|name| self.read_file(name));
            }
        }
    }

    fn read_file(&mut self, name: &OsStr) {
        let path = self.folder.join(name);
        match path.metadata() {
            // Gone, or a link to nowhere.
            Err(error) if error.kind() == ErrorKind::NotFound => drop(self.files.remove(name)),
            Ok(about) if about.is_dir() => drop(self.files.remove(name)),
            _ if self.files.len() >= MAX_FILES && !self.files.contains_key(name) => {
                self.wrong = Some(format!("it has more than {MAX_FILES} files"));
            }
            _ => {
                let read = Network::read(&path).map(Arc::new).map_err(|error| error.to_string());
                self.files.insert(name.to_owned(), read);
            }
        }
    }

    pub(super) fn networks(&self, max_conf_num: usize) -> Networks {
        let mut all = Networks::default();
        if let Some(reason) = &self.wrong {
            all.bad.push(Bad { file: self.folder.clone(), reason: reason.clone() });
        }
        for (name, read) in &self.files {
            let bad = |reason: String| Bad { file: self.folder.join(name), reason };
            match read {
                Err(reason) => all.bad.push(bad(reason.clone())),
                Ok(network) => match all.find(network.name()) {
                    Some(first) => {
                        let (name, first) = (network.name(), first.file().display());
                        all.bad.push(bad(format!("{first} has a network {name:?} already")));
                    }
                    None => all.networks.push(network.clone()),
                },
            }
        }
        if max_conf_num > 0 {
            all.networks.truncate(max_conf_num);
        }
        all
    }
}

/// What may be networks, by name, and what is wrong with there being so many.
fn names(folder: &Path) -> std::io::Result<(Vec<OsString>, Option<String>)> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let name = entry?.file_name();
        if is_conf(&name) {
            names.push(name);
        }
    }
    names.sort();
    let many = names.len() > MAX_FILES;
    names.truncate(MAX_FILES);
    Ok((names, many.then(|| format!("it has more than {MAX_FILES} files"))))
}

fn is_conf(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|e| e == "conflist" || e == "conf" || e == "json")
}
