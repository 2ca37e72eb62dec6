//! Annotations of specs: what was asked to be handed on, and what says whose the spec is.

use std::collections::HashMap;

use crate::error::bounded;
use crate::labels::Kind;
use crate::pattern::matches;
use crate::{ContainerFacts, Error, PodFacts, cri};

/// How many of one request are looked at.
const MAX_ANNOTATIONS: usize = 16_384;

/// A class of processor caches, in containers' annotations and in pods'.
const RDT: Class = Class {
    what: "RDT",
    own: "io.kubernetes.cri.rdt-class",
    of_pod: "rdt.resources.beta.kubernetes.io",
};

/// A class of block devices.
const BLOCKIO: Class = Class {
    what: "blockio",
    own: "io.kubernetes.cri.blockio-class",
    of_pod: "blockio.resources.beta.kubernetes.io",
};

struct Class {
    what: &'static str,
    own: &'static str,
    of_pod: &'static str,
}

type Annotations = HashMap<String, String>;

/// Refuses more annotations than are sensible.
pub(crate) fn check(annotations: &Annotations) -> Result<(), Error> {
    bounded("annotations", annotations.len(), MAX_ANNOTATIONS)
}

/// Those of a pod's own process.
pub(crate) fn of_pod(config: &cri::PodSandboxConfig, facts: &PodFacts<'_>, to: &mut Annotations) {
    if let Some(limits) = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        let values = [
            ("cpu-period", limits.cpu_period),
            ("cpu-quota", limits.cpu_quota),
            ("cpu-shares", limits.cpu_shares),
            ("memory", limits.memory_limit_in_bytes),
        ];
        let named =
            |(name, value): (&str, i64)| (own(&format!("sandbox-{name}")), value.to_string());
        to.extend(values.map(named));
    }
    hand_on(&config.annotations, &facts.handler.pod_annotations, to);
    to.insert(own("sandbox-log-directory"), config.log_directory.clone());
    if !facts.image_name.is_empty() {
        to.insert(own("podsandbox.image-name"), facts.image_name.to_owned());
    }
    identify(config, facts.id, Kind::Sandbox, to);
}

/// Those of a container.
pub(crate) fn of_container(
    config: &cri::ContainerConfig,
    pod: &cri::PodSandboxConfig,
    facts: &ContainerFacts<'_>,
    to: &mut Annotations,
) {
    hand_on(&pod.annotations, &facts.handler.pod_annotations, to);
    hand_on(&config.annotations, &facts.handler.container_annotations, to);
    let name = config.metadata.as_ref().map(|metadata| metadata.name.clone());
    to.insert(own("container-name"), name.unwrap_or_default());
    let asked = config.image.as_ref().map_or("", |image| &image.user_specified_image);
    let image = if asked.is_empty() { facts.image_name } else { asked };
    to.insert(own("image-name"), image.to_owned());
    identify(pod, facts.pod_id, Kind::Container, to);
}

fn own(name: &str) -> String {
    format!("io.kubernetes.cri.{name}")
}

/// Whose the spec is: written last, so that nothing that was handed on says otherwise.
fn identify(pod: &cri::PodSandboxConfig, id: &str, kind: Kind, to: &mut Annotations) {
    let of = pod.metadata.clone().unwrap_or_default();
    to.insert(own("sandbox-id"), id.to_owned());
    to.insert(own("sandbox-namespace"), of.namespace);
    to.insert(own("sandbox-uid"), of.uid);
    to.insert(own("sandbox-name"), of.name);
    to.insert(own("container-type"), kind.as_str().to_owned());
}

fn hand_on(from: &Annotations, patterns: &[String], to: &mut Annotations) {
    for (key, value) in from {
        if patterns.iter().any(|pattern| matches(pattern, key)) {
            to.insert(key.clone(), value.clone());
        }
    }
}

/// Refuses classes, which are not provided, unless the configuration says to go on without.
pub(crate) fn refuse_classes(
    config: &cri::ContainerConfig,
    pod: &cri::PodSandboxConfig,
    facts: &ContainerFacts<'_>,
) -> Result<(), Error> {
    let name = config.metadata.as_ref().map_or("", |metadata| &metadata.name);
    let ignored = [facts.settings.ignore_blockio, facts.settings.ignore_rdt];
    for (class, ignored) in [BLOCKIO, RDT].iter().zip(ignored) {
        let asked = config
            .annotations
            .get(class.own)
            .or_else(|| pod.annotations.get(&format!("{}/container.{name}", class.of_pod)))
            .or_else(|| pod.annotations.get(&format!("{}/pod", class.of_pod)));
        if let Some(asked) = asked.filter(|asked| !asked.is_empty() && !ignored) {
            let (container, class_name) = (name.to_owned(), asked.clone());
            return Err(Error::Class { what: class.what, container, class: class_name });
        }
    }
    Ok(())
}
