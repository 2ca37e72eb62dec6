//! Network namespaces that are owned by users of their own.

use std::path::Path;

use berth_netns::is_namespace;
use berth_proto::berth::node::v1 as wire;
use berth_testkit::run;
use tonic::Code;

use crate::stage::{Stage, on, on_a_node};
use crate::support::until;

fn range(outside: u32, size: u32) -> Vec<wire::IdRange> {
    vec![wire::IdRange { inside: 0, outside, size }]
}

fn of_users(id: &str) -> wire::AttachRequest {
    let (uids, gids) = (range(200_000, 65_536), range(300_000, 65_536));
    wire::AttachRequest { uids, gids, without_files: true, ..on(&["web"], id) }
}

#[test]
fn a_namespace_of_other_users_is_attached_and_taken_away() {
    on_a_node(async |mut stage: Stage| {
        stage.create("web").await.unwrap();
        let made = stage.attach(of_users("a")).await.unwrap();
        assert!(is_namespace(made.userns.as_ref()), "{made:?}");
        assert_eq!(made.hosts_file, "");
        assert!(!stage.path("run/runtime/.networks/test/a/hosts").exists());
        assert_eq!(made.interfaces[0].addresses.len(), 2);
        let inside = run(&format!("nsenter --user={} --net={} ip addr", made.userns, made.netns));
        assert!(inside.unwrap().contains(&made.interfaces[0].addresses[0]));
        assert_eq!(stage.attach(of_users("a")).await.unwrap(), made, "asked again");
        let other = wire::AttachRequest { gids: range(1, 1), ..of_users("a") };
        let refused = stage.attach(other).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message().contains("ids")),
            (Code::AlreadyExists, true)
        );
        let plain = stage.attach(on(&["web"], "b")).await.unwrap();
        assert_eq!(plain.userns, "");
        assert!(Path::new(&plain.hosts_file).exists());

        // Both outlive the service; what has no record goes.
        stage.node.kill().await;
        let left = stage.path("run/runtime/.userns/test--nobody");
        fs_err::write(&left, "").unwrap();
        stage.node.restart();
        until("nothing is left of what has no record", || !left.exists()).await;
        assert_eq!(stage.attach(of_users("a")).await.unwrap(), made);
        for id in ["a", "b"] {
            stage.detach(id).await.unwrap();
        }
        stage.nothing_is_left().await;
        assert_eq!(fs_err::read_dir(stage.path("run/runtime/.userns")).unwrap().count(), 0);
        stage.node.finish().await;
    });
}

#[test]
fn ids_that_cannot_be_are_refused() {
    on_a_node(async |stage: Stage| {
        stage.create("web").await.unwrap();
        for (uids, gids, why) in [
            (range(1, 1), Vec::new(), "are missing"),
            (range(1, 0), range(1, 1), "is no range of ids"),
            (range(1, 1), range(u32::MAX, 2), "is no range of ids"),
            (range(1, 1).repeat(341), range(1, 1), "there may be 340"),
        ] {
            let wrong = wire::AttachRequest { uids, gids, ..on(&["web"], "a") };
            let refused = stage.attach(wrong).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{why}");
            assert!(refused.message().contains(why), "{refused:?}");
        }
        // What only the kernel knows leaves nothing either.
        let twice = wire::AttachRequest { uids: range(1, 1).repeat(2), ..of_users("a") };
        let refused = stage.attach(twice).await.unwrap_err();
        assert!(refused.message().contains("make a user namespace"), "{refused:?}");
        stage.nothing_is_left().await;
        stage.node.finish().await;
    });
}
