//! A plugin that does not undo what it has done.

use anyhow::Result;
use berth_testkit::write_program;

use super::stage::in_a_network_with;

#[test]
fn a_plugin_that_refuses_keeps_no_container_from_being_removed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (programs, configured) = (dir.path().join("bin"), dir.path().join("net.d"));
    let refuses = dir.path().join("refuses");
    for folder in [&programs, &configured] {
        fs_err::create_dir(folder)?;
    }
    let script = "#!/bin/sh\ncat > /dev/null\ncd \"$(dirname \"$0\")/..\" || exit 9\n\
        if [ \"$CNI_COMMAND\" = ADD ]; then echo '{\"cniVersion\":\"1.0.0\"}'; fi\n\
        if [ \"$CNI_COMMAND\" = DEL ] && [ -e refuses ]; then\n\
        echo '{\"cniVersion\":\"1.0.0\",\"code\":11,\"msg\":\"not now\"}'; exit 1\nfi\n";
    write_program(&programs.join("sick"), script)?;
    let list = r#"{"cniVersion":"1.0.0","name":"sick","plugins":[{"type":"sick"}]}"#;
    fs_err::write(configured.join("sick.conflist"), list)?;
    let (programs, configured) = (programs.display(), configured.display());
    let config = format!("[network]\nconf_dir = \"{configured}\"\nbin_dirs = [\"{programs}\"]\n");
    in_a_network_with(&config, |stage| {
        let networks = stage.json("network ls")?;
        assert!(networks[0]["pods"] == true && networks[0]["own"] == false, "{networks}");
        assert!(stage.refused("network rm sick")?.contains("was not made here"));
        stage.run("-d --name net-sick --net sick", "sleep 600").output()?.ok()?;
        fs_err::write(&refuses, "")?;
        let removed = stage.node.berth("rm -f net-sick").output()?;
        assert_eq!((removed.code, &*removed.stdout), (0, "net-sick\n"), "{removed}");
        let says = "detach net-sick: from network \"sick\": plugin \"sick\" (DEL) failed: not now";
        assert!(removed.stderr.contains(says), "{removed}");
        assert_eq!(stage.json("ps -aq")?, serde_json::json!([]));
        let trouble = stage.inspected("network inspect sick")?["attached"][0]["trouble"].clone();
        assert!(trouble.as_str().is_some_and(|trouble| trouble.contains("not now")), "{trouble}");
        fs_err::remove_file(&refuses)?;
        stage.nothing_is_left()
    })
}
