//! The process log: one line per event on stderr.
//!
//! `time=… level=… msg=… key=value…`, values quoted when they need it. Fields are given by the caller
//! as names and displayable values; a [`crate::secret::Secret`] has no `Display`, so it cannot be one.
//! A line is written with one `write`, so lines of different threads never interleave, and a failing
//! stderr is ignored: logging must not stop a request.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
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
    let line = render(SystemTime::now(), level, message, fields);
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
    let stamp = OffsetDateTime::from(now).replace_nanosecond(0).ok().and_then(|t| t.format(&Rfc3339).ok());
    let _infallible = write!(line, "time={} level={} msg=", stamp.as_deref().unwrap_or("-"), level.name());
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
    fn levels_parse_as_the_contract_says() {
        assert_eq!(Level::parse("DEBUG"), Some(Level::Debug));
        assert_eq!(Level::parse("info"), Some(Level::Info));
        assert_eq!(Level::parse("warn"), None);
    }
}
