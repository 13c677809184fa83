//! Every error of a file is in words of study files, and has its place.

use super::*;

/// Words of libraries that people who write study files do not use.
const JARGON: [&str; 34] = [
    "DuplicateKeyPolicy",
    "Options",
    "oneof",
    "integral",
    "invalid type",
    "invalid value",
    "invalid length",
    "expected",
    "policy",
    "unrecognized",
    "serialize",
    "serde",
    "prost",
    "protobuf",
    "google",
    "u32",
    "u64",
    "i64",
    "f64",
    "variant",
    "struct",
    "scalar",
    "flow",
    "block",
    "EOF",
    "eof",
    "node",
    "token",
    "a sequence",
    "surrogate",
    "budget",
    "breach",
    "internal",
    "stream",
];

fn assert_plain(text: &str) -> bool {
    let Err(error) = parse_in_data(text) else { return false };
    let said = error.to_string();
    // The file's own line may hold anything, and is not checked.
    let ours = said
        .lines()
        .filter(|line| !line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    let ours = ours.collect::<Vec<_>>().join("\n");
    for word in JARGON {
        assert!(!ours.contains(word), "'{word}' for {text:?}: {said}");
    }
    assert!(
        said.contains(" --> study.yaml:") && said.contains('^'),
        "{text:?}: {said}"
    );
    assert!(!said.contains("from here on this is neither"), "{text:?}: {said}");
    true
}

/// Files each of which is broken in a way of its own.
const BROKEN: &[&str] = &[
    "name: a\nname: b",
    "name: [",
    "name: {",
    "name: {a: 1",
    "name: [1, 2",
    "a: [1}",
    "a: {1]",
    "a: ]",
    "a: }",
    "a: 'x",
    "a: \"x",
    "a: \"\\q\"",
    "a: \"\\xzz\"",
    "a: \"\\ud800\"",
    "a: \"\\udc00\"",
    "a: \"\\ud800\\u0041\"",
    "a: \"\\uzzzz\"",
    "a: 'x' y",
    "a: \"x\" y",
    "a: @x",
    "a: `x`",
    "a: %x",
    "%x",
    "%YAML 3.0\n---\na: 1",
    "%YAML x\n---\na",
    "%TAG ! x\n",
    "a: *b",
    "a: &",
    "a: *",
    "a: &b *b",
    "a: &b [*b]",
    "a: !!binary x",
    "a: !!int x",
    "a: !x y",
    "a: !!",
    "a: !<x",
    "a: !%zz y",
    "a: !u!x y",
    "a: .nan",
    "a: .inf",
    "a: 1e999",
    "? [a]\n: b",
    "[a]: b",
    "{a: b}: c",
    "? \n: b",
    ": b",
    "~: b",
    "null: b",
    "1: b",
    "true: b",
    "a: b: c",
    "a: b\n c: d",
    "a: b\n  c: d",
    "a:\n  b: 1\n c: 2",
    "a:\n\tb: 1",
    "\ta: 1",
    "a: |x\n y",
    "a: |0\n x",
    "a: >\nx",
    "a: |\n\tx",
    "a: |\n   x\n  y",
    "- a\nb: c",
    "a: 1\n- b",
    "a:\n- b\n c",
    "a: 1\n---\nb: 2",
    "a: 1\n...\nb: 2",
    "a: 1\n... x",
    "a\nb: c",
    "a: [-]",
    "a: -,",
    "a: [a b: c d, e",
    "a: [a: b: c]",
    "a: {a, b c: d: e}",
    "a: {b: [}",
    "a: [- b]",
    "a: [\n- b\n]",
    "-a: b\n- c",
    "a: #b\n c: d\n  #e\n f",
    "a: x#y\n #z\n w",
    "a: \"x\n---\ny\"",
    "<<: 1",
    "<<: [1]",
    "<<: {a: *x}",
    "a: b\u{feff}c",
    "\0",
    "a: \u{1}",
    "a: [[[[",
    "model: 3",
    "model: [3]",
    "model: [[]]",
    "space: []",
    "space: {a: 3}",
    "space: 3",
    "training: []",
    "training: x",
    "refit: 3",
    "refit: {set: 3}",
    "refit: {set: []}",
    "refit: {inputs: 3}",
    "refit: {inputs: [3]}",
    "name: 3",
    "name: [a]",
    "name: {}",
    "seed: -1",
    "seed: 1.5",
    "seed: x",
    "seed: true",
    "seed: 99999999999999999999999",
    "max_trials: -1",
    "max_trials: 4294967296",
    "max_trials: []",
    "max_trials: 1e300",
    "dataset: 3",
    "dataset: {csv: {}, npy: {}}",
    "dataset: {csv: 3}",
    "dataset: {csv: {header: x}}",
    "dataset: {npy: {layout: 3}}",
    "dataset: {test_is_train: maybe}",
    "dataset: {csv: {train: 3}}",
    "dataset: {csv: {exclude: [a]}}",
    "dataset: {csvs: {}}",
    "dataset: {fashion_mnist: }",
    "dataset: {fashion_mnist: 3}",
    "dataset: {fashion_mnist: {a: 1}}",
    "model: [{flatten: }]",
    "model: [{linear: }]",
    "model: [{linear: 3}]",
    "model: [{linear: {unit: 3}}]",
    "model: [{linear: {}, flatten: {}, dropout: {}}]",
    "validation: {k_folds: x}",
    "validation: {k_fold: 2, holdout: 0.1}",
    "validation: 3",
    "space: {a: {choice: 3}}",
    "space: {a: {choice: x}}",
    "space: {a: {choice: {}}}",
    "space: {a: {uniform: 3}}",
    "space: {a: {int_uniform: {low: 0.5}}}",
    "space: {a: {int_uniform: {low: x}}}",
    "space: {a: {uniform: {low: []}}}",
    "maxTrials: x",
    "max_trials: 1\nmaxTrials: 2",
    "sampler: {random: 3}",
    "sampler: {annealing: {}}",
    "objective: 3",
    "objective: {metric: 3}",
];

#[test]
fn no_jargon_of_a_library_reaches_anybody_and_everything_has_a_place() {
    for text in BROKEN {
        assert!(assert_plain(text), "{text:?} is refused");
    }
    for depth in [65, 100, 3_000, 200_000] {
        for open in ["[", "{a: ", "- ", "? "] {
            assert!(
                assert_plain(&format!("a: \n  {}", open.repeat(depth))),
                "{depth} of {open:?}"
            );
        }
        assert!(assert_plain(&format!(
            "space: {}1{}",
            "[".repeat(depth),
            "]".repeat(depth)
        )));
    }
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n";
    let bomb = format!(
        "{bomb}c: &c [{}]\nd: &d [{}]\ne: &e [{}]\nf: [{}]\n",
        "*b, ".repeat(50),
        "*c, ".repeat(50),
        "*d, ".repeat(50),
        "*e, ".repeat(50)
    );
    assert!(assert_plain(&bomb));
    assert!(assert_plain(&format!("a:\n{}", "# x\n".repeat(100_000))) || parse_in_data("a:").is_err());
}

#[test]
fn no_jargon_either_where_a_file_was_mistyped() {
    let text: String = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let places = || text.char_indices().map(|(place, _)| place);
    let mut refused = 0;
    for place in places().step_by(3) {
        let (before, after) = text.split_at(place);
        let mut rest = after.chars();
        rest.next();
        refused += usize::from(assert_plain(&format!("{before}{}", rest.as_str())));
        for typed in [
            " ", "\t", "\n", ":", ": ", "-", "- ", "[", "]", "{", "}", ",", "#", "'", "\"", "&", "*", "!", "|", "%",
            "@", "?", "\\", "\n- ", "\n  ",
        ] {
            refused += usize::from(assert_plain(&format!("{before}{typed}{after}")));
        }
        refused += usize::from(assert_plain(before));
    }
    assert!(refused > 1_000, "{refused}");
}
