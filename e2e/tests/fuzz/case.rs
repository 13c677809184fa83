//! One case: a call of some RPC by somebody, with messages that are almost right, or far from it.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use trawl_e2e::{ScriptedWorker, dataset_messages, member_epochs};
use trawl_proto::v1;

use crate::call::{Call, Ending};
use crate::dice::Dice;
use crate::files;
use crate::messages::Maker;
use crate::stage::Known;

/// RPCs of other services: their messages are few, and come from libraries.
const LOOSE: [&str; 4] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// Who may call, by their tokens.
#[derive(Clone, Debug)]
pub(crate) struct Callers {
    /// Who may do everything.
    pub(crate) operator: String,
    /// A token for each role.
    pub(crate) roles: Vec<String>,
}

/// What a case sends: one call, or one for a file and one for a study on it.
pub(crate) fn calls(seed: u64, number: u64, known: &Known, callers: &Callers, pool: &DescriptorPool) -> Vec<Call> {
    let dice = &mut Dice::new(seed, number);
    let methods: Vec<MethodDescriptor> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    let token = match dice.below(20) {
        0 => None,
        1 => Some("trawl_forged".to_owned()),
        2..6 => Some(dice.pick(&callers.roles).clone()),
        _ => Some(callers.operator.clone()),
    };
    if dice.chance(5) {
        return with_file(dice, known, token);
    }
    if dice.chance(2) {
        return whole_job(dice, known, token);
    }
    let place = dice.below(methods.len() + LOOSE.len());
    let (path, messages) = match methods.get(place) {
        Some(method) => {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            (path, messages(dice, known, method))
        }
        None => {
            let count = dice.below(3);
            (
                LOOSE[place - methods.len()].to_owned(),
                (0..count).map(|_| loose(dice)).collect(),
            )
        }
    };
    vec![sent(dice, path, token, messages)]
}

/// Encoded messages of a call.
fn messages(dice: &mut Dice, known: &Known, method: &MethodDescriptor) -> Vec<Vec<u8>> {
    let input = method.input();
    let right = right_messages(dice, known, method.name());
    let decode = |bytes: &Vec<u8>| DynamicMessage::decode(input.clone(), &bytes[..]).ok();
    let mut maker = Maker::new(dice, known);
    let mut messages: Vec<DynamicMessage> = if !right.is_empty() && maker.dice.chance(75) {
        right.iter().filter_map(decode).collect()
    } else {
        let count = if method.is_client_streaming() {
            maker.dice.below(4)
        } else {
            1
        };
        (0..count).map(|_| maker.message(&input, 0)).collect()
    };
    let changes = *maker.dice.pick(&[0, 0, 1, 1, 1, 2, 3, 8]);
    for _ in 0..changes {
        let place = maker.dice.below(messages.len());
        if let Some(message) = messages.get_mut(place) {
            maker.mutate(message, 0);
        }
    }
    messages
        .iter()
        .map(|message| in_bytes(dice, message.encode_to_vec()))
        .collect()
}

/// Right messages, for calls that would else not get far.
fn right_messages(dice: &mut Dice, known: &Known, method: &str) -> Vec<Vec<u8>> {
    let lease = known.leases.get(dice.below(known.leases.len())).cloned();
    match method {
        "CreateStudy" => {
            let request = v1::CreateStudyRequest {
                study: Some(known.example.clone()),
                dry_run: dice.chance(50),
                ..Default::default()
            };
            vec![request.encode_to_vec()]
        }
        "ReportEpochs" => {
            let report = |epoch| v1::ReportEpochsRequest {
                lease: lease.clone(),
                first_epoch: epoch,
                metrics: vec!["val_loss".into()],
                members: vec![member_epochs(0, vec![0.5, -1e300]), member_epochs(1, vec![1e300, 0.25])],
            };
            let epochs = 0..dice.below(4) as u32;
            epochs.map(|epoch| report(epoch).encode_to_vec()).collect()
        }
        "RegisterWorker" => vec![ScriptedWorker::registration(&known.worker_id).encode_to_vec()],
        "CreateToken" => {
            let request = v1::CreateTokenRequest {
                name: format!("t{}", dice.below(100)),
                role: "reader".into(),
                lifetime_seconds: Some(*dice.pick(&[1, 60, 316_224_000])),
            };
            vec![request.encode_to_vec()]
        }
        method => right_upload(dice, lease, method),
    }
}

/// A whole file in pieces; nothing for calls that send none.
fn right_upload(dice: &mut Dice, lease: Option<v1::Lease>, method: &str) -> Vec<Vec<u8>> {
    let len = *dice.pick(&[0, 1, 1_000, 100_000]);
    let content = dice.bytes(len);
    let job = v1::LeasedJob {
        lease,
        ..Default::default()
    };
    match method {
        "PutDataset" => encoded(&dataset_messages(&content)),
        "PutArtifact" => {
            let name = format!("fold-{}.safetensors", dice.below(3));
            let member = dice.chance(80).then_some(0);
            encoded(&ScriptedWorker::artifact_messages(&job, member, &name, &content))
        }
        "PutCheckpoint" => encoded(&ScriptedWorker::checkpoint_messages(&job, 0, &content)),
        _ => Vec::new(),
    }
}

fn encoded(messages: &[impl Message]) -> Vec<Vec<u8>> {
    messages.iter().map(Message::encode_to_vec).collect()
}

/// A file of some format, and a study that learns from it.
fn with_file(dice: &mut Dice, known: &Known, token: Option<String>) -> Vec<Call> {
    let (file, dataset, is_of_classes) = files::file(dice);
    let put = encoded(&dataset_messages(&file));
    let mut study = known.example.clone();
    study.name = format!("file-{}", dice.below(1_000));
    study.refit = None;
    study.dataset = Some(v1::Dataset {
        kind: Some(dataset),
        ..Default::default()
    });
    if let Some(training) = study.training.as_mut().filter(|_| is_of_classes) {
        training.loss = "cross_entropy".into();
    }
    let created = v1::CreateStudyRequest {
        study: Some(study),
        dry_run: dice.chance(30),
        ..Default::default()
    };
    let put = put.iter().map(|message| framed(0, message)).collect();
    let put = whole("/trawl.v1.StudyService/PutDataset", token.clone(), put);
    let created = vec![framed(0, &created.encode_to_vec())];
    vec![put, whole("/trawl.v1.StudyService/CreateStudy", token, created)]
}

/// All epochs of a job, with losses that break arithmetic, and its end.
fn whole_job(dice: &mut Dice, known: &Known, token: Option<String>) -> Vec<Call> {
    let Some(job) = known.jobs.get(dice.below(known.jobs.len())) else {
        return Vec::new();
    };
    let (epochs, members) = job.job.as_ref().map_or((0, 0), |job| (job.epochs, job.members.len()));
    let mut loss = || *dice.pick(&[0.5, 1.7e308, -1.7e308, 1e-300, 1e100, f64::MAX]);
    let reports = (0..epochs).map(|epoch| {
        let report = v1::ReportEpochsRequest {
            lease: job.lease.clone(),
            first_epoch: epoch,
            metrics: vec!["val_loss".into()],
            members: (0..members as u32)
                .map(|member| member_epochs(member, vec![loss()]))
                .collect(),
        };
        framed(0, &report.encode_to_vec())
    });
    let reports = whole("/trawl.v1.WorkerService/ReportEpochs", token.clone(), reports.collect());
    let finish = v1::FinishJobRequest {
        lease: job.lease.clone(),
        ..Default::default()
    };
    let finish = framed(0, &finish.encode_to_vec());
    vec![reports, whole("/trawl.v1.WorkerService/FinishJob", token, vec![finish])]
}

/// A call as it should be.
fn whole(path: &str, token: Option<String>, pieces: Vec<Vec<u8>>) -> Call {
    Call {
        path: path.to_owned(),
        token,
        headers: Vec::new(),
        pieces: pieces.into(),
        ending: Ending::Close,
    }
}

/// A message of a few fields, whatever they mean.
fn loose(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..dice.below(4) {
        let number = 1 + dice.below(8) as u8;
        let long = "long".repeat(*dice.pick(&[1, 1_000, 10_000]));
        let text = *dice.pick(&[
            &long,
            "",
            "trawl.v1.StudyService",
            "trawl/v1/study.proto",
            "\0",
            "trawl.v1.Study",
            ".",
        ]);
        bytes.push(number << 3 | 2);
        prost::encode_length_delimiter(text.len(), &mut bytes).unwrap_or_default();
        bytes.extend(text.as_bytes());
    }
    in_bytes(dice, bytes)
}

/// The bytes of a message, sometimes broken.
fn in_bytes(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    if !dice.chance(15) {
        return bytes;
    }
    let place = dice.below(bytes.len() + 1);
    let some = |dice: &mut Dice| {
        let len = 1 + dice.below(20);
        dice.bytes(len)
    };
    match dice.below(7) {
        0 => bytes.truncate(place),
        1 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << dice.below(8);
            }
        }
        2 => drop(bytes.splice(place..place, some(dice))),
        3 => bytes = some(dice),
        4 => bytes.extend_from_within(place..),
        // A field that nobody knows, and the beginning and end of groups.
        5 => bytes.extend(*dice.pick(&[&[0xfa_u8, 0x3f, 1, 0][..], &[0x0b, 0x0c], &[0x0b], &[0x0c], &[0, 0]])),
        // A list in a list in a list.
        _ => {
            let mut nested = vec![0x20, 1];
            for depth in 0..*dice.pick(&[30, 99, 101, 3_000]) {
                let tag = if depth % 2 == 0 { 0x0a } else { 0x32 };
                let mut outer = vec![tag];
                prost::encode_length_delimiter(nested.len(), &mut outer).unwrap_or_default();
                outer.append(&mut nested);
                nested = outer;
            }
            bytes.extend(nested);
        }
    }
    bytes
}

fn sent(dice: &mut Dice, path: String, token: Option<String>, messages: Vec<Vec<u8>>) -> Call {
    let mut pieces: Vec<Vec<u8>> = messages.iter().map(|message| framed(0, message)).collect();
    if dice.chance(10) {
        let place = dice.below(pieces.len());
        match (dice.below(6), pieces.get_mut(place)) {
            (0, Some(piece)) => piece[0] = *dice.pick(&[1, 2, 0xff]),
            (1, Some(piece)) => piece[1..5].copy_from_slice(&dice.pick(&[u32::MAX, 1 << 30, 1 << 20, 0]).to_be_bytes()),
            (2, Some(piece)) => piece.truncate(dice.below(7)),
            (3, _) => pieces.clear(),
            (4, _) => pieces.push(framed(0, &[])),
            _ => pieces.push(dice.bytes(3)),
        }
    }
    let headers = match dice.below(40) {
        0 => vec![("grpc-timeout", *dice.pick(&["1n", "99999999H", "-1S", "xS", ""]))],
        1 => vec![("grpc-encoding", *dice.pick(&["gzip", "identity", "br", ""]))],
        _ => Vec::new(),
    };
    let ending = match dice.below(20) {
        0 => Ending::Reset,
        1 => Ending::Open,
        _ => Ending::Close,
    };
    Call {
        path,
        token,
        headers,
        pieces: pieces.into(),
        ending,
    }
}

/// A message as it is in the body of a call.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(message);
    bytes
}
