//! `make install`: what is put where, how, and that the units name it. What is built is not built again
//! for it: the programs are those of this build.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_testkit::{Node, program, write_program};
use tempfile::TempDir;

const UNITS: &str = "etc/systemd/system";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder that is installed to, and programs to install, as a build has left them.
struct Stage {
    dir: TempDir,
}

impl Stage {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let built = Node::binary("berthd")?;
        symlink(built.parent().context("a folder")?, dir.path().join("release"))?;
        Ok(Self { dir })
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn install(&self, prefix: Option<&str>) -> Result<()> {
        let mut make = program("make").args(["--old-file=build", "install"]).within(repository());
        // Of a make that runs these tests.
        for variable in ["MAKEFLAGS", "MAKELEVEL", "PREFIX"] {
            make = make.without(variable);
        }
        make = make.args([format!("DESTDIR={}", self.root().display())]);
        make = make.args(prefix.map(|prefix| format!("PREFIX={prefix}")));
        make.env("CARGO_TARGET_DIR", self.dir.path()).output()?.ok().map(drop)
    }

    /// The files that are there, each with its mode.
    fn files(&self) -> Result<BTreeMap<PathBuf, u32>> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![self.root()]);
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(folder)? {
                let path = entry?.path();
                let meta = fs_err::symlink_metadata(&path)?;
                let mode = meta.permissions().mode() & 0o7777;
                if meta.is_dir() {
                    assert_eq!(mode, 0o755, "{}", path.display());
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(self.root())?.to_owned(), mode);
                }
            }
        }
        Ok(found)
    }

    /// What the units run, and what they name to read, of all that is no part of the system.
    fn named(&self) -> Result<Vec<PathBuf>> {
        let mut named = Vec::new();
        for entry in fs_err::read_dir(self.root().join(UNITS))? {
            let text = fs_err::read_to_string(entry?.path())?;
            for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
                let path = match key {
                    "Documentation" => value.strip_prefix("file://"),
                    _ if key.starts_with("Exec") => value.split_whitespace().next(),
                    _ => None,
                };
                let path = path.map(|path| path.trim_start_matches(['-', '@', '+', '!', ':']));
                let own = |path: &&str| !["/bin/", "/sbin/"].iter().any(|of| path.starts_with(of));
                named.extend(path.filter(own).map(PathBuf::from));
            }
        }
        Ok(named)
    }
}

fn binaries() -> Result<Vec<String>> {
    let makefile = fs_err::read_to_string(repository().join("Makefile"))?;
    let line = makefile.lines().find_map(|line| line.strip_prefix("BINARIES :="));
    Ok(line.context("BINARIES")?.split_whitespace().map(str::to_owned).collect())
}

fn units() -> Result<Vec<PathBuf>> {
    let deploy = repository().join("deploy");
    let mut units = vec![deploy.join("berth.service")];
    for entry in fs_err::read_dir(deploy.join("systemd"))? {
        units.push(entry?.path());
    }
    Ok(units)
}

/// All that is installed where programs are below `prefix`.
fn expected(prefix: &str) -> Result<BTreeMap<PathBuf, u32>> {
    let programs = Path::new(prefix).join("bin");
    let mut all: BTreeMap<_, _> =
        binaries()?.iter().map(|name| (programs.join(name), 0o755)).collect();
    for unit in units()? {
        all.insert(Path::new(UNITS).join(unit.file_name().context("a name")?), 0o644);
    }
    all.insert("etc/berth/berth.toml".into(), 0o644);
    Ok(all)
}

fn same(one: &Path, other: &Path) -> Result<bool> {
    Ok(fs_err::read(one)? == fs_err::read(other)?)
}

#[test]
fn make_install_puts_everything_where_the_units_look_for_it() -> Result<()> {
    let stage = Stage::new()?;
    stage.install(None)?;
    assert_eq!(stage.files()?, expected("usr/local")?);
    for name in binaries()? {
        let at = stage.root().join("usr/local/bin").join(&name);
        assert!(same(&at, &Node::binary(&name)?)?, "{name}");
    }
    for unit in units()? {
        let at = stage.root().join(UNITS).join(unit.file_name().context("a name")?);
        assert!(same(&at, &unit)?, "{}", unit.display());
    }
    let config = stage.root().join("etc/berth/berth.toml");
    assert!(same(&config, &repository().join("deploy/berth.toml"))?);
    let named = stage.named()?;
    for path in &named {
        let at = stage.root().join(path.strip_prefix("/")?);
        assert!(at.is_file(), "a unit names {}, which is not installed", path.display());
    }
    // The programs of seven units, and what is to be read.
    let programs = named.iter().filter(|path| path.starts_with("/usr/local/bin")).count();
    assert!(programs == 7 && named.len() > programs, "{named:?}");
    Ok(())
}

#[test]
fn units_name_programs_below_another_prefix() -> Result<()> {
    let stage = Stage::new()?;
    stage.install(Some("/opt/berth"))?;
    assert_eq!(stage.files()?, expected("opt/berth")?);
    let named = stage.named()?;
    assert_eq!(named.iter().filter(|path| path.starts_with("/opt/berth/bin")).count(), 7);
    for path in named {
        assert!(stage.root().join(path.strip_prefix("/")?).is_file(), "{}", path.display());
    }
    Ok(())
}

#[test]
fn installing_again_replaces_programs_that_run_and_keeps_the_configuration() -> Result<()> {
    let stage = Stage::new()?;
    stage.install(None)?;
    let berthd = stage.root().join("usr/local/bin/berthd");
    let config = stage.root().join("etc/berth/berth.toml");
    fs_err::write(&config, "# as the machine has it\n")?;
    // Stands for a daemon of the version before.
    fs_err::remove_file(&berthd)?;
    write_program(&berthd, fs_err::read("/bin/sleep")?)?;
    let before = fs_err::metadata(&berthd)?.ino();
    let mut runs = program(&berthd).args(["600"]).into_command().spawn()?;
    let installed = stage.install(None);
    let alive = runs.try_wait()?.is_none();
    runs.kill()?;
    runs.wait()?;
    installed?;
    assert!(alive, "what runs goes on");
    assert_ne!(fs_err::metadata(&berthd)?.ino(), before, "it is another file");
    assert!(same(&berthd, &Node::binary("berthd")?)?);
    assert_eq!(fs_err::read_to_string(config)?, "# as the machine has it\n");
    assert_eq!(stage.files()?, expected("usr/local")?, "no other name is left behind");
    Ok(())
}
