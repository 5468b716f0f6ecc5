//! Promise: the store's statements hold nothing that only SQLite can do, apart from the exceptions
//! listed here with their reasons.

use std::fs;
use std::path::{Path, PathBuf};

/// What only SQLite understands, or understands differently. Matched without regard to case, in code and
/// schema, between word boundaries.
const NOT_PORTABLE: &[&str] = &[
    "rowid",
    "oid",
    "without rowid",
    "autoincrement",
    "insert or",
    "update or",
    "replace into",
    "glob",
    "match",
    "date(",
    "time(",
    "datetime(",
    "julianday(",
    "unixepoch(",
    "strftime(",
    "ifnull(",
    "iif(",
    "group_concat(",
    "total(",
    "last_insert_rowid",
    "sqlite_",
    "pragma",
    "vacuum",
    "attach",
    "indexed by",
    "strict",
    "limit -1",
    "changes(",
];

/// File, what it may use, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "schema/002_request_logs.sql",
        "autoincrement",
        "numbers never given twice; Postgres: GENERATED AS IDENTITY",
    ),
    ("backup.rs", "vacuum", "the engine's way to copy one moment of its file"),
    ("backup.rs", "pragma", "the engine's way to check its file"),
    ("backup.rs", "sqlite_", "a backup is a file of this engine; asked for its tables"),
    ("store/mod.rs", "pragma", "how the engine keeps its file"),
    ("changes.rs", "pragma", "data_version, the engine's hint in front of the portable question"),
];

#[test]
fn statements_are_understood_by_both_engines() {
    let mut wrong = Vec::new();
    let mut used = vec![false; EXCEPTIONS.len()];
    let mut statements = 0;
    for (file, text) in statements_of_the_store() {
        statements += 1;
        for word in NOT_PORTABLE.iter().filter(|word| holds(&text, word)) {
            match EXCEPTIONS.iter().position(|(of, what, _)| file.ends_with(of) && what == word) {
                Some(at) => used[at] = true,
                None => wrong.push(format!("{file}: {word:?} in {text:?}")),
            }
        }
    }
    assert!(statements > 60, "only {statements} statements found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for ((file, word, _), used) in EXCEPTIONS.iter().zip(used) {
        assert!(used, "{file} no longer uses {word:?}: take it off the list");
    }
}

#[test]
fn the_check_finds_what_it_looks_for() {
    assert!(holds("SELECT rowid FROM t", "rowid"));
    assert!(holds("INSERT OR IGNORE INTO t", "insert or"));
    assert!(!holds("INSERT INTO orders", "insert or"));
    assert!(!holds("SELECT updated_at, created_date FROM t", "date("));
    assert!(holds("x < datetime('now')", "datetime("));
    assert_eq!(strings("a(\"SELECT \\\n   1\"); 'x'; b(r\"no\") // \"not\"\n"), ["SELECT \\\n   1", "no"]);
}

/// Whether the words stand in the text by themselves.
fn holds(text: &str, words: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(words).any(|(at, _)| {
        let ends_open = words.ends_with(['(', '_']);
        !is_part(text[..at].chars().next_back())
            && (ends_open || !is_part(text[at + words.len()..].chars().next()))
    })
}

/// Each schema file, and each string of the code that is a statement or part of one. Unit tests are left
/// out: they may look behind the curtain.
fn statements_of_the_store() -> Vec<(String, String)> {
    let mut statements = Vec::new();
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")) {
        let name = file.display().to_string();
        let text = fs::read_to_string(&file).expect("a source file is text");
        if name.ends_with(".sql") {
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            statements.push((name, code.join("\n")));
            continue;
        }
        let is_test = name.ends_with("/older.rs");
        let code = if is_test { "" } else { without_tests(&text) };
        let is_sql = |text: &String| {
            let start = text.split_whitespace().next().unwrap_or_default();
            let known = [
                "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "CREATE", "ALTER", "DROP", "WHERE", "AND",
                "ORDER", "PRAGMA", "VACUUM", "REPLACE", "ATTACH",
            ];
            known.contains(&start)
        };
        statements.extend(strings(code).into_iter().filter(is_sql).map(|text| (name.clone(), text)));
    }
    statements
}

/// Code up to its unit tests, which come last.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
}

/// The string literals of a piece of code; comments and character literals are stepped over.
fn strings(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (token, after) = rest.split_at(at).1.split_at(1);
        rest = match token {
            "/" if after.starts_with('/') => after.split_once('\n').map_or("", |(_, next)| next),
            "'" if after.starts_with("\"'") => &after[2..],
            "\"" => {
                let end = end_of_string(after);
                found.push(after[..end].to_owned());
                after.get(end + 1..).unwrap_or_default()
            }
            _ => after,
        };
    }
    found
}

/// Where the closing quote is.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    end.unwrap_or(text.len())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder of the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
