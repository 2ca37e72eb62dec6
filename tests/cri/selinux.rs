//! What is said of SELinux to who asks for it.

use anyhow::Result;
use berth_proto::runtime::v1 as cri;
use tonic::Code;

use crate::stage::{on_a_node, pod, refused, shell};

fn level(level: &str) -> Option<cri::SeLinuxOption> {
    Some(cri::SeLinuxOption { level: level.to_owned(), ..Default::default() })
}

#[test]
fn labels_are_refused_and_not_left_out() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let run = |asked| {
            let mut config = pod("labelled");
            let linux = config.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().selinux_options = asked;
            stage.run_pod(&config)
        };
        let off = "selinux is not supported: the kernel has it off";
        refused(run(level("s0:c1,c2")), Code::Unknown, off)?;
        refused(run(level("c1")), Code::Unknown, "the format of 'level' \"c1\" is not correct")?;
        assert_eq!(stage.pods(cri::PodSandboxFilter::default())?, []);
        assert_eq!(stage.addresses()?, [""; 0]);

        // Options that say nothing ask for nothing.
        let id = run(level(""))?;
        // Kubelets ask for a volume to be labelled wherever they are.
        let volume = tempfile::tempdir()?;
        let create = |asked| {
            let mut config = shell("labelled", &stage.image, "true");
            config.mounts.push(cri::Mount {
                container_path: "/volume".to_owned(),
                host_path: volume.path().display().to_string(),
                selinux_relabel: true,
                ..Default::default()
            });
            let linux = config.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().selinux_options = asked;
            stage.create(&id, &config, &pod("labelled"))
        };
        refused(create(level("s0")), Code::Unknown, off)?;
        let container = create(level(""))?;
        stage.start(&container)?;
        assert_eq!(stage.ended(&container)?.exit_code, 0);
        let mut label = [0; 64];
        let label = rustix::fs::getxattr(volume.path(), "security.selinux", &mut label[..]);
        assert_eq!(label, Err(rustix::io::Errno::NODATA));
        stage.remove_pod(&id)?;
        stage.node.shims_end()
    })
}
