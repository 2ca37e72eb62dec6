//! Which of an index's manifests are for which machine.

use crate::registry::Platform;

/// This machine: what it runs best, as far as an image can say.
#[must_use]
pub fn host() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform {
        architecture: architecture.to_owned(),
        os: std::env::consts::OS.to_owned(),
        ..Platform::default()
    }
}

/// `os/architecture[/variant]`.
#[must_use]
pub fn format(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if let Some(variant) = platform.variant.as_deref().filter(|variant| !variant.is_empty()) {
        text.push('/');
        text.push_str(variant);
    }
    text
}

/// The names that stand for the same machine become one (containerd's `platforms.Normalize`).
fn normal(platform: &Platform) -> (String, String, String) {
    let lower = |text: &str| text.to_ascii_lowercase();
    let os = match lower(&platform.os).as_str() {
        "" => "linux".to_owned(),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    };
    let variant = lower(platform.variant.as_deref().unwrap_or_default());
    let (architecture, variant) = match (lower(&platform.architecture).as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("i386" | "386", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7" | "v7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6" | "v6") => ("arm", "v6"),
        ("arm", "5" | "v5") => ("arm", "v5"),
        ("arm", "8" | "v8") => ("arm", "v8"),
        (other, variant) => return (os, other.to_owned(), variant.to_owned()),
    };
    (os, architecture.to_owned(), variant.to_owned())
}

/// Whether what is made for `offered` is for the operating system of a machine that is `wanted`.
#[must_use]
pub fn same_os(wanted: &Platform, offered: &Platform) -> bool {
    normal(wanted).0 == normal(offered).0
}

/// How well a machine that is `wanted` runs what is made for `offered`: 0 is best.
#[must_use]
pub fn rank(wanted: &Platform, offered: &Platform) -> Option<usize> {
    let (wanted_os, wanted_arch, wanted_variant) = normal(wanted);
    let (os, arch, variant) = normal(offered);
    if os != wanted_os || !offered.os_features.iter().all(|f| wanted.os_features.contains(f)) {
        return None;
    }
    ladder(&wanted_arch, &wanted_variant).iter().position(|(a, v)| *a == arch && *v == variant)
}

/// What a machine runs, best first.
fn ladder(architecture: &str, variant: &str) -> Vec<(String, String)> {
    let numbered = |from: u32, prefix: &str| -> Vec<(String, String)> {
        (1..=from)
            .rev()
            .map(|n| if n == 1 { String::new() } else { format!("v{n}") })
            .map(|variant| (prefix.to_owned(), variant))
            .collect()
    };
    let number = variant.trim_start_matches('v').parse::<u32>().ok().filter(|n| *n < 100);
    match (architecture, number) {
        ("amd64", number) => {
            let mut rungs = numbered(number.unwrap_or(1), "amd64");
            rungs.push(("386".to_owned(), String::new()));
            rungs
        }
        ("arm64", _) => {
            let mut rungs = vec![(architecture.to_owned(), variant.to_owned())];
            if !variant.is_empty() {
                rungs.push((architecture.to_owned(), String::new()));
            }
            rungs.extend((5..=8).rev().map(|n| ("arm".to_owned(), format!("v{n}"))));
            rungs
        }
        ("arm", Some(number)) => {
            (5..=number).rev().map(|n| ("arm".to_owned(), format!("v{n}"))).collect()
        }
        _ => vec![(architecture.to_owned(), variant.to_owned())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
            ..Platform::default()
        }
    }

    #[test]
    fn the_closest_variant_is_best() {
        let ranked = |wanted: &str, offered: &str| rank(&machine(wanted), &machine(offered));
        assert_eq!(ranked("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(ranked("linux/amd64", "linux/x86_64/v1"), Some(0));
        assert_eq!(ranked("linux/amd64", "linux/386"), Some(1));
        assert_eq!(ranked("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(ranked("linux/amd64/v3", "linux/amd64/v2"), Some(1));
        assert_eq!(ranked("linux/amd64", "windows/amd64"), None);
        assert_eq!(ranked("linux/arm64", "linux/aarch64/v8"), Some(0));
        assert_eq!(ranked("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(ranked("linux/amd64", "unknown/unknown"), None);
        assert_eq!(ranked("linux/riscv64", "linux/riscv64"), Some(0));
        assert_eq!(format(&machine("linux/arm/v7")), "linux/arm/v7");
        assert_eq!(ranked("linux/arm64/v8.1", "linux/arm64"), Some(1));
        let with = |features: &[&str]| Platform {
            os_features: features.iter().map(|f| (*f).to_owned()).collect(),
            ..machine("linux/amd64")
        };
        assert_eq!(rank(&with(&[]), &with(&["erofs"])), None);
        assert_eq!(rank(&with(&["erofs"]), &with(&["erofs"])), Some(0));
        assert_eq!(rank(&with(&["erofs"]), &with(&[])), Some(0));
    }
}
