//! The program of a container: its command, its environment, where it starts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use berth_runtime_spec::{ImageConfig, Process};

use crate::{Error, cri};

/// The PATH of every container that says no other.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes a container's process what the request asks for, or else the image.
pub(crate) fn apply(
    process: &mut Process,
    config: &cri::ContainerConfig,
    image: &ImageConfig,
    hostname: &str,
) -> Result<(), Error> {
    process.set_args(Some(args(config, image)?));
    let base = process.env().clone().unwrap_or_default();
    process.set_env(Some(environment(base, config, image, hostname)));
    if let Some(cwd) = working_directory(&config.working_dir, image) {
        process.set_cwd(cwd);
    }
    if config.tty {
        process.set_terminal(Some(true));
    }
    Ok(())
}

/// The command. A command of the request leaves nothing of the image's; arguments alone replace
/// the image's.
fn args(config: &cri::ContainerConfig, image: &ImageConfig) -> Result<Vec<String>, Error> {
    let (command, args) = (&config.command, &config.args);
    let head = match image.entrypoint.as_slice() {
        _ if !command.is_empty() => command.as_slice(),
        [one] if one.is_empty() => &[],
        entrypoint => entrypoint,
    };
    let own = command.is_empty() && args.is_empty();
    let tail = if own { &image.cmd } else { args };
    let all: Vec<String> = head.iter().chain(tail).cloned().collect();
    if all.is_empty() { Err(Error::NoCommand) } else { Ok(all) }
}

/// Where the program starts, if anybody says so.
pub(crate) fn working_directory(asked: &str, image: &ImageConfig) -> Option<PathBuf> {
    let of = if asked.is_empty() { image.working_dir.as_str() } else { asked };
    (!of.is_empty()).then(|| Path::new("/").join(of))
}

/// The environment: ours, the image's, the request's, of which a later one takes an earlier one's
/// place.
fn environment(
    base: Vec<String>,
    config: &cri::ContainerConfig,
    image: &ImageConfig,
    hostname: &str,
) -> Vec<String> {
    let mut variables = Environment::default();
    base.into_iter().for_each(|entry| variables.set(entry));
    variables.set(PATH.to_owned());
    if config.tty {
        variables.set("TERM=xterm".to_owned());
    }
    variables.set(format!("HOSTNAME={hostname}"));
    for entry in &image.env {
        variables.set(entry.clone());
    }
    for entry in &config.envs {
        variables.set(format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)));
    }
    variables.entries.into_iter().flatten().collect()
}

/// Variables in order, each once.
#[derive(Default)]
struct Environment {
    entries: Vec<Option<String>>,
    places: HashMap<String, usize>,
}

impl Environment {
    /// Sets a variable, or removes one that is given without a value.
    fn set(&mut self, entry: String) {
        let name = entry.split('=').next().unwrap_or_default();
        let place = self.places.get(name).copied();
        match (place, entry.contains('=')) {
            (Some(place), true) => self.entries[place] = Some(entry),
            (Some(place), false) => self.entries[place] = None,
            (None, true) => {
                self.places.insert(name.to_owned(), self.entries.len());
                self.entries.push(Some(entry));
            }
            (None, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[rstest]
    #[case(&["e"], &["c"], &[], &[], &["e", "c"])]
    #[case(&["e"], &["c"], &[], &["a"], &["e", "a"])]
    #[case(&["e"], &["c"], &["x"], &[], &["x"])]
    #[case(&["e"], &["c"], &["x"], &["a"], &["x", "a"])]
    #[case(&[""], &["c"], &[], &[], &["c"])]
    #[case(&["", "e"], &["c"], &[], &[], &["", "e", "c"])]
    #[case(&[], &["c"], &[], &["a"], &["a"])]
    fn a_command_is_put_together(
        #[case] entrypoint: &[&str],
        #[case] cmd: &[&str],
        #[case] command: &[&str],
        #[case] own: &[&str],
        #[case] expected: &[&str],
    ) {
        let image = ImageConfig {
            entrypoint: strings(entrypoint),
            cmd: strings(cmd),
            ..Default::default()
        };
        let config = cri::ContainerConfig {
            command: strings(command),
            args: strings(own),
            ..Default::default()
        };
        assert_eq!(args(&config, &image).unwrap(), strings(expected));
    }

    #[test]
    fn nothing_to_run_is_refused() {
        for entrypoint in [&[][..], &[""]] {
            let image = ImageConfig { entrypoint: strings(entrypoint), ..Default::default() };
            let refused = args(&Default::default(), &image).unwrap_err().to_string();
            assert_eq!(refused, "no command specified");
        }
    }

    #[test]
    fn a_later_variable_takes_the_place_of_an_earlier_one() {
        let image = ImageConfig {
            env: strings(&["A=image", "PATH=/p", "GONE=1", "GONE"]),
            ..Default::default()
        };
        let env = |key: &str, value: &[u8]| cri::KeyValue { key: key.into(), value: value.into() };
        let config = cri::ContainerConfig {
            envs: vec![env("A", b"request"), env("B", b"a=b"), env("RAW", b"\xff")],
            tty: true,
            ..Default::default()
        };
        let made = environment(strings(&["BASE=1"]), &config, &image, "anchor");
        let expected = [
            "BASE=1",
            "PATH=/p",
            "TERM=xterm",
            "HOSTNAME=anchor",
            "A=request",
            "B=a=b",
            "RAW=\u{fffd}",
        ];
        assert_eq!(made, expected);
        let plain = environment(Vec::new(), &Default::default(), &Default::default(), "h");
        assert_eq!(plain, [PATH, "HOSTNAME=h"]);
    }

    #[test]
    fn a_program_starts_where_the_request_says_or_else_the_image() {
        let image = ImageConfig { working_dir: "/image".into(), ..Default::default() };
        assert_eq!(working_directory("/own", &image), Some("/own".into()));
        assert_eq!(working_directory("", &image), Some("/image".into()));
        assert_eq!(working_directory("", &Default::default()), None);
    }
}
