//! The two folders that everything lies in.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use berth_config::Config;

use crate::Error;

/// Makes `root`, which only we enter, and `state`, through which others reach their sockets.
pub(crate) fn make(config: &Config) -> Result<(), Error> {
    make_one(&config.root, 0o700)?;
    make_one(&config.state, 0o711)
}

fn make_one(path: &Path, mode: u32) -> Result<(), Error> {
    let failed = |step| move |source| Error::Folder { step, path: path.to_owned(), source };
    fs_err::create_dir_all(path).map_err(failed("make folder"))?;
    let permissions = std::fs::Permissions::from_mode(mode);
    fs_err::set_permissions(path, permissions).map_err(failed("set the mode of folder"))
}
