//! A run without a broker: the proxy in this process, its rules from one document.
//!
//! [`document`] reads the document, [`credentials`] opens the values, [`rules`] answers the proxy, and
//! [`reload`] keeps all of it current. The root that vouches for what the child reaches lives in memory, for
//! this run and, where other hosts are denied, for the services' hosts alone.

pub mod check;
mod credentials;
pub mod document;
mod reader;
pub(super) mod reload;
mod rules;
pub mod sealed;
mod source;

use std::sync::Arc;
use std::time::SystemTime;

use super::admission::Admission;
use super::front;
use super::host::{Host, interruptible};
use crate::failure::Failure;
use crate::net::guard::Guard;
use crate::net::reactor;
use crate::proxy::{Clients, Egress, Ingress, Limits, Outward, Proxy};
use crate::secret::Secret;
use crate::sys::environ;
use crate::tls::ca::Root;
use crate::tls::leaf::Leaves;
use crate::tls::{self, Acceptor, Connector};
use crate::vault::service::InternalNames;
use credentials::{Places, placeholder, take_variable};
use document::{Document, Problem};
use reload::{Keeper, Seen};
use rules::{InForce, Rules};
use sealed::Key;
use source::read_bytes;
pub use source::{Source, Unusable};

/// Variables that are for us and not for the child.
const OURS: [&str; 3] = ["AGENT_VAULT_CONFIG", "AGENT_VAULT_KEY", "AGENT_VAULT_KEY_FILE"];

/// Largest file of roots; distributions' bundles have a quarter of a megabyte.
const MAX_ROOTS_BYTES: u64 = 8 * 1024 * 1024;

/// What a run without a broker is told.
#[derive(Clone, Debug)]
pub struct Settings {
    pub source: Source,
    /// The key of sealed values.
    pub key: Option<Secret>,
    pub guard: Guard,
    pub egress: Option<Egress>,
    /// Roots trusted for upstreams beside the public ones, and those the document names.
    pub upstream_roots: Vec<Vec<u8>>,
    pub limits: Limits,
    pub connections: reactor::Limits,
    pub internal_names: InternalNames,
}

/// A proxy of this run's own, ready to listen.
pub(super) struct Standalone {
    pub(super) service: Arc<Ingress>,
    pub(super) credential: Secret,
    pub(super) vault: String,
    pub(super) ca_pem: Vec<u8>,
    /// Variables the child finds in place of credentials.
    pub(super) placeholders: Vec<(String, String)>,
    pub(super) keeper: Keeper,
}

/// Reads the document, takes the credentials and builds the proxy.
pub(super) fn open(settings: &Settings, host: &mut Host) -> Result<Standalone, Failure> {
    let source = settings.source.clone().fixed();
    let internal = settings.internal_names;
    let config = Seen::config(&source);
    let document = {
        let source = source.clone();
        // What the path leads to may never end; a signal ends the wait.
        interruptible(host, move || source.read(internal))?.map_err(|unusable| unusable.failure())?
    };
    // Only a relative path needs it, and that will not be found.
    let base = std::env::current_dir().unwrap_or_default();
    let key = settings.key.as_ref().map(parse_key).transpose()?;
    let mut places = Places::new(base, key);
    let taken = places.take(&document, &mut host.environment);
    for name in OURS {
        drop(take_variable(&mut host.environment, name));
    }
    let wiped: Vec<&str> = taken.iter().map(|(name, _)| name.as_str()).chain(OURS).collect();
    // The thread that read the document has ended: nobody else reads the block.
    environ::overwrite(&wiped);
    let seen = Seen::all(config, &places, &document);
    let values = places.open(&document).map_err(|missing| source.unusable(missing).failure())?;

    let credential = front::fresh_credential()?;
    let rules = Rules::new(credential.clone(), &document.vault, InForce::new(&document, &values));
    let rules = Arc::new(rules);
    let root = Root::generate_for(&document.names(), SystemTime::now()).map_err(|error| no_proxy(&error))?;
    let leaves = Arc::new(Leaves::new(root, None).map_err(|error| no_proxy(&error))?);
    let answering = Arc::clone(&rules);
    let (admission, lent) = (Admission::default(), credential.clone());
    let proxy = Proxy::new(
        Arc::<Rules>::clone(&rules),
        Acceptor::new(Arc::clone(&leaves)).map_err(|error| no_proxy(&error))?,
        outward(settings, &document, &places)?,
        settings.limits,
        None,
    )
    .with_clients(Clients::OfOneRun)
    .with_own_answers(Box::new(move |head| answering.answer(head)))
    .with_lent_credentials(Box::new(move |client| admission.admits(client).then(|| lent.clone())));
    let proxy = Arc::new(proxy);
    let keeper = Keeper {
        source,
        internal,
        places,
        rules,
        proxy: Arc::clone(&proxy),
        leaves: Arc::clone(&leaves),
        document,
        replace_ca: None,
        changes: None,
        seen,
    };
    let keys = keeper.document.keys().into_iter().map(|key| (key.to_owned(), placeholder(key)));
    let placeholders = taken.into_iter().map(|(name, key)| (name, placeholder(&key))).chain(keys).collect();
    Ok(Standalone {
        service: Arc::new(Ingress(proxy)),
        credential,
        vault: keeper.document.vault.clone(),
        ca_pem: leaves.root_pem().as_bytes().to_vec(),
        placeholders,
        keeper,
    })
}

/// Reads the key of sealed values.
pub fn parse_key(text: &Secret) -> Result<Key, Failure> {
    Key::parse(text)
        .ok_or_else(|| Failure::new("AGENT_VAULT_KEY is not a key").with_hint("agent-vault keygen makes one"))
}

/// The way to upstreams.
fn outward(settings: &Settings, document: &Document, places: &Places) -> Result<Outward, Failure> {
    let mut roots = settings.upstream_roots.clone();
    if let Some(path) = &document.upstream_ca {
        let read = read_bytes(&places.path(path), MAX_ROOTS_BYTES);
        roots.push(read.map_err(|error| {
            let what = format!("cannot read {}: {error}", path.display());
            settings.source.unusable(vec![Problem::new("upstream_ca", what)]).failure()
        })?);
    }
    let connector = Connector::new(&roots).map_err(|error| Failure::new(format!("upstream CA: {error}")))?;
    let guard = settings.guard.clone().also_allowing(&document.network_allowlist);
    Ok(Outward { guard, connector, egress: settings.egress.clone() })
}

fn no_proxy(error: &tls::Error) -> Failure {
    Failure::new(format!("cannot start the proxy: {error}"))
}
