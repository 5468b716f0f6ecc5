//! The part of YAML that services are written in, as JSON values: read and printed.
//!
//! Every plain scalar is a text, except the words for null and the truth values: a service holds nothing
//! else, and a key that looks like a number stays what was typed. Aliases and tags are refused, so a
//! small file cannot become a large value.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value};

/// Services nest five deep; a document far beyond that is none.
const MAX_DEPTH: usize = 32;

/// Reads one document; the error says where it stopped making sense.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text), line: 1 };
    let mut value = Value::Null;
    let mut documents = 0;
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(value),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if documents > 0 => return Err(reader.at("there is more than one document")),
            event => {
                value = reader.value(event, 0)?;
                documents += 1;
            }
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// Where the last event began.
    line: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>, String> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(format!("line {}: {}", error.marker().line(), error.info())),
            None => Ok(Event::StreamEnd),
        }
    }

    fn value(&mut self, event: Event<'t>, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(self.at("nested too deeply"));
        }
        match event {
            Event::Scalar(text, style, _, tag) => match tag {
                Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == "str") => {
                    Err(self.at("tags are not supported"))
                }
                None if style == ScalarStyle::Plain => Ok(plain(&text)),
                _ => Ok(Value::String(text.into_owned())),
            },
            Event::SequenceStart(_, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Value::Array(items)),
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, None) => self.mapping(depth),
            Event::SequenceStart(..) | Event::MappingStart(..) => Err(self.at("tags are not supported")),
            Event::Alias(_) => Err(self.at("aliases are not supported")),
            _ => Err(self.at("the document ends too early")),
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, String> {
        let mut object = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Value::Object(object)),
                Event::Scalar(key, _, _, None) => key.into_owned(),
                _ => return Err(self.at("a key is a plain text")),
            };
            let line = self.line;
            let event = self.next()?;
            let value = self.value(event, depth + 1)?;
            if object.insert(key.clone(), value).is_some() {
                return Err(format!("line {line}: key {key:?} is there twice"));
            }
        }
    }

    fn at(&self, problem: &str) -> String {
        format!("line {}: {problem}", self.line)
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => Value::String(text.to_owned()),
    }
}

/// Prints a value in block style, as a whole document.
pub(super) fn print(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

/// Writes a value whose first line is already indented; ends with a line break.
fn block(text: &mut String, value: &Value, indent: usize) {
    let mut is_first = true;
    let mut line = |text: &mut String| {
        if !std::mem::take(&mut is_first) {
            text.push_str(&" ".repeat(indent));
        }
    };
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                line(text);
                text.push_str(&scalar(key));
                text.push(':');
                if is_block(value) {
                    text.push('\n');
                    text.push_str(&" ".repeat(indent + 2));
                    block(text, value, indent + 2);
                } else {
                    text.push(' ');
                    block(text, value, 0);
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                line(text);
                text.push_str("- ");
                block(text, item, indent + 2);
            }
        }
        Value::String(string) => text.push_str(&(scalar(string) + "\n")),
        other => text.push_str(&format!("{other}\n")),
    }
}

/// Whether a value takes lines of its own; an empty list or object is written as JSON is.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(object) => !object.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// A text as it is where every reader of YAML, old ones too, takes it for a text; quoted elsewhere.
fn scalar(string: &str) -> String {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_bare = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && string.bytes().all(|b| b.is_ascii_alphanumeric() || b"_/.-".contains(&b))
        && !WORDS.iter().any(|word| string.eq_ignore_ascii_case(word));
    if is_bare { string.to_owned() } else { Value::from(string).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let value = json!({
            "vault": "shop",
            "services": [
                {
                    "name": "slack-bot",
                    "host": "*.slack.com",
                    "path": "/api/*",
                    "enabled": false,
                    "auth": {"type": "custom", "headers": {"X-A": "{{ K }}: # \"x\"\\ é", "n": " Bot "}},
                    "substitutions": [{"key": "K", "placeholder": "__K__", "in": ["path", "query"]}]
                },
                {"name": "123", "host": "yes", "auth": {}, "substitutions": [], "x": null, "y": "1e3"}
            ]
        });
        let text = print(&value);
        assert_eq!(parse(&text), Ok(value), "{text}");
    }

    #[test]
    fn a_service_looks_as_a_person_would_write_it() {
        let value =
            json!({"services": [{"name": "a-b", "port": 8443, "auth": {"type": "bearer"}, "in": ["x"]}]});
        assert_eq!(
            print(&value),
            "services:\n  - name: a-b\n    port: 8443\n    auth:\n      type: bearer\n    in:\n      - x\n"
        );
    }

    #[test]
    fn a_plain_scalar_is_a_text() {
        let text =
            "a: 007 # a comment\nb: [1.5, 'true', \"x\\ty\", true]\nc:\nd: |\n  two\n  lines\ne: !!str 5\n";
        let value =
            json!({"a": "007", "b": ["1.5", "true", "x\ty", true], "c": null, "d": "two\nlines\n", "e": "5"});
        assert_eq!(parse(text), Ok(value));
        assert_eq!(parse("# nothing\n"), Ok(Value::Null));
    }

    #[test]
    fn what_is_refused_is_named_with_its_line() {
        for (text, problem) in [
            ("a: 1\na: 2\n", "line 2: key \"a\" is there twice"),
            ("a: &x [1]\nb: *x\n", "line 2: aliases are not supported"),
            ("a: !!int 5\n", "line 1: tags are not supported"),
            ("a: !x {b: 1}\n", "line 1: tags are not supported"),
            ("[a]: 1\n", "line 1: a key is a plain text"),
            ("a: 1\n---\nb: 2\n", "line 3: there is more than one document"),
        ] {
            assert_eq!(parse(text), Err(problem.to_owned()));
        }
        assert!(parse(&"[".repeat(200)).is_err());
        assert!(parse(&("[".repeat(100) + &"]".repeat(100))).unwrap_err().ends_with("nested too deeply"));
        assert!(parse("a: [1\nb: 2").unwrap_err().starts_with("line "));
    }
}
