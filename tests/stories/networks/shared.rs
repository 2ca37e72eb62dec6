//! Containers with no network, and with another's.

use anyhow::Result;

use super::stage::{SERVE, in_a_network};

#[test]
fn a_container_may_have_no_network_or_anothers() -> Result<()> {
    in_a_network(|stage| {
        let seen = |flags: &str, script: &str| stage.run(flags, script).output()?.ok();
        let links = seen("--rm --name net-none --net none", "ip -o link")?;
        assert!(links.lines().all(|line| line.contains(" lo: ")), "{links}");
        stage.run("-d --name net-first --net bridge --hostname first", SERVE).output()?.ok()?;
        stage.reaches("net-first", "127.0.0.1", "first")?;
        let ours = "--rm --name net-beside --net container:net-first";
        let script = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 127.0.0.1 80 | tail -n 1; cat /etc/hosts; hostname; readlink /proc/self/ns/net";
        let beside = seen(ours, script)?;
        let first =
            stage.inside("net-first", "cat /etc/hosts; hostname; readlink /proc/self/ns/net")?;
        assert_eq!(beside, format!("first\n{first}"));
        assert!(first.contains("first net-first"), "{first}");
        // Of one that is on no network of ours: by its process.
        stage.run("-d --name net-apart --net none", "sleep 600").output()?.ok()?;
        let apart = stage.inside("net-apart", "readlink /proc/self/ns/net")?;
        let create =
            format!("create --name net-third --net container:net-apart {} sh -c", stage.image);
        let script = "readlink /proc/self/ns/net";
        stage.node.berth(&create).args([script]).output()?.ok()?;
        assert_eq!(stage.berth("start -a net-third")?, apart);
        // It is another namespace when that one is started again, and the third follows it.
        stage.berth("kill -s KILL net-apart")?;
        stage.berth("wait net-apart")?;
        let refused = stage.refused("start -a net-third")?;
        assert!(refused.contains("join the network of container net-apart"), "{refused}");
        assert!(refused.contains("is not running, start it with"), "{refused}");
        stage.berth("start net-apart")?;
        let again = stage.inside("net-apart", "readlink /proc/self/ns/net")?;
        assert_eq!(stage.berth("start -a net-third")?, again);
        stage.berth("rm -f net-apart net-third net-first")?;
        stage.nothing_is_left()
    })
}
