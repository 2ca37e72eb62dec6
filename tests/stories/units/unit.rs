//! A unit file, as far as the tests read it.

use anyhow::{Context, Result};

use super::deployed;

/// The unit of a service.
pub struct Unit {
    text: String,
}

impl Unit {
    pub fn read(service: &str) -> Result<Self> {
        Self::of(&format!("systemd/berth-{service}.service"))
    }

    /// That of a file of deploy/.
    pub fn of(path: &str) -> Result<Self> {
        Ok(Self { text: fs_err::read_to_string(deployed(path))? })
    }

    fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
    }

    pub fn keys(&self) -> Vec<&str> {
        self.settings().map(|(key, _)| key).collect()
    }

    /// What a key is set to, in turn.
    pub fn values(&self, key: &str) -> Vec<&str> {
        self.settings().filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
    }

    /// The words of a command that is there once.
    pub fn command(&self, key: &str) -> Result<Vec<String>> {
        let line = self.values(key).first().copied().with_context(|| format!("no {key}"))?;
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }

    /// Arguments of setpriv for what the unit takes from its service.
    pub fn privileges(&self) -> Vec<String> {
        let mut bounds = Vec::new();
        for value in self.values("CapabilityBoundingSet") {
            let (sign, names) = match value.strip_prefix('~') {
                Some(names) => ('-', names),
                None => ('+', value),
            };
            if sign == '+' {
                bounds.push("-all".to_owned());
            }
            let name = |name: &str| name.trim_start_matches("CAP_").to_lowercase();
            bounds.extend(names.split_whitespace().map(|of| format!("{sign}{}", name(of))));
        }
        let mut arguments = Vec::new();
        if !bounds.is_empty() {
            arguments.push(format!("--bounding-set={}", bounds.join(",")));
        }
        if self.values("NoNewPrivileges") == ["yes"] {
            arguments.push("--no-new-privs".to_owned());
        }
        arguments
    }
}
