//! Which of an index's manifests this machine runs best, as distribution chooses when it pulls.

use std::env::consts::ARCH;

use serde::Deserialize;

/// What a manifest of an index is for.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

/// This machine's processor, as images name it.
#[must_use]
pub fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How well this machine runs what is for such a one, 0 being best. What does not say may be right.
#[must_use]
pub fn rank(of: Option<&Platform>) -> Option<u8> {
    of.map_or(Some(u8::MAX), |of| rank_on(architecture(), of))
}

fn rank_on(machine: &str, of: &Platform) -> Option<u8> {
    if !matches!(of.os.to_ascii_lowercase().as_str(), "" | "linux") {
        return None;
    }
    let (architecture, variant) = (of.architecture.to_ascii_lowercase(), of.variant.as_str());
    let architecture = match architecture.as_str() {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        other => other,
    };
    match (machine, architecture, variant) {
        ("amd64", "amd64", "" | "v1") | ("arm64", "arm64", "" | "8" | "v8") => Some(0),
        ("amd64", "386", _) => Some(1),
        ("amd64", "amd64", _) => None,
        ("arm64", "arm", "8" | "v8") => Some(1),
        ("arm64", "arm", "" | "7" | "v7") => Some(2),
        ("arm64", "arm", "6" | "v6") => Some(3),
        ("arm64", "arm", "5" | "v5") => Some(4),
        _ => (machine == architecture).then_some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_best() {
        let rank = |machine, os: &str, architecture: &str, variant: &str| {
            let of = Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
            };
            rank_on(machine, &of)
        };
        assert_eq!(rank("amd64", "linux", "x86_64", ""), Some(0));
        assert_eq!(rank("amd64", "", "386", ""), Some(1));
        assert_eq!(rank("amd64", "linux", "amd64", "v3"), None);
        assert_eq!(rank("amd64", "windows", "amd64", ""), None);
        assert_eq!(rank("amd64", "unknown", "unknown", ""), None);
        assert_eq!(rank("arm64", "linux", "arm64", "v8"), Some(0));
        assert_eq!(rank("arm64", "linux", "arm", "v7"), Some(2));
        assert_eq!(rank("riscv64", "linux", "riscv64", ""), Some(0));
        assert_eq!(super::rank(None), Some(u8::MAX));
    }
}
