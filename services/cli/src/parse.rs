//! Values on the command line: sizes, mounts, devices, signals, times.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_runtime_spec::{BindMount, DeviceRequest, TmpfsMount};

/// A count of bytes with an optional unit: `512`, `64k`, `1.5g`, `64MiB`.
pub fn size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, shift) = match bare.bytes().last() {
        Some(b'k') => (&bare[..bare.len() - 1], 10),
        Some(b'm') => (&bare[..bare.len() - 1], 20),
        Some(b'g') => (&bare[..bare.len() - 1], 30),
        Some(b't') => (&bare[..bare.len() - 1], 40),
        _ => (bare, 0),
    };
    let wrong = || format!("{text:?} is no size, write it as 67108864, 64m or 1.5g");
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let bytes = number * f64::from(1_u32 << (shift / 2)) * f64::from(1_u32 << (shift - shift / 2));
    if !(0.0..9.0e18).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// A whole number of seconds, or a time such as `1m30s`.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time, write it as 10 or 1m30s");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0_u64;
    let mut number = String::new();
    for char in text.chars() {
        let unit = match char {
            '0'..='9' => {
                number.push(char);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let count: u64 = number.parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|s| s.checked_add(total)).ok_or_else(wrong)?;
        number.clear();
    }
    if number.is_empty() && !text.is_empty() {
        Ok(Duration::from_secs(total))
    } else {
        Err(wrong())
    }
}

/// A signal by name, with or without `SIG`, or by number.
pub fn signal(text: &str) -> Result<u32, String> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = text.parse::<u32>()
        && (1..=64).contains(&number)
    {
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(above) = bare.strip_prefix("RTMIN").map(|rest| rest.trim_start_matches('+')) {
        let above = if above.is_empty() { Some(0) } else { above.parse::<u32>().ok() };
        if let Some(above) = above.filter(|above| *above <= 30) {
            return Ok(34 + above);
        }
    }
    match NAMES.iter().position(|name| *name == bare) {
        Some(at) => Ok(at as u32 + 1),
        None => Err(format!("{text:?} is no signal, see signal(7)")),
    }
}

/// `NAME=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

/// A label, `NAME=VALUE`; none is kept without a value.
pub fn label(text: &str) -> Result<(String, String), String> {
    match pair(text) {
        Ok((_, value)) if value.is_empty() => Err(format!("label {text:?} has no value")),
        outcome => outcome,
    }
}

/// `SOURCE:TARGET[:OPTIONS]` with options `ro`, `rw` and a propagation.
pub fn volume(text: &str) -> Result<BindMount> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => bail!("volume {text:?} is not SOURCE:TARGET[:ro]"),
    };
    let mut bind = bind(source, target)?;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => bind.read_only = true,
            "rw" => bind.read_only = false,
            _ if is_propagation(option) => bind.propagation = option.to_owned(),
            _ => bail!("volume {text:?}: unknown option {option:?}, use ro, rw or a propagation"),
        }
    }
    Ok(bind)
}

/// What `--mount` asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Mount {
    /// A part of the host.
    Bind(BindMount),
    /// A file system in memory.
    Tmpfs(TmpfsMount),
}

/// `type=bind,src=S,dst=T[,ro]` or `type=tmpfs,dst=T[,size=64m]`, as Docker has it.
pub fn mount(text: &str) -> Result<Mount> {
    let (mut kind, mut source, mut target) = ("bind", "", "");
    let (mut read_only, mut propagation) = (false, "");
    let mut options = Vec::new();
    for field in text.split(',') {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        match name {
            "type" => kind = value,
            "src" | "source" => source = value,
            "dst" | "destination" | "target" => target = value,
            "ro" | "readonly" => read_only = value != "false",
            "rw" => read_only = false,
            "bind-propagation" | "propagation" => propagation = value,
            "tmpfs-size" | "size" => options.push(format!("size={value}")),
            "tmpfs-mode" | "mode" => options.push(format!("mode={value}")),
            _ => bail!("mount {text:?}: unknown field {name:?}"),
        }
    }
    if target.is_empty() {
        bail!("mount {text:?}: dst= is missing");
    }
    match kind {
        "bind" if options.is_empty() => {
            let mut bind = bind(source, target).with_context(|| format!("mount {text:?}"))?;
            bind.read_only = read_only;
            if !propagation.is_empty() && !is_propagation(propagation) {
                bail!("mount {text:?}: {propagation:?} is no propagation");
            }
            bind.propagation = propagation.to_owned();
            Ok(Mount::Bind(bind))
        }
        "bind" => bail!("mount {text:?}: size and mode are for type=tmpfs"),
        "tmpfs" if source.is_empty() => {
            if read_only {
                options.push("ro".to_owned());
            }
            Ok(Mount::Tmpfs(TmpfsMount { target: target.into(), options }))
        }
        "tmpfs" => bail!("mount {text:?}: a tmpfs has no source"),
        _ => bail!("mount {text:?}: type is bind or tmpfs, not {kind:?}"),
    }
}

/// `SOURCE[:TARGET][:rwm]`.
pub fn device(text: &str) -> Result<DeviceRequest> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_access = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (source, target, access) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, access] if is_access(access) => (source, source, access),
        [source, target] => (source, target, "rwm"),
        [source, target, access] if is_access(access) => (source, target, access),
        _ => bail!("device {text:?} is not SOURCE[:TARGET][:rwm]"),
    };
    Ok(DeviceRequest { source: source.into(), target: target.into(), access: access.into() })
}

fn is_propagation(text: &str) -> bool {
    let base = text.strip_prefix('r').unwrap_or(text);
    matches!(base, "private" | "shared" | "slave")
}

fn bind(source: &str, target: &str) -> Result<BindMount> {
    if source.is_empty() {
        bail!("the source of {target:?} is missing");
    }
    let source = std::path::absolute(source).with_context(|| format!("find {source}"))?;
    if !source.exists() {
        bail!("{} does not exist on the host, make it first", source.display());
    }
    let target = PathBuf::from(target);
    Ok(BindMount { source, target, read_only: false, propagation: String::new() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("512", 512)]
    #[case("64k", 64 << 10)]
    #[case("64m", 64 << 20)]
    #[case("1.5g", 3 << 29)]
    #[case("2GiB", 2 << 30)]
    #[case("10MB", 10 << 20)]
    #[case("1t", 1 << 40)]
    fn a_size_is_read(#[case] text: &str, #[case] bytes: u64) {
        assert_eq!(size(text).unwrap(), bytes);
    }

    #[rstest]
    #[case("")]
    #[case("-1")]
    #[case("m")]
    #[case("1x")]
    #[case("NaN")]
    #[case("1e30")]
    fn a_size_that_is_none_is_refused(#[case] text: &str) {
        assert!(size(text).is_err(), "{text}");
    }

    #[test]
    fn times_and_signals_are_read() {
        assert_eq!(seconds("10").unwrap().as_secs(), 10);
        assert_eq!(seconds("1m30s").unwrap().as_secs(), 90);
        assert!(seconds("").is_err() && seconds("1x").is_err() && seconds("s").is_err());
        for (text, number) in [("SIGTERM", 15), ("kill", 9), ("2", 2), ("RTMIN+3", 37), ("SYS", 31)]
        {
            assert_eq!(signal(text).unwrap(), number);
        }
        assert!(signal("NOPE").is_err() && signal("0").is_err() && signal("65").is_err());
    }

    #[test]
    fn a_volume_is_read() {
        let bind = volume("/tmp:/data:ro,rslave").unwrap();
        assert!(bind.read_only && bind.propagation == "rslave");
        assert_eq!(bind.target, PathBuf::from("/data"));
        for text in ["/tmp", "/tmp:/a:b:c", "/tmp:/a:fast", ":/a", "/does/not/exist:/a"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_is_read() {
        let Mount::Bind(bind) = mount("type=bind,src=/tmp,dst=/x,readonly").unwrap() else {
            panic!("not a bind");
        };
        assert!(bind.read_only);
        let tmpfs = TmpfsMount { target: "/x".into(), options: vec!["size=1m".into()] };
        assert_eq!(mount("type=tmpfs,dst=/x,tmpfs-size=1m").unwrap(), Mount::Tmpfs(tmpfs));
        for text in ["type=bind,src=/tmp", "type=nfs,dst=/x", "color=red,dst=/x", "dst=/x"] {
            assert!(mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_is_read() {
        let device = device("/dev/kvm:/dev/k:rw").unwrap();
        assert_eq!((device.target, device.access.as_str()), (PathBuf::from("/dev/k"), "rw"));
        assert_eq!(super::device("/dev/kvm:r").unwrap().access, "r");
        assert!(super::device("/dev/kvm:/x:zz").is_err());
        assert_eq!(pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(pair("a").is_err() && pair("=b").is_err());
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(label("a=").is_err() && label("a=b").is_ok());
    }
}
