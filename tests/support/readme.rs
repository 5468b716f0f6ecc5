//! The README as data: what stands under which heading, so that a test can run it as it is printed.

use std::fs;
use std::path::Path;

/// A fenced block: the heading it stands under, its language and its lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) heading: String,
    pub(crate) language: String,
    pub(crate) text: String,
}

/// The text of a file of the repository.
#[track_caller]
pub(crate) fn repository_file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// All fenced blocks of a Markdown text, in order.
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut heading = String::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let (heading, language) = (heading.clone(), language.to_owned());
            blocks.push(Block { heading, language, text: text.join("\n") + "\n" });
        } else if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
    }
    blocks
}

/// The README's only block of a language under a heading.
#[track_caller]
pub(crate) fn readme_block(heading: &str, language: &str) -> String {
    let mut found = blocks(&repository_file("README.md"));
    found.retain(|block| block.heading == heading && block.language == language);
    assert_eq!(found.len(), 1, "{language} blocks under {heading:?}");
    found.remove(0).text
}
