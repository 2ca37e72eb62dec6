//! Devices of vendors, by name (CDI).

use anyhow::{Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::is_root;
use rustix::fs::{CWD, FileType, Mode};
use tonic::Code;

use crate::stage::{on_a_node_of, refused, shell};

const SLEEP: &str = "while true; do sleep 1; done";

/// Two devices; FOLDER is one of the node's.
const VENDOR: &str = r#"---
cdiVersion: "0.6.0"
kind: "example.com/thing"
containerEdits:
  env: ["THINGS=yes"]
  hooks:
  - hookName: createRuntime
    path: /bin/sh
    args: ["sh", "-c", "cat > FOLDER/hook"]
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - {path: /dev/thing, hostPath: FOLDER/node, permissions: r}
    env: ["THING=0"]
- name: one
  containerEdits:
    mounts:
    - {hostPath: FOLDER/lib, containerPath: /vendor, options: [ro, nosuid, nodev, rbind]}
"#;

#[test]
fn a_container_gets_the_devices_that_it_names() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    for folder in ["static", "dynamic", "lib"] {
        fs_err::create_dir(path(folder))?;
    }
    fs_err::write(path("lib/tool"), "of the vendor")?;
    if !is_root() {
        return Ok(());
    }
    // A number that no driver has.
    let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(CWD, path("node"), kind, mode, rustix::fs::makedev(511, 511))?;
    let folders = [path("static"), path("dynamic")];
    let text = VENDOR.replace("FOLDER", &dir.path().display().to_string());
    let file = |folder: &std::path::Path| {
        Ok(format!(
            "[cri]\nenabled = true\nrestrict_oom_score_adj = true\ncdi_spec_dirs = {folders:?}\n\
             [network]\nconf_dir = {:?}\nbin_dirs = [\"/usr/lib/cni\"]\n",
            folder.join("net.d")
        ))
    };
    on_a_node_of(file, |stage| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("things")?;
        let asked = |name: &str, fields: &[&str], annotation: &str| {
            let mut config = shell(name, &stage.image, SLEEP);
            let device = |name: &&str| cri::CdiDevice { name: (*name).to_owned() };
            config.cdi_devices = fields.iter().map(device).collect();
            if !annotation.is_empty() {
                config.annotations.insert("cdi.k8s.io/plugin".to_owned(), annotation.to_owned());
            }
            config
        };
        // Nothing says what they are, then something that is no document does.
        let none = stage.create(&pod, &asked("a", &["example.com/thing=0"], ""), &pod_config);
        let words = format!(
            "CDI device injection failed: unresolvable CDI devices example.com/thing=0 (none of {}, {} describes them)",
            path("static").display(),
            path("dynamic").display()
        );
        refused(none, Code::Unknown, &words)?;
        fs_err::write(path("dynamic/broken.yaml"), "cdiVersion: [")?;
        let none = stage.create(&pod, &asked("a", &["example.com/thing=0"], ""), &pod_config);
        refused(none, Code::Unknown, "broken.yaml: ")?;
        let none = stage.create(&pod, &asked("a", &[], "thing"), &pod_config);
        refused(none, Code::Unknown, "invalid CDI device name \"thing\"")?;

        // It counts from when it is there.
        fs_err::write(path("static/vendor.yaml"), &text)?;
        let config = asked("a", &["example.com/thing=0"], "example.com/thing=one");
        let id = stage.create(&pod, &config, &pod_config)?;
        ensure!(!path("hook").exists(), "a hook ran before its time");
        stage.start(&id)?;
        let script = "echo $THINGS $THING; cat /vendor/tool; stat -c %t:%T /dev/thing; \
            touch /vendor/x || echo kept";
        let seen = stage.exec(&id, &["sh", "-c", script], 20)?;
        let expected = "yes 0\nof the vendor1ff:1ff\nkept\n";
        assert_eq!(String::from_utf8_lossy(&seen.stdout), expected, "{seen:?}");
        // It may be read, which finds that there is no such device, and not be written to.
        for (script, words) in [("cat /dev/thing", "No such"), ("echo > /dev/thing", "permitted")] {
            let seen = stage.exec(&id, &["sh", "-c", script], 20)?;
            ensure!(String::from_utf8_lossy(&seen.stderr).contains(words), "{script}: {seen:?}");
        }
        ensure!(fs_err::read_to_string(path("hook"))?.contains(&id), "the hook's state");

        // A later folder counts before, and only for who asks.
        let other = text.replace("THING=0", "THING=other");
        fs_err::write(path("dynamic/vendor.yaml"), other)?;
        let id = stage.create(&pod, &asked("b", &["example.com/thing=0"], ""), &pod_config)?;
        stage.start(&id)?;
        let seen = stage.exec(&id, &["sh", "-c", "echo $THING; ls /vendor"], 20)?;
        assert_eq!((&*seen.stdout, seen.exit_code), (&b"other\n"[..], 1), "{seen:?}");
        let id = stage.create(&pod, &asked("c", &[], ""), &pod_config)?;
        stage.start(&id)?;
        let seen = stage.exec(&id, &["sh", "-c", "echo \"<$THINGS>\"; ls /dev/thing"], 20)?;
        assert_eq!((&*seen.stdout, seen.exit_code), (&b"<>\n"[..], 1), "{seen:?}");
        stage.remove_pod(&pod)?;
        stage.node.shims_end()
    })
}
