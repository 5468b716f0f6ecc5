//! A page of numbers in Prometheus text form, version 0.0.4.
//!
//! Numbers are counted where things happen, with atomics; this only writes them down when somebody asks.
//! Labels come from tables of ours and never from a client, so their number is bounded and no host, path or
//! secret can be among them: a value has to be `'static`.

use std::fmt::{Arguments, Display};

/// How a page is announced.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of number a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts at nothing with the process.
    Counter,
    Gauge,
}

/// The page, as far as it is written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Writes a family with one number.
    pub fn number(&mut self, kind: Kind, name: &'static str, help: &'static str, value: impl Display) {
        self.head(kind, name, help);
        self.line(format_args!("{name} {value}"));
    }

    /// Writes a family with a number for each value of one label.
    pub fn numbers<V: Display>(
        &mut self,
        kind: Kind,
        (name, label): (&'static str, &'static str),
        help: &'static str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) {
        self.head(kind, name, help);
        for (of, value) in values {
            self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    fn head(&mut self, kind: Kind, name: &str, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: Arguments<'_>) {
        self.0.push_str(&format!("{line}\n"));
    }
}
