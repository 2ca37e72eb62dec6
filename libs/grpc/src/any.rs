//! Messages in an `Any`, named as containerd names them: without `type.googleapis.com/`.

use prost::{Message, Name};
use prost_types::Any;

use crate::Error;

/// The message's type as containerd writes it, for instance `containerd.events.TaskExit`.
#[must_use]
pub fn type_url<M: Name>() -> String {
    M::full_name()
}

/// The message in an `Any` of its own type.
#[must_use]
pub fn pack<M: Message + Name>(message: &M) -> Any {
    pack_as(&type_url::<M>(), message)
}

/// The message in an `Any` of a type that is given by name.
#[must_use]
pub fn pack_as(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

/// The message of an `Any`, whatever prefix its type has.
///
/// # Errors
/// [`Error::AnyType`] when it is of another type, [`Error::AnyDecode`] when its bytes are none.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, Error> {
    let expected = type_url::<M>();
    if bare(&any.type_url) != expected {
        return Err(Error::AnyType { found: any.type_url.clone(), expected });
    }
    M::decode(any.value.as_slice())
        .map_err(|source| Error::AnyDecode { type_url: any.type_url.clone(), source })
}

/// A type's name without what stands before the last slash.
#[must_use]
pub fn bare(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::{Duration, Timestamp};

    #[test]
    fn a_packed_message_has_no_prefix_and_comes_back() {
        let time = Timestamp { seconds: 7, nanos: 8 };
        let mut any = pack(&time);
        assert_eq!(any.type_url, "google.protobuf.Timestamp");
        assert_eq!(unpack::<Timestamp>(&any).unwrap(), time);
        any.type_url.insert_str(0, "type.googleapis.com/");
        assert_eq!(unpack::<Timestamp>(&any).unwrap(), time);
    }

    #[test]
    fn another_type_is_refused_by_name() {
        let error = unpack::<Duration>(&pack(&Timestamp::default())).unwrap_err();
        assert!(error.to_string().contains("google.protobuf.Timestamp"), "{error}");
    }
}
