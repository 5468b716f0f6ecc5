//! Promise: the scripts that `completion` prints complete the commands and flags of this very binary, in
//! each shell they are for.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use support::{BINARY, TempDir, bare, need, run};

const INSTALL: &str = "install it to see its completions tested";

/// A line up to its last word, and what is offered for that word: all of it, in any order.
const LINES: [(&str, &[&str]); 9] = [
    ("comp", &["completion"]),
    ("vault s", &["service"]),
    ("vault --vault shop service en", &["enable"]),
    ("vault service ", &["add", "clear", "disable", "enable", "list", "remove", "set"]),
    ("server s", &["stop"]),
    ("apply --d", &["--dry-run"]),
    ("vault service add --api-key-", &["--api-key-header", "--api-key-key", "--api-key-prefix"]),
    ("run --isol", &["--isolation"]),
    ("nonsense --", &["--help"]),
];

/// A home with a file in it, and the script of a shell.
fn home(shell: &str) -> TempDir {
    let home = TempDir::new();
    home.write("vault.yaml", "");
    let printed = run(bare(Path::new(BINARY), home.path()).args(["completion", shell]), b"").expect_success();
    assert_eq!(printed.stderr, "");
    home.write("script", &printed.stdout);
    home
}

/// What a shell's program of a few lines prints, sorted.
fn offered(shell: &Path, home: &TempDir, program: &str, words: &[&str]) -> Vec<String> {
    let mut command = bare(shell, home.path());
    let ended = run(command.args(["-c", program, "test"]).args(words), b"").expect_success();
    assert_eq!(ended.stderr, "", "{words:?}");
    let mut lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn bash_completes() {
    let Some(bash) = need("bash_completes", "bash", INSTALL) else { return };
    let home = home("bash");
    let program = r#"source ./script && complete -p agent-vault >/dev/null || exit 1
        COMP_WORDS=(agent-vault "$@") COMP_CWORD=$#
        _agent_vault; printf '%s\n' "${COMPREPLY[@]}""#;
    for (line, expected) in LINES {
        assert_eq!(offered(&bash, &home, program, &words(line)), expected, "{line}");
    }
    for line in ["apply -f vault", "run -- cat vault", "run --ca-dir vault"] {
        assert_eq!(offered(&bash, &home, program, &words(line)), ["vault.yaml"], "{line}");
    }
    assert_eq!(offered(&bash, &home, program, &words("vault list --address ")), [""], "any text");
}

/// What help says of every command is what is offered: each word of each, and each flag.
#[test]
fn every_command_and_flag_is_offered() {
    let Some(bash) = need("every_command_and_flag_is_offered", "bash", INSTALL) else { return };
    let home = home("bash");
    let told =
        |args: &[&str]| run(bare(Path::new(BINARY), home.path()).args(args), b"").expect_success().stdout;
    let listed = told(&["--help"]);
    let commands: Vec<Vec<&str>> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("  "))
        .map(|(command, _)| words(command))
        .collect();
    assert!(commands.len() > 90, "{listed}");
    // By the line that is typed: what may follow.
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for command in &commands {
        for (depth, word) in command.iter().enumerate() {
            let line: String = command[..depth].iter().map(|word| format!("{word} ")).collect();
            expected.entry(line).or_default().insert((*word).to_owned());
        }
        let help = told(&[&command[..], &["--help"]].concat());
        let flags =
            help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with('-'));
        let forms = flags.flat_map(|line| line.split("  ").next().unwrap_or_default().split(", "));
        let names = forms.filter_map(|form| form.split(' ').next()).chain(["--help"]);
        expected.insert(format!("{} -", command.join(" ")), names.map(str::to_owned).collect());
    }
    // One shell for all of them: each line is an argument, and so is what is offered for it a line.
    let program = r#"source ./script || exit 1
        for line; do
            IFS=' ' read -ra COMP_WORDS <<< "agent-vault $line"
            [[ -z $line || $line == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _agent_vault; printf '%s|%s\n' "$line" "${COMPREPLY[*]}"
        done"#;
    let lines: Vec<&str> = expected.keys().map(String::as_str).collect();
    for answer in offered(&bash, &home, program, &lines) {
        let (line, offers) = answer.split_once('|').expect("a line and what is offered");
        let offers: BTreeSet<String> = offers.split(' ').map(str::to_owned).collect();
        assert_eq!(Some(offers), expected.remove(line), "{line}");
    }
    assert!(expected.is_empty(), "{expected:?}");
}

#[test]
fn zsh_completes() {
    let Some(zsh) = need("zsh_completes", "zsh", INSTALL) else { return };
    let home = home("zsh");
    // The system's own functions are for a person at a keyboard; these print what they are given, as far as
    // it fits what is typed.
    let program = r#"compdef() { [[ "$*" == "_agent-vault agent-vault" ]] || exit 1 }
        _describe() { local each; for each in ${(P)@[-1]}; do
            [[ $each == ${words[CURRENT]}* ]] && print -r -- ${each%%:*}; done; return 0 }
        _files() { print -rl -- ${words[CURRENT]}*(N) }
        source ./script
        words=(agent-vault "$@") CURRENT=$(($# + 1))
        _agent-vault || true"#;
    for (line, expected) in LINES {
        assert_eq!(offered(&zsh, &home, program, &words(line)), expected, "{line}");
    }
    for line in ["apply -f vault", "run -- cat vault"] {
        assert_eq!(offered(&zsh, &home, program, &words(line)), ["vault.yaml"], "{line}");
    }
}

#[test]
fn fish_completes() {
    let Some(fish) = need("fish_completes", "fish", INSTALL) else { return };
    let home = home("fish");
    let program = r#"source ./script
        complete -C "agent-vault $argv[2..-1]" | string split -f 1 \t; true"#;
    let spaced = |line: &str| offered(&fish, &home, program, &[line]);
    for (line, expected) in LINES {
        assert_eq!(spaced(line), expected, "{line}");
    }
    for line in ["apply -f vault", "run -- cat vault"] {
        assert_eq!(spaced(line), ["vault.yaml"], "{line}");
    }
}
