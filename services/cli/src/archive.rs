//! Archives that are written: under a name of their own until they are whole.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;
use tokio::io::AsyncWrite;

/// Whether a name stands for standard input or output.
pub fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// An archive under construction. One that is not kept is removed.
pub enum Archive {
    /// Standard output.
    Standard,
    /// What is there and no file, such as a pipe: it is written to.
    Special(File),
    /// A file beside the one that it becomes.
    Partial { file: NamedTempFile, name: PathBuf },
}

impl Archive {
    /// Begins an archive that is to have this name.
    pub fn create(name: &Path) -> Result<Self> {
        if is_standard(name) {
            return Ok(Self::Standard);
        }
        if fs_err::metadata(name).is_ok_and(|of| !of.is_file()) {
            let file = fs_err::OpenOptions::new().write(true).open(name)?;
            return Ok(Self::Special(file.into_parts().0));
        }
        let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = tempfile::Builder::new()
            .prefix(".berth-export-")
            // As any new file, less what the umask takes away.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Self::Partial { file, name: name.to_owned() })
    }

    /// Where its bytes go.
    pub fn sink(&self) -> Result<Box<dyn AsyncWrite + Unpin>> {
        let file = match self {
            Self::Standard => return Ok(Box::new(tokio::io::stdout())),
            Self::Special(file) => file,
            Self::Partial { file, .. } => file.as_file(),
        };
        Ok(Box::new(tokio::fs::File::from_std(file.try_clone()?)))
    }

    /// Makes a whole archive durable and gives it its name.
    pub fn keep(self) -> Result<()> {
        let Self::Partial { file, name } = self else { return Ok(()) };
        file.as_file().sync_all().context("make the archive durable")?;
        file.persist(name).context("give the archive its name").map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: std::io::Result<fs_err::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().into_owned()
        };
        fs_err::read_dir(folder).unwrap().map(name).collect()
    }

    async fn write(archive: &Archive, bytes: &[u8]) {
        let mut sink = archive.sink().unwrap();
        sink.write_all(bytes).await.unwrap();
        sink.flush().await.unwrap();
    }

    #[tokio::test]
    async fn an_archive_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("a.tar");
        fs_err::write(&name, "older").unwrap();
        let dropped = Archive::create(&name).unwrap();
        write(&dropped, b"half").await;
        assert_eq!(names(dir.path()).len(), 2);
        drop(dropped);
        assert_eq!(names(dir.path()), ["a.tar"]);
        assert_eq!(fs_err::read(&name).unwrap(), b"older");

        let kept = Archive::create(&name).unwrap();
        write(&kept, b"whole").await;
        kept.keep().unwrap();
        assert_eq!(names(dir.path()), ["a.tar"]);
        assert_eq!(fs_err::read(&name).unwrap(), b"whole");
        let new = dir.path().join("new");
        fs_err::write(&new, "").unwrap();
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&name), mode(&new), "as any new file");
    }

    #[tokio::test]
    async fn what_is_no_file_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &name).unwrap();
        let archive = Archive::create(&name).unwrap();
        write(&archive, b"gone").await;
        archive.keep().unwrap();
        assert!(!fs_err::metadata(&name).unwrap().is_file());
        assert_eq!(names(dir.path()), ["link"]);
    }
}
