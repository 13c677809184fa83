//! Submissions: all errors are reported at once, by field, and nothing is stored.

use serde_json::{Value, json};
use tonic::Code;
use trawl_e2e::{Ask, ScriptedWorker, System, code_of, studies};
use trawl_proto::v1;

/// The fields that a study is refused for.
async fn wrong_fields(system: &System, study: &Value) -> anyhow::Result<Vec<String>> {
    let findings = system.findings(study).await?;
    Ok(findings.into_iter().map(|(field, _)| field).collect())
}

async fn assert_nothing_stored(system: &System) -> anyhow::Result<()> {
    let studies: i64 = system.value("SELECT count(*) FROM trawl.studies").await?;
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
    let mut fields = wrong_fields(&system, &study).await?;
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
async fn what_the_files_lack_is_named_by_its_path() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    for (key, value, field) in [
        ("train", json!("no/such/file.csv"), "dataset.csv.train"),
        ("train", json!("examples"), "dataset.csv.train"),
        ("features", json!(["inptu"]), "dataset.csv.features[0]"),
        ("target", json!("nothing"), "dataset.csv.target"),
    ] {
        let mut study = studies::regression_json("wrong")?;
        study["dataset"]["csv"][key] = value;
        let fields = wrong_fields(&system, &study).await?;
        assert!(fields.contains(&field.to_owned()), "{field}: {fields:?}");
    }
    assert_nothing_stored(&system).await
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_files_are_refused_with_the_line() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let file = system.put_dataset(b"input,label\n1,2\n3,nan\n").await?;
    let mut study = studies::regression_json("wrong")?;
    study["dataset"]["test_is_train"] = json!(true);
    // An error quotes a file where all files of the dataset were sent.
    for which in ["train", "test"] {
        study["dataset"]["csv"][which] = json!(file);
    }
    let findings = system.findings(&study).await?;
    let [(field, finding)] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!(field, "dataset.csv.train");
    assert!(
        finding.ends_with("line 3, column 'label': 'nan' is not a finite number"),
        "{finding}"
    );
    assert_nothing_stored(&system).await
}

#[tokio::test(flavor = "multi_thread")]
async fn trials_are_planned_as_they_are_needed() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut study = studies::small("large", 1_000_000, 2)?;
    study["validation"] = json!({ "holdout": 0.2 });
    let submitted = system.submit(&study).await?;
    assert_eq!(submitted.trials_total, 1_000_000);
    let planned: i64 = system.value("SELECT count(*) FROM trawl.trials").await?;
    assert_eq!(planned, 512);
    // A worker that empties the queue gets jobs of the next window.
    let mut worker = ScriptedWorker::register(&system).await?;
    loop {
        let leased = worker.lease(64).await?;
        assert!(!leased.is_empty());
        let planned: i64 = system.value("SELECT count(*) FROM trawl.trials").await?;
        if planned == 1_024 {
            return Ok(());
        }
        assert_eq!(planned, 512);
    }
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
    let findings = system.findings(study).await?;
    assert!(
        findings.iter().any(|(field, _)| field == "training.learning_rate"),
        "{findings:?}"
    );

    let mut study = studies::regression_json("wrong")?;
    study["dataset"]["csv"]["features"] = json!(["a\u{0}b"]);
    assert_eq!(wrong_fields(&system, &study).await?, ["dataset.csv.features[0]"]);
    study["space"]["activation"]["choice"] = json!(["relu", "\u{0}"]);
    let fields = wrong_fields(&system, &study).await?;
    assert_eq!(fields, ["dataset.csv.features[0]", "space.activation.choice[1]"]);
    assert_nothing_stored(&system).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_a_nul_and_a_page_that_nobody_gave_are_refused() -> anyhow::Result<()> {
    let system = System::start(&["--token", "operator"]).await?;
    let operator = system.client("operator").await?;
    let (mut users, mut admins) = (operator.studies().await?, operator.tokens().await?);
    let refused = Code::InvalidArgument;
    let study = "a\0b".to_owned();
    assert_eq!(
        code_of(users.get_study(v1::GetStudyRequest { study: study.clone() }).await),
        refused
    );
    assert_eq!(
        code_of(users.watch_study(v1::WatchStudyRequest { study }).await),
        refused
    );
    let token = "a\0b".to_owned();
    assert_eq!(
        code_of(admins.revoke_token(v1::RevokeTokenRequest { token }).await),
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
        assert_eq!(code_of(users.list_studies(studies).await), refused, "{page_token:?}");
        let tokens = v1::ListTokensRequest {
            page_size,
            page_token: page_token.clone(),
        };
        assert_eq!(code_of(admins.list_tokens(tokens).await), refused, "{page_token:?}");
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
    let fields = wrong_fields(&system, &study).await?;
    assert!(fields.len() > 5, "{fields:?}");

    let mut worker = ScriptedWorker::register(&system).await?;
    system.submit(studies::small("right", 2, 1)?).await?;
    let job = worker.lease_one().await?;
    let refused = worker
        .release(&job, &"𝔘".repeat(15_000), "")
        .await
        .expect_err("no cause");
    let status: tonic::Status = refused.downcast()?;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    Ok(())
}
