//! Devices of vendors, by name (CDI).
//!
//! Names are read and checked; what they mean is in files that are not read yet, so each that is
//! asked for is one that nothing describes.

use crate::{Error, cri};

/// What annotations that ask for devices begin with.
const ANNOTATION: &str = "cdi.k8s.io/";

/// Refuses devices of vendors.
pub(crate) fn refuse(config: &cri::ContainerConfig, enabled: bool) -> Result<(), Error> {
    let fields: Vec<&str> = config.cdi_devices.iter().map(|device| device.name.as_str()).collect();
    if !enabled {
        let none = fields.is_empty();
        return if none { Ok(()) } else { Err(Error::CdiDisabled(fields.join(", "))) };
    }
    let names = names(config, fields)?;
    if names.is_empty() { Ok(()) } else { Err(Error::CdiUnresolvable(names.join(", "))) }
}

/// Those of the field, then those of annotations, none twice.
fn names<'a>(
    config: &'a cri::ContainerConfig,
    fields: Vec<&'a str>,
) -> Result<Vec<&'a str>, Error> {
    let mut annotations: Vec<_> =
        config.annotations.iter().filter(|(key, _)| key.starts_with(ANNOTATION)).collect();
    annotations.sort();
    let mut names = fields;
    for name in annotations.iter().flat_map(|(_, value)| value.split(',')) {
        if !is_name(name) {
            return Err(Error::CdiName(name.to_owned()));
        }
        names.push(name);
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    Ok(names)
}

/// `VENDOR/CLASS=NAME`.
fn is_name(name: &str) -> bool {
    let Some((kind, name)) = name.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let part = |text: &str, first: fn(&u8) -> bool, more: &[u8]| {
        text.as_bytes().first().is_some_and(first)
            && text.bytes().last().is_some_and(|last| last.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    part(vendor, u8::is_ascii_alphabetic, b"-_.")
        && part(class, u8::is_ascii_alphabetic, b"-_")
        && part(name, u8::is_ascii_alphanumeric, b"-_.:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(fields: &[&str], annotation: &str) -> cri::ContainerConfig {
        let device = |name: &&str| cri::CdiDevice { name: (*name).to_owned() };
        let mut config = cri::ContainerConfig {
            cdi_devices: fields.iter().map(device).collect(),
            ..Default::default()
        };
        if !annotation.is_empty() {
            config.annotations.insert("cdi.k8s.io/x".into(), annotation.into());
        }
        config
    }

    #[test]
    fn each_device_is_refused_by_name_once() {
        let refused = |config, enabled| refuse(&config, enabled).unwrap_err().to_string();
        assert_eq!(
            refused(config(&["v.com/gpu=0", "v.com/gpu=1"], "v.com/gpu=1,v.com/gpu=2"), true),
            "CDI device injection failed: unresolvable CDI devices v.com/gpu=0, v.com/gpu=1, v.com/gpu=2"
        );
        assert_eq!(
            refused(config(&["a/b=c", "a/b=d"], ""), false),
            "CDI devices (a/b=c, a/b=d) requested but CDI support is explicitly disabled"
        );
        assert!(refuse(&config(&[], ""), true).is_ok());
        assert!(refuse(&config(&[], "what ever"), false).is_ok());
    }

    #[test]
    fn a_name_is_of_three_parts() {
        for name in
            ["", "a", "a/b", "a/b=", "/b=c", "a/=c", "1/b=c", "a/b=c=d/", "a/b=-", "a/b.c=d"]
        {
            let refused = refuse(&config(&[], name), true);
            if name.is_empty() {
                assert!(refused.is_ok());
                continue;
            }
            let words =
                format!("failed to parse CDI device annotations: invalid CDI device name {name:?}");
            assert_eq!(refused.unwrap_err().to_string(), words);
        }
    }
}
