//! Containers on networks that are stopped and started, and whose node is killed.

use anyhow::{Context, Result};

use super::stage::{SERVE, in_a_network};

#[test]
fn a_container_keeps_its_network_through_its_own_and_the_nodes_end() -> Result<()> {
    in_a_network(|stage| {
        stage.berth("network create web")?;
        stage.run("-d --name net-lives --net web -p 8080:80", SERVE).output()?.ok()?;
        stage.run("-d --name net-friend --net web", "sleep 600").output()?.ok()?;
        let before = stage.addresses("net-lives")?;
        stage.reaches("net-friend", "net-lives", "net-lives")?;
        stage.berth("stop -t 1 net-lives")?;
        assert_eq!(stage.addresses("net-lives")?, before);
        stage.berth("start net-lives")?;
        stage.reaches("net-friend", "net-lives", "net-lives")?;
        stage.node.kill_berthd()?;
        stage.node.start_berthd()?;
        for host in ["net-lives", &before[0], &before[1]] {
            stage.reaches("net-friend", host, "net-lives")?;
        }
        assert_eq!(stage.addresses("net-lives")?, before);
        // Others come and go, and are known by name to those who were there before.
        stage.run("-d --name net-later --net web", SERVE).output()?.ok()?;
        stage.reaches("net-friend", "net-later", "net-later")?;
        stage.berth("rm -f net-later")?;
        let hosts = stage.inside("net-friend", "cat /etc/hosts")?;
        assert!(hosts.contains("net-lives") && !hosts.contains("net-later"), "{hosts}");
        stage.berth("rm -f net-lives net-friend")?;
        stage.nothing_is_left()?;
        stage.berth("network rm web").map(drop)
    })
}

/// As after a start of the machine: what the kernel had is gone, what is on disk is there.
#[test]
fn a_start_makes_a_network_anew_that_the_machine_has_forgotten() -> Result<()> {
    in_a_network(|stage| {
        stage.run("-d --name net-anew --net bridge -p 8080:80", SERVE).output()?.ok()?;
        let ports = stage.inspected("inspect net-anew")?["network"]["ports"].clone();
        stage.berth("stop -t 1 net-anew")?;
        stage.node.kill_berthd()?;
        let pin = stage.node.path("state/runtime/.netns/default--net-anew");
        berth_netns::NetNs::at(&pin).remove()?;
        for folder in [".netns", ".networks"] {
            fs_err::remove_dir_all(stage.node.path("state/runtime").join(folder))?;
        }
        for line in ["iptables -t nat -F", "ip6tables -t nat -F", "ip link del br-bridge"] {
            berth_testkit::run(line)?;
        }
        stage.node.start_berthd()?;
        let down = stage.inspected("inspect net-anew")?["network"]["down"].clone();
        assert_eq!(down, true);
        stage.berth("start net-anew")?;
        stage.run("-d --name net-peer --net bridge", "sleep 600").output()?.ok()?;
        stage.reaches("net-peer", "net-anew", "net-anew")?;
        let again = stage.inspected("inspect net-anew")?;
        assert_eq!(again["network"]["ports"], ports);
        let netns = again["network"]["netns"].as_str().context("no namespace")?;
        assert_eq!(netns, pin.display().to_string());
        stage.berth("rm -f net-anew net-peer")?;
        stage.nothing_is_left()
    })
}

#[test]
fn nothing_is_left_of_those_that_remove_themselves() -> Result<()> {
    in_a_network(|stage| {
        stage.run("--rm --name net-once --net bridge", "true").output()?.ok()?;
        stage.run("-d --rm --name net-soon --net bridge -p 80", "sleep 1").output()?.ok()?;
        stage.nothing_is_left()?;
        let missing = stage
            .node
            .berth(&format!("run --name net-fails --net bridge {} /no/such", stage.image));
        assert_eq!(missing.output()?.code, 127);
        stage.nothing_is_left()
    })
}
