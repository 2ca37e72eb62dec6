//! Stop signals: numbers of the CRI, names as images have them, numbers of the kernel.

use crate::{Error, cri};

/// What the CRI's names have in front.
const PREFIX: &str = "SIGNAL_";

/// The first signal that the C library leaves to programs, and how many there are.
const REALTIME: std::ops::RangeInclusive<u32> = 34..=64;

/// Names in the order of their numbers, from 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names that the CRI has for some.
const ALIASES: [(&str, &str); 3] = [("CLD", "CHLD"), ("IOT", "ABRT"), ("POLL", "IO")];

/// The name of a request's stop signal, such as `SIGTERM` or `SIGRTMIN+3`; none is asked for
/// with 0.
///
/// # Errors
/// [`Error::UnknownStopSignal`].
pub fn stop_signal(number: i32) -> Result<Option<String>, Error> {
    let signal = cri::Signal::try_from(number);
    match signal.map_err(|_| Error::UnknownStopSignal(number))? {
        cri::Signal::RuntimeDefault => Ok(None),
        signal => {
            let name = signal.as_str_name();
            let name = name.strip_prefix(PREFIX).unwrap_or(name);
            Ok(Some(name.replacen("PLUS", "+", 1).replacen("MINUS", "-", 1)))
        }
    }
}

/// A name as a status shows it; what the CRI has no number for is its default.
#[must_use]
pub fn status_signal(name: &str) -> cri::Signal {
    let name = name.replacen('+', "PLUS", 1).replacen('-', "MINUS", 1);
    let signal = cri::Signal::from_str_name(&format!("{PREFIX}{name}"));
    signal.unwrap_or(cri::Signal::RuntimeDefault)
}

/// The kernel's number of a signal by name, with or without `SIG`, or by number.
///
/// # Errors
/// [`Error::ParseStopSignal`].
pub fn signal_number(text: &str) -> Result<u32, Error> {
    let unknown = || Error::ParseStopSignal(text.to_owned());
    if let Ok(number) = text.parse::<u32>() {
        return Some(number).filter(|n| (1..=*REALTIME.end()).contains(n)).ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let bare = ALIASES.iter().find(|(alias, _)| *alias == bare).map_or(bare, |(_, name)| *name);
    let listed = NAMES.iter().zip(1..).find(|(name, _)| **name == bare).map(|(_, number)| number);
    listed.or_else(|| realtime(bare)).ok_or_else(unknown)
}

/// `RTMIN`, `RTMIN+N`, `RTMAX` or `RTMAX-N`.
fn realtime(name: &str) -> Option<u32> {
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<u32>().ok(),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        REALTIME.start().checked_add(offset(rest, '+')?)?
    } else {
        REALTIME.end().checked_sub(offset(name.strip_prefix("RTMAX")?, '-')?)?
    };
    REALTIME.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use berth_errors::{Code, Coded};

    use super::*;

    #[test]
    fn every_signal_of_the_cri_has_a_name_and_a_number_and_comes_back() {
        assert_eq!(stop_signal(0).unwrap(), None);
        for number in 1..=65 {
            let name = stop_signal(number).unwrap().unwrap();
            assert!(name.starts_with("SIG"), "{name}");
            assert_eq!(status_signal(&name) as i32, number, "{name}");
            assert!((1..=64).contains(&signal_number(&name).unwrap()), "{name}");
        }
    }

    #[test]
    fn names_are_those_of_images() {
        let named = |signal: cri::Signal| stop_signal(signal as i32).unwrap().unwrap();
        assert_eq!(named(cri::Signal::Sigterm), "SIGTERM");
        assert_eq!(named(cri::Signal::Sigrtminplus3), "SIGRTMIN+3");
        assert_eq!(named(cri::Signal::Sigrtmaxminus2), "SIGRTMAX-2");
        assert_eq!(status_signal("15"), cri::Signal::RuntimeDefault);
    }

    #[test]
    fn numbers_are_the_kernels() {
        let cases = [
            ("SIGTERM", 15),
            ("kill", 9),
            ("SIGCLD", 17),
            ("SIGIOT", 6),
            ("SIGPOLL", 29),
            ("SIGSYS", 31),
            ("RTMIN+3", 37),
            ("SIGRTMIN", 34),
            ("SIGRTMAX", 64),
            ("SIGRTMAX-14", 50),
            ("64", 64),
        ];
        for (name, number) in cases {
            assert_eq!(signal_number(name).unwrap(), number, "{name}");
        }
        for name in ["", "SIG", "0", "65", "-1", "RTMIN+31", "RTMAX-31", "RTMINX", "SIGFOO"] {
            let refused = signal_number(name).unwrap_err();
            assert_eq!(refused.code(), Code::Unknown, "{name}");
        }
    }

    #[test]
    fn what_the_cri_does_not_have_is_refused() {
        let refused = stop_signal(66).unwrap_err();
        assert_eq!(refused.to_string(), "unknown CRI stop signal 66: invalid argument");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}
