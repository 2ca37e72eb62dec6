//! What criu is told that runc does not tell it: in which control group of the second hierarchy the processes go on.
//!
//! Without that they go on in the group that they were saved in: that of another container, or of none, whose limits are
//! not theirs, and which runc does not look into when all of them are to be signalled.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use berth_cgroup::Place;
use serde_json::Value;

use crate::Error;

/// The annotation with the file that runc has criu read; empty: none.
const ANNOTATION: &str = "org.criu.config";
/// What runc has it read where no annotation says so.
const DEFAULT: &str = "/etc/criu/runc.conf";
/// That of a bundle.
const OWN: &str = "criu.conf";
/// The most that is read of another file.
const MAX: u64 = 1 << 20;
/// Where systemd has scopes that nobody says it of, and what runc calls them by.
const SLICE: &str = "system.slice";
const PREFIX: &str = "runc";

/// Has criu restore a container into the control group that runc makes for it, beside what else it was to be told.
///
/// # Errors
/// [`Error::Invalid`] for a group that criu cannot be told of; [`Error::Io`].
pub(crate) fn configure(bundle: &Path, id: &str, systemd: bool) -> Result<(), Error> {
    let path = bundle.join("config.json");
    let invalid = || path.display().to_string();
    let text = fs_err::read(&path)?;
    let mut spec: Value = serde_json::from_slice(&text).map_err(Error::invalid(invalid()))?;
    let group = spec.pointer("/linux/cgroupsPath").and_then(Value::as_str).unwrap_or_default();
    let group = match systemd {
        true => of_systemd(group, id)?,
        false => of_path(group, id, own()?),
    };
    let mut told = match spec.pointer("/annotations").and_then(|all| all.get(ANNOTATION)) {
        Some(other) => other_file(Path::new(other.as_str().unwrap_or_default()))?,
        None => other_file(Path::new(DEFAULT))?,
    };
    told.extend_from_slice(line(&group)?.as_bytes());
    let own = bundle.join(OWN);
    fs_err::write(&own, told)?;
    let all = spec
        .as_object_mut()
        .ok_or_else(|| Error::Invalid { what: invalid(), reason: "it is no object".into() })?;
    let annotations = all.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = Value::Object(serde_json::Map::new());
    }
    // Of another type it was refused before.
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(ANNOTATION.to_owned(), own.to_string_lossy().into());
    }
    let text = serde_json::to_vec(&spec).map_err(Error::invalid(invalid()))?;
    Ok(fs_err::write(&path, text)?)
}

/// What is in a file that criu was to read. It reads on where there is none.
fn other_file(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    if path.as_os_str().is_empty() {
        return Ok(text);
    }
    // Opening anything else than a file is not waited for.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(text),
        opened => opened.map_err(Error::io(format!("open {}", path.display())))?,
    };
    let read = || Error::io(format!("read {}", path.display()));
    let found = file.metadata().map_err(read())?;
    if !found.is_file() || found.len() > MAX {
        return Err(Error::Invalid {
            what: format!("criu's configuration {}", path.display()),
            reason: format!("it has to be a file of {MAX} bytes at most"),
        });
    }
    file.take(MAX).read_to_end(&mut text).map_err(read())?;
    text.push(b'\n');
    Ok(text)
}

/// A line of criu's configuration, whose words are separated by what a path may have in it.
fn line(group: &Path) -> Result<String, Error> {
    let group = group.to_string_lossy();
    let plain = |letter: char| !letter.is_whitespace() && !letter.is_control();
    if group.chars().all(|letter| plain(letter) && !matches!(letter, '#' | '"' | '\'' | '\\')) {
        return Ok(format!("cgroup-root :{group}\n"));
    }
    Err(Error::Invalid {
        what: format!("control group {group:?}"),
        reason: "of a container that is restored it has no spaces, quotes, backslashes or #".into(),
    })
}

/// The shim's own group, whose neighbour runc makes one that has no whole path.
fn own() -> Result<PathBuf, Error> {
    match berth_cgroup::of_process(std::process::id().cast_signed())? {
        Place::V2(folder) => Ok(folder.strip_prefix("/sys/fs/cgroup").unwrap_or(&folder).into()),
        Place::V1(_) => Ok(PathBuf::new()),
    }
}

/// Where runc makes a group, below the root of the hierarchy.
fn of_path(group: &str, id: &str, own: PathBuf) -> PathBuf {
    let group = if group.is_empty() { id } else { group };
    let above = match own.parent() {
        Some(parent) if !group.starts_with('/') => parent.to_owned(),
        _ => PathBuf::new(),
    };
    let mut within = PathBuf::new();
    for part in Path::new(group).components() {
        match part {
            Component::Normal(name) => within.push(name),
            Component::ParentDir => drop(within.pop()),
            _ => {}
        }
    }
    Path::new("/").join(above.strip_prefix("/").unwrap_or(&above)).join(within)
}

/// Where systemd makes a group, given as slice, prefix and name.
fn of_systemd(group: &str, id: &str) -> Result<PathBuf, Error> {
    let parts: Vec<_> =
        if group.is_empty() { vec!["", PREFIX, id] } else { group.split(':').collect() };
    let [slice, prefix, name] = *parts else {
        let reason = "of systemd's it is slice:prefix:name".into();
        return Err(Error::Invalid { what: format!("control group {group:?}"), reason });
    };
    let above = match slice {
        "" => format!("/{SLICE}"),
        "-.slice" => String::new(),
        slice => berth_cgroup::of_slice(slice),
    };
    let unit =
        if name.ends_with(".slice") { name.to_owned() } else { format!("{prefix}-{name}.scope") };
    Ok(format!("{above}/{unit}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_where_runc_makes_them() {
        let own = || PathBuf::from("system.slice/berth.service");
        for (group, expected) in [
            ("/k8s.io/a", "/k8s.io/a"),
            ("/kube//pod/../b/.", "/kube/b"),
            ("/../../a", "/a"),
            ("a/b", "/system.slice/a/b"),
            ("", "/system.slice/id"),
        ] {
            assert_eq!(of_path(group, "id", own()), Path::new(expected), "{group}");
        }
        assert_eq!(of_path("a", "id", PathBuf::new()), Path::new("/a"));
        for (group, expected) in [
            ("a-b.slice:cri-containerd:id", "/a.slice/a-b.slice/cri-containerd-id.scope"),
            (":runc:x", "/system.slice/runc-x.scope"),
            ("-.slice:p:x", "/p-x.scope"),
            ("a.slice:p:b.slice", "/a.slice/b.slice"),
            ("", "/system.slice/runc-id.scope"),
        ] {
            assert_eq!(of_systemd(group, "id").unwrap(), Path::new(expected), "{group}");
        }
        let refused = of_systemd("/a/b", "id").unwrap_err().to_string();
        assert!(refused.contains("slice:prefix:name"), "{refused}");
    }

    #[test]
    fn criu_is_told_of_the_group_and_of_what_else_it_was_to_be_told() {
        let bundle = tempfile::tempdir().unwrap();
        let (config, other) = (bundle.path().join("config.json"), bundle.path().join("other.conf"));
        let told = || std::fs::read_to_string(bundle.path().join(OWN)).unwrap();
        let annotated = || -> String {
            let spec: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
            assert_eq!(spec.pointer("/root/path").unwrap(), "rootfs");
            spec.pointer("/annotations/org.criu.config").unwrap().as_str().unwrap().to_owned()
        };
        let own = bundle.path().join(OWN).to_string_lossy().into_owned();
        let group = r#""root": {"path": "rootfs"}, "linux": {"cgroupsPath": "/k8s.io/a"}"#;
        std::fs::write(&other, "tcp-close").unwrap();
        let named = format!(r#"{{"annotations": {{"org.criu.config": {other:?}}}, {group}}}"#);
        let none = format!(r#"{{"annotations": {{"org.criu.config": ""}}, {group}}}"#);
        let gone = format!(r#"{{"annotations": {{"org.criu.config": "/none"}}, {group}}}"#);
        let line = "cgroup-root :/k8s.io/a\n";
        for (spec, expected) in
            [(named, format!("tcp-close\n{line}")), (none, line.into()), (gone, line.into())]
        {
            std::fs::write(&config, spec).unwrap();
            configure(bundle.path(), "id", false).unwrap();
            assert_eq!((told(), annotated()), (expected, own.clone()));
        }
        for annotations in ["", r#""annotations": null,"#] {
            std::fs::write(&config, format!("{{{annotations} {group}}}")).unwrap();
            configure(bundle.path(), "id", false).unwrap();
            assert!(told().ends_with(line), "{}", told());
            assert_eq!(annotated(), own);
        }
    }

    #[test]
    fn what_criu_would_read_as_something_else_is_refused() {
        for group in ["/a b", "/a\nlog-file /etc/x", "/a#b", "/a\"b", "/a\\b"] {
            let refused = line(Path::new(group)).unwrap_err().to_string();
            assert!(refused.contains("control group"), "{refused}");
        }
        let refused = other_file(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(refused.contains("has to be a file"), "{refused}");
        assert_eq!(other_file(Path::new("/none")).unwrap(), b"");
    }
}
