//! What it costs that lines of the log name the call that they are written in: the way of a call through
//! what counts it, in a process that logs nothing and in one that logs, of which the call writes no line.

use std::convert::Infallible;
use std::future::ready;

use berth_config::{Log, Telemetry};
use berth_grpc::Calls;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::Full;

fn request() -> Request<()> {
    let request = Request::builder()
        .uri("http://localhost/containerd.services.tasks.v1.Tasks/Get")
        .header("content-type", "application/grpc")
        .header("containerd-namespace", "k8s.io")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    request.body(()).expect("a request")
}

fn call(criterion: &mut Criterion, name: &str) {
    let calls = Calls::answered();
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            let answer = || Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()));
            calls.count(request(), |_| ready(answer())).now_or_never()
        });
    });
}

fn lines(criterion: &mut Criterion) {
    call(criterion, "counted-call/nobody-logs");
    let _guard = berth_telemetry::init("bench", &Log::default(), &Telemetry::default())
        .expect("the only one of this process");
    call(criterion, "counted-call/logged");
}

criterion_group!(benches, lines);
criterion_main!(benches);
