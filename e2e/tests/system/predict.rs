//! `trawl predict` gives the refit's own predictions for the test rows, to the last digit.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use trawl_e2e::{Ran, System, binary, csv_lines, ran, studies, text, written};

/// Exit status, and the first line of the output.
fn failure(ran: &Ran) -> (Option<i32>, String) {
    (ran.code, ran.stderr.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_predicted_as_the_refit_predicted_it() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    system.complete(studies::small("used", 2, 3)?).await?;
    let folder = TempDir::new()?;
    let files = system.fetch_refit("used", folder.path())?;
    let lines = csv_lines(files.text("predictions.csv")?.as_bytes())?;
    assert_eq!(lines[0], ["split", "row", "input", "target", "prediction"]);
    let tests = lines.iter().filter(|line| line[0] == "test");
    let expected: Vec<[&str; 3]> = tests.map(|line| [&*line[1], &*line[2], &*line[4]]).collect();
    assert_eq!(expected.len(), 100);

    let test = System::examples().join("data/test.csv");
    let test = text(&test)?;
    let csv = system.trawl_stdout(&["predict", "used", test, "--csv"])?;
    let found = csv_lines(csv.as_bytes())?;
    assert_eq!(found[0], ["row", "input", "prediction"]);
    assert_eq!(found[1..], expected);

    // Whole in a file, and by the worker's program alone.
    let file = folder.path().join("out.csv");
    let path = text(&file)?;
    let said = system.trawl_stdout(&["predict", "used", test, "--refit", "0", "-o", path])?;
    assert_eq!(said, format!("predictions {path}\n"));
    assert_eq!(std::fs::read_to_string(&file)?, csv);
    let mut alone = Command::new(binary("trawl-worker")?);
    alone
        .args(["predict", test, "--network"])
        .arg(files.path("network.json"));
    let alone = ran(alone.arg("--weights").arg(files.path("weights.safetensors")))?;
    assert_eq!(alone.stdout, csv);

    let json: Value = serde_json::from_str(&system.trawl_stdout(&["predict", "used", test, "--json"])?)?;
    let last = &json[99];
    assert_eq!(last["row"], 99);
    assert_eq!(
        last["features"]["input"].to_string().parse::<f32>()?,
        expected[99][1].parse::<f32>()?
    );
    assert_eq!(
        last["prediction"].to_string().parse::<f32>()?,
        expected[99][2].parse::<f32>()?
    );
    let table = system.trawl_stdout(&["predict", "used", test])?;
    assert_eq!(table.lines().count(), 101);

    let wrong = written(folder.path(), "wrong.csv", "input\n1\n2\nthree\n")?;
    std::fs::write(&file, "as it was")?;
    let refused = failure(&system.trawl(&["predict", "used", &wrong, "-o", path])?);
    let reason = format!("error: {wrong}: line 4, column 'input': 'three' is not a finite number");
    assert_eq!(refused, (Some(2), reason));
    assert_eq!(std::fs::read_to_string(&file)?, "as it was");
    let refused = failure(&system.trawl(&["predict", "used", test, "--refit", "7"])?);
    assert_eq!(refused, (Some(1), "error: study used has no refit 7".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_without_a_refit_says_how_to_get_one() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    system.submit(studies::small("unused", 2, 1)?).await?;
    let refused = failure(&system.trawl(&["predict", "unused", "new.csv"])?);
    let reason = "error: study unused has no completed refit; `trawl refit unused` starts one";
    assert_eq!(refused, (Some(1), reason.to_owned()));
    Ok(())
}
