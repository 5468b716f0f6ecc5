//! `doctor`: what a run would find in this container, on one page, without starting anything.
//!
//! First the facts are gathered ([`facts`]), each by the code that a run would use; then a table of checks
//! says what they mean ([`checks`]). No check does I/O, and no secret is among the facts.

mod checks;
mod clients;
mod facts;
mod platform;

use serde_json::Value;

use super::Plan;
use super::environment::Changes;
use crate::failure::Failure;
use crate::json::json;
use facts::Facts;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    /// Works, and a person should know.
    Note,
    Wrong,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Note => "note",
            Self::Wrong => "WRONG",
        }
    }
}

#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    text: String,
    hint: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Self { verdict, text: text.into(), hint: None }
    }

    fn well(text: impl Into<String>) -> Self {
        Self::new(Verdict::Well, text)
    }

    fn note(text: impl Into<String>) -> Self {
        Self::new(Verdict::Note, text)
    }

    fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<&Failure> for Finding {
    fn from(failure: &Failure) -> Self {
        Self {
            verdict: Verdict::Wrong,
            text: failure.message().to_owned(),
            hint: failure.hint().map(str::to_owned),
        }
    }
}

/// Everything that was found.
pub struct Page {
    findings: Vec<(&'static str, Finding)>,
    environment: Option<Changes>,
}

/// Looks at everything a run by this plan would need.
pub fn examine(plan: &Plan) -> Page {
    let (facts, environment) = Facts::gather(plan);
    Page { findings: checks::all(&facts), environment }
}

impl Page {
    /// The page of a plan that contradicts itself.
    pub fn of_failure(failure: &Failure) -> Self {
        Self { findings: vec![("settings", failure.into())], environment: None }
    }

    pub fn is_well(&self) -> bool {
        self.wrong() == 0
    }

    fn wrong(&self) -> usize {
        self.findings.iter().filter(|(_, finding)| finding.verdict == Verdict::Wrong).count()
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, Finding { verdict, text: found, hint }) in &self.findings {
            text.push_str(&format!("{:<6} {name:<10} {found}\n", verdict.word()));
            if let Some(hint) = hint {
                text.push_str(&format!("{:17} hint: {hint}\n", ""));
            }
        }
        if let Some(changes) = &self.environment {
            text.push_str("\nThe command's environment, secrets hidden:\n");
            changes.lines().lines().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        text.push_str(&match self.wrong() {
            0 => "\nAll is well.\n".to_owned(),
            1 => "\nOne thing is wrong.\n".to_owned(),
            count => format!("\n{count} things are wrong.\n"),
        });
        text
    }

    /// For a program.
    pub fn json(&self) -> Value {
        let checks = self.findings.iter().map(|(name, Finding { verdict, text, hint })| {
            json!({ "check": name, "verdict": verdict.word().to_ascii_lowercase(), "text": text, "hint": hint })
        });
        json!({
            "ok": self.is_well(),
            "checks": checks.collect::<Vec<_>>(),
            "environment": self.environment.as_ref().map(Changes::json),
        })
    }
}
