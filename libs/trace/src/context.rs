//! The headers `traceparent` and `tracestate`, as <https://www.w3.org/TR/trace-context/> has them.

/// The header that names a trace and a span of it.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems add.
pub const TRACESTATE: &str = "tracestate";

/// Of version 00.
const LENGTH: usize = 55;
/// A later version may be longer; this much is read of nobody.
const LONGEST: usize = 512;
/// As the specification bounds what has to be passed on.
const LONGEST_STATE: usize = 512;
const MOST_STATES: usize = 32;

/// A span and its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace. Not 0.
    pub trace: u128,
    /// The span. Not 0.
    pub span: u64,
    /// Whether whoever began the trace has it kept.
    pub sampled: bool,
    /// What tracing systems add, at most 512 bytes.
    pub state: String,
}

impl Context {
    /// Reads the headers. None for a `traceparent` that is none; a `tracestate` that cannot be is left out.
    #[must_use]
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let bytes = parent.as_bytes();
        if bytes.len() < LENGTH || bytes.len() > LONGEST || !bytes.is_ascii() {
            return None;
        }
        let (version, rest) = (&parent[..2], bytes.get(LENGTH));
        let dashes = [2, 35, 52].iter().all(|at| bytes[*at] == b'-');
        // What comes behind the flags is of later versions alone, and set apart.
        let ends = match version {
            "00" => rest.is_none(),
            _ => rest.is_none_or(|byte| *byte == b'-'),
        };
        if !dashes || !ends || hex(version)? == 0xff {
            return None;
        }
        let (trace, span) = (hex(&parent[3..35])?, hex(&parent[36..52])?);
        let flags = hex(&parent[53..55])?;
        if trace == 0 || span == 0 {
            return None;
        }
        let state = state.filter(|state| is_state(state)).unwrap_or_default().to_owned();
        Some(Self { trace, span: u64::try_from(span).ok()?, sampled: flags & 1 == 1, state })
    }

    /// The header that names it.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The trace and the span that a `traceparent` names, as it writes them. None for one that is none.
#[must_use]
pub fn ids(parent: &str) -> Option<(&str, &str)> {
    Context::parse(parent, None).map(|_| (&parent[3..35], &parent[36..52]))
}

/// Digits and small letters alone.
fn hex(text: &str) -> Option<u128> {
    let fits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| u128::from_str_radix(text, 16).ok())?
}

/// A list of at most 32 pairs in printable ASCII.
fn is_state(state: &str) -> bool {
    let pairs = || state.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    state.len() <= LONGEST_STATE
        && state.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t')
        && pairs().count() <= MOST_STATES
        && pairs().all(|pair| pair.split_once('=').is_some_and(|(key, _)| !key.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_comes_back_as_it_was() {
        let context = Context::parse(GOOD, Some("a=1,b=2")).unwrap();
        assert_eq!(context.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert!(context.sampled);
        assert_eq!(context.state, "a=1,b=2");
        assert_eq!(context.traceparent(), GOOD);
        let unsampled = Context::parse(&GOOD.replace("-01", "-00"), None).unwrap();
        assert!(!unsampled.sampled);
        let named = ids(GOOD).unwrap();
        assert_eq!(named, ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"));
        assert_eq!(ids(&GOOD[1..]), None);
    }

    #[test]
    fn a_later_version_may_be_longer() {
        let later = GOOD.replacen("00", "01", 1);
        assert!(Context::parse(&later, None).is_some());
        assert!(Context::parse(&format!("{later}-more"), None).is_some());
        assert!(Context::parse(&format!("{later}more"), None).is_none());
        assert!(Context::parse(&format!("{GOOD}-more"), None).is_none());
    }

    #[test]
    fn what_is_none_is_not_taken() {
        let long = format!("01{}-{}", &GOOD[2..], "x".repeat(LONGEST));
        let wide = format!("00-0af7651916cd43dd8448eb211c8031é-{}", &GOOD[36..]);
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace('-', "_"),
            &GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("0af7", "+af7"),
            &long,
            &wide,
        ] {
            assert_eq!(Context::parse(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_state_that_cannot_be_is_left_out() {
        let many = vec!["a=1"; MOST_STATES + 1].join(",");
        for bad in ["x", "=1", "a=\u{e9}", &"a=".repeat(300), &many] {
            assert_eq!(Context::parse(GOOD, Some(bad)).unwrap().state, "", "{bad}");
        }
    }
}
