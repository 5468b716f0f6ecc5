//! Proposals: what an agent asks for, and a person approves or rejects.
//!
//! A proposal changes services and fills credential slots. It is read and checked against the vault as it
//! is when it is made, and merged into the vault as it is when it is approved; what it meant is kept with
//! it, so that a service that has gone or been renamed in between is noticed. Values an agent brings along
//! leave a [`Draft`] beside the [`Proposal`], never in it: whatever prints a proposal cannot print them.

mod draft;
mod entry;
mod merge;
mod slot;

use serde_json::Value;

use super::service::Invalid;
pub use draft::{Draft, Inventory, Problem};
pub use entry::{Change, Entry};
pub use merge::{Conflict, merge};
pub use slot::{Filling, OauthClient, Slot};

/// A checked proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub entries: Vec<Entry>,
    pub slots: Vec<Slot>,
    /// What it is for, for the record.
    pub message: String,
    /// What it is for, for the person who is to approve it.
    pub user_message: String,
}

/// Where a proposal stands. Only a pending one moves (contract F.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Applied,
    Rejected,
    Expired,
}

/// A reference by host that several services answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguity {
    pub reference: String,
    /// Their names and joined hosts.
    pub candidates: Vec<(String, String)>,
}

impl Status {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Applied, Self::Rejected, Self::Expired];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

impl Proposal {
    /// The services as clients read them.
    pub fn services_json(&self) -> Value {
        Value::Array(self.entries.iter().map(Entry::to_json).collect())
    }

    /// The credential slots as clients read them, which is how they are stored.
    pub fn credentials_json(&self) -> Value {
        Value::Array(self.slots.iter().map(Slot::to_json).collect())
    }

    /// The services as they are stored: with what each meant when it was proposed.
    pub fn stored_services(&self) -> Value {
        Value::Array(self.entries.iter().map(Entry::to_stored).collect())
    }

    /// Reads back what was stored.
    pub fn from_stored(
        (services, credentials): (&str, &str),
        message: String,
        user_message: String,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            entries: entry::from_stored(services)?,
            slots: slot::from_stored(credentials)?,
            message,
            user_message,
        })
    }
}

/// A text that may be absent and is not longer than its limit.
fn text(field: &str, text: Option<String>, most: usize) -> Result<String, Invalid> {
    let text = text.unwrap_or_default();
    match text.chars().count() {
        count if count > most => {
            Err(Invalid::new(format!("{field} is {count} characters long (max {most})")))
        }
        _ => Ok(text),
    }
}
