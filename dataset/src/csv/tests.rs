use super::super::columns::{Encoding, Header, Kind, Missing, Prepare, Quoting, Rule, Scale, Selection};
use super::super::row_keys::{Says, SplitColumn};
use super::super::testing::{gzip, read, read_test};
use super::super::{Features, Format, Part, SampleShape, Targets};
use super::*;

mod dates;
mod written;

fn columns(header: Header) -> Format {
    let names = match header {
        Header::Absent => ["column_2", "column_0", "column_1"],
        Header::Checked | Header::Present => ["b", "a", "y"],
    };
    let [b, a, y] = names.map(str::to_owned);
    Format::Csv(Columns {
        features: Selection::Named(vec![b, a]),
        target: y,
        more_targets: Vec::new(),
        dialect: Dialect {
            header,
            ..Dialect::default()
        },
        prepare: Prepare::default(),
        split: None,
    })
}

fn numbers(text: &str) -> Result<Samples, ReadError> {
    read(&columns(Header::Checked), TargetKind::Number, &text, None)
}

fn classes(text: &str) -> Result<Samples, ReadError> {
    read(&columns(Header::Checked), TargetKind::Class, &text, None)
}

fn wrong(bytes: &[u8]) -> String {
    let read = read(&columns(Header::Checked), TargetKind::Number, &bytes, None);
    read.expect_err("it is broken").reason
}

#[test]
fn columns_come_in_the_order_asked_for() {
    let table = numbers("a,y,b,note\n1,2,3,x\n4,5e-1, 6 ,\n").expect("a table");
    assert_eq!(table.features, Features::Floats(vec![3.0, 1.0, 6.0, 4.0]));
    assert_eq!(table.targets, Some(Targets::Numbers(vec![2.0, 0.5])));
    assert_eq!((table.rows, table.shape), (2, SampleShape::Vector(2)));
}

#[test]
fn broken_files_say_where() {
    let cases = [
        ("a,y\n1,2\n", "has no column 'b'; its columns are a, y"),
        ("a,y,b,a\n1,2,3,4\n", "has the column 'a' more than once"),
        (
            "a,y,b\n1,2,3\n1,nan,3\n",
            "line 3, column 'y': 'nan' is not a finite number",
        ),
        (
            "a,y,b\n1,2,\n",
            "line 2, column 'b': is empty: say what stands for it, as prepare: { missing: mean }",
        ),
        (
            "a,y,b\n1,2,3\n1,2,inf\n",
            "line 3, column 'b': 'inf' is not a finite number",
        ),
        ("a,y,b\n1,2,1e39\n", "line 2, column 'b': 1e39 is too large for float32"),
        ("a,y,b\n", "has no rows"),
        ("", "is empty"),
        ("\u{feff}\r\n\n", "is empty"),
        ("a,y,b\n1,2\n", "line 2 has 2 fields, and the header has 3"),
        (
            "a,y,b\n1,2,3\n1,\"2\n3\n",
            "line 3 has 2 fields, and the header has 3; it goes on to line 5, so a quote may be open: if \" has no meaning in the file, set csv.quote: none",
        ),
        ("a:y:b\n1:2:3\n", "has no column 'b'; its columns are a:y:b"),
    ];
    for (text, message) in cases {
        let reason = wrong(text.as_bytes());
        assert!(reason.starts_with(message), "{reason}");
    }
}

#[test]
fn a_line_is_the_files_whatever_ends_lines() {
    // A quoted comment spans two lines; two lines are blank; the cell in line 7 is no number.
    let unix = "a,y,b,note\n1,2,3,\"two\nlines\"\n\n\n4,5,6,\n7,oops,9,\n";
    assert_eq!(
        wrong(unix.as_bytes()),
        "line 7, column 'y': 'oops' is not a finite number"
    );
    for ends in ["\r\n", "\r"] {
        let text = unix.replace('\n', ends);
        assert_eq!(
            wrong(text.as_bytes()),
            "line 7, column 'y': 'oops' is not a finite number",
            "{ends:?}"
        );
        let marked = format!("\u{feff}{text}");
        assert_eq!(
            wrong(marked.as_bytes()),
            "line 7, column 'y': 'oops' is not a finite number",
            "{ends:?}"
        );
        assert_eq!(
            wrong(&gzip(marked.as_bytes())),
            "line 7, column 'y': 'oops' is not a finite number",
            "{ends:?}"
        );
    }
    // In a row of several lines, the line is the cell's.
    let text = "note,a,y,b\n\"two\r\nlines\",1,oops,2\n";
    assert_eq!(
        wrong(text.as_bytes()),
        "line 3, column 'y': 'oops' is not a finite number"
    );
}

#[test]
fn lines_are_counted_over_the_ends_of_buffers() {
    for padding in 65_500..65_540 {
        let long = "x".repeat(padding);
        let text = format!("a,y,b,note\r\n1,2,3,{long}\r\n1,2,3,\r\n1,oops,2,\r\n");
        assert_eq!(
            wrong(text.as_bytes()),
            "line 4, column 'y': 'oops' is not a finite number",
            "{padding}"
        );
    }
}

#[test]
fn a_first_line_is_what_it_is_said_to_be() {
    let text = "1,2,3\n4,5,6\n";
    let rows = read(&columns(Header::Absent), TargetKind::Number, &text, None).expect("two rows");
    assert_eq!(rows.features, Features::Floats(vec![3.0, 1.0, 6.0, 4.0]));
    assert_eq!(rows.targets, Some(Targets::Numbers(vec![2.0, 5.0])));
    let error = read(&columns(Header::Absent), TargetKind::Number, &"1,2\n", None).expect_err("two columns");
    assert_eq!(
        error.reason,
        "has no column 'column_2': it has 2 columns, from column_0 on"
    );
    let short = read(&columns(Header::Absent), TargetKind::Number, &"1,2,3\n4,5\n", None).expect_err("a short row");
    assert_eq!(short.reason, "line 2 has 2 fields, and the first line has 3");
    assert_eq!(
        wrong(text.as_bytes()),
        "line 1 looks like a row, as all of its cells are numbers: set header: false if the file has no header, or header: true if \
         these are the names"
    );
    let named = Format::Csv(Columns {
        features: Selection::Named(vec!["1".into()]),
        target: "3".into(),
        dialect: Dialect {
            header: Header::Present,
            ..Dialect::default()
        },
        ..Columns::default()
    });
    let rows = read(&named, TargetKind::Number, &text, None).expect("one row");
    assert_eq!(rows.features, Features::Floats(vec![4.0]));
}

#[test]
fn classes_and_test_labels_are_named() {
    let labels = |text: &str| {
        let samples = classes(text).expect("samples");
        let Some(Targets::Classes { labels, names }) = samples.targets else {
            panic!("no classes")
        };
        (labels, names)
    };
    let words = labels("a,b,y\n1,1,dog\n1,1,cat\n1,1,dog\n");
    assert_eq!(words, (vec![1, 0, 1], vec!["cat".to_owned(), "dog".to_owned()]));
    let one = classes("a,b,y\n1,1,dog\n").expect_err("one class");
    assert_eq!(
        one.reason,
        "column 'y': has a single class: there is nothing to tell apart"
    );
    let twice = classes("a,b,y\n1,1,1\n1,1,1.0\n1,1,2\n").expect_err("one number");
    assert_eq!(
        twice.reason,
        "column 'y': has the labels '1' and '1.0', which are one number: write it in one way"
    );

    let known = ["cat".to_owned(), "dog".to_owned()];
    let test = |text: &str| read_test(&columns(Header::Checked), TargetKind::Class, Some(&known), &text, None);
    assert_eq!(test("a,b,y\n1,1,dog\n").expect("samples").classes(), Some(&known[..]));
    let error = test("a,b,y\n1,1,dog\n1,1,cow\n").expect_err("a cow");
    assert_eq!(
        error.reason,
        "line 3, column 'y': 'cow' is no class of the training rows"
    );
}

#[test]
fn yes_and_no_are_read_in_every_way_in_which_they_are_written() {
    let mut format = columns(Header::Checked);
    if let Format::Csv(columns) = &mut format {
        columns.features = Selection::Named(vec!["a".to_owned()]);
        columns.more_targets = vec!["b".to_owned()];
    }
    let binary = |text: &str| read(&format, TargetKind::Binary, &text, None);
    let samples = binary("a,b,y\n1,no,1\n2,Yes,0.0\n3,TRUE,1\n").expect("samples");
    assert_eq!(
        samples.targets,
        Some(Targets::Numbers(vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
    );
    assert!(!samples.standardizes_target, "they are no numbers to be scaled");
    for (cell, reason) in [
        ("2", "line 2, column 'y': is 2, and loss: bce predicts what is 0 or 1"),
        (
            "nan",
            "line 2, column 'y': is NaN, and loss: bce predicts what is 0 or 1",
        ),
        (
            "maybe",
            "line 2, column 'y': 'maybe' is none of 0 and 1, no and yes, false and true, which loss: bce predicts",
        ),
    ] {
        let refused = binary(&format!("a,b,y\n1,0,{cell}\n")).expect_err(cell);
        assert_eq!(refused.reason, reason);
    }
}

#[test]
fn a_test_part_may_lack_its_target_and_a_training_part_nothing() {
    let test = |text: &str| read_test(&columns(Header::Checked), TargetKind::Number, None, &text, None);
    assert_eq!(test("a,b\n1,2\n").expect("unlabelled").targets, None);
    let written_otherwise = test("a,b,Y\n1,2,3\n").expect_err("labelled, perhaps");
    assert_eq!(
        written_otherwise.reason,
        "has no column 'y'; its columns are a, b, Y; did you mean 'Y'?"
    );
    let no_feature = test("a,y\n1,2\n").expect_err("a feature is missing");
    assert_eq!(
        (no_feature.column.as_deref(), no_feature.in_targets),
        (Some("b"), false)
    );
    let train = numbers("a,b\n1,2\n").expect_err("no target");
    assert_eq!(train.column.as_deref(), Some("y"));
    assert_eq!(train.unquoted, "has no column 'y'; its columns are …");
}

#[test]
fn what_float32_does_not_tell_apart_is_refused() {
    let merged = wrong(b"a,y,b\n1700000000,2,3\n1700000007,2,3\n");
    assert_eq!(
        merged,
        "column 'a': float32, in which networks are trained, makes 1700000000 of both 1700000000 and 1700000007: subtract a \
         base from it beforehand, or standardise it"
    );
    let moved = wrong(b"a,y,b\n1,16777216,3\n1,16777217,3\n");
    assert_eq!(
        moved,
        "line 3, column 'y': float32, in which networks are trained, makes 16777216 of 16777217: subtract a base from it \
         beforehand, or standardise it"
    );
    // Any number of digits alone is a whole number.
    assert!(
        wrong(b"a,y,b\n1234567890123456789,2,3\n1234567890123999999,2,3\n-99999999999999999999,2,3\n")
            .contains(" of both ")
    );
}

fn table(prepare: Prepare, features: Selection) -> Columns {
    Columns {
        features,
        target: "y".to_owned(),
        prepare,
        ..Columns::default()
    }
}

fn usual(rule: Rule) -> Prepare {
    Prepare {
        usual: rule,
        ..Prepare::default()
    }
}

fn all(columns: &Columns, text: &str) -> Result<Samples, String> {
    let read = read(&Format::Csv(columns.clone()), TargetKind::Number, &text, None);
    read.map_err(|error| error.reason)
}

/// The names of the inputs, and the rows; `None` for an empty cell.
fn inputs(columns: &Columns, text: &str) -> (Vec<String>, Vec<Vec<Option<f32>>>) {
    let samples = all(columns, text).expect("a table");
    let names = samples.inputs.as_ref().expect("inputs").names();
    let Features::Floats(values) = &samples.features else {
        panic!("no floats")
    };
    assert_eq!(samples.shape.len(), names.len() as u64);
    let rows = values.chunks(names.len());
    let rows = rows.map(|row| row.iter().map(|value| (!value.is_nan()).then_some(*value)).collect());
    (names, rows.collect())
}

#[test]
fn columns_are_what_their_cells_show() {
    let rule = Rule {
        missing: Missing::Mean,
        ..Rule::default()
    };
    let text = "id,age,colour,smokes,y\n1,30,red,yes,1\n2,,blue,No,2\n3,50,NA,,3\n";
    let features = Selection::AllBut(vec!["id".to_owned()]);
    let (names, rows) = inputs(&table(usual(rule), features), text);
    assert_eq!(
        names,
        ["age", "colour=(missing)", "colour=blue", "colour=red", "smokes"]
    );
    assert_eq!(
        rows,
        [
            vec![Some(30.0), Some(0.0), Some(0.0), Some(1.0), Some(1.0)],
            vec![None, Some(0.0), Some(1.0), Some(0.0), Some(0.0)],
            vec![Some(50.0), Some(1.0), Some(0.0), Some(0.0), None],
        ]
    );
}

#[test]
fn rows_with_gaps_are_refused_or_left_out_or_marked() {
    let text = "a,w,y\n1,x,1\n?,x,2\n3,,3\n4,z,4\n";
    let of = |missing, indicator| {
        let rule = Rule {
            missing,
            indicator,
            ..Rule::default()
        };
        table(usual(rule), Selection::default())
    };
    let refused = all(&of(Missing::Refused, false), text).expect_err("a gap");
    assert!(
        refused.starts_with("line 3, column 'a': '?' is no value: say what stands for it"),
        "{refused}"
    );
    let samples = all(&of(Missing::Dropped, false), text).expect("two rows");
    assert_eq!(samples.features, Features::Floats(vec![1.0, 1.0, 0.0, 4.0, 0.0, 1.0]));
    assert_eq!(samples.targets, Some(Targets::Numbers(vec![1.0, 4.0])));
    let (names, rows) = inputs(&of(Missing::Median, true), text);
    assert_eq!(
        names,
        ["a", "a is missing", "w=(missing)", "w=x", "w=z", "w is missing"]
    );
    assert_eq!(rows[1], [None, Some(1.0), Some(0.0), Some(1.0), Some(0.0), Some(0.0)]);
    assert_eq!(rows[2][5], Some(1.0));
    let samples = all(&of(Missing::Median, true), text).expect("four rows");
    assert_eq!(samples.gaps(), [1, 1]);
}

#[test]
fn rare_words_share_an_input_and_other_parts_may_have_new_ones() {
    let rule = Rule {
        rare: 2,
        ..Rule::default()
    };
    let columns = table(usual(rule), Selection::default());
    let text = "w,y\na,1\na,2\nb,3\nc,4\n";
    let (names, rows) = inputs(&columns, text);
    assert_eq!(names, ["w=a", "w=(other)"]);
    assert_eq!(rows[2], [Some(0.0), Some(1.0)]);
    for (rare, of_new) in [(2, vec![0.0, 1.0]), (0, vec![0.0, 0.0, 0.0])] {
        let columns = table(usual(Rule { rare, ..rule }), Selection::default());
        let known = all(&columns, text).expect("a table").known();
        let part = Part {
            features: &"w,y\nd,1\n" as &dyn Content,
            targets: None,
        };
        let format = Format::Csv(columns);
        let test = super::super::read(
            &format,
            TargetKind::Number,
            Role::Test(&known),
            part,
            &mut Allowance::whole(),
        );
        assert_eq!(test.expect("a test part").features, Features::Floats(of_new));
    }
}

#[test]
fn columns_are_chosen_by_patterns_and_exceptions() {
    let text = "id,pixel0,pixel10,note,y\n1,2,3,4,5\n";
    let names = |features| {
        let samples = all(&table(Prepare::default(), features), text)?;
        Ok(samples.inputs.expect("inputs").names())
    };
    let named = |names: &[&str]| Selection::Named(names.iter().map(|name| (*name).to_owned()).collect());
    let but = |names: &[&str]| Selection::AllBut(names.iter().map(|name| (*name).to_owned()).collect());
    let ok = |names: &[&str]| Ok::<_, String>(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(names(but(&[])), ok(&["id", "pixel0", "pixel10", "note"]));
    assert_eq!(names(but(&["pixel*", "id"])), ok(&["note"]));
    assert_eq!(names(named(&["note", "p*0"])), ok(&["note", "pixel0", "pixel10"]));
    assert_eq!(
        names(named(&["p*0", "pixel0"])),
        ok(&["pixel0", "pixel10"]),
        "each once"
    );
    let none = names(named(&["q*"])).expect_err("no such column");
    assert!(none.starts_with("has no column that is like 'q*'"), "{none}");
    let none = names(but(&["notes"])).expect_err("no such column");
    assert!(none.ends_with("did you mean 'note'?"), "{none}");
}

#[test]
fn a_file_is_read_as_it_is_written() {
    for (text, has_decimal_comma) in [
        ("a;y\n1,5;2\n", true),
        ("a;y\n1.5;2\n", false),
        ("a\ty\n1.5\t2\n", false),
        ("a|y\n1.5|2\n", false),
        ("\"a\",y\n\"1,5\",2\n", true),
    ] {
        let columns = Columns {
            dialect: Dialect {
                has_decimal_comma,
                ..Dialect::default()
            },
            ..table(Prepare::default(), Selection::default())
        };
        assert_eq!(
            all(&columns, text).expect(text).features,
            Features::Floats(vec![1.5]),
            "{text}"
        );
    }
    let comma = all(&table(Prepare::default(), Selection::default()), "a;y\n1,5;2\n2;3\n").expect_err("no number");
    assert!(comma.contains("'1,5' is not a finite number"), "{comma}");
}

#[test]
fn numbers_may_be_words_and_a_column_is_one_thing() {
    let text = "zip,y\n10115,1\n80331,2\n10115,3\n";
    let rule = Rule {
        kind: Some(Kind::Words),
        ..Rule::default()
    };
    let prepare = Prepare {
        columns: [("zip".to_owned(), rule)].into(),
        ..Prepare::default()
    };
    let (names, _) = inputs(&table(prepare, Selection::default()), text);
    assert_eq!(names, ["zip=10115", "zip=80331"]);
    let mixed = all(
        &table(Prepare::default(), Selection::default()),
        "a,y\n1,1\nmany,2\n3,3\n",
    )
    .expect_err("both");
    assert!(
        mixed.starts_with("line 3, column 'a': 'many' is not a finite number, and 2 other cells of the column are"),
        "{mixed}"
    );
    let log = Rule {
        numbers: Scale::Log1p,
        ..Rule::default()
    };
    let below = all(&table(usual(log), Selection::default()), "a,y\n1,1\n-1,2\n").expect_err("no logarithm");
    assert_eq!(
        below,
        "line 3, column 'a': log1p takes numbers above -1, and -1 is none"
    );
}

fn split_by(says: Says, features: Selection) -> Columns {
    let rule = Rule {
        missing: Missing::Dropped,
        ..Rule::default()
    };
    Columns {
        split: Some(SplitColumn {
            name: "who".to_owned(),
            says,
            field: "validation.k_fold.group",
        }),
        ..table(usual(rule), features)
    }
}

#[test]
fn a_column_that_splits_rows_is_no_feature_unless_it_is_named() {
    let text = "who,a,y\n7,1,1\n9,,2\n9,3,3\n7,4,4\n";
    let columns = split_by(Says::Groups, Selection::default());
    let (names, _) = inputs(&columns, text);
    assert_eq!(names, ["a"]);
    // Counts only rows that are not left out.
    assert_eq!(
        all(&columns, text).map(|samples| samples.row_keys),
        Ok(Some(vec![0, 1, 0]))
    );
    let like = split_by(Says::Groups, Selection::Named(vec!["*".to_owned()]));
    assert_eq!(inputs(&like, text).0, ["a"]);
    let named = split_by(Says::Order, Selection::Named(vec!["a".to_owned(), "who".to_owned()]));
    assert_eq!(inputs(&named, text).0, ["a", "who"]);
    assert_eq!(
        all(&named, text).map(|samples| samples.row_keys),
        Ok(Some(vec![0, 1, 0]))
    );
}

#[test]
fn a_row_that_cannot_be_split_is_named() {
    let wrong = |says, text| all(&split_by(says, Selection::default()), text).expect_err("a row that is not split");
    assert_eq!(
        wrong(Says::Groups, "who,a,y\n7,1,1\n,2,2\n"),
        "line 3, column 'who': has no value, and rows are split by it: fill it, or leave the row out of the file"
    );
    assert_eq!(
        wrong(Says::Order, "who,a,y\n7,1,1\nlate,2,2\n"),
        "line 3, column 'who': 'late' is no number, as those before it are: dates are written 2026-01-31 or 2026-01-31 13:45:00"
    );
    assert_eq!(
        wrong(Says::Folds, "who,a,y\ntest,1,1\n"),
        "line 2, column 'who': 'test' is neither train, validation, -1 (which trains) nor a fold from 0 to 63"
    );
    assert!(wrong(Says::Groups, "whom,a,y\n7,1,1\n").starts_with("has no column 'who'"));
}
