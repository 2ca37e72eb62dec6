//! Annotations: which are handed on, and which are refused.

use super::*;

#[test]
fn annotations_are_handed_on_but_never_lie() {
    let mut given = Given::new();
    given.handler.pod_annotations = vec!["p.*".into()];
    given.handler.container_annotations = vec!["c.*".into(), "io.kubernetes.*".into()];
    let mut asked = config();
    let mut pod = pod(false);
    for (key, own) in [("p.1", false), ("c.0", false), ("c.1", true), ("p.0", true)] {
        let to = if own { &mut asked.annotations } else { &mut pod.annotations };
        to.insert(key.into(), "x".into());
    }
    asked.annotations.insert("io.kubernetes.cri.sandbox-id".into(), "lie".into());
    let made = |asked: &cri::ContainerConfig| {
        let spec = container(asked, &pod, &given.facts()).unwrap();
        let mut made: Vec<_> = spec.annotations().clone().unwrap().into_iter().collect();
        made.sort();
        made
    };
    let expected = [
        ("c.1", "x"),
        ("io.kubernetes.cri.container-name", "c"),
        ("io.kubernetes.cri.container-type", "container"),
        ("io.kubernetes.cri.image-name", "docker.io/library/busybox:latest"),
        ("io.kubernetes.cri.sandbox-id", "pod1"),
        ("io.kubernetes.cri.sandbox-name", "n"),
        ("io.kubernetes.cri.sandbox-namespace", ""),
        ("io.kubernetes.cri.sandbox-uid", ""),
        ("p.1", "x"),
    ];
    assert_eq!(made(&asked), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let image = cri::ImageSpec { user_specified_image: "busybox".into(), ..Default::default() };
    asked.image = Some(image);
    assert_eq!(made(&asked)[3].1, "busybox");
}

#[rstest]
#[case("io.kubernetes.cri.rdt-class", true, Some("RDT"))]
#[case("rdt.resources.beta.kubernetes.io/container.c", false, Some("RDT"))]
#[case("rdt.resources.beta.kubernetes.io/container.other", false, None)]
#[case("io.kubernetes.cri.blockio-class", true, Some("blockio"))]
#[case("blockio.resources.beta.kubernetes.io/pod", false, Some("blockio"))]
fn classes_are_refused(#[case] key: &str, #[case] own: bool, #[case] what: Option<&str>) {
    let (mut asked, mut pod) = (config(), pod(false));
    let to = if own { &mut asked.annotations } else { &mut pod.annotations };
    to.insert(key.into(), "gold".into());
    let mut given = Given::new();
    let made = container(&asked, &pod, &given.facts()).map(|_| ()).map_err(|e| e.to_string());
    let words = |what| {
        format!("{what} disabled, refusing to set {what} class of container \"c\" to \"gold\"")
    };
    assert_eq!(made.err(), what.map(words));
    (given.settings.ignore_blockio, given.settings.ignore_rdt) = (true, true);
    assert!(container(&asked, &pod, &given.facts()).is_ok());
}
