//! How much may be under way on both sides of the gateway.

use berth_grpc::Tuning;

/// Less than between services, for there are many clients.
pub const WINDOW: Tuning = Tuning {
    stream_window: 2 << 20,
    connection_window: 32 << 20,
    // A piece of a blob in few frames, yet small enough not to delay the frames of other calls.
    frame: 256 << 10,
    // Names, leases and error texts with all their causes.
    headers: 1 << 20,
    // A client waits for each of its containers by a call.
    streams: 1 << 16,
    resets: 1 << 14,
};
