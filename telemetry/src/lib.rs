//! The log of the coordinator and the worker, and their OTLP traces. Warnings that repeat are logged once a minute. Traces are
//! off, unless the usual variables name a collector; then spans go there by gRPC.
//!
//! Spans have the `tracing` target [`TARGET`]. The log does not see them; with traces off, a span costs one comparison. The
//! context of a trace travels as `traceparent` in the metadata of calls.

mod repeats;

use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use repeats::Repeats;

/// The target of spans that are for traces.
pub const TARGET: &str = "trawl_traces";
/// Longest time for sending waiting spans when a program ends: it must not delay a drain.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);
/// Variables that name a collector; one of them has to be set.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// Variables that name the protocol.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// Why traces are unavailable although they were requested.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The protocol.
    #[error("{variable} is {protocol}: traces are sent by grpc alone")]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// Its value.
        protocol: String,
    },
    /// The collector's URL, or the headers.
    #[error("traces: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// The destination of spans, if there is one.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Traces as the environment's variables set them. To be called inside a tokio runtime; connects when the first spans are sent.
    ///
    /// # Errors
    /// Variables with invalid values.
    pub fn from_environment(service: &'static str) -> Result<Self, TracesError> {
        let is_wanted = ENDPOINTS.iter().any(|name| variable(name).is_some())
            && !variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            && variable("OTEL_TRACES_EXPORTER").is_none_or(|value| value != "none");
        if !is_wanted {
            return Ok(Self(None));
        }
        if let Some((name, protocol)) = PROTOCOLS.iter().find_map(|name| Some((*name, variable(name)?)))
            && protocol != "grpc"
        {
            return Err(TracesError::Protocol {
                variable: name,
                protocol,
            });
        }
        let resource = Resource::builder();
        // A variable with the service's name has precedence.
        let resource = match variable("OTEL_SERVICE_NAME") {
            None => resource.with_service_name(service),
            Some(_) => resource,
        };
        let exporter = SpanExporter::builder().with_tonic().build()?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        Ok(Self(Some(provider)))
    }

    /// True if spans go anywhere.
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// The layers of a program's subscriber: its log with this filter, and the exporter of spans with the target
    /// [`TARGET`].
    pub fn layers<S>(&self, log: impl Layer<S> + Send + Sync, filter: EnvFilter) -> Vec<Box<dyn Layer<S> + Send + Sync>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        // The hint makes spans below the filter's level cost one comparison.
        let not_of_traces = FilterFn::new(|metadata: &Metadata<'_>| !is_of_traces(metadata));
        let filter = filter.and(not_of_traces.with_max_level_hint(LevelFilter::TRACE));
        let filter = filter.and(Repeats::default());
        let mut layers = vec![log.with_filter(filter).boxed()];
        // An `Option` layer would want every span, even if it is `None`.
        if let Some(provider) = &self.0 {
            let spans = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("trawl"))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_target(false)
                .with_level(false);
            let of_traces = FilterFn::new(is_of_traces).with_max_level_hint(LevelFilter::INFO);
            layers.push(spans.with_filter(of_traces).boxed());
        }
        layers
    }

    /// Sends waiting spans, for at most three seconds. Blocks.
    pub fn flush(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_WITHIN)
        {
            tracing::warn!(error = %error, "some spans were not sent");
        }
    }
}

fn is_of_traces(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Adds the context of the current span to a call, if there is one.
pub fn inject(metadata: &mut MetadataMap) {
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut Carrier(metadata));
}

/// Makes a span a child of the span of a call's caller. The context is trusted from every caller, because it decides nothing.
pub fn set_parent(span: &Span, headers: &tonic::codegen::http::HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&Headers(headers));
    // This fails where traces are off; then nobody records the span.
    let _ = span.set_parent(parent);
}

struct Carrier<'a>(&'a mut MetadataMap);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

struct Headers<'a>(&'a tonic::codegen::http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|key| key.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use tracing::{info_span, trace_span};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{fmt, registry};

    use super::*;

    #[test]
    fn spans_that_nobody_wants_are_none() {
        let log = fmt::layer().with_writer(std::io::sink);
        let subscriber = registry().with(Traces(None).layers(log, EnvFilter::new("info")));
        tracing::subscriber::with_default(subscriber, || {
            assert!(!info_span!("of the log").is_disabled());
            assert!(info_span!(target: TARGET, "of traces").is_disabled());
            assert!(trace_span!(target: "h2", "of a library").is_disabled());
            assert_eq!(LevelFilter::current(), LevelFilter::INFO);
        });
    }
}
