//! The process log: one line per event on stderr.
//!
//! `time=… level=… msg=… key=value…`, values quoted when they need it, or the same fields as one JSON object
//! (`AGENT_VAULT_LOG_FORMAT=json`). Fields are given by the caller
//! as names and displayable values; a [`crate::secret::Secret`] has no `Display`, so it cannot be one.
//! A line is written with one `write`, so lines of different threads never interleave, and a failing
//! stderr is ignored: logging must not stop a request.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::SystemTime;

use serde_json::{Map, Value};
use time::OffsetDateTime;

/// How much an event matters, in rising order of detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// An operator must act.
    Error,
    /// A request suffered.
    Warn,
    /// Start, stop, changes.
    Info,
    /// Why a decision fell as it did.
    Debug,
}

impl Level {
    /// Parses what `--log-level` accepts (contract F.2), in any case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "info" => Some(Self::Info),
            "debug" => Some(Self::Debug),
            _ => None,
        }
    }

    /// Parses the name of any level, as `run` takes it.
    pub fn named(text: &str) -> Option<Self> {
        let all = [Self::Error, Self::Warn, Self::Info, Self::Debug];
        all.into_iter().find(|level| level.name().eq_ignore_ascii_case(text))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Words for people and for what splits at spaces.
    Text,
    /// One JSON object.
    Json,
}

impl Format {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Sets how lines are written from now on.
pub fn set_format(format: Format) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

pub fn format() -> Format {
    if IS_JSON.load(Ordering::Relaxed) { Format::Json } else { Format::Text }
}

static THRESHOLD: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Sets the most detailed level that is written.
pub fn set_level(level: Level) {
    THRESHOLD.store(level as u8, Ordering::Relaxed);
}

/// Whether an event of this level would be written: asked before costly fields are gathered.
pub fn is_enabled(level: Level) -> bool {
    level as u8 <= THRESHOLD.load(Ordering::Relaxed)
}

/// Writes one event.
pub fn event(level: Level, message: &str, fields: &[(&str, &dyn fmt::Display)]) {
    if !is_enabled(level) {
        return;
    }
    let line = match format() {
        Format::Text => render(SystemTime::now(), level, message, fields),
        Format::Json => render_json(SystemTime::now(), level, message, fields),
    };
    // A closed stderr is no reason to fail the caller.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Writes a whole line of another form, for programs that asked for it; as ready to lose it as an event.
pub fn line(text: &str) {
    drop(std::io::stderr().write_all(format!("{text}\n").as_bytes()));
}

/// Makes panics one line of this log, with the place and without the message: what a failed assertion
/// prints may hold anything that was in memory.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        event(Level::Error, "panic", &[("thread", &name), ("at", &place)]);
    }));
}

fn render(now: SystemTime, level: Level, message: &str, fields: &[(&str, &dyn fmt::Display)]) -> String {
    let mut line = String::with_capacity(160);
    let _infallible = write!(line, "time={} level={} msg=", stamp(now), level.name());
    push_value(&mut line, message);
    for (name, value) in fields {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        push_value(&mut line, &value.to_string());
    }
    line.push('\n');
    line
}

fn render_json(now: SystemTime, level: Level, message: &str, fields: &[(&str, &dyn fmt::Display)]) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), stamp(now).into());
    object.insert("level".to_owned(), level.name().into());
    object.insert("msg".to_owned(), message.into());
    object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_string().into())));
    format!("{}\n", Value::Object(object))
}

fn stamp(now: SystemTime) -> String {
    let now = OffsetDateTime::from(now);
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second) = now.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

/// Appends a value, quoted when it is empty or holds a space, a quote, an equals sign or a control byte.
fn push_value(line: &mut String, value: &str) {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=' && c != '\\';
    if !value.is_empty() && value.chars().all(is_plain) {
        line.push_str(value);
    } else {
        let _infallible = write!(line, "{value:?}");
    }
}

/// Writes an event at a level, with `name = value` fields.
#[macro_export]
macro_rules! log_event {
    ($level:ident, $message:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::log::event($crate::log::Level::$level, $message, &[$((stringify!($name), &$value)),*])
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_what_needs_it() {
        let line = render(
            SystemTime::UNIX_EPOCH,
            Level::Warn,
            "tls handshake failed",
            &[("host", &"api.x.com"), ("why", &"a \"b\"\nc"), ("empty", &"")],
        );
        assert_eq!(
            line,
            "time=1970-01-01T00:00:00Z level=warn msg=\"tls handshake failed\" host=api.x.com \
             why=\"a \\\"b\\\"\\nc\" empty=\"\"\n"
        );
    }

    #[test]
    fn json_has_the_same_fields() {
        let line = render_json(
            SystemTime::UNIX_EPOCH,
            Level::Error,
            "a \"b\"\n",
            &[("host", &"api.x.com"), ("count", &7)],
        );
        assert_eq!(
            line,
            "{\"time\":\"1970-01-01T00:00:00Z\",\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\n\",\
             \"host\":\"api.x.com\",\"count\":\"7\"}\n"
        );
    }

    #[test]
    fn levels_parse_as_the_contract_says() {
        assert_eq!(Level::parse("DEBUG"), Some(Level::Debug));
        assert_eq!(Level::parse("info"), Some(Level::Info));
        assert_eq!(Level::parse("warn"), None);
        assert_eq!(Level::named("Warn"), Some(Level::Warn));
        assert_eq!(Level::named("loud"), None);
    }
}
