//! Promise: the tree is the architecture. Arrows between rooms point down only, an outside crate lives in
//! the rooms that are listed for it, and nothing joins either list unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the ground up, an empty line between two of them. `words` stands for the five that every
/// room may use, `below` for all rooms of the layers underneath. A room is a file or folder of `src/`.
const ROOMS: &str = "
authority | |
failure   | |
json      | |
secret    | | subtle
log       | secret | time
metrics   | |
rate      | json |
sys       | | nix

net       | words sys | mio
http1     | words | httparse
vault     | words | base64 ring
health    | words sys |

peer      | words net http1 |
tls       | words net | rustls rcgen webpki webpki_root_certs ring
store     | words rate vault | rusqlite argon2 base64 ring time
client    | words | ureq rustls webpki_root_certs

proxy     | words metrics rate net http1 vault peer tls | base64 ring
api       | words metrics rate net http1 vault peer store | zeroize

entry     | below | base64 ring webpki_root_certs

config    | below |

server    | below | ring

cli       | below | pico_args saphyr_parser
";

/// The shared words of layer 0.
const WORDS: [&str; 5] = ["authority", "failure", "json", "log", "secret"];

/// Crates used like the standard library, in any room: JSON is a language, and memory is wiped wherever a
/// secret is still bare bytes.
const LANGUAGE: [&str; 3] = ["serde", "serde_json", "zeroize"];

/// Crates named to choose how other crates use them; no code of ours does.
const FEATURES_ONLY: [&str; 1] = ["library_log"];

#[derive(Debug)]
struct Room {
    may_use: BTreeSet<&'static str>,
    crates: BTreeSet<&'static str>,
}

#[test]
fn rooms_use_only_what_lies_below_them() {
    let rooms = rooms();
    let mut wrong = Vec::new();
    for (file, room, source) in sources() {
        let Some(known) = rooms.get(room.as_str()) else {
            wrong.push(format!("{file}: room `{room}` has no place in the table"));
            continue;
        };
        for used in words_after(&source, "crate::") {
            // An exported macro carries the name of its room.
            let used = used.strip_suffix("_event").unwrap_or(used);
            if used != room && !known.may_use.contains(used) {
                wrong.push(format!("{file}: `{room}` may not use `{used}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    let rooms = rooms();
    let dependencies = dependencies();
    let mut wrong = Vec::new();
    for (file, room, source) in sources() {
        for dependency in &dependencies {
            let allowed = LANGUAGE.contains(&dependency.as_str())
                || rooms.get(room.as_str()).is_some_and(|known| known.crates.contains(dependency.as_str()));
            if !allowed && names_crate(&source, dependency) {
                wrong.push(format!("{file}: `{room}` may not use the crate `{dependency}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_dependency_has_a_room() {
    let rooms = rooms();
    for dependency in dependencies() {
        let used = LANGUAGE.contains(&dependency.as_str())
            || FEATURES_ONLY.contains(&dependency.as_str())
            || rooms.values().any(|room| room.crates.contains(dependency.as_str()));
        assert!(used, "no room is listed for the dependency `{dependency}`");
    }
}

#[test]
fn the_scanner_sees_through_groups_and_comments() {
    let source = "// crate::not_this\nuse crate::{net, http1::head};\nlet x = crate::vault::Scope;\n";
    let code = code_of(source);
    assert_eq!(words_after(&code, "crate::"), ["net", "http1", "vault"]);
    assert!(names_crate("use time::OffsetDateTime;", "time"));
    assert!(!names_crate("use std::time::Instant;", "time"));
    assert!(!names_crate("let lifetime::X = 1", "time"));
    assert!(!names_crate("let time = 1;", "time"));
}

fn rooms() -> BTreeMap<&'static str, Room> {
    let mut rooms = BTreeMap::new();
    for layer in ROOMS.trim().split("\n\n") {
        let below: BTreeSet<&str> = rooms.keys().copied().collect();
        for row in layer.lines() {
            let mut columns = row.split('|').map(str::trim);
            let [Some(name), Some(uses), Some(crates)] = [(); 3].map(|()| columns.next()) else {
                panic!("three columns expected: {row}");
            };
            let may_use = uses.split_whitespace().flat_map(|used| match used {
                "words" => WORDS.to_vec(),
                "below" => below.iter().copied().collect(),
                room => vec![room],
            });
            let room = Room { may_use: may_use.collect(), crates: crates.split_whitespace().collect() };
            rooms.insert(name, room);
        }
    }
    rooms
}

/// Each source file of the library: its path, its room and its code without comments and unit tests.
fn sources() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let mut sources = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).expect("found below the root");
        let first = inside.iter().next().expect("a file has a name");
        let room = first.to_string_lossy().trim_end_matches(".rs").to_owned();
        // The front page and the entry point belong to no room: they name all of them.
        if room != "lib" && room != "main" {
            let text = fs::read_to_string(&file).expect("a source file is text");
            sources.push((format!("src/{}", inside.display()), room, code_of(&text)));
        }
    }
    assert!(!sources.is_empty(), "no sources below {}", root.display());
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a source folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn code_of(text: &str) -> String {
    let code = text.split_once("\n#[cfg(test)]\nmod tests").map_or(text, |(code, _)| code);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names right after each `prefix`, those inside a braced group included.
fn words_after<'a>(source: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    for (at, _) in source.match_indices(prefix) {
        let rest = &source[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => words.push(first_word(rest)),
            Some(group) => {
                let (mut depth, mut starts) = (1, true);
                for (at, byte) in group.char_indices() {
                    match byte {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => starts = true,
                        _ if starts && byte.is_alphabetic() => {
                            words.push(first_word(&group[at..]));
                            starts = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    words
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Whether `name::` stands where a path begins.
fn names_crate(source: &str, name: &str) -> bool {
    source.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = source[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// The dependencies of `Cargo.toml`, as their names are written in code.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .expect("a package has a manifest");
    let table = manifest.split_once("\n[dependencies]\n").expect("a dependencies table").1;
    let table = table.split_once("\n[").map_or(table, |(table, _)| table);
    let names = table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.trim().replace('-', "_")).collect()
}
