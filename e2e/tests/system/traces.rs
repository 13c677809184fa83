//! Traces: the spans of a study that a collector gets, which are whose children, and that no connection is made where they are off.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use trawl_e2e::{Ask, StoreAt, System, binary, fresh_database, ran, studies, worker};

/// A span, and the service that sent it.
#[derive(Clone, Debug)]
struct Sent {
    service: String,
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    attributes: BTreeMap<String, String>,
}

/// A collector that keeps its spans.
#[derive(Clone, Debug, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Sent>>>,
}

impl Collector {
    /// Listens at the URL that is returned.
    async fn start(&self) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let service = TraceServiceServer::new(self.clone());
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Ok(url)
    }

    fn spans(&self) -> Vec<Sent> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let attributes = resource
                .resource
                .map(|resource| resource.attributes)
                .unwrap_or_default();
            let service = attributes.iter().find(|attribute| attribute.key == "service.name");
            let service = text(service.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()));
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Sent {
                    service: service.clone(),
                    name: span.name,
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    attributes: span
                        .attributes
                        .iter()
                        .map(|attribute| {
                            let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
                            (attribute.key.clone(), text(value))
                        })
                        .collect(),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn system_with(variables: Vec<(&'static str, String)>) -> anyhow::Result<System> {
    let artifacts = TempDir::new()?;
    let mut store = StoreAt::folder(artifacts.path());
    store.variables = variables;
    System::start_with(fresh_database().await?, artifacts, store, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_one_trace_from_its_lease_to_its_end() -> anyhow::Result<()> {
    let collector = Collector::default();
    let url = collector.start().await?;
    let mut system = system_with(vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url.clone())]).await?;
    let named = worker(&system.coordinator.url, |command| {
        command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &url);
        command.env("OTEL_SERVICE_NAME", "a-worker");
    })?;
    system.workers.push(named);
    system.complete(studies::small("traced", 4, 10)?).await?;
    let owner = system.owner().await?;
    let jobs: Vec<String> = owner
        .values("SELECT job_id::text FROM trawl_store.job_attempts")
        .await?;
    // Waiting spans are sent before the programs end.
    assert!(system.workers.remove(0).stop()?.success());
    assert!(system.coordinator.process.stop()?.success());

    let spans = collector.spans();
    let by_id: BTreeMap<&[u8], &Sent> = spans.iter().map(|span| (span.id.as_slice(), span)).collect();
    let parent = |span: &Sent| by_id.get(span.parent.as_slice()).copied();
    let of_name = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let traced: BTreeSet<&String> = of_name("job").filter_map(|job| job.attributes.get("job.id")).collect();
    assert_eq!(traced, jobs.iter().collect());
    assert_eq!(of_name("job").count(), jobs.len());
    for job in of_name("job") {
        assert_eq!(job.service, "a-worker");
        assert_eq!(job.attributes["study.name"], "traced");
        let lease = parent(job).context("a job without its lease")?;
        assert_eq!((lease.name.as_str(), &lease.trace), ("lease", &job.trace));
        let mut steps: BTreeSet<&str> = spans
            .iter()
            .filter(|span| span.parent == job.id && span.service == "a-worker")
            .map(|span| span.name.as_str())
            .collect();
        steps.remove("baselines");
        assert_eq!(steps, BTreeSet::from(["fetch", "finish", "report", "train"]));
    }
    assert_eq!(of_name("baselines").count(), 1);
    // Across the wire.
    for (rpc, caller, times) in [
        ("trawl.v1.WorkerService/FinishJob", "finish", jobs.len()),
        ("trawl.v1.WorkerService/LeaseJobs", "lease", 1),
    ] {
        let calls: Vec<&Sent> = of_name(rpc).filter(|call| parent(call).is_some()).collect();
        assert!(calls.len() >= times, "{rpc}: {} calls", calls.len());
        for call in calls {
            let caller_span = parent(call).context("no parent")?;
            assert_eq!(
                (caller_span.name.as_str(), caller_span.service.as_str()),
                (caller, "a-worker")
            );
            assert_eq!(call.service, "trawl-coordinator");
            assert_eq!(call.trace, caller_span.trace);
        }
    }
    let finished = of_name("trawl.v1.WorkerService/FinishJob")
        .next()
        .context("no finish")?;
    assert_eq!(finished.attributes["rpc.grpc.status_code"], "0");
    // Users' calls have traces of their own.
    assert!(of_name("trawl.v1.StudyService/CreateStudy").any(|call| call.parent.is_empty()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_off_when_a_variable_says_so_and_refused_when_they_cannot_be() -> anyhow::Result<()> {
    let collector = Collector::default();
    let url = collector.start().await?;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", url.clone());
    let system = system_with(vec![endpoint, ("OTEL_SDK_DISABLED", "true".to_owned())]).await?;
    system.trawl_stdout(&["ls"])?;
    assert!(system.coordinator.process.stop()?.success());
    assert!(collector.spans().is_empty());

    let mut command = Command::new(binary("trawl-worker")?);
    command
        .args(["--device", "cpu"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    let refused = ran(&mut command)?;
    let told = "OTEL_EXPORTER_OTLP_PROTOCOL is http/json";
    assert!(refused.code != Some(0) && refused.stderr.contains(told), "{refused:?}");
    Ok(())
}
