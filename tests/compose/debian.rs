//! A base image of the Debian packages that this machine has: what one of a registry is where there is a network.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use berth_testkit::{Layer, program};

/// Left out, as images of Debian leave it out.
const FOR_PEOPLE: [&str; 4] =
    ["/usr/share/doc", "/usr/share/info", "/usr/share/locale", "/usr/share/man"];

#[derive(Default)]
struct Packages {
    /// Each with what it depends on: of each list of alternatives one is needed.
    all: HashMap<String, Vec<Vec<String>>>,
    essential: Vec<String>,
    providers: HashMap<String, String>,
}

impl Packages {
    fn installed() -> Result<Self> {
        let format = "${db:Status-Status}\t${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\n";
        let listed = program("dpkg-query").args(["-W", "-f", format]).output()?.ok()?;
        let mut packages = Self::default();
        for line in listed.lines() {
            let fields: Vec<_> = line.split('\t').collect();
            let ["installed", name, essential, provides, depends] = fields[..] else { continue };
            for provided in alternatives(provides).into_iter().flatten() {
                packages.providers.insert(provided, name.to_owned());
            }
            if essential == "yes" {
                packages.essential.push(name.to_owned());
            }
            packages.all.insert(name.to_owned(), alternatives(depends));
        }
        Ok(packages)
    }

    /// The package of this name, or one that provides it.
    fn of(&self, name: &str) -> Option<&str> {
        let (found, _) = self.all.get_key_value(name).or_else(|| {
            let provider = self.providers.get(name)?;
            self.all.get_key_value(provider)
        })?;
        Some(found)
    }

    /// The essential packages, these, and all that they need.
    fn closure(&self, wanted: &[&str]) -> Result<BTreeSet<&str>> {
        for name in wanted {
            ensure!(self.all.contains_key(*name), "the package {name} is not installed");
        }
        let essential = self.essential.iter().map(String::as_str);
        let mut left: Vec<&str> = essential.chain(wanted.iter().copied()).collect();
        let mut closure = BTreeSet::new();
        while let Some(name) = left.pop().and_then(|name| self.of(name)) {
            if !closure.insert(name) {
                continue;
            }
            for any in &self.all[name] {
                let found = any.iter().find_map(|name| self.of(name));
                left.push(found.with_context(|| format!("{name} needs one of {any:?}"))?);
            }
        }
        Ok(closure)
    }
}

/// The names in a field as `a (>= 1) | b, c:any`.
fn alternatives(field: &str) -> Vec<Vec<String>> {
    let name = |one: &str| {
        let name = one.split_whitespace().next()?;
        Some(name.split(':').next().unwrap_or(name).to_owned())
    };
    let lists = field.split(',').map(|list| list.split('|').filter_map(name).collect());
    lists.filter(|list: &Vec<_>| !list.is_empty()).collect()
}

/// A tar of the essential packages, these, and what they depend on. dpkg knows them there.
pub fn with(wanted: &[&str]) -> Result<Layer> {
    let packages = Packages::installed()?;
    let packages = packages.closure(wanted)?;
    let of_all = |option: &str| {
        program("dpkg-query").args([option]).args(packages.iter().copied()).output()?.ok()
    };
    let mut layer = Layer::default();
    for (path, link) in present(&of_all("-L")?)? {
        layer = add(layer, &path, link)?;
    }
    // What scripts of the packages make.
    for name in ["passwd", "group"] {
        let master = fs_err::read(format!("/usr/share/base-passwd/{name}.master"))?;
        layer = layer.file(&format!("etc/{name}"), 0o644, &master)?;
    }
    layer.file("var/lib/dpkg/status", 0o644, of_all("-s")?.as_bytes())
}

/// Of the files that dpkg lists those that are there, by where they are, above before below.
fn present(listed: &str) -> Result<BTreeMap<PathBuf, Option<PathBuf>>> {
    let mut present = BTreeMap::new();
    let wanted = |line: &&str| {
        line.starts_with('/') && !FOR_PEOPLE.iter().any(|folder| line.starts_with(folder))
    };
    for path in listed.lines().filter(wanted).map(Path::new) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
        // `/lib` is a link: what is listed below it is elsewhere.
        let Ok(folder) = fs_err::canonicalize(folder) else { continue };
        let path = folder.join(name);
        let Ok(of) = fs_err::symlink_metadata(&path) else { continue };
        let link = of.is_symlink().then(|| fs_err::read_link(&path)).transpose()?;
        ensure!(!of.file_type().is_char_device(), "{} is a device", path.display());
        present.insert(path, link);
    }
    Ok(present)
}

fn add(layer: Layer, path: &Path, link: Option<PathBuf>) -> Result<Layer> {
    let name = path.strip_prefix("/")?.to_str().context("a name that is text")?;
    if let Some(target) = link {
        return layer.symlink(name, target.to_str().context("a target that is text")?);
    }
    let of = fs_err::metadata(path)?;
    if of.is_dir() {
        return layer.dir(name);
    }
    layer.file(name, of.permissions().mode() & 0o7777, &fs_err::read(path)?)
}
