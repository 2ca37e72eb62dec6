//! What pulls and pushes say when nobody watches.

use anyhow::Result;

use crate::stage::Stage;

#[test]
fn progress_is_lines_when_standard_error_is_no_terminal() -> Result<()> {
    let stage = Stage::new()?;
    let pull = stage.node.berth(&format!("pull {}", stage.image)).output()?;
    assert_eq!(pull.code, 0, "{pull}");
    for part in ["manifest ", "config ", "layer ", ": complete (", ": extracted ("] {
        assert!(pull.stderr.contains(part), "{part} is missing: {pull}");
    }
    assert!(!pull.stderr.contains('\u{1b}') && !pull.stderr.contains('\r'), "{pull}");
    assert!(pull.stdout.contains(&stage.image), "{pull}");
    let copy = stage.registry.reference("copy:1");
    stage.berth(&format!("tag {} {copy}", stage.image))?;
    let push = stage.node.berth(&format!("push {copy}")).output()?;
    assert_eq!(push.code, 0, "{push}");
    assert!(push.stderr.contains("layer ") && !push.stderr.contains('\u{1b}'), "{push}");
    let quiet = stage.node.berth(&format!("pull -q {copy}")).output()?;
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""), "{quiet}");
    Ok(())
}
