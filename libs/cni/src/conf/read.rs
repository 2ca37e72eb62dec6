//! Reading files that anybody may have put there: neither a pipe nor a flood holds us up.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use super::{MAX_FILE, MAX_PLUGINS, PluginConf, parse};
use crate::Error;

/// The whole of a regular file.
pub(super) fn bounded(file: &Path) -> Result<Vec<u8>, Error> {
    let unread = |source: io::Error| Error::Read { file: file.to_owned(), source };
    let wrong = |reason: String| Error::Conf { file: file.to_owned(), key: String::new(), reason };
    let opened = open(file, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
    let opened = std::fs::File::from(opened.map_err(|errno| unread(errno.into()))?);
    let about = opened.metadata().map_err(unread)?;
    if !about.is_file() {
        return Err(wrong("it is no file".to_owned()));
    }
    let mut text = Vec::new();
    opened.take(MAX_FILE + 1).read_to_end(&mut text).map_err(unread)?;
    if text.len() as u64 > MAX_FILE {
        return Err(wrong(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// The plugins of the folder that has the network's name, beside the network's file: `*.conf`, by name.
pub(super) fn beside(file: &Path, network: &str) -> Result<Vec<PluginConf>, Error> {
    let folder = file.parent().unwrap_or(Path::new(".")).join(network);
    let unread = |source| Error::Read { file: folder.clone(), source };
    let read = match fs_err::read_dir(&folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        read => read.map_err(unread)?,
    };
    let mut files = Vec::new();
    for entry in read {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && !path.is_dir() {
            files.push(path);
        }
        if files.len() > MAX_PLUGINS {
            let reason = format!("it has more than {MAX_PLUGINS} plugins");
            return Err(Error::Conf { file: folder, key: String::new(), reason });
        }
    }
    files.sort();
    files.iter().map(|file| parse::plugin_file(&bounded(file)?, file)).collect()
}
