//! Devices of vendors, by name (CDI).

use std::collections::{BTreeMap, HashSet};

use berth_cdi::{Registry, apply as inject, is_name};
use berth_runtime_spec::Spec;

use crate::error::bounded;
use crate::{Error, Settings, cri};

/// What annotations that ask for devices begin with.
const ANNOTATION: &str = "cdi.k8s.io/";
/// How many devices a request names.
const MAX_DEVICES: usize = 4096;

/// Gives a spec the devices that the request names: in the field, and then in annotations. They come last of all, as
/// they may replace what a container has.
pub(crate) fn apply(
    spec: &mut Spec,
    config: &cri::ContainerConfig,
    settings: &Settings,
) -> Result<(), Error> {
    let fields: Vec<&str> = config.cdi_devices.iter().map(|device| device.name.as_str()).collect();
    if !settings.enable_cdi {
        let none = fields.is_empty();
        return if none { Ok(()) } else { Err(Error::CdiDisabled(fields.join(", "))) };
    }
    let names = names(config, fields)?;
    if names.is_empty() {
        return Ok(());
    }
    bounded("CDI devices", names.len(), MAX_DEVICES)?;
    let registry = Registry::read(&settings.cdi_spec_dirs);
    Ok(inject(&registry.edits(&names)?, spec)?)
}

/// Those of the field, then those of annotations, none twice.
fn names<'a>(
    config: &'a cri::ContainerConfig,
    fields: Vec<&'a str>,
) -> Result<Vec<&'a str>, Error> {
    let annotations: BTreeMap<_, _> =
        config.annotations.iter().filter(|(key, _)| key.starts_with(ANNOTATION)).collect();
    let mut names = fields;
    for name in annotations.values().flat_map(|value| value.split(',')) {
        if !is_name(name) {
            return Err(Error::CdiName(name.to_owned()));
        }
        names.push(name);
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(*name));
    Ok(names)
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

    fn given(config: &cri::ContainerConfig, settings: &Settings) -> Result<Vec<String>, String> {
        let mut spec = Spec::default();
        spec.process_mut().get_or_insert_default().set_env(None);
        let given = apply(&mut spec, config, settings);
        given.map_err(|error| berth_errors::chain(&error))?;
        let process = spec.process().clone().unwrap_or_default();
        Ok(process.env().clone().unwrap_or_default())
    }

    #[test]
    fn devices_come_by_name_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"cdiVersion":"0.6.0","kind":"v.com/gpu","devices":[
            {"name":"0","containerEdits":{"env":["A=0","L=0"]}},
            {"name":"1","containerEdits":{"env":["B=1","L=1"]}}]}"#;
        fs_err::write(dir.path().join("v.json"), text).unwrap();
        let folders = vec!["/there/is/none".into(), dir.path().to_owned()];
        let settings = Settings { cdi_spec_dirs: folders, ..Settings::default() };
        let asked = config(&["v.com/gpu=1", "v.com/gpu=1"], "v.com/gpu=0,v.com/gpu=1");
        assert_eq!(given(&asked, &settings).unwrap(), ["B=1", "L=0", "A=0"]);
        let refused = given(&config(&["v.com/gpu=7"], "w/c=8"), &settings).unwrap_err();
        let expected = format!(
            "CDI device injection failed: unresolvable CDI devices v.com/gpu=7, w/c=8 (none of /there/is/none, {} describes them)",
            dir.path().display()
        );
        assert_eq!(refused, expected);
        let off = Settings { enable_cdi: false, ..settings };
        assert_eq!(
            given(&config(&["a/b=c", "a/b=d"], ""), &off).unwrap_err(),
            "CDI devices (a/b=c, a/b=d) requested but CDI support is explicitly disabled"
        );
        assert!(given(&config(&[], "what ever"), &off).is_ok());
    }

    #[test]
    fn an_annotation_has_names_alone() {
        let settings = Settings { cdi_spec_dirs: Vec::new(), ..Settings::default() };
        assert!(given(&config(&[], ""), &settings).unwrap().is_empty());
        for name in ["a", "a/b=c,", "a/b=c, a/b=d"] {
            let wrong = name.split(',').next_back().unwrap();
            let words = format!(
                "failed to parse CDI device annotations: invalid CDI device name {wrong:?}"
            );
            assert_eq!(given(&config(&[], name), &settings).unwrap_err(), words);
        }
    }
}
