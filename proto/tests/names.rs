//! Type URLs are the ones that clients compare with.

use berth_proto::containerd::events::TaskExit;
use berth_proto::io::containerd::cgroups::v1::Metrics;
use berth_proto::{pack, type_url, unpack};

#[test]
fn type_urls_are_bare_names() {
    assert_eq!(type_url::<TaskExit>(), "containerd.events.TaskExit");
    assert_eq!(type_url::<Metrics>(), "io.containerd.cgroups.v1.Metrics");
}

#[test]
fn any_is_opened_with_or_without_a_host() {
    let exit = TaskExit { id: "one".into(), exit_status: 7, ..Default::default() };
    let mut any = pack(&exit);
    assert_eq!(unpack::<TaskExit>(&any).unwrap().unwrap(), exit);
    any.type_url = format!("type.googleapis.com/{}", any.type_url);
    assert_eq!(unpack::<TaskExit>(&any).unwrap().unwrap(), exit);
    assert!(unpack::<Metrics>(&any).is_none());
}
