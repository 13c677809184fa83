use super::*;

#[test]
fn dates_are_days_since_the_earliest() {
    let columns = |prepare: Prepare| {
        Format::Csv(Columns {
            target: "y".to_owned(),
            prepare,
            ..Columns::default()
        })
    };
    let read_dates = |prepare, text: &str| read(&columns(prepare), TargetKind::Number, &text, None);
    let gaps = Prepare {
        usual: Rule {
            missing: Missing::Mean,
            ..Rule::default()
        },
        ..Prepare::default()
    };
    let text = "when,y\n2026-02-01,1\n,2\n2026-01-31 12:00,3\n2026-02-02T12:00:00Z,4\n";
    let samples = read_dates(gaps.clone(), text).expect("a table");
    let inputs = samples.inputs.clone().expect("inputs");
    assert_eq!(
        inputs.columns()[0].preparation(),
        "days since 2026-01-31T12:00:00, standardize, missing: mean"
    );
    let Features::Floats(days) = &samples.features else {
        panic!("numbers")
    };
    assert!(days[1].is_nan());
    assert_eq!([days[0], days[2], days[3]], [0.5, 0.0, 2.0]);
    assert_eq!(samples.gaps(), [1]);
    // Other parts are read like the training part, and may have earlier dates.
    let known = samples.known();
    let read_other = |text: &str| {
        let part = Part {
            features: &text as &dyn Content,
            targets: None,
        };
        let role = Role::Test(&known);
        super::super::super::read(
            &columns(gaps.clone()),
            TargetKind::Number,
            role,
            part,
            &mut Allowance::whole(),
        )
    };
    let test = read_other("when\n2026-01-30 12:00\n").expect("a test part");
    assert_eq!(test.features, Features::Floats(vec![-1.0]));
    let wrong = read_other("when\nsoon\n").expect_err("no date");
    assert_eq!(
        wrong.reason,
        "line 2, column 'when': 'soon' is no date: dates are written 2026-01-31 or 2026-01-31 13:45:00"
    );
    // The description goes to others as JSON.
    let json = serde_json::to_string(&inputs).expect("JSON");
    assert_eq!(serde_json::from_str::<Inputs>(&json).expect("inputs"), inputs);

    let as_words = Prepare {
        usual: Rule {
            kind: Some(Kind::Words),
            ..Rule::default()
        },
        ..Prepare::default()
    };
    let words = read_dates(as_words, "when,y\n2026-01-31,1\n").expect("words");
    assert_eq!(words.inputs.expect("inputs").names(), ["when=2026-01-31"]);
    for (cells, reason) in [
        (
            "2026-01-31,1\nsoon,2",
            "line 3, column 'when': 'soon' is no date, and 1 other cells of the column are: ",
        ),
        (
            "2026-01-31,1\n7,2",
            "line 2, column 'when': '2026-01-31' is not a finite number, and 1 other cells",
        ),
        (
            "7,1\nsoon,2\n2026-01-31,3",
            "line 3, column 'when': 'soon' is not a finite number, and 1 other cells",
        ),
    ] {
        let wrong = read_dates(Prepare::default(), &format!("when,y\n{cells}\n")).expect_err(cells);
        assert!(wrong.reason.starts_with(reason), "{wrong}");
    }
}
