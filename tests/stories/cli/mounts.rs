//! What `run` mounts.

use anyhow::{Context, Result};

use crate::stage::Stage;

/// What a script in a container prints.
fn seen(stage: &Stage, options: &str, script: &str) -> Result<String> {
    Ok(stage.run(&format!("--rm {options}"), script).output()?.ok()?.trim().to_owned())
}

/// The options and the type of what is mounted at a place, as the container sees it.
fn mounted(stage: &Stage, options: &str, target: &str) -> Result<(String, String)> {
    let info = seen(stage, options, "cat /proc/self/mountinfo")?;
    let line = info.lines().find(|line| line.split(' ').nth(4) == Some(target));
    let line = line.with_context(|| format!("nothing is mounted at {target}: {info}"))?;
    let (before, after) = line.split_once(" - ").context("no type")?;
    let options = before.split(' ').nth(5).context("no options")?;
    let (kind, source) = after.split_once(' ').context("no source")?;
    Ok((kind.to_owned(), format!("{options},{}", source.rsplit(' ').next().unwrap_or_default())))
}

#[test]
fn a_part_of_the_host_is_shown() -> Result<()> {
    let stage = Stage::pulled()?;
    let shared = stage.node.path("shared");
    fs_err::create_dir(&shared)?;
    fs_err::write(shared.join("note"), "from the host")?;
    let shared = shared.display();
    let writable = format!("--mount type=bind,src={shared},dst=/in");
    assert_eq!(seen(&stage, &writable, "cat /in/note; echo back > /in/back")?, "from the host");
    assert_eq!(fs_err::read_to_string(stage.node.path("shared/back"))?, "back\n");
    let read_only = format!("--mount source={shared},target=/in,readonly");
    let (_, options) = mounted(&stage, &read_only, "/in")?;
    assert!(options.split(',').any(|option| option == "ro"), "{options}");
    assert_eq!(seen(&stage, &read_only, "touch /in/x 2>/dev/null || echo refused")?, "refused");
    Ok(())
}

#[test]
fn file_systems_in_memory_have_their_size() -> Result<()> {
    let stage = Stage::pulled()?;
    let filled =
        "stat -c %a /mem; dd if=/dev/zero of=/mem/x bs=1k count=128 2>&1 | grep -o 'No space.*'";
    let limited = "--mount type=tmpfs,dst=/mem,size=64k,mode=700";
    assert_eq!(seen(&stage, limited, filled)?, "700\nNo space left on device");
    let (kind, options) = mounted(&stage, limited, "/mem")?;
    assert!(kind == "tmpfs" && options.contains("size=64k"), "{kind} {options}");

    let (kind, options) = mounted(&stage, "--tmpfs /t:size=1m,noexec", "/t")?;
    assert!(kind == "tmpfs" && options.contains("size=1024k"), "{kind} {options}");
    assert!(options.contains("noexec"), "{options}");
    // On a file system that is read-only too, and with nothing said of it.
    let kept = "echo kept > /t/x && cat /t/x";
    assert_eq!(seen(&stage, "--read-only --tmpfs /t", kept)?, "kept");
    Ok(())
}
