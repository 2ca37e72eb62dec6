//! What a proxy does to an answer or an upload.

use crate::http::Head;

/// The least size of a body that counts as a large blob's.
const LARGE: usize = 100_000;

/// Which requests a fault is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The fetching of large blobs.
    Download,
    /// Whatever is asked about manifests.
    Manifest,
    /// The sending of large blobs.
    Upload,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The body ends in its middle.
    Cut,
    /// The body ends after next to nothing.
    Scrap,
    /// The registry is busy: this status, to be asked again after so many seconds; 0: no word of it.
    Busy(u16, u32),
    /// The body stalls in its middle.
    Stall,
    /// The body does not begin.
    Silence,
    /// A byte of the body is wrong.
    Corrupt,
    /// It says that it is longer than it is.
    Longer,
    /// It says that it is shorter than it is.
    Shorter,
    /// An upload is cut after so many bytes, and the registry forgets it.
    Forget(usize),
    /// An upload is cut after so many bytes, which the registry keeps.
    Keep(usize),
}

impl On {
    pub(crate) fn is(self, request: &Head, answer: &[u8]) -> bool {
        let (method, path) = (request.word(0), request.word(1));
        match self {
            On::Download => method == "GET" && path.contains("/blobs/") && answer.len() > LARGE,
            On::Manifest => path.contains("/manifests/"),
            On::Upload => method == "PATCH" && request.length() > LARGE,
        }
    }
}

impl Fault {
    /// Whether it is made before the registry answers, or hears all of it. A busy registry is found
    /// so late only where it takes the answer to tell what the request is for.
    pub(crate) fn is_early(self) -> bool {
        matches!(self, Fault::Busy(..) | Fault::Forget(_) | Fault::Keep(_))
    }

    /// How much of an upload's body goes through.
    pub(crate) fn upload(self) -> Option<usize> {
        match self {
            Fault::Forget(bytes) | Fault::Keep(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The answer of a registry that does not even do what it is asked.
    pub(crate) fn instead(self) -> Option<Vec<u8>> {
        let Fault::Busy(status, after) = self else { return None };
        let after = match after {
            0 => String::new(),
            seconds => format!("Retry-After: {seconds}\r\n"),
        };
        let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        Some(format!("HTTP/1.1 {status} Busy\r\n{after}{rest}").into_bytes())
    }

    /// Whether the connection stays open, without a word, once the answer was sent.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Fault::Stall | Fault::Silence)
    }

    /// What becomes of a whole answer.
    pub(crate) fn spoil(self, mut answer: Vec<u8>) -> Vec<u8> {
        let body = body_of(&answer);
        let middle = body + (answer.len() - body) / 2;
        match self {
            Fault::Cut | Fault::Stall => answer.truncate(middle),
            Fault::Silence => answer.truncate(body),
            Fault::Scrap => answer.truncate(body + 1000),
            Fault::Corrupt => answer.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 0x01),
            Fault::Longer => answer = relength(&answer, body, 10),
            Fault::Shorter => answer = relength(&answer, body, -10),
            Fault::Busy(..) => answer = self.instead().unwrap_or_default(),
            Fault::Forget(_) | Fault::Keep(_) => answer.clear(),
        }
        answer
    }
}

/// Where an answer's body begins.
pub(crate) fn body_of(answer: &[u8]) -> usize {
    answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4)
}

fn relength(answer: &[u8], body: usize, by: isize) -> Vec<u8> {
    let head = Head(String::from_utf8_lossy(&answer[..body]).into_owned());
    let length = head.length().saturating_add_signed(by).to_string();
    [head.with("Content-Length", &length).0.as_bytes(), &answer[body..]].concat()
}
