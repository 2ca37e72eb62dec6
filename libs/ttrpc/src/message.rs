//! The two envelopes of the protocol. Field numbers are facts of the wire.

use bytes::Bytes;

/// What a client sends.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Full name of the service.
    #[prost(string, tag = "1")]
    pub service: String,
    /// Name of the method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// How long the caller waits, in nanoseconds; 0: it did not say.
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
    /// Headers; a key may come more than once.
    #[prost(message, repeated, tag = "5")]
    pub metadata: Vec<KeyValue>,
}

/// What a server sends.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// Absent or code 0 when the call went well.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RpcStatus>,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

/// One header.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValue {
    /// Lower-case name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// google.rpc.Status.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// Number of the code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Text for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Typed details.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<prost_types::Any>,
}
