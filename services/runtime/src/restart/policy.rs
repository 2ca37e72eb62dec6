//! The labels of the restart monitor, as containerd reads them.

use berth_ids::Labels;

use crate::process::State;
use crate::records::Container;

pub use crate::records::RESTART_STATUS as STATUS;

/// How often it was started again.
pub const COUNT: &str = "containerd.io/restart.count";
const POLICY: &str = "containerd.io/restart.policy";
const EXPLICITLY_STOPPED: &str = "containerd.io/restart.explicitly-stopped";

/// How often a container was started again; `None` when the label is not a number.
pub(super) fn count(labels: &Labels) -> Option<u32> {
    labels.get(COUNT).map_or(Some(0), |text| text.parse().ok())
}

/// Whether the policy wants a container that does not run to be started.
pub(super) fn restarts(labels: &Labels, state: Option<&State>) -> bool {
    let mut parts = labels.get(POLICY).map_or("always", String::as_str).split(':');
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("" | "always", None) => true,
        ("unless-stopped", None) => {
            let stopped = labels.get(EXPLICITLY_STOPPED).map(String::as_str);
            !matches!(stopped, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
        }
        ("on-failure", most) => {
            let failed = state.is_some_and(|state| state.exit_status != 0);
            let most = most.map_or(Some(0), |most| most.parse::<u32>().ok());
            let left = most.zip(count(labels)).is_some_and(|(most, n)| most == 0 || n < most);
            failed && left
        }
        _ => false,
    }
}

/// Whether the container's process has a terminal.
pub(super) fn has_terminal(container: &Container) -> bool {
    let spec = container.spec.as_ref().map(|spec| &spec.value[..]).unwrap_or_default();
    let spec: serde_json::Value = serde_json::from_slice(spec).unwrap_or_default();
    spec["process"]["terminal"].as_bool().unwrap_or_default()
}
