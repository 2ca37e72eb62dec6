//! `mkfs.erofs`: a directory made an image.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use berth_lifecycle::child;

use crate::Error;

const PROGRAM: &str = "mkfs.erofs";

/// How long one image may take: of the largest layer, on a slow disk.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Whether the program is there.
pub(crate) fn is_installed() -> bool {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| {
        let found = fs_err::metadata(folder.join(PROGRAM));
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

/// Makes `image`, which is not there, of all that `tree` has, and makes it durable. `options` are
/// the program's own, before ours. Blocks, on a thread of a runtime that may.
///
/// Files are not inlined: they begin at a page, so that whoever maps the image finds them there.
///
/// # Errors
/// [`Error::File`] with what the program said, [`Error::Lifecycle`] beyond its deadline.
pub(crate) fn make(image: &Path, tree: &Path, options: &[String]) -> Result<(), Error> {
    let mut command = child::command(PROGRAM);
    command.env("LC_ALL", "C").args(["--quiet", "-Enoinline_data"]).args(options);
    command.arg(image).arg(tree);
    let runtime = tokio::runtime::Handle::current();
    let output = runtime.block_on(child::output(command, DEADLINE))?;
    let failed = |step, source| Error::File { step, path: image.to_owned(), source };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // The first line tells; what comes behind an unknown option is how the program is used.
        let said = said.trim().lines().next().unwrap_or_default();
        let text = format!("{PROGRAM} failed: {said}: {}", output.status);
        return Err(failed("make the EROFS image", io::Error::other(text)));
    }
    let file = File::open(image).map_err(|source| failed("open", source))?;
    file.sync_all().map_err(|source| failed("make durable", source))
}
