//! Plain HTTP to a service's socket.

use berth_grpc::Channel;
use http::{Request, StatusCode};
use tonic::body::Body;
use tower::Service;

/// What is answered there.
pub async fn get(channel: &Channel, path: &str) -> (StatusCode, String) {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = format!("http://localhost{path}").parse().unwrap();
    let answer = channel.clone().call(request).await.unwrap();
    let status = answer.status();
    let mut body = Body::new(answer.into_body());
    let mut text = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx))
            .await
    {
        let frame = frame.unwrap();
        text.extend(frame.data_ref().into_iter().flatten());
    }
    (status, String::from_utf8(text).unwrap())
}
