//! Two containers on one network, and what they see of it.

use anyhow::Result;

use super::stage::{SERVE, in_a_network};

#[test]
fn two_on_one_network_reach_each_other_by_name() -> Result<()> {
    in_a_network(|stage| {
        assert_eq!(stage.berth("network create web --label of=story")?, "web\n");
        stage.run("-d --name net-server --net web --network-alias db", SERVE).output()?.ok()?;
        stage.run("-d --name net-client --net web", "sleep 600").output()?.ok()?;
        let [v4, v6] = stage.addresses("net-server")?;
        assert!(v4.starts_with("10.89.0.") && v6.starts_with("fd62:6572:7468:"), "{v4} {v6}");
        for host in ["net-server", "db", &v4, &v6] {
            stage.reaches("net-client", host, "net-server")?;
        }
        for version in ["-4", "-6"] {
            let pinged =
                stage.inside("net-client", &format!("ping {version} -c 1 -W 5 net-server"))?;
            assert!(pinged.contains("1 packets received"), "{pinged}");
        }
        let table = stage.berth("ps")?;
        let row = table.lines().find(|line| line.starts_with("net-server")).unwrap_or_default();
        assert!(table.lines().next().is_some_and(|h| h.contains("ADDRESS")) && row.contains(&v4));
        let network = &stage.inspected("inspect net-server")?["network"];
        assert_eq!(network["interfaces"][0]["network"], "web");
        assert_eq!(network["interfaces"][0]["addresses"][0], format!("{v4}/24"));
        let web = stage.inspected("network inspect web")?;
        assert_eq!(web["labels"]["of"], "story");
        assert_eq!(web["own"], true);
        assert_eq!(web["config"]["name"], "web");
        let ids: Vec<_> =
            web["attached"].as_array().into_iter().flatten().map(|a| &a["id"]).collect();
        assert_eq!(ids, ["net-client", "net-server"]);
        assert!(stage.berth("network ls")?.contains("bridge, firewall, portmap"));
        assert_eq!(stage.json("network ls -q")?, serde_json::json!(["web"]));
        let refused = stage.refused("network rm web")?;
        assert!(refused.contains("used by default/net-client, default/net-server"), "{refused}");
        stage.berth("rm -f net-server net-client")?;
        stage.nothing_is_left()?;
        assert_eq!(stage.json("network rm web")?, serde_json::json!({"name": "web"}));
        assert_eq!(stage.json("network ls")?, serde_json::json!([]));
        Ok(())
    })
}

#[test]
fn names_and_addresses_are_as_they_were_typed() -> Result<()> {
    in_a_network(|stage| {
        stage.berth("network create one --subnet 10.77.0.0/24 --subnet fd77::/64 --mtu 1400")?;
        stage.berth("network create two --internal --ipv4-only")?;
        let flags = "--rm --net one,two --ip 10.77.0.7 --ip fd77::7 --mac-address 02:00:00:00:00:07 \
            --hostname box.example --dns 10.77.0.2 --dns-search corp.example --dns-option ndots:1 \
            --add-host other:10.1.2.3 --add-host six:fd00::6 --name net-typed";
        let seen = |flags: &str, script: &str| stage.run(flags, script).output()?.ok();
        let script =
            "hostname; cat /etc/hostname /etc/resolv.conf /etc/hosts; ip address; ip route";
        let all = seen(flags, script)?;
        for line in [
            "box.example\nbox.example\n",
            "search corp.example\noptions ndots:1\nnameserver 10.77.0.2\n",
            "10.77.0.7\tbox.example net-typed\nfd77::7\tbox.example net-typed\n",
            "10.1.2.3\tother\nfd00::6\tsix\n",
            "02:00:00:00:00:07",
            "mtu 1400",
            "eth1",
            "default via 10.77.0.1 dev eth0",
        ] {
            assert!(all.contains(line), "{line}: {all}");
        }
        assert_eq!(all.matches("default via").count(), 1, "{all}");
        let own = stage.node.path("own-hosts");
        fs_err::write(&own, "10.9.9.9 mine\n")?;
        let flags = format!("--rm --net one --name net-own -v {}:/etc/hosts", own.display());
        let hosts = seen(&flags, "cat /etc/hosts /etc/hostname")?;
        assert_eq!(hosts, "10.9.9.9 mine\nnet-own\n");
        Ok(())
    })
}
