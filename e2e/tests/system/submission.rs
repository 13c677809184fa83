//! Submissions: all errors are reported at once, by field, and nothing is stored.

use serde_json::{Value, json};
use tonic_types::StatusExt;
use trawl_domain::dataset::FileHash;
use trawl_e2e::{Client, ScriptedWorker, System, studies};
use trawl_proto::v1;

async fn violations(system: &System, study: &Value) -> anyhow::Result<Vec<String>> {
    let request = v1::CreateStudyRequest {
        study: Some(studies::from_json(study)?),
        dry_run: false,
    };
    let status = system
        .studies()
        .await?
        .create_study(request)
        .await
        .expect_err("the study is wrong");
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    let details = status.get_details_bad_request().expect("field violations");
    Ok(details
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect())
}

async fn assert_nothing_stored(system: &System) -> anyhow::Result<()> {
    let studies: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.studies")
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(studies, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_mistakes_get_seven_violations_in_one_answer() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut study = studies::regression_json("wrong")?;
    study["name"] = json!("Not A Name");
    study["model"][1]["activation"]["kind"] = json!("$activaton");
    study["model"][6]["linear"]["units"] = json!(2);
    study["training"]["optimizer"] = json!("lion");
    study["space"]["learning_rate"]["log_uniform"]["low"] = json!(0.5);
    study["space"]["batch_size"]["choice"] = json!([4, 81]);
    study["max_trials"] = json!(0);
    // The optimizer is no parameter any more, so it must not stand in the space.
    study["space"].as_object_mut().map(|space| space.remove("optimizer"));
    study["refit"]["set"].as_object_mut().map(|set| set.remove("optimizer"));
    let mut fields = violations(&system, &study).await?;
    fields.sort();
    let expected = [
        "max_trials",
        "model[1].activation.kind",
        "model[6].linear.units",
        "name",
        "space.batch_size.choice[1]",
        "space.learning_rate.log_uniform.high",
        "training.optimizer",
    ];
    assert_eq!(fields, expected);
    assert_nothing_stored(&system).await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn each_mistake_is_named_by_its_path() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    // A pointer into the study, what is put there, and the field that is named.
    let cases = [
        ("/name", json!(""), "name"),
        ("/name", json!("a".repeat(64)), "name"),
        ("/name", json!("7f0c5f0e-0f3c-4a53-9d8b-7a3e1f0c9b11"), "name"),
        ("/seed", json!(u64::MAX), "seed"),
        ("/dataset/csv/train", json!("no/such/file.csv"), "dataset.csv.train"),
        ("/dataset/csv/train", json!("examples"), "dataset.csv.train"),
        ("/dataset/csv/features", json!([]), "dataset.csv.features"),
        ("/dataset/csv/features", json!(["inptu"]), "dataset.csv.features[0]"),
        (
            "/dataset/csv/features",
            json!(["input", "input"]),
            "dataset.csv.features[1]",
        ),
        ("/dataset/csv/target", json!("nothing"), "dataset.csv.target"),
        ("/dataset/csv/target", json!("input"), "dataset.csv.target"),
        ("/model", json!([]), "model"),
        ("/model/0", json!({}), "model[0]"),
        ("/model/0/linear/units", json!(0), "model[0].linear.units"),
        ("/model/0/linear/units", json!(1.5), "model[0].linear.units"),
        ("/model/0/linear/units", json!("ten"), "model[0].linear.units"),
        ("/model/0/linear/units", json!(null), "model[0].linear.units"),
        ("/model/0/linear/units", json!([10]), "model[0].linear.units"),
        ("/model/1/activation/kind", json!("swish"), "model[1].activation.kind"),
        ("/model/1", json!({"dropout": {"p": 1.0}}), "model[1].dropout.p"),
        ("/training/loss", json!("mae"), "training.loss"),
        ("/training/learning_rate", json!(0), "training.learning_rate"),
        ("/training/epochs", json!(0), "training.epochs"),
        ("/training/epochs", json!(1e9), "training.epochs"),
        ("/training/momentum", json!(1), "training.momentum"),
        ("/training/engine", json!("gpu"), "training.engine"),
        ("/validation", json!({"k_fold": 1}), "validation.k_fold"),
        ("/validation", json!({"k_fold": 65}), "validation.k_fold"),
        ("/validation", json!({"holdout": 1.0}), "validation.holdout"),
        ("/validation", json!({}), "validation"),
        ("/objective/metric", json!("accuracy"), "objective.metric"),
        ("/objective/goal", json!("maximize"), "objective.goal"),
        ("/objective/at", json!("first"), "objective.at"),
        ("/space/l2", json!({}), "space.l2"),
        (
            "/space/l2",
            json!({"log_uniform": {"low": 0, "high": 1}}),
            "space.l2.log_uniform.low",
        ),
        (
            "/space/l2",
            json!({"log_uniform": {"high": 1}}),
            "space.l2.log_uniform.low",
        ),
        (
            "/space/l2",
            json!({"uniform": {"low": 2, "high": 1}}),
            "space.l2.uniform.high",
        ),
        (
            "/space/l2",
            json!({"uniform": {"low": "NaN", "high": 1}}),
            "space.l2.uniform.low",
        ),
        (
            "/space/l2",
            json!({"uniform": {"low": -1, "high": 1}}),
            "space.l2.uniform.low",
        ),
        (
            "/space/batch_size",
            json!({"int_uniform": {"low": 1, "high": 8, "step": 0}}),
            "space.batch_size.int_uniform.step",
        ),
        (
            "/space/batch_size",
            json!({"int_uniform": {"low": 1, "high": 100}}),
            "space.batch_size.int_uniform.high",
        ),
        (
            "/space/batch_size",
            json!({"int_log_uniform": {"low": 0, "high": 8}}),
            "space.batch_size.int_log_uniform.low",
        ),
        (
            "/space/batch_size",
            json!({"uniform": {"low": 1, "high": 8}}),
            "space.batch_size.uniform.high",
        ),
        ("/space/batch_size", json!({"choice": []}), "space.batch_size.choice"),
        (
            "/space/batch_size",
            json!({"choice": [4, 8, 4.0]}),
            "space.batch_size.choice[2]",
        ),
        (
            "/space/batch_size",
            json!({"choice": (1..=257).collect::<Vec<_>>()}),
            "space.batch_size.choice",
        ),
        (
            "/space/activation",
            json!({"choice": ["relu", "swish"]}),
            "space.activation.choice[1]",
        ),
        ("/space/unused", json!({"choice": [1]}), "space.unused"),
        ("/space/Name", json!({"choice": [1]}), "space.Name"),
        ("/max_trials", json!(1_000_001), "max_trials"),
        ("/refit/epochs", json!(0), "refit.epochs"),
        ("/refit/set/nothing", json!(1), "refit.set.nothing"),
        ("/refit/set/learning_rate", json!("fast"), "refit.set.learning_rate"),
        ("/refit/set/batch_size", json!(1000), "refit.set.batch_size"),
    ];
    for (pointer, value, field) in cases {
        let mut study = studies::regression_json("wrong")?;
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        match study.pointer_mut(parent).expect(pointer) {
            Value::Array(items) => items[key.parse::<usize>()?] = value.clone(),
            parent => parent[key] = value.clone(),
        }
        let fields = violations(&system, &study).await?;
        assert!(fields.contains(&field.to_owned()), "{pointer} = {value}: {fields:?}");
    }
    assert_nothing_stored(&system).await
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_files_are_refused_with_the_line() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let content = b"input,label\n1,2\n3,nan\n";
    let sha256 = FileHash::of(content).to_string();
    let file = v1::PutDatasetRequest {
        sha256: sha256.clone(),
        bytes: content.len() as u64,
        chunk: content.to_vec(),
    };
    system.studies().await?.put_dataset(tokio_stream::iter([file])).await?;
    let mut study = studies::regression_json("wrong")?;
    study["dataset"]["test_is_train"] = json!(true);
    // An error quotes a file where all files of the dataset were sent.
    for which in ["train", "test"] {
        study["dataset"]["csv"][which] = json!(format!("sha256:{sha256}"));
    }
    let request = v1::CreateStudyRequest {
        study: Some(studies::from_json(&study)?),
        dry_run: false,
    };
    let status = system
        .studies()
        .await?
        .create_study(request)
        .await
        .expect_err("the file is broken");
    let details = status.get_details_bad_request().expect("field violations");
    let [violation] = details.field_violations.as_slice() else {
        panic!("{details:?}")
    };
    assert_eq!(violation.field, "dataset.csv.train");
    assert!(
        violation
            .description
            .ends_with("line 3, column 'label': 'nan' is not a finite number"),
        "{violation:?}"
    );
    assert_nothing_stored(&system).await
}

#[tokio::test(flavor = "multi_thread")]
async fn trials_are_planned_as_they_are_needed() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut study = studies::small("large", 1_000_000, 2)?;
    study["validation"] = json!({ "holdout": 0.2 });
    let submitted = system.submit(studies::from_json(&study)?).await?;
    assert_eq!(submitted.trials_total, 1_000_000);
    let planned: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.trials")
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(planned, 512);
    // A worker that empties the queue gets jobs of the next window.
    let mut worker = trawl_e2e::ScriptedWorker::register(&system).await?;
    loop {
        let leased = worker.lease(64).await?;
        assert!(!leased.is_empty());
        let planned: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.trials")
            .fetch_one(&system.sql)
            .await?;
        if planned == 1_024 {
            return Ok(());
        }
        assert_eq!(planned, 512);
    }
}

/// The code of an answer to a request.
fn code<T>(answer: Result<T, tonic::Status>) -> tonic::Code {
    answer.map_or_else(|status| status.code(), |_| tonic::Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_or_a_number_that_is_none_is_refused_by_field_and_is_no_mistake_of_trawl() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    // A setting in JSON is finite; on the wire it need not be.
    let mut study = studies::from_json(&studies::regression_json("wrong")?)?;
    let learning_rate = study
        .training
        .as_mut()
        .and_then(|training| training.learning_rate.as_mut());
    learning_rate.expect("a setting").kind = Some(prost_types::value::Kind::NumberValue(f64::NAN));
    let request = v1::CreateStudyRequest {
        study: Some(study),
        dry_run: false,
    };
    let status = system
        .studies()
        .await?
        .create_study(request)
        .await
        .expect_err("no number");
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    let details = status.get_details_bad_request().expect("field violations");
    assert!(
        details
            .field_violations
            .iter()
            .any(|v| v.field == "training.learning_rate"),
        "{details:?}"
    );

    let mut study = studies::regression_json("wrong")?;
    study["dataset"]["csv"]["features"] = json!(["a\u{0}b"]);
    assert_eq!(violations(&system, &study).await?, ["dataset.csv.features[0]"]);
    study["space"]["activation"]["choice"] = json!(["relu", "\u{0}"]);
    let fields = violations(&system, &study).await?;
    assert_eq!(fields, ["dataset.csv.features[0]", "space.activation.choice[1]"]);
    assert_nothing_stored(&system).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_a_nul_and_a_page_that_nobody_gave_are_refused() -> anyhow::Result<()> {
    let system = System::start(&["--token", "operator"]).await?;
    let operator = Client::with_token(&system.coordinator.url, &system.database_url, Some("operator")).await?;
    let (mut users, mut admins) = (operator.studies().await?, operator.tokens().await?);
    let refused = tonic::Code::InvalidArgument;
    let study = "a\0b".to_owned();
    assert_eq!(
        code(users.get_study(v1::GetStudyRequest { study: study.clone() }).await),
        refused
    );
    assert_eq!(code(users.watch_study(v1::WatchStudyRequest { study }).await), refused);
    let token = "a\0b".to_owned();
    assert_eq!(
        code(admins.revoke_token(v1::RevokeTokenRequest { token }).await),
        refused
    );
    let id = "7f0c5f0e-0f3c-4a53-9d8b-7a3e1f0c9b11";
    for page_token in [
        "\0",
        "x",
        &format!("-8334601228800000000.{id}"),
        &format!("8334601228800000000.{id}"),
    ] {
        let (page_size, page_token) = (1, page_token.to_owned());
        let studies = v1::ListStudiesRequest {
            page_size,
            page_token: page_token.clone(),
        };
        assert_eq!(code(users.list_studies(studies).await), refused, "{page_token:?}");
        let tokens = v1::ListTokensRequest {
            page_size,
            page_token: page_token.clone(),
        };
        assert_eq!(code(admins.list_tokens(tokens).await), refused, "{page_token:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_fits_into_the_headers_that_clients_take_whatever_it_repeats() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut study = studies::regression_json("wrong")?;
    study["training"]["optimizer"] = json!("ü".repeat(100_000));
    for number in 0..200 {
        study["refit"]["set"][format!("{number}{}", "𝔘".repeat(200))] = json!(1);
    }
    let fields = violations(&system, &study).await?;
    assert!(fields.len() > 5, "{fields:?}");

    let mut worker = ScriptedWorker::register(&system).await?;
    system
        .submit(studies::from_json(&studies::small("right", 2, 1)?)?)
        .await?;
    let job = worker.lease_one().await?;
    let refused = worker
        .release(&job, &"𝔘".repeat(15_000), "")
        .await
        .expect_err("no cause");
    let status: tonic::Status = refused.downcast()?;
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    Ok(())
}
