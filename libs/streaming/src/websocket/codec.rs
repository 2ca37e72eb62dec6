//! A message of a channel: its number, then its bytes, plain or in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A byte for the channel, then the bytes.
    Binary,
    /// A digit for the channel, then base64.
    Base64,
}

impl Form {
    pub(super) fn message(self, channel: u8, bytes: &[u8]) -> Message {
        match self {
            Self::Binary => Message::binary([&[channel][..], bytes].concat()),
            Self::Base64 => {
                let mut text = String::from(char::from(channel.wrapping_add(b'0')));
                STANDARD.encode_string(bytes, &mut text);
                Message::text(text)
            }
        }
    }

    /// Channel and bytes. None: an empty message, which says nothing. Error: not base64.
    pub(super) fn parse(self, payload: Bytes) -> Result<Option<(u8, Bytes)>, base64::DecodeError> {
        let Some(first) = payload.first().copied() else { return Ok(None) };
        let rest = payload.slice(1..);
        Ok(Some(match self {
            Self::Binary => (first, rest),
            Self::Base64 => (first.wrapping_sub(b'0'), STANDARD.decode(rest)?.into()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(channel in 0u8..80, bytes: Vec<u8>, base64: bool) {
            let form = if base64 { Form::Base64 } else { Form::Binary };
            let payload = form.message(channel, &bytes).into_data();
            prop_assert_eq!(form.parse(payload).unwrap(), Some((channel, Bytes::from(bytes))));
        }

        #[test]
        fn nothing_that_arrives_panics(payload: Vec<u8>) {
            let _ = Form::Base64.parse(payload.clone().into());
            let _ = Form::Binary.parse(payload.into());
        }
    }

    #[test]
    fn the_forms_are_the_protocols() {
        assert_eq!(Form::Base64.message(1, b"hi").into_data(), "1aGk=");
        assert_eq!(Form::Binary.message(1, b"hi").into_data(), "\u{1}hi");
        assert_eq!(Form::Binary.parse(Bytes::new()).unwrap(), None);
        assert!(Form::Base64.parse("1!".into()).is_err());
    }
}
