use std::fs;

use super::*;

fn args(data: &Path, target: Option<&str>) -> InitArgs {
    InitArgs {
        data: Some(data.to_owned()),
        target: target.map(str::to_owned),
        template: None,
        output: Some("-".into()),
    }
}

fn drafted(table: &str, target: Option<&str>) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("My Table.csv");
    fs::write(&file, table).expect("written");
    let drafted = of_table(&args(&file, target), &file);
    let (name, text) = drafted.map_err(|error| error.to_string().replace(&format!("{}: ", file.display()), ""))?;
    assert_eq!(name, "my-table");
    Ok(text)
}

/// The lines of a study file without comments.
fn lines(text: &str) -> Vec<&str> {
    let plain = text
        .lines()
        .map(|line| line.split(" # ").next().unwrap_or_default().trim_end());
    plain.filter(|line| !line.trim_start().starts_with('#')).collect()
}

fn rows(row: impl Fn(u32) -> String) -> String {
    (0..60).map(row).collect()
}

#[test]
fn a_table_with_everything_becomes_a_study() {
    let table = rows(|row| {
        let gap = if row % 9 == 0 {
            String::new()
        } else {
            format!("{row},5")
        };
        let odd = if row % 20 == 3 {
            "unknown".to_owned()
        } else {
            (row * 3).to_string()
        };
        let word = ["red", "blue", "green"][(row % 3) as usize];
        let class = if row % 10 == 0 { "yes" } else { "no" };
        format!("{row};{gap};{odd};{word};2026-01-{:02};same;{class}\n", 1 + row % 28)
    });
    let text = drafted(&format!("id;size;age;colour;when;fixed;bought\n{table}"), None).expect("a study");
    let lines = lines(&text);
    for expected in [
        "    features: { all_but: [id, fixed] }",
        "    target: bought",
        "    delimiter: \";\"",
        "    decimal: \",\"",
        "    missing: [\"\", \"?\", NA, \"N/A\", \"n/a\", NaN, nan, \"NULL\", \"null\", unknown]",
        "      missing: median",
        "  - linear: { units: 2 }",
        "  loss: cross_entropy",
        "  class_weights: balanced",
        "objective: { metric: val_auc }",
        "validation: { k_fold: 5 }",
    ] {
        assert!(lines.contains(&expected), "{expected}\nis not in\n{text}");
    }
    for said in [
        "id: is another in every row",
        "when    dates, as the days since the earliest one",
        "# { k_fold: { folds: 5, order: when } } trains on the past alone",
        "fixed: is the same in every row",
        "bought",
    ] {
        assert!(text.contains(said), "{said}\nis not in\n{text}");
    }
}

#[test]
fn numbers_are_predicted_where_they_are_many() {
    let table = rows(|row| format!("{row},{}\n", row * 2));
    let text = drafted(&format!("a,b\n{table}"), Some("a")).expect("a study");
    let lines = lines(&text);
    for expected in [
        "    features: all",
        "    target: a",
        "  loss: mse",
        "  - linear: { units: 1 }",
        "objective: { metric: val_r2 }",
    ] {
        assert!(lines.contains(&expected), "{expected}\nis not in\n{text}");
    }
    let bare = drafted(&table, None).expect("a study");
    assert!(
        bare.contains("header: false") && bare.contains("target: column_1"),
        "{bare}"
    );
}

#[test]
fn what_cannot_be_a_study_says_why() {
    let of = |table: &str, target| drafted(table, target).expect_err("no study");
    assert_eq!(of("a,b\n1,2\n", Some("c")), "has no column 'c'; its columns are a, b");
    assert_eq!(
        of("a,b\n1,\n2,3\n", None),
        "column 'b' is to be predicted, and 1 of 2 rows have no value there: leave these rows out of the file, or name another with --target"
    );
    assert_eq!(
        of("a,b\n1,7\n1,8\n", None),
        "no column is left to predict 'b' from: 'a' is the same in every row"
    );
    assert_eq!(
        of("a,b\n1,red\n2,3\n", None),
        "column 'b' is to be predicted, and has numbers and texts, as 'red': name another with --target, or mend it"
    );
    assert!(of("a,b\n1\n", None).contains("line 2 has 1 fields"));
    assert_eq!(of("PK\u{3}\u{4}rest", None), "is a zip archive: unpack it (unzip FILE)");
    // Tables may begin as archives do.
    drafted("PK,PAR1,y\n1,2,3.5\n4,5,6.25\n", None).expect("a table");
}

#[test]
fn columns_of_one_name_are_left_out_and_said_to_be() {
    let table = rows(|row| format!("{row},{},{},{}\n", row % 7, row % 5, row * 2));
    let text = drafted(&format!("a,b,b,y\n{table}"), None).expect("a study");
    assert!(lines(&text).contains(&"    features: { all_but: [b] }"), "{text}");
    assert!(
        text.contains("#   b: is the name of several columns: give each its own"),
        "{text}"
    );
    assert_eq!(
        drafted(&format!("a,y,b,y\n{table}"), None).expect_err("which one?"),
        "column 'y' is to be predicted, and several columns have that name: give each its own"
    );
}

#[test]
fn a_draft_has_no_more_inputs_than_a_network_may_have() {
    // 30 columns of 150 words, and two of less.
    let header: String = (0..30).map(|column| format!("w{column},")).collect();
    let row = |row: u32| {
        let words: String = (0..30).map(|column| format!("t{},", (row + column) % 150)).collect();
        format!("{words}s{},{row},{}\n", row % 3, f64::from(row) * 1.5)
    };
    let table: String = (0..300).map(row).collect();
    let text = drafted(&format!("{header}few,n,y\n{table}"), None).expect("a study");
    let left_out = text
        .matches("has 150 different words, and with an input for each")
        .count();
    // 27 columns of 150, 3 words and a number are 4,054 inputs.
    assert_eq!(left_out, 3, "{text}");
    let wide: String = (0..4_097).map(|column| format!("n{column},")).collect();
    let numbers: String = (0..3)
        .map(|row| format!("{}{row}.5\n", format!("{row}.25,").repeat(4_097)))
        .collect();
    assert_eq!(
        drafted(&format!("{wide}y\n{numbers}"), None).expect_err("too many"),
        "has 4097 columns to predict 'y' from, and at most 4096 are allowed: leave some out of the file"
    );
}
