//! Takes an archive apart: small descriptions are read, everything else is a blob.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};

use serde::Deserialize;
use tar::EntryType;

use super::{DOCKER, Error, INDEX, LAYOUT, LAYOUT_VERSION};
use crate::registry::Descriptor;

/// The most that a description may measure.
const MAX_DESCRIPTION: u64 = 20 << 20;
/// The most entries of an archive.
const MAX_ENTRIES: usize = 100_000;

/// Where the files of an archive go.
pub trait Blobs {
    /// Why it could not be stored.
    type Error: From<Error>;

    /// Stores a file of `size` bytes.
    ///
    /// # Errors
    /// Those of the store.
    fn store(
        &mut self,
        name: &str,
        size: u64,
        reader: &mut dyn Read,
    ) -> Result<Descriptor, Self::Error>;
}

/// One image of docker's list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// The configuration's file.
    pub config: String,
    /// The names.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The layers' files, lowest first.
    pub layers: Vec<String>,
}

/// What an archive has.
#[derive(Debug)]
pub enum Contents {
    /// An OCI layout: its index, stored as a blob.
    Oci(Descriptor),
    /// Docker's images, and the files that they name.
    Docker(Vec<DockerImage>, BTreeMap<String, Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

/// Reads a whole archive. An OCI layout counts before docker's list where there are both.
///
/// # Errors
/// [`Error`], and those of the store.
pub fn read<B: Blobs>(reader: impl Read, blobs: &mut B) -> Result<Contents, B::Error> {
    let mut archive = tar::Archive::new(reader);
    let (mut layout, mut docker) = (None::<Layout>, None::<Vec<DockerImage>>);
    let (mut stored, mut links) = (BTreeMap::new(), Vec::new());
    for (count, entry) in archive.entries().map_err(Error::Read)?.enumerate() {
        if count >= MAX_ENTRIES {
            return Err(Error::Format(format!("more than {MAX_ENTRIES} entries")).into());
        }
        let mut entry = entry.map_err(Error::Read)?;
        let name = clean(&entry.path().map_err(Error::Read)?);
        match entry.header().entry_type() {
            EntryType::Symlink => {
                let target = entry.link_name().map_err(Error::Read)?.unwrap_or_default();
                let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
                links.push((name.clone(), clean(&folder.join(target))));
            }
            EntryType::Regular | EntryType::Continuous => match name.as_str() {
                LAYOUT => layout = Some(description(&mut entry, &name)?),
                DOCKER => docker = Some(description(&mut entry, &name)?),
                _ => {
                    let size = entry.size();
                    let descriptor = blobs.store(&name, size, &mut entry)?;
                    stored.insert(name, descriptor);
                }
            },
            _ => {}
        }
    }
    if let Some(layout) = layout {
        return Ok(Contents::Oci(index(&layout, &mut stored)?));
    }
    let Some(images) = docker else {
        let wanted = format!("unrecognized image format, neither {LAYOUT} nor {DOCKER} in it");
        return Err(Error::Format(wanted).into());
    };
    for (name, target) in links {
        let found = stored.get(&target).cloned();
        let missing = || Error::Format(format!("{name} links to {target}, which it does not have"));
        stored.insert(name.clone(), found.ok_or_else(missing)?);
    }
    Ok(Contents::Docker(images, stored))
}

fn index(layout: &Layout, stored: &mut BTreeMap<String, Descriptor>) -> Result<Descriptor, Error> {
    if layout.image_layout_version != LAYOUT_VERSION {
        let version = &layout.image_layout_version;
        return Err(Error::Format(format!(
            "unsupported OCI version {version}, there is {LAYOUT_VERSION}"
        )));
    }
    let missing = || Error::Format(format!("missing {INDEX} in OCI layout {LAYOUT_VERSION}"));
    let mut index = stored.remove(INDEX).ok_or_else(missing)?;
    index.media_type = crate::registry::media::OCI_INDEX.to_owned();
    Ok(index)
}

fn description<T: for<'de> Deserialize<'de>>(
    reader: &mut impl Read,
    name: &str,
) -> Result<T, Error> {
    let mut text = Vec::new();
    reader.take(MAX_DESCRIPTION + 1).read_to_end(&mut text).map_err(Error::Read)?;
    if text.len() as u64 > MAX_DESCRIPTION {
        return Err(Error::Format(format!("{name} is larger than {MAX_DESCRIPTION} bytes")));
    }
    serde_json::from_slice(&text).map_err(|e| Error::Format(format!("{name}: {e}")))
}

/// A name without `.`, `..` and a leading `/`. Names are only keys: no file is made by them.
fn clean(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::hash::sha256;

    struct Memory;

    impl Blobs for Memory {
        type Error = Error;

        fn store(
            &mut self,
            _: &str,
            size: u64,
            reader: &mut dyn Read,
        ) -> Result<Descriptor, Error> {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map_err(Error::Read)?;
            if bytes.len() as u64 != size {
                return Err(Error::Read(std::io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(Descriptor::new("", sha256(&bytes), size))
        }
    }

    fn tar(files: &[(&str, &str)], links: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        for (name, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn tells_layouts_and_dockers_archives() {
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        let files = [("./oci-layout", version), ("index.json", "{}"), ("manifest.json", "[]")];
        let oci = tar(&files, &[]);
        assert!(matches!(read(&oci[..], &mut Memory).unwrap(), Contents::Oci(_)));
        let list =
            r#"[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar"]}]"#;
        let files = [("c.json", "{}"), ("a/layer.tar", "x"), ("manifest.json", list)];
        let docker = tar(&files, &[("b/layer.tar", "../a/layer.tar")]);
        let Contents::Docker(images, stored) = read(&docker[..], &mut Memory).unwrap() else {
            panic!("docker's archive is taken for a layout");
        };
        assert_eq!(images[0].layers.len(), 2);
        assert_eq!(stored["b/layer.tar"], stored["a/layer.tar"]);
    }

    #[test]
    fn refuses_what_is_no_archive() {
        let future = r#"{"imageLayoutVersion":"9"}"#;
        for bytes in [
            tar(&[("x", "y")], &[]),
            tar(&[("oci-layout", future), ("index.json", "{}")], &[]),
            tar(&[("manifest.json", "{")], &[]),
            tar(&[("manifest.json", "[]")], &[("a", "missing")]),
            vec![7; 1024],
        ] {
            assert!(read(&bytes[..], &mut Memory).is_err());
        }
        let cut = tar(&[("x", &"y".repeat(5000))], &[]);
        assert!(matches!(read(&cut[..2000], &mut Memory), Err(Error::Read(_))));
    }
}
