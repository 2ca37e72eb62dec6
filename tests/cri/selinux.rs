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
        refused(run(level("s0:c1,c2")), Code::Unknown, "selinux is not supported")?;
        refused(run(level("c1")), Code::Unknown, "the format of 'level' \"c1\" is not correct")?;
        assert_eq!(stage.pods(cri::PodSandboxFilter::default())?, []);
        assert_eq!(stage.addresses()?, [""; 0]);

        // Options that say nothing ask for nothing.
        let id = run(level(""))?;
        let create = |asked| {
            let mut config = shell("labelled", &stage.image, "true");
            let linux = config.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().selinux_options = asked;
            stage.create(&id, &config, &pod("labelled"))
        };
        refused(create(level("s0")), Code::Unknown, "selinux is not supported")?;
        let container = create(level(""))?;
        stage.start(&container)?;
        assert_eq!(stage.ended(&container)?.exit_code, 0);
        stage.remove_pod(&id)?;
        stage.node.shims_end()
    })
}
