//! Counts calls by method and status, and traces each in a span. Wraps the guard, so that refused calls count too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tonic::Code;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::rpcs::{self, RPCS};
use super::status::blame;
use crate::app::App;
use crate::metrics::Metrics;

/// The header or trailer with a call's status.
const GRPC_STATUS: &str = "grpc-status";

/// Labels for an RPC that is not in the table.
const UNKNOWN: (&str, &str) = ("unknown", "unknown");

/// Service and method of an RPC's path.
fn names(rpc: &'static str) -> (&'static str, &'static str) {
    let names = rpc.strip_prefix('/').and_then(|rpc| rpc.split_once('/'));
    names.unwrap_or(UNKNOWN)
}

/// Starts the counters of internal errors at zero: otherwise the first error of an RPC would not be an increase.
pub(super) fn begin_at_zero(metrics: &Metrics) {
    let known = RPCS.iter().map(|rpc| names(rpc.path));
    for (service, method) in known.chain([UNKNOWN]) {
        metrics.may_fail(service, method);
    }
}

pub(super) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut call = Call::begin(app, request.uri().path());
    trawl_telemetry::set_parent(&call.span, request.headers());
    let mut response = next.run(request).instrument(call.span.clone()).await;
    // An immediate error is in the headers.
    call.ended_by(response.headers_mut());
    response.map(|messages| Body::new(Counted { messages, call }))
}

/// A call under way. It counts as cancelled if it is dropped before its end.
struct Call {
    app: Arc<App>,
    service: &'static str,
    method: &'static str,
    code: Code,
    span: Span,
}

impl Call {
    fn begin(app: Arc<App>, path: &str) -> Self {
        // Only names from the table become labels: strangers could ask for any number of others.
        let (service, method) = rpcs::find(path).map_or(UNKNOWN, |rpc| names(rpc.path));
        app.metrics().call_began(service, method);
        let span = info_span!(
            target: trawl_telemetry::TARGET, "rpc", otel.name = %format_args!("{service}/{method}"), otel.kind = "server",
            rpc.system = "grpc", rpc.service = service, rpc.method = method, rpc.grpc.status_code = Empty,
        );
        Self {
            app,
            service,
            method,
            code: Code::Cancelled,
            span,
        }
    }

    fn ended_by(&mut self, headers: &mut HeaderMap) {
        blame(headers);
        if let Some(status) = headers.get(GRPC_STATUS) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.span
            .record("rpc.grpc.status_code", i64::from(i32::from(self.code)));
        self.app.metrics().call_ended(self.service, self.method, self.code);
    }
}

/// The answer to a call; ends with the call's status.
struct Counted {
    messages: Body,
    call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut frame = ready!(Pin::new(&mut self.messages).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            self.call.ended_by(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.messages.size_hint()
    }
}
