//! Cells of tables, in the words that crictl's have.

use berth_proto::runtime::v1 as wire;
use prost_types::Timestamp;

use crate::output;

/// A moment in nanoseconds since 1970; none for 0.
pub fn moment(nanoseconds: i64) -> Option<Timestamp> {
    let nanos = i32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or_default();
    (nanoseconds > 0).then(|| Timestamp { seconds: nanoseconds.div_euclid(1_000_000_000), nanos })
}

/// How long ago it was.
pub fn age(nanoseconds: i64) -> String {
    output::age(moment(nanoseconds).as_ref())
}

/// The first digits of a number, or all.
pub fn number(id: &str, whole: bool) -> String {
    if whole { id.to_owned() } else { id.chars().take(13).collect() }
}

/// How a pod is.
pub fn pod_state(state: i32) -> &'static str {
    match wire::PodSandboxState::try_from(state) {
        Ok(wire::PodSandboxState::SandboxReady) => "Ready",
        Ok(wire::PodSandboxState::SandboxNotready) => "NotReady",
        Err(_) => "Unknown",
    }
}

/// How a container is.
pub fn container_state(state: i32) -> &'static str {
    match wire::ContainerState::try_from(state) {
        Ok(wire::ContainerState::ContainerCreated) => "Created",
        Ok(wire::ContainerState::ContainerRunning) => "Running",
        Ok(wire::ContainerState::ContainerExited) => "Exited",
        Ok(wire::ContainerState::ContainerUnknown) | Err(_) => "Unknown",
    }
}

/// An image as a container names it: a digest is cut short.
pub fn image(spec: Option<&wire::ImageSpec>, whole: bool) -> String {
    let name = spec.map(|spec| spec.image.as_str()).unwrap_or_default();
    let is_digest = name.starts_with("sha256:") || name.len() == 64;
    if whole || !is_digest { name.to_owned() } else { number(digits(name), false) }
}

fn digits(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// A number of an image, without the name of its hash.
pub fn image_id(id: &str, whole: bool) -> String {
    if whole { id.to_owned() } else { number(digits(id), false) }
}

/// A name as its repository and tag.
pub fn tagged(name: &str) -> (&str, &str) {
    // A colon before the last slash is a port's.
    let from = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[from..].rfind(':') {
        Some(colon) => (&name[..from + colon], &name[from + colon + 1..]),
        None => (name, "<none>"),
    }
}

/// Bytes, if they are told.
pub fn bytes(value: Option<wire::UInt64Value>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| output::size(value.value))
}

/// A count, if it is told.
pub fn count(value: Option<wire::UInt64Value>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.value.to_string())
}

/// Processor time in percent of one processor, over the time since the last measuring.
pub fn percent(usage: Option<&wire::CpuUsage>) -> String {
    let nano_cores = usage.and_then(|usage| usage.usage_nano_cores);
    nano_cores.map_or_else(|| "-".to_owned(), |cores| format!("{:.2}", cores.value as f64 / 1e7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_parted_at_its_tag() {
        for (name, parts) in [
            ("docker.io/library/busybox:1", ("docker.io/library/busybox", "1")),
            ("localhost:5000/busybox", ("localhost:5000/busybox", "<none>")),
            ("localhost:5000/busybox:1.2", ("localhost:5000/busybox", "1.2")),
            ("busybox", ("busybox", "<none>")),
        ] {
            assert_eq!(tagged(name), parts);
        }
    }

    #[test]
    fn an_image_is_shown_by_its_name_or_its_first_digits() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let spec = |image: &str| wire::ImageSpec { image: image.into(), ..Default::default() };
        assert_eq!(image(Some(&spec("busybox:1")), false), "busybox:1");
        assert_eq!(image(Some(&spec(&digest)), false), "0123456789abc");
        assert_eq!(image(Some(&spec(&digest)), true), digest);
        assert_eq!(
            (image(None, false), image_id(&digest, false)),
            (String::new(), "0123456789abc".to_owned())
        );
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let half = wire::CpuUsage {
            usage_nano_cores: Some(wire::UInt64Value { value: 500_000_000 }),
            ..Default::default()
        };
        assert_eq!((percent(Some(&half)), percent(None)), ("50.00".to_owned(), "-".to_owned()));
        assert_eq!(
            (bytes(None), count(Some(wire::UInt64Value { value: 3 }))),
            ("-".to_owned(), "3".to_owned())
        );
    }

    #[test]
    fn moments_are_nanoseconds() {
        assert_eq!(moment(0), None);
        assert_eq!(moment(1_500_000_000), Some(Timestamp { seconds: 1, nanos: 500_000_000 }));
    }

    #[test]
    fn states_are_words() {
        assert_eq!([0, 1, 7].map(pod_state), ["Ready", "NotReady", "Unknown"]);
        assert_eq!(
            [0, 1, 2, 3, 9].map(container_state),
            ["Created", "Running", "Exited", "Unknown", "Unknown"]
        );
    }
}
