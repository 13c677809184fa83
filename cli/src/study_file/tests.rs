mod jargon;

use prost_types::value::Kind;

use super::*;

const EXAMPLE: &str = include_str!("../../../examples/regression.yaml");

fn parse_in_data(text: &str) -> Result<v1::Study, Error> {
    parse(text.as_bytes(), "study.yaml", Path::new("/home/ada/studies")).map(|file| file.study)
}

fn refused(text: &str) -> String {
    let error = parse_in_data(text).expect_err("it must be refused");
    assert!(matches!(error, Error::Usage(_)), "{error:?}");
    error.to_string()
}

fn csv(study: &v1::Study) -> &v1::CsvDataset {
    let Some(v1::dataset::Kind::Csv(csv)) = &study.dataset.as_ref().unwrap().kind else {
        panic!("no CSV")
    };
    csv
}

#[test]
fn the_example_is_read_and_its_paths_start_at_its_folder() {
    let study = parse_in_data(EXAMPLE).unwrap();
    assert_eq!(study.name, "regression");
    assert_eq!(study.max_trials, 300);
    assert_eq!(csv(&study).train, "/home/ada/studies/data/train.csv");
    assert_eq!(csv(&study).test, "/home/ada/studies/data/test.csv");
    let Some(v1::distribution::Kind::LogUniform(range)) = &study.space["learning_rate"].kind else {
        panic!()
    };
    assert_eq!((range.low, range.high), (Some(1e-4), Some(1e-1)));
}

#[test]
fn the_form_for_grpcurl_is_the_same_study() {
    let json = include_str!("../../../examples/regression.json");
    let mut wrapped = parse_in_data(json).unwrap();
    let plain = parse_in_data(include_str!("../../../examples/paper-regression.yaml")).unwrap();
    assert_eq!(
        csv(&wrapped).train,
        "examples/data/train.csv",
        "the coordinator's path, not the file's"
    );
    wrapped.name = plain.name.clone();
    wrapped.dataset = plain.dataset.clone();
    assert_eq!(wrapped, plain);
}

#[test]
fn json_may_be_indented_by_tabs() {
    let study = parse_in_data("{\n\t\"name\": \"x\",\n\t\"training\": {\n\t\t\"epochs\": 5\n\t}\n}\n").unwrap();
    assert_eq!(study.name, "x");
}

#[test]
fn words_and_numbers_are_those_of_yaml_1_2() {
    let study = parse_in_data("refit: { set: { a: 1e-4, b: no, c: on, d: true, e: 1E5, f: .5, g: '7' } }").unwrap();
    let set = study.refit.unwrap().set;
    let kind = |name: &str| set[name].kind.clone().unwrap();
    assert_eq!(kind("a"), Kind::NumberValue(1e-4));
    assert_eq!(kind("b"), Kind::StringValue("no".into()));
    assert_eq!(kind("c"), Kind::StringValue("on".into()));
    assert_eq!(kind("d"), Kind::BoolValue(true));
    assert_eq!(kind("e"), Kind::NumberValue(1e5));
    assert_eq!(kind("f"), Kind::NumberValue(0.5));
    assert_eq!(kind("g"), Kind::StringValue("7".into()));
}

#[test]
fn a_key_given_twice_is_refused_with_its_place() {
    let yaml = refused("name: a\nseed: 1\nname: b\n");
    assert_eq!(
        yaml,
        "\
'name' is given a second time in one mapping
 --> study.yaml:3:1
  |
3 | name: b
  | ^^^^
  |
  = help: leave out one of the two"
    );
    let json = refused("{\"name\": \"a\",\n \"name\": \"b\"}");
    assert!(json.contains("study.yaml:2:2"), "{json}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = refused(
        "name: a\nmax_trials: many\ntraining: { learing_rate: 0.1 }\nspace:\n  lr: { log_uniform: { low: x, high: 1 } }\n",
    );
    assert_eq!(
        text,
        "\
the study was rejected: 3 fields are wrong

max_trials: must be a whole number from 0 to 4294967295, not the text 'many'
 --> study.yaml:2:13
  |
2 | max_trials: many
  |             ^^^^

training.learing_rate: is not known; allowed are loss, optimizer, learning_rate, batch_size, l2, epochs, momentum, weight_decay, engine, label_smoothing, focal_gamma, class_weights, beta1, beta2, eps, alpha, rho, nesterov, clip_norm, clip_value, schedule, warmup, decay, decay_epochs, plateau_epochs, min_rate, ema_decay, early_stopping, augment
 --> study.yaml:3:13
  |
3 | training: { learing_rate: 0.1 }
  |             ^^^^^^^^^^^^
  |
  = help: did you mean 'learning_rate'?

space.lr.log_uniform.low: must be a number, not the text 'x'
 --> study.yaml:5:29
  |
5 |   lr: { log_uniform: { low: x, high: 1 } }
  |                             ^"
    );
}

#[test]
fn a_long_line_is_cut_around_the_mark() {
    let features: Vec<String> = (0..500).map(|n| format!("f{n}")).collect();
    let text = format!(
        "name: a\ndataset: {{ csv: {{ features: [{}], header: 7, target: größe }} }}\n",
        features.join(", ")
    );
    assert_eq!(
        refused(&text),
        "\
dataset.csv.header: must be true or false, not the number 7
 --> study.yaml:2:2929
  |
2 | ...2, f493, f494, f495, f496, f497, f498, f499], header: 7, target: größe } }
  |                                                          ^"
    );
}

#[test]
fn nothing_of_a_file_controls_a_terminal() {
    let text = refused("name: a\n\"\\e[2Jx\": \"\u{202e}\"\nmax_trials: \"\\e]0;t\\a\"\nspace: [\u{9b}31m]\n");
    assert!(
        text.chars()
            .all(|c| c == '\n' || trawl_domain::text::is_shown(c.encode_utf8(&mut [0; 4]))),
        "{text:?}"
    );
}

#[test]
fn what_is_no_mapping_is_no_study() {
    for text in ["", "- 1", "hello", "study: 3", "# only a comment", "null"] {
        let said = refused(text);
        assert!(
            said.starts_with("a study is a mapping") && said.contains("\n --> study.yaml:1:"),
            "{text:?}: {said}"
        );
    }
}

#[test]
fn relative_paths_become_absolute_without_dots() {
    let folder = Path::new("/home/ada/studies");
    for (path, want) in [
        ("", ""),
        ("/x/y.csv", "/x/y.csv"),
        ("./a.csv", "/home/ada/studies/a.csv"),
        ("../a.csv", "/home/ada/a.csv"),
        ("link/../a.csv", "/home/ada/studies/link/../a.csv"),
    ] {
        assert_eq!(absolute(path, folder).unwrap(), want, "{path}");
    }
}
