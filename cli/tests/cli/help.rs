//! The `--help` of every command: `help.txt` has it, for readers of this repository. `TRAWL_WRITE_HELP=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

fn help(command: &[&str]) -> String {
    let mut trawl = Command::new(env!("CARGO_BIN_EXE_trawl"));
    let output = trawl.args(command).arg("--help").env_clear().output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_says_what_the_repository_shows() {
    let top = help(&[]);
    let mut texts = format!("$ trawl --help\n{top}");
    // Commands stand indented under their heading, up to an empty line.
    let listed = top.split("Commands:\n").nth(1).unwrap();
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| {
        line.strip_prefix("  ")?
            .split(' ')
            .next()
            .filter(|name| !name.is_empty())
    });
    for name in names.filter(|name| *name != "help") {
        write!(texts, "\n$ trawl {name} --help\n{}", help(&[name])).unwrap();
    }
    assert!(texts.contains("$ trawl submit --help"), "{texts}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help.txt");
    if std::env::var_os("TRAWL_WRITE_HELP").is_some() {
        std::fs::write(&file, &texts).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(texts == committed, "{} shows others:\n{texts}", file.display());
}
