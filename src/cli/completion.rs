//! `completion`: what a shell needs to complete command lines of this program.
//!
//! Drawn from the table of commands, so a script knows every command and flag of the binary that printed
//! it. Each script walks the words that are typed down the table; what may come next depends on where that
//! ends. Behind `--` it is another program's line, and files are offered.

use std::collections::BTreeMap;

use super::help::{self, Listed};
use super::{Args, Exit, Failure, Verb, output, verbs};

pub(super) const VERBS: &[Verb] = &[
    Verb {
        words: &["completion", "bash"],
        usage: "",
        about: "Print what bash needs to complete commands and flags",
        flags: &[],
        example: "agent-vault completion bash > ~/.local/share/bash-completion/completions/agent-vault",
        run: |_, args| print(args, bash),
    },
    Verb {
        words: &["completion", "fish"],
        usage: "",
        about: "Print what fish needs to complete commands and flags",
        flags: &[],
        example: "agent-vault completion fish > ~/.config/fish/completions/agent-vault.fish",
        run: |_, args| print(args, fish),
    },
    Verb {
        words: &["completion", "zsh"],
        usage: "",
        about: "Print what zsh needs to complete commands and flags",
        flags: &[],
        example: "agent-vault completion zsh > ~/.zfunc/_agent-vault",
        run: |_, args| print(args, zsh),
    },
];

fn print(args: Args, script: fn(&Tree) -> String) -> Result<Exit, Failure> {
    args.finish()?;
    output::print(&script(&tree()))?;
    Ok(Exit::Success)
}

/// By the words in front: what may follow them.
type Tree = BTreeMap<String, Node>;

#[derive(Default)]
struct Node {
    /// Words, and what each is about.
    words: BTreeMap<&'static str, &'static str>,
    flags: Vec<Listed>,
}

impl Node {
    /// Names of flags of which `is_meant` holds, in one line.
    fn names(&self, is_meant: impl Fn(&Listed) -> bool) -> String {
        let names: Vec<&str> =
            self.flags.iter().filter(|flag| is_meant(flag)).map(|flag| flag.name).collect();
        names.join(" ")
    }
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    for verb in verbs() {
        for (depth, word) in verb.words.iter().enumerate() {
            let about = if depth + 1 == verb.words.len() { verb.about } else { "" };
            let node = tree.entry(verb.words[..depth].join(" ")).or_default();
            // A verb can be a group too; then its own line is what the word is about.
            let known = node.words.entry(*word).or_default();
            *known = if about.is_empty() { *known } else { about };
        }
        tree.entry(verb.words.join(" ")).or_default().flags = help::flags(verb);
    }
    tree
}

fn takes_file(flag: &Listed) -> bool {
    ["FILE", "DIR", "PATH"].iter().any(|what| flag.value.ends_with(what))
}

fn takes_other(flag: &Listed) -> bool {
    !flag.value.is_empty() && !takes_file(flag)
}

/// The words that lead somewhere, as alternatives of a shell's `case`.
fn places(tree: &Tree, quote: fn(&str) -> String) -> Vec<String> {
    tree.keys().filter(|place| !place.is_empty()).map(|place| quote(place)).collect()
}

fn bash(tree: &Tree) -> String {
    let mut cases = String::new();
    for (place, node) in tree {
        let words: Vec<&str> = node.words.keys().copied().collect();
        cases.push_str(&format!(
            "        {}) words={} flags={} files={} values={} ;;\n",
            quoted(place),
            quoted(&words.join(" ")),
            quoted(&node.names(|_| true)),
            quoted(&node.names(takes_file)),
            quoted(&node.names(takes_other)),
        ));
    }
    BASH.replace("@PLACES@", &places(tree, quoted).join("|")).replace("@CASES@", cases.trim_end())
}

const BASH: &str = r#"# Completes command lines of agent-vault in bash.
_agent_vault() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local place='' words='' flags='' files='' values='' word at
    COMPREPLY=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        if [[ $word == -- ]]; then
            _agent_vault_files "$current"
            return
        fi
        case "${place:+$place }$word" in
            @PLACES@) place="${place:+$place }$word" ;;
        esac
    done
    case "$place" in
@CASES@
    esac
    if [[ " $files " == *" $previous "* ]]; then
        _agent_vault_files "$current"
    elif [[ " $values " == *" $previous "* ]]; then
        return
    elif [[ $current == -* || -z $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$flags --help" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    fi
}
_agent_vault_files() {
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
    compopt -o filenames 2>/dev/null
}
complete -F _agent_vault agent-vault
"#;

fn zsh(tree: &Tree) -> String {
    let mut cases = String::new();
    for (place, node) in tree {
        let described = |name: &str, about: &str| quoted(&format!("{}:{about}", name.replace(':', "\\:")));
        let words: Vec<String> = node.words.iter().map(|(word, about)| described(word, about)).collect();
        let flags: Vec<String> = node.flags.iter().map(|flag| described(flag.name, flag.meaning)).collect();
        cases.push_str(&format!(
            "        {})\n            nouns=({})\n            flags=({})\n            files={} values={} ;;\n",
            quoted(place),
            words.join(" "),
            flags.join(" "),
            quoted(&node.names(takes_file)),
            quoted(&node.names(takes_other)),
        ));
    }
    ZSH.replace("@PLACES@", &places(tree, quoted).join("|")).replace("@CASES@", cases.trim_end())
}

const ZSH: &str = r#"#compdef agent-vault
# Completes command lines of agent-vault in zsh.
_agent-vault() {
    local place='' files='' values='' word previous=${words[CURRENT-1]}
    local -a nouns flags
    for word in ${words[2,CURRENT-1]}; do
        if [[ $word == -- ]]; then
            _files
            return
        fi
        case "${place:+$place }$word" in
            @PLACES@) place="${place:+$place }$word" ;;
        esac
    done
    case "$place" in
@CASES@
    esac
    flags+=('--help:show what the command takes')
    if [[ " $files " == *" $previous "* ]]; then
        _files
    elif [[ " $values " == *" $previous "* ]]; then
        return 1
    elif [[ ${words[CURRENT]} == -* || ${#nouns} -eq 0 ]]; then
        _describe -o flag flags
    else
        _describe command nouns
    fi
}
if [[ ${funcstack[1]} == _agent-vault ]]; then
    _agent-vault "$@"
else
    compdef _agent-vault agent-vault
fi
"#;

fn fish(tree: &Tree) -> String {
    let mut lines = String::new();
    for (place, node) in tree {
        let condition = fish_quoted(&format!("__agent_vault_at {}", fish_quoted(place)));
        let at = format!("complete -c agent-vault -n {condition}");
        lines.push_str(&format!("{at} -f\n"));
        for (word, about) in &node.words {
            lines.push_str(&format!("{at} -a {} -d {}\n", fish_quoted(word), fish_quoted(about)));
        }
        for flag in &node.flags {
            let (kind, name) = match flag.name.strip_prefix("--") {
                Some(name) => ("-l", name),
                None => ("-s", flag.name.trim_start_matches('-')),
            };
            let value = match flag.value {
                "" => "",
                _ if takes_file(flag) => " -r -F",
                _ => " -x",
            };
            lines.push_str(&format!("{at} {kind} {name}{value} -d {}\n", fish_quoted(flag.meaning)));
        }
    }
    FISH.replace("@PLACES@", &places(tree, fish_quoted).join(" ")).replace("@LINES@", lines.trim_end())
}

const FISH: &str = r#"# Completes command lines of agent-vault in fish.
function __agent_vault_at
    set -l place ''
    for word in (commandline -opc)[2..-1]
        test "$word" = --; and return 1
        set -l further (string trim -- "$place $word")
        contains -- "$further" @PLACES@; and set place "$further"
    end
    test "$place" = "$argv[1]"
end
complete -c agent-vault -l help -d 'show what the command takes'
@LINES@
"#;

/// A text that a POSIX-like shell reads back as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The same for fish, which knows escapes inside quotes.
fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_a_command_and_a_group_is_told_by_the_command() {
        let tree = tree();
        assert_eq!(tree[""].words["server"], "Run the broker");
        assert_eq!(tree["server"].words.keys().copied().collect::<Vec<_>>(), ["stop"]);
        assert!(tree["server"].names(takes_file).contains("--data-dir"));
        assert_eq!(tree[""].words["vault"], "");
    }

    #[test]
    fn quotes_are_read_back_by_each_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(fish_quoted(r"it's \ a"), r"'it\'s \\ a'");
    }
}
