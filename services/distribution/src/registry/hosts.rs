//! Which hosts answer for a registry, in what order, and how they are reached.

use std::path::{Path, PathBuf};

use super::Error;
use super::endpoint::{Endpoint, Tls};
use super::hosts_file;

/// The hosts to ask for `registry`, in order.
///
/// The first folder under `roots` that has something about the registry decides: its `hosts.toml`,
/// or else docker's certificate files. `scheme` is the caller's wish for the registry's own host.
///
/// # Errors
/// [`Error::HostsFile`].
pub fn endpoints(
    registry: &str,
    roots: &[PathBuf],
    scheme: Option<&str>,
) -> Result<Vec<Endpoint>, Error> {
    let own = Endpoint::default_of(registry, scheme);
    let Some(folder) = roots.iter().find_map(|root| folder(root, registry)) else {
        return Ok(vec![own]);
    };
    let file = folder.join("hosts.toml");
    match fs_err::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => hosts_file::parse(&file, &text, registry, own),
        Ok(_) => Ok(vec![with_certificates(own, &folder)?]),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(vec![with_certificates(own, &folder)?])
        }
        Err(error) => Err(Error::HostsFile { path: file, reason: error.to_string() }),
    }
}

/// `ROOT/host_port_`, `ROOT/host:port` or `ROOT/_default`, whichever there is.
fn folder(root: &Path, registry: &str) -> Option<PathBuf> {
    let flat = match registry.rsplit_once(':') {
        Some((host, port)) => format!("{host}_{port}_"),
        None => registry.to_owned(),
    };
    let names = [flat.as_str(), registry, "_default"];
    names.iter().map(|name| root.join(name)).find(|folder| folder.is_dir())
}

/// Docker's layout: `*.crt` to trust, `*.cert` and `*.key` of the client.
fn with_certificates(own: Endpoint, folder: &Path) -> Result<Endpoint, Error> {
    let wrong = |error: std::io::Error| Error::HostsFile {
        path: folder.to_owned(),
        reason: error.to_string(),
    };
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder).map_err(wrong)? {
        files.push(entry.map_err(wrong)?.path());
    }
    files.sort();
    let mut tls = Tls::default();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.ca.push(file),
            Some("cert") => {
                let key = file.with_extension("key");
                tls.client.push((file, key.is_file().then_some(key)));
            }
            _ => {}
        }
    }
    Ok(own.with_tls(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_files_are_dockers() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("localhost_5000_");
        fs_err::create_dir(&folder).unwrap();
        for name in ["ca.crt", "me.cert", "me.key", "readme"] {
            fs_err::write(folder.join(name), "").unwrap();
        }
        let of = |scheme| endpoints("localhost:5000", &[root.path().to_owned()], scheme).unwrap();
        let found = of(None);
        assert!(!found[0].is_plain() && !of(Some("http"))[0].is_plain());
        assert_eq!(found[0].tls.skip_verify, None, "who names an authority wants it");
        assert_eq!(found[0].tls.ca, [folder.join("ca.crt")]);
        assert_eq!(found[0].tls.client, [(folder.join("me.cert"), Some(folder.join("me.key")))]);
    }

    #[test]
    fn the_first_folder_that_knows_the_registry_decides() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |root: &Path, name: &str, host: &str| {
            fs_err::create_dir_all(root.join(name)).unwrap();
            let text = format!("[host.\"https://{host}\"]\n");
            fs_err::write(root.join(name).join("hosts.toml"), text).unwrap();
        };
        let missing = one.path().join("missing");
        let first = |registry: &str| {
            let roots = [missing.clone(), one.path().to_owned(), two.path().to_owned()];
            endpoints(registry, &roots, None).unwrap()[0].host.clone()
        };
        assert_eq!(first("r.example"), "r.example");
        put(two.path(), "r.example", "of-two");
        assert_eq!(first("r.example"), "of-two");
        put(two.path(), "_default", "default-of-two");
        assert_eq!(
            (first("r.example"), first("other:1")),
            ("of-two".into(), "default-of-two".into())
        );
        // A default of an earlier folder goes before a registry's own of a later one.
        put(one.path(), "_default", "default-of-one");
        assert_eq!(
            (first("r.example"), first("other:1")),
            ("default-of-one".into(), "default-of-one".into())
        );
        put(one.path(), "other:1", "of-one");
        assert_eq!(first("other:1"), "of-one");
        put(one.path(), "other_1_", "flat-of-one");
        assert_eq!(first("other:1"), "flat-of-one");
    }
}
