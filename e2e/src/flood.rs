//! Floods: what many, broken or enormous requests look like. Each is a function that a test and a benchmark may pour over a
//! coordinator.

use prost::Message;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::Channel;
use trawl_proto::v1;

use crate::raw_call::open_raw;
use crate::raw_http2::{RawHttp2, RawRequest};

const CREATE_STUDY: &str = "/trawl.v1.StudyService/CreateStudy";
const REPORT_EPOCHS: &str = "/trawl.v1.WorkerService/ReportEpochs";
const LIST_EPOCH_REPORTS: &str = "/trawl.v1.StudyService/ListEpochReports";
/// Calls of a connection that are opened at once: fewer than it may have.
const STREAMS_PER_CONNECTION: usize = 100;
/// After so many requests a connection is made anew: its windows are never refilled here.
const REQUESTS_PER_CONNECTION: u64 = 5_000;

/// Streams of reports that are opened and say nothing, until they are dropped.
#[derive(Debug)]
pub struct IdleStreams {
    /// The answers to each; none comes.
    pub streams: Vec<Streaming<Vec<u8>>>,
}

/// Opens so many streams.
///
/// # Errors
/// One is refused.
pub async fn idle_streams(url: &str, token: Option<&str>, count: usize) -> anyhow::Result<IdleStreams> {
    let mut streams = Vec::with_capacity(count);
    let mut channel = None;
    for number in 0..count {
        if number % STREAMS_PER_CONNECTION == 0 {
            channel = Some(Channel::from_shared(url.to_owned())?.connect().await?);
        }
        let Some(channel) = &channel else { break };
        streams.push(open_raw(channel, REPORT_EPOCHS, token, tokio_stream::pending()).await?);
    }
    Ok(IdleStreams { streams })
}

/// A request to submit a study that is nothing but empty parts: as many as its bytes allow.
pub fn bomb(bytes: usize) -> Vec<u8> {
    // Two bytes each: the tag of a layer, and that it is empty.
    let study = v1::Study {
        model: vec![v1::Layer::default(); bytes / 2],
        ..Default::default()
    };
    v1::CreateStudyRequest {
        study: Some(study),
        dry_run: false,
        ..Default::default()
    }
    .encode_to_vec()
}

/// The same with empty values inside one setting, each of which is a message of its own.
pub fn bomb_of_values(bytes: usize) -> Vec<u8> {
    let list = prost_types::ListValue {
        values: vec![prost_types::Value::default(); bytes / 2],
    };
    let epochs = prost_types::Value {
        kind: Some(prost_types::value::Kind::ListValue(list)),
    };
    let study = v1::Study {
        training: Some(v1::Training {
            epochs: Some(epochs),
            ..Default::default()
        }),
        ..Default::default()
    };
    v1::CreateStudyRequest {
        study: Some(study),
        dry_run: false,
        ..Default::default()
    }
    .encode_to_vec()
}

/// A request whose one setting is a list in a list in a list …, so many deep.
pub fn nesting(depth: usize) -> Vec<u8> {
    // From the inside out: a value (field 6: a list), a list (field 1: a value).
    let mut inner: Vec<u8> = Vec::new();
    let mut lengths = Vec::with_capacity(2 * depth);
    let mut len = 0_usize;
    for level in 0..2 * depth {
        let tag = if level % 2 == 0 { 0x0a } else { 0x32 };
        lengths.push((tag, len));
        len += 1 + prost::length_delimiter_len(len);
    }
    for (tag, len) in lengths.into_iter().rev() {
        inner.push(tag);
        // A vector takes whatever is put into it.
        let _ = prost::encode_length_delimiter(len, &mut inner);
    }
    // Field `epochs` of `training` of `study`, by the numbers of the messages that hold it.
    let holder = v1::CreateStudyRequest {
        study: Some(v1::Study {
            training: Some(v1::Training {
                epochs: Some(prost_types::Value {
                    kind: Some(prost_types::value::Kind::StringValue("x".into())),
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        dry_run: false,
        ..Default::default()
    }
    .encode_to_vec();
    // [study tag, len, training tag, len, epochs tag, len, string tag, 1, x]
    let mut message = inner;
    for tag in [holder[4], holder[2], holder[0]] {
        let mut outer = vec![tag];
        let _ = prost::encode_length_delimiter(message.len(), &mut outer);
        outer.extend(message);
        message = outer;
    }
    message
}

/// The `number`th of endlessly many requests that are broken, each in one of eight ways.
pub fn malformed(number: u64, token: Option<&str>) -> RawRequest {
    // Bytes that differ from request to request, without a source of randomness.
    let noise: Vec<u8> = (1..48_u64)
        .map(|place| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(place) >> 40) as u8)
        .collect();
    let rpc = ["CreateStudy", "GetStudy", "ListTrials", "DeleteStudy"][(number / 8 % 4) as usize];
    let path = format!("/trawl.v1.StudyService/{rpc}");
    let mut request = RawRequest::grpc(&path, &noise).with_token(token);
    match number % 8 {
        // Random bytes where a message should be.
        0 => {}
        // A length beyond the bytes that follow.
        1 => request.body[1..5].copy_from_slice(&[0, 0, 1, 0]),
        // A length beyond everything.
        2 => request.body[1..5].copy_from_slice(&[255; 4]),
        // A compression that nobody agreed on.
        3 => request.body[0] = 1,
        // An unknown flag.
        4 => request.body[0] = noise[0] | 2,
        // No such RPC.
        5 => request.path = format!("/trawl.v1.StudyService/{number:x}"),
        // Not gRPC.
        6 => request.headers.retain(|(name, _)| *name != "content-type"),
        // Not even a POST.
        _ => {
            request.method = "GET";
            request.body.truncate(3);
        }
    }
    request
}

/// Sends the malformed requests of these numbers; how many connections the coordinator ended because of them.
///
/// # Errors
/// There is no connection to be had, or no answer.
pub async fn malformed_requests(url: &str, token: Option<&str>, numbers: std::ops::Range<u64>) -> anyhow::Result<u64> {
    let mut closed = 0;
    let mut next = numbers.start;
    while next < numbers.end {
        let mut connection = RawHttp2::connect(url).await?;
        let until = numbers.end.min(next + REQUESTS_PER_CONNECTION);
        while next < until {
            let last = until.min(next + STREAMS_PER_CONNECTION as u64);
            let requests: Vec<RawRequest> = (next..last).map(|number| malformed(number, token)).collect();
            next = last;
            if !connection.call_all(&requests).await? {
                closed += 1;
                break;
            }
        }
    }
    Ok(closed)
}

/// Asks for the largest page of losses again and again, allows all of the answers to be sent, and reads none, as long as the
/// connections live.
///
/// # Errors
/// There is no connection to be had.
pub async fn unread_pages(
    url: &str,
    token: Option<&str>,
    study: &str,
    connections: usize,
    each: usize,
) -> anyhow::Result<Vec<RawHttp2>> {
    let message = v1::ListEpochReportsRequest {
        study: study.to_owned(),
        page_size: 10_000,
        of: Some(v1::list_epoch_reports_request::Of::Trial(0)),
        ..Default::default()
    }
    .encode_to_vec();
    let request = RawRequest::grpc(LIST_EPOCH_REPORTS, &message).with_token(token);
    let mut all = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = RawHttp2::connect(url).await?;
        connection.open_windows().await?;
        for _ in 0..each {
            connection.send(&request).await?;
        }
        all.push(connection);
    }
    Ok(all)
}

/// Submits a message, as it is, on so many connections at once; the codes of the answers.
///
/// # Errors
/// There is no connection to be had.
pub async fn submit_at_once(
    url: &str,
    token: Option<&str>,
    message: &[u8],
    count: usize,
) -> anyhow::Result<Vec<tonic::Code>> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let channel = Channel::from_shared(url.to_owned())?.connect().await?;
        let (message, token) = (message.to_vec(), token.map(str::to_owned));
        calls.spawn(async move {
            let called = crate::raw_call::call_raw(&channel, CREATE_STUDY, token.as_deref(), vec![message]).await;
            called.map_or_else(|status| status.code(), |_| tonic::Code::Ok)
        });
    }
    Ok(calls.join_all().await)
}
