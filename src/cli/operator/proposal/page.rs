//! A proposal as a person reads it before deciding.

use std::fmt;

use serde_json::Value;

use crate::cli::operator::{list, text};
use crate::cli::output::printable;

/// A proposal, from the answer of either side of the broker.
pub(super) struct Page {
    pub(super) number: u64,
    pub(super) status: String,
    /// Label and text of what is known of it as a whole.
    facts: Vec<(&'static str, String)>,
    services: Vec<Value>,
    slots: Vec<Slot>,
}

/// A credential of a proposal.
pub(super) struct Slot {
    pub(super) key: String,
    pub(super) filling: Filling,
    description: String,
    obtain: String,
    instructions: String,
}

/// What comes into a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    Removed,
    /// A value, which the agent may have brought along.
    Value {
        is_brought: bool,
    },
    Oauth,
}

impl Page {
    pub(super) fn read(answer: &Value) -> Self {
        let fact = |label, key| Some((label, text(answer, key))).filter(|(_, text)| !text.is_empty());
        let facts = [
            fact("From", "agent_name"),
            fact("Created", "created_at"),
            fact("Reviewed", "reviewed_at"),
            fact("Review note", "review_note"),
            fact("Message", "message"),
            fact("For you", "user_message"),
        ];
        Self {
            number: answer.get("id").and_then(Value::as_u64).unwrap_or_default(),
            status: text(answer, "status"),
            facts: facts.into_iter().flatten().collect(),
            services: entries(answer, "services"),
            slots: entries(answer, "credentials").iter().map(Slot::read).collect(),
        }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

/// A list that reviewers get as a text that holds JSON, agents as it is.
fn entries(answer: &Value, name: &str) -> Vec<Value> {
    match answer.get(format!("{name}_json")).and_then(Value::as_str) {
        Some(text) => serde_json::from_str(text).unwrap_or_default(),
        None => list(answer, name).cloned().collect(),
    }
}

impl Slot {
    fn read(slot: &Value) -> Self {
        let filling = match (text(slot, "action").as_str(), text(slot, "type").as_str()) {
            ("delete", _) => Filling::Removed,
            (_, "oauth") => Filling::Oauth,
            _ => Filling::Value { is_brought: slot.get("has_value").and_then(Value::as_bool) == Some(true) },
        };
        Self {
            key: text(slot, "key"),
            filling,
            description: text(slot, "description"),
            obtain: text(slot, "obtain"),
            instructions: text(slot, "obtain_instructions"),
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Proposal {} ({})", self.number, printable(&self.status))?;
        for (label, text) in &self.facts {
            writeln!(f, "{label}: {}", indented(text))?;
        }
        if !self.services.is_empty() {
            f.write_str("Services:\n")?;
        }
        for service in &self.services {
            write_service(f, service)?;
        }
        if !self.slots.is_empty() {
            f.write_str("Credentials:\n")?;
        }
        self.slots.iter().try_for_each(|slot| slot.fmt(f))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (marker, what) = match self.filling {
            Filling::Removed => ('-', ""),
            Filling::Value { is_brought: true } => ('+', " (the agent brought a value)"),
            Filling::Value { is_brought: false } => ('+', " (needs a value)"),
            Filling::Oauth => ('+', " (OAuth: to be connected afterwards)"),
        };
        writeln!(f, "  {marker} {}{what}", printable(&self.key))?;
        for (label, text) in
            [("", &self.description), ("obtain: ", &self.obtain), ("how: ", &self.instructions)]
        {
            if !text.is_empty() {
                writeln!(f, "      {label}{}", indented(text))?;
            }
        }
        Ok(())
    }
}

fn write_service(f: &mut fmt::Formatter<'_>, service: &Value) -> fmt::Result {
    let is_deletion = text(service, "action") == "delete";
    let marker = if is_deletion { '-' } else { '+' };
    write!(f, "  {marker} {}  {}", printable(&text(service, "name")), printable(&text(service, "host")))?;
    if let Some(auth) = service.get("auth") {
        write!(f, "  {}", printable(&text(auth, "type")))?;
    }
    match service.get("enabled").and_then(Value::as_bool) {
        Some(true) => f.write_str("  (switched on)")?,
        Some(false) => f.write_str("  (switched off)")?,
        None => {}
    }
    f.write_str("\n")?;
    let auth = service.get("auth").and_then(Value::as_object);
    for (field, value) in auth.into_iter().flatten().filter(|(field, _)| *field != "type") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(f, "      {}: {}", printable(field), printable(&value))?;
    }
    for substitution in list(service, "substitutions") {
        let surfaces: Vec<&str> = list(substitution, "in").filter_map(Value::as_str).collect();
        writeln!(
            f,
            "      {} in {} becomes {}",
            printable(&text(substitution, "placeholder")),
            printable(&surfaces.join(", ")),
            printable(&text(substitution, "key"))
        )?;
    }
    Ok(())
}

/// Lines of an agent's text, none of which can be taken for one of ours.
fn indented(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n        ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_tells_everything_that_would_change() {
        let services = json!([
            {"action": "set", "name": "stripe", "host": "api.stripe.com/v1/*",
             "auth": {"type": "api-key", "key": "STRIPE_KEY", "header": "X-Key"},
             "substitutions": [{"key": "ACCOUNT", "placeholder": "__account__", "in": ["path", "body"]}]},
            {"action": "delete", "name": "old", "host": "old.com"},
            {"action": "set", "name": "one", "host": "a.com", "enabled": false},
        ]);
        let credentials = json!([
            {"action": "set", "key": "STRIPE_KEY", "type": "static", "has_value": false,
             "description": "Secret key", "obtain": "https://x.com/keys", "obtain_instructions": "Click\nCopy"},
            {"action": "set", "key": "ACCOUNT", "type": "static", "has_value": true},
            {"action": "set", "key": "CRM", "type": "oauth"},
            {"action": "delete", "key": "OLD"},
        ]);
        let expected = "\
Proposal 7 (pending)
From: bot
Message: one\\u{1b}[2J
        Services:
Services:
  + stripe  api.stripe.com/v1/*  api-key
      key: STRIPE_KEY
      header: X-Key
      __account__ in path, body becomes ACCOUNT
  - old  old.com
  + one  a.com  (switched off)
Credentials:
  + STRIPE_KEY (needs a value)
      Secret key
      obtain: https://x.com/keys
      how: Click
        Copy
  + ACCOUNT (the agent brought a value)
  + CRM (OAuth: to be connected afterwards)
  - OLD
";
        let common =
            json!({"id": 7, "status": "pending", "agent_name": "bot", "message": "one\u{1b}[2J\nServices:"});
        let (mut agents, mut reviewers) = (common.clone(), common);
        agents["services"] = services.clone();
        agents["credentials"] = credentials.clone();
        reviewers["services_json"] = services.to_string().into();
        reviewers["credentials_json"] = credentials.to_string().into();
        assert_eq!(Page::read(&agents).to_string(), expected);
        assert_eq!(Page::read(&reviewers).to_string(), expected);
    }
}
