//! Users who are none: a number that does not fit is never cut to one that does, least of all to root's.

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::Layer;
use serde_json::json;
use tonic::Code;

use super::images::{image, kept};
use crate::stage::{on_a_node, pod, refused, shell};

/// Numbers that the kernel or the runtime does not take; 2^32 is 0 in 32 bits.
const NONE: [i64; 6] = [-1, 1 << 31, 1 << 32, (1 << 32) + 1000, i64::MAX, i64::MIN];

fn number(value: i64) -> Option<cri::Int64Value> {
    Some(cri::Int64Value { value })
}

type Asks = cri::LinuxContainerSecurityContext;

/// What requests may ask for that cannot be.
fn asked() -> Vec<Asks> {
    let mut all = Vec::new();
    for value in NONE {
        all.push(Asks { run_as_user: number(value), ..Default::default() });
        let (user, group) = (number(1000), number(value));
        all.push(Asks { run_as_user: user, run_as_group: group, ..Default::default() });
        all.push(Asks { supplemental_groups: vec![1, value], ..Default::default() });
        all.push(Asks { run_as_username: value.to_string(), ..Default::default() });
    }
    for name in ["99999999999999999999", "-0001", "wide", "minus", "huge"] {
        all.push(Asks { run_as_username: name.to_owned(), ..Default::default() });
    }
    all
}

#[test]
fn a_user_out_of_range_is_refused_and_never_root() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("users")?;
        let users = b"root:x:0:0::/:\nwide:x:4294967296:0::/:\nminus:x:-1:0::/:\n\
                      huge:x:99999999999999999999:0::/:\n";
        let passwd = || Layer::default().file("etc/passwd", 0o644, users);
        let plain = image(stage, "users:1", passwd()?, json!({"Cmd": ["/bin/sh"]}))?;
        let before = kept(stage)?.0;
        for (count, asks) in asked().into_iter().enumerate() {
            let mut config = shell(&format!("asked{count}"), &plain, "id -u > /who; sleep 1000");
            config.linux.get_or_insert_default().security_context = Some(asks.clone());
            let made = stage.create(&pod, &config, &pod_config);
            let code = match asks.supplemental_groups.is_empty() {
                true => Code::Unknown,
                false => Code::InvalidArgument,
            };
            refused(made, code, "out of range").with_context(|| format!("{asks:?}"))?;
        }
        let said = [
            "4294967296",
            "2147483648:0",
            "-1",
            "wide",
            "minus",
            "huge:0",
            "1000:4294967296",
            "1000:-1",
            "99999999999999999999",
        ];
        for (count, user) in said.into_iter().enumerate() {
            let config = json!({"Cmd": ["/bin/sh"], "User": user});
            let image = image(stage, &format!("said{count}:1"), passwd()?, config)?;
            let config = shell(&format!("said{count}"), &image, "sleep 1000");
            let made = stage.create(&pod, &config, &pod_config);
            refused(made, Code::Unknown, "out of range")
                .with_context(|| format!("an image's {user:?}"))?;
            let spec = Some(cri::ImageSpec { image, ..Default::default() });
            let request = cri::ImageStatusRequest { image: spec, verbose: false };
            let told = stage.images(|mut c| async move { c.image_status(request).await })?;
            let told = told.image.context("an image")?;
            // By number it is nobody.
            let is_named = user.starts_with(|first: char| first.is_ascii_alphabetic());
            let is_ranged = user.starts_with("1000:");
            assert_eq!(told.uid.is_some(), is_ranged, "{user}: {told:?}");
            assert_eq!(!told.username.is_empty(), is_named, "{user}: {told:?}");
        }
        assert_eq!(kept(stage)?.0, before, "nothing was made");
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn a_pod_whose_user_is_out_of_range_is_refused_whole() -> Result<()> {
    on_a_node(|stage| {
        for (count, value) in NONE.into_iter().enumerate() {
            let mut config = pod(&format!("none{count}"));
            let (run_as_user, run_as_group) = match count % 2 {
                0 => (number(value), None),
                _ => (number(1000), number(value)),
            };
            let context = cri::LinuxSandboxSecurityContext {
                run_as_user,
                run_as_group,
                ..Default::default()
            };
            config.linux.get_or_insert_default().security_context = Some(context);
            refused(stage.run_pod(&config), Code::Unknown, "out of range")
                .with_context(|| value.to_string())?;
        }
        assert_eq!(stage.pods(cri::PodSandboxFilter::default())?, []);
        assert_eq!(stage.addresses()?, [""; 0]);
        assert_eq!(kept(stage)?.0, "");
        let left = stage.node.mounts();
        ensure!(left.is_empty(), "{left:?}");
        stage.node.shims_end()
    })
}
