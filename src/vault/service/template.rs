//! `{{ KEY }}` in the value of a custom field: the one reading of that grammar (contract D.3).

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Sent as it is, braces that are no reference included.
    Literal(&'a str),
    /// Replaced by the credential of this key; never scanned again.
    Key(&'a str),
}

/// Splits a template into its parts, in order; an empty template has none.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let mut literal_from = 0;
    let mut at = 0;
    while let Some(open) = text[at..].find("{{").map(|offset| at + offset) {
        match reference(&text[open..]) {
            Some((key, length)) => {
                if literal_from < open {
                    found.push(Part::Literal(&text[literal_from..open]));
                }
                found.push(Part::Key(key));
                at = open + length;
                literal_from = at;
            }
            // One byte on, so that `{{{ KEY }}` is a brace and a reference.
            None => at = open + 1,
        }
    }
    if literal_from < text.len() {
        found.push(Part::Literal(&text[literal_from..]));
    }
    found
}

/// Reads a reference at the start of `text`: its key and how many bytes it takes.
fn reference(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix("{{")?.trim_start_matches(' ');
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = inner.find(|c| !is_word(c)).unwrap_or(inner.len());
    let (key, after) = inner.split_at(end);
    let rest = after.trim_start_matches(' ').strip_prefix("}}")?;
    (!key.is_empty()).then(|| (key, text.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Part::{Key, Literal};

    #[test]
    fn references_are_found_and_the_rest_is_literal() {
        for (text, expected) in [
            ("", vec![]),
            ("plain", vec![Literal("plain")]),
            ("{{A}}", vec![Key("A")]),
            ("Token token={{ A_1 }};", vec![Literal("Token token="), Key("A_1"), Literal(";")]),
            ("{{A}}{{  B}}", vec![Key("A"), Key("B")]),
            ("{{ }}", vec![Literal("{{ }}")]),
            ("{{A B}}", vec![Literal("{{A B}}")]),
            ("{{A}", vec![Literal("{{A}")]),
            ("{{{A}}}", vec![Literal("{"), Key("A"), Literal("}")]),
            ("{{\tA}}", vec![Literal("{{\tA}}")]),
            ("é{{é}}{{A}}", vec![Literal("é{{é}}"), Key("A")]),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }
}
