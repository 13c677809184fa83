//! The errors of broken study files: `messages.txt` has them for each file in `messages/`, for readers of this repository.
//! TRAWL_WRITE_MESSAGES=1 writes it anew.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use tonic::{Request, Status, Streaming};
use trawl_dataset::{DatasetShape, SampleShape, TargetShape};
use trawl_domain::violation::Violations;
use trawl_proto::study::TrainingRows;
use trawl_proto::v1;

use crate::stage::{Part, output, serve, trawl_at};

/// A coordinator that checks studies as a real one does, of files of 16 rows.
struct Checking;

impl Part for Checking {
    async fn put_dataset(
        &self,
        request: Request<Streaming<v1::PutDatasetRequest>>,
    ) -> Result<v1::PutDatasetResponse, Status> {
        let mut inbound = request.into_inner();
        while inbound.message().await?.is_some() {}
        Ok(v1::PutDatasetResponse { already_there: false })
    }

    async fn create_study(&self, request: Request<v1::CreateStudyRequest>) -> Result<v1::CreateStudyResponse, Status> {
        let wire = request.into_inner().study.unwrap();
        let source = trawl_proto::study::source(&wire);
        let Some(v1::dataset::Kind::Csv(csv)) = wire.dataset.clone().unwrap().kind else {
            panic!("no CSV")
        };
        let file = &csv.train;
        let why = match wire.name.as_str() {
            "missing-cell" => Some(format!("{file}: line 3, column 'x': '' is not a finite number")),
            "no-such-file" => Some(format!("'{file}' is a path, and this coordinator reads none")),
            _ => None,
        };
        let shape = match why {
            Some(why) => {
                let mut violations = Violations::new();
                violations.add("dataset.csv.train", why);
                Err(violations)
            }
            None => Ok(TrainingRows::from(DatasetShape {
                train_rows: 16,
                sample: SampleShape::Vector(1),
                target: TargetShape::Numbers(1),
            })),
        };
        let shape = source.map(|_| shape);
        let refused = trawl_proto::study::check(&wire, shape).expect_err("it is broken");
        Err(trawl_proto::invalid(&refused))
    }
}

#[tokio::test]
async fn broken_study_files_are_answered_as_the_repository_shows() {
    let address = serve(Arc::new(Checking)).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let entries = std::fs::read_dir(folder.join("messages")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut studies: Vec<String> = names.filter(|name| !name.ends_with(".csv")).collect();
    studies.sort();
    let mut messages = String::new();
    for study in studies {
        let mut command = trawl_at(address, &["submit", &study]);
        command.current_dir(folder.join("messages"));
        let (status, stdout, stderr) = output(command).await;
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{study}: {stderr}");
        write!(messages, "$ trawl submit {study}\n{stderr}\n").unwrap();
    }
    let file = folder.join("messages.txt");
    if std::env::var_os("TRAWL_WRITE_MESSAGES").is_some() {
        std::fs::write(&file, &messages).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap();
    assert!(messages == committed, "{} shows others:\n{messages}", file.display());
}
