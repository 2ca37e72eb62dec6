//! The profile of AppArmor that containers have unless they ask for another: the kernel is told it when the first one
//! needs it.
//!
//! Must not know: who has which profile, which is `berth-cri-spec`'s.

use std::path::PathBuf;
use std::time::Duration;

use berth_cri_spec as spec;
use berth_lifecycle::{blocking, child};
use berth_runtime_spec::Spec;
use spec::DEFAULT_APPARMOR_PROFILE as NAME;

use crate::{Error, Result};

/// What the profile says, with `NAME` for its name.
const TEXT: &str = include_str!("profile");
/// Who tells the kernel.
const PARSER: &str = "/sbin/apparmor_parser";
/// How long that may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// So much of what it says is told, in characters.
const SHOWN: usize = 1024;

/// Where the kernel lists its profiles, if it has any to do with them.
#[derive(Debug)]
pub struct AppArmor {
    list: Option<PathBuf>,
    parser: PathBuf,
    /// It is told by one at a time.
    telling: tokio::sync::Mutex<()>,
}

impl AppArmor {
    /// That of this machine.
    #[must_use]
    pub fn of(machine: &spec::Node) -> Self {
        Self { list: machine.apparmor.clone(), parser: PARSER.into(), telling: Default::default() }
    }

    /// Sees to it that the kernel knows the usual profile if a specification has it.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the parser says; [`Error::File`], [`Error::Lifecycle`].
    pub async fn ensure(&self, made: &Spec) -> Result<()> {
        let profile =
            made.process().as_ref().and_then(|process| process.apparmor_profile().clone());
        let (Some(list), Some(NAME)) = (&self.list, profile.as_deref()) else { return Ok(()) };
        let _alone = self.telling.lock().await;
        let (path, read) = (list.clone(), list.clone());
        let held = blocking("apparmor-list", move || spec::holds_profile(&read, NAME)).await?;
        if held.map_err(Error::file("read", path))? {
            return Ok(());
        }
        let mut command = child::command(&self.parser);
        // In place of one of that name, and past the cache of profiles in files.
        command.args(["--replace", "--skip-cache"]);
        let text = TEXT.replace("NAME", NAME);
        let output = child::output_with_input(command, text.as_bytes(), DEADLINE).await?;
        if output.status.success() {
            tracing::info!(profile = NAME, "told AppArmor the profile of containers");
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(SHOWN).collect();
        Err(Error::Refused(format!("load apparmor profile {NAME}: {}: {said}", output.status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: Option<PathBuf>, parser: &str) -> AppArmor {
        AppArmor { list, parser: parser.into(), telling: tokio::sync::Mutex::default() }
    }

    fn made(profile: Option<&str>) -> Spec {
        let mut process = berth_runtime_spec::Process::default();
        process.set_apparmor_profile(profile.map(str::to_owned));
        let mut made = Spec::default();
        made.set_process(Some(process));
        made
    }

    #[tokio::test]
    async fn the_kernel_is_told_where_it_does_not_know_it() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("profiles");
        fs_err::write(&list, "another (enforce)\n").unwrap();
        // Programs that answer at once, well and not.
        let (works, fails) = ("/bin/true", "/bin/false");
        let usual = made(Some(NAME));
        of(Some(list.clone()), works).ensure(&usual).await.unwrap();
        let failed = of(Some(list.clone()), fails).ensure(&usual).await.unwrap_err().to_string();
        assert!(
            failed.starts_with("load apparmor profile cri-berth.apparmor.d: exit status: 1"),
            "{failed}"
        );
        // Nobody is told where there is no need.
        for other in [made(Some("another")), made(None), Spec::default()] {
            of(Some(list.clone()), fails).ensure(&other).await.unwrap();
        }
        of(None, fails).ensure(&usual).await.unwrap();
        fs_err::write(&list, format!("{NAME} (enforce)\n")).unwrap();
        of(Some(list.clone()), fails).ensure(&usual).await.unwrap();
        fs_err::remove_file(&list).unwrap();
        assert!(matches!(of(Some(list), works).ensure(&usual).await, Err(Error::File { .. })));
    }

    /// Without a kernel that would take it.
    #[test]
    fn the_parser_understands_the_text() {
        let text = TEXT.replace("NAME", NAME);
        assert_eq!(text.matches(NAME).count(), 3);
        let parser = berth_testkit::program(PARSER).args(["--skip-kernel-load", "--skip-cache"]);
        parser.output_with(text.as_bytes()).unwrap().ok().unwrap();
    }
}
