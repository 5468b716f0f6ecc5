//! Settings of `agent-vault server`.

mod logs;
mod rates;

use std::path::PathBuf;

use super::Vars;
use super::proxy::{self, Bytes};
use crate::api::Watchers;
use crate::failure::Failure;
use crate::log::Level;
use crate::net::guard::{Cidr, Guard};
use crate::net::reactor;
use crate::proxy::{Egress, Limits};
use crate::rate::tiers::Policy;
use crate::secret::Secret;
use crate::store::retention;
use crate::vault::service::InternalNames;
pub use logs::RequestLines;

const DEFAULT_PORT: u16 = 14_321;
const DEFAULT_PROXY_PORT: u16 = 14_322;

/// Variables whose values are secrets: they are overwritten in the process's environment once read.
pub const SECRET_VARIABLES: &[&str] = &[
    "AGENT_VAULT_MASTER_PASSWORD",
    "AGENT_VAULT_OWNER_PASSWORD",
    "AGENT_VAULT_SMTP_PASSWORD",
    "AGENT_VAULT_UPSTREAM_PROXY",
];

/// Set by a server that detaches itself, for the one that stays (contract D.2).
pub const DETACHED: &str = "_AGENT_VAULT_DETACHED";

/// The command line's part, as typed.
#[derive(Debug, Default)]
pub struct Flags {
    pub host: Option<String>,
    pub port: Option<String>,
    pub mitm_port: Option<String>,
    pub data_dir: Option<String>,
    pub database_url: Option<String>,
    pub log_level: Option<String>,
    pub log_requests: Option<String>,
    pub metrics: Option<String>,
    pub max_request_bytes: Option<String>,
    pub max_response_bytes: Option<String>,
    pub owner_email: Option<String>,
    pub password_file: Option<String>,
    pub password_stdin: bool,
    pub upstream_ca: Option<String>,
}

/// Where the proxy listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyPort {
    /// Any free port.
    Auto,
    Off,
    Port(u16),
}

/// Where the master password comes from when a variable does not give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskFor {
    /// All that a server which detaches itself writes to the stdin of the one that stays.
    Parent,
    /// The first line of stdin; an empty one means none.
    Stdin,
    /// A person, if one is there.
    Terminal,
}

/// The account to make when there is none.
#[derive(Debug)]
pub struct Owner {
    pub email: String,
    pub password: Secret,
}

/// Everything the broker is told.
#[derive(Debug)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub proxy_port: ProxyPort,
    pub data_dir: PathBuf,
    pub master_password: Option<Secret>,
    pub ask_for: AskFor,
    pub owner: Option<Owner>,
    /// The public address the operator chose, without trailing slashes.
    pub base_url: Option<String>,
    pub log_level: Level,
    pub request_lines: RequestLines,
    pub retention: retention::Policy,
    pub watchers: Watchers,
    pub rates: Policy,
    pub limits: Limits,
    pub connections: reactor::Limits,
    pub guard: Guard,
    /// The site's own way out.
    pub egress: Option<Egress>,
    pub upstream_roots: Vec<Vec<u8>>,
    pub internal_names: InternalNames,
    pub trusted_proxies: Vec<Cidr>,
    pub health_name: Option<String>,
    /// Whether somebody expects e-mail of a broker that sends none.
    pub expects_mail: bool,
}

/// Reads and checks everything; the failure lists every problem.
pub fn read(flags: &Flags, var: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Failure> {
    let mut vars = Vars::new(var);
    let settings = gather(flags, &mut vars);
    vars.finish()?;
    Ok(settings)
}

/// Where the state is, for a command that needs nothing else.
pub fn data_dir_only(flags: &Flags, var: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, Failure> {
    let mut vars = Vars::new(var);
    let dir = data_dir(flags, &mut vars);
    vars.finish()?;
    Ok(dir)
}

fn gather(flags: &Flags, vars: &mut Vars<'_>) -> Settings {
    refuse_database_url(flags, vars);
    let connections = proxy::connections(vars);
    let bytes =
        Bytes { request: flags.max_request_bytes.as_deref(), response: flags.max_response_bytes.as_deref() };
    Settings {
        host: flags.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
        port: control_port(flags, vars),
        proxy_port: proxy_port(flags, vars),
        data_dir: data_dir(flags, vars),
        master_password: master_password(flags, vars),
        ask_for: ask_for(flags, vars),
        owner: owner(flags, vars),
        base_url: base_url(vars),
        log_level: proxy::log_level(flags.log_level.as_deref(), vars),
        request_lines: logs::lines(flags, vars),
        retention: logs::retention(vars),
        watchers: watchers(flags, vars),
        rates: rates::read(vars),
        limits: proxy::limits(&bytes, vars, connections.max_connections),
        connections,
        guard: proxy::guard(vars),
        egress: proxy::egress(vars),
        upstream_roots: proxy::upstream_roots(flags.upstream_ca.as_deref(), vars),
        internal_names: proxy::internal_names(vars),
        trusted_proxies: proxy::cidrs(vars, "AGENT_VAULT_TRUSTED_PROXIES"),
        health_name: vars.text("AGENT_VAULT_HEALTH_NAME"),
        expects_mail: vars.text("AGENT_VAULT_SMTP_HOST").is_some(),
    }
}

/// The password, unless it is asked for.
fn master_password(flags: &Flags, vars: &mut Vars<'_>) -> Option<Secret> {
    const NAME: &str = "AGENT_VAULT_MASTER_PASSWORD";
    let given = vars.secret(NAME);
    let Some(path) = &flags.password_file else { return given };
    if given.is_some() {
        vars.problem(format!("--password-file and {NAME} or {NAME}_FILE are both given"));
        return None;
    }
    vars.file(path, "--password-file").map(Secret::without_line_break)
}

fn ask_for(flags: &Flags, vars: &Vars<'_>) -> AskFor {
    if vars.text(DETACHED).is_some() {
        AskFor::Parent
    } else if flags.password_stdin {
        AskFor::Stdin
    } else {
        AskFor::Terminal
    }
}

/// State in another place than the operator named would look like lost state.
fn refuse_database_url(flags: &Flags, vars: &mut Vars<'_>) {
    if let Some((_, name)) = vars
        .source(flags.database_url.as_deref(), "--database-url", "DATABASE_URL")
        .filter(|(url, _)| !url.is_empty())
    {
        vars.problem(format!(
            "{name}: this build keeps its state in SQLite only; unset it and use --data-dir"
        ));
    }
}

fn control_port(flags: &Flags, vars: &mut Vars<'_>) -> u16 {
    let flag = vars.parsed(flags.port.as_deref(), "--port", "a port");
    // Platforms set PORT for whatever runs; an unusable value is theirs and not a setting of ours.
    flag.or_else(|| vars.text("PORT")?.parse().ok()).unwrap_or(DEFAULT_PORT)
}

fn proxy_port(flags: &Flags, vars: &mut Vars<'_>) -> ProxyPort {
    match flags.mitm_port.as_deref() {
        None => ProxyPort::Port(DEFAULT_PROXY_PORT),
        Some("auto") => ProxyPort::Auto,
        Some(text) if text.starts_with('-') && text[1..].parse::<u32>().is_ok() => ProxyPort::Off,
        Some(text) => match vars.parsed(Some(text), "--mitm-port", "a port, 0 for none, or auto") {
            Some(0) => ProxyPort::Off,
            Some(port) => ProxyPort::Port(port),
            None => ProxyPort::Off,
        },
    }
}

fn data_dir(flags: &Flags, vars: &mut Vars<'_>) -> PathBuf {
    if let Some((dir, _)) = vars.source(flags.data_dir.as_deref(), "--data-dir", "AGENT_VAULT_DATA_DIR") {
        return PathBuf::from(dir);
    }
    match vars.text("HOME") {
        Some(home) => PathBuf::from(home).join(".agent-vault"),
        None => {
            vars.problem(
                "HOME is not set: name a directory with --data-dir or AGENT_VAULT_DATA_DIR".to_owned(),
            );
            PathBuf::new()
        }
    }
}

fn owner(flags: &Flags, vars: &mut Vars<'_>) -> Option<Owner> {
    let source = vars.source(flags.owner_email.as_deref(), "--owner-email", "AGENT_VAULT_OWNER_EMAIL");
    let password = vars.secret("AGENT_VAULT_OWNER_PASSWORD");
    match (source, password) {
        (None, None) => None,
        (Some((email, _)), Some(password)) => Some(Owner { email, password }),
        (Some((_, name)), None) => {
            vars.problem(format!(
                "{name} needs AGENT_VAULT_OWNER_PASSWORD or AGENT_VAULT_OWNER_PASSWORD_FILE beside it"
            ));
            None
        }
        (None, Some(_)) => {
            vars.problem(
                "AGENT_VAULT_OWNER_PASSWORD needs AGENT_VAULT_OWNER_EMAIL or --owner-email beside it"
                    .to_owned(),
            );
            None
        }
    }
}

fn base_url(vars: &mut Vars<'_>) -> Option<String> {
    let chosen = vars
        .text("AGENT_VAULT_ADDR")
        .or_else(|| vars.text("FLY_APP_NAME").map(|app| format!("https://{app}.fly.dev")))?;
    let url = chosen.trim_end_matches('/').to_owned();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        vars.problem(format!("AGENT_VAULT_ADDR: {chosen:?} is not an http:// or https:// URL"));
    }
    Some(url)
}

fn watchers(flags: &Flags, vars: &mut Vars<'_>) -> Watchers {
    let source = vars.source(flags.metrics.as_deref(), "--metrics", "AGENT_VAULT_METRICS");
    match source.as_ref().map(|(text, name)| (text.as_str(), name)) {
        None | Some(("owner", _)) => Watchers::Owners,
        Some(("open", _)) => Watchers::Anyone,
        Some(("off", _)) => Watchers::Nobody,
        Some((text, name)) => {
            vars.problem(format!("{name}: {text:?} is none of owner, open, off"));
            Watchers::Nobody
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read_with(flags: &Flags, vars: &[(&str, &str)]) -> Result<Settings, String> {
        let var =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        read(flags, &var).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let settings = read_with(&Flags::default(), &[("HOME", "/data")]).unwrap();
        assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 14_321));
        assert_eq!(settings.proxy_port, ProxyPort::Port(14_322));
        assert_eq!(settings.data_dir, PathBuf::from("/data/.agent-vault"));
        assert_eq!(settings.limits.max_request_bytes, 1 << 30);
        assert_eq!(settings.limits.max_response_bytes, None);
        assert_eq!(settings.internal_names, InternalNames::Refused);
        assert!(
            settings.owner.is_none() && settings.master_password.is_none() && settings.base_url.is_none()
        );
    }

    #[test]
    fn flags_win_over_variables_and_a_bad_port_variable_is_ignored() {
        let flags =
            Flags { port: Some("1".to_owned()), log_level: Some("DEBUG".to_owned()), ..Flags::default() };
        let vars = [("HOME", "/"), ("PORT", "2"), ("AGENT_VAULT_LOG_LEVEL", "nonsense")];
        let settings = read_with(&flags, &vars).unwrap();
        assert_eq!((settings.port, settings.log_level), (1, Level::Debug));
        assert_eq!(read_with(&Flags::default(), &[("HOME", "/"), ("PORT", "2")]).unwrap().port, 2);
        assert_eq!(read_with(&Flags::default(), &[("HOME", "/"), ("PORT", "x")]).unwrap().port, 14_321);
    }

    #[test]
    fn the_proxy_port_may_be_off_or_automatic() {
        for (text, port) in [
            ("0", ProxyPort::Off),
            ("-1", ProxyPort::Off),
            ("auto", ProxyPort::Auto),
            ("9", ProxyPort::Port(9)),
        ] {
            let flags = Flags { mitm_port: Some(text.to_owned()), ..Flags::default() };
            assert_eq!(read_with(&flags, &[("HOME", "/")]).unwrap().proxy_port, port);
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_together() {
        let flags = Flags { mitm_port: Some("x".to_owned()), ..Flags::default() };
        let message = read_with(
            &flags,
            &[
                ("AGENT_VAULT_ADDR", "broker"),
                ("AGENT_VAULT_DEV_MODE", "perhaps"),
                ("AGENT_VAULT_NETWORK_ALLOWLIST", "10.0.0.0/8, 10.0.0.0/99"),
                ("AGENT_VAULT_OWNER_EMAIL", "a@b.c"),
                ("AGENT_VAULT_HOST_OVERRIDES", "a=b"),
                ("AGENT_VAULT_RATELIMIT_PROFILE", "fast"),
                ("AGENT_VAULT_RATELIMIT_AUTH_WINDOW", "soon"),
                ("AGENT_VAULT_RATELIMIT_AUTH_BURST", "1"),
                ("AGENT_VAULT_RATELIMIT_PROXY_RATE", "0"),
                ("AGENT_VAULT_RATELIMIT_PROXY_BURST", "1.5"),
                ("AGENT_VAULT_MAX_CONNECTIONS", "0"),
                ("AGENT_VAULT_MAX_CONNECTIONS_PER_ACTOR", "+1"),
                ("AGENT_VAULT_MAX_REQUEST_BYTES", "1k"),
                ("AGENT_VAULT_LOG_REQUESTS", "xml"),
                ("AGENT_VAULT_LOGS_MAX_AGE_HOURS", "-1"),
                ("AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT", "many"),
                ("DATABASE_URL", "postgres://x"),
            ],
        )
        .unwrap_err();
        for part in [
            "--mitm-port: \"x\" is not a port, 0 for none, or auto",
            "AGENT_VAULT_ADDR: \"broker\"",
            "AGENT_VAULT_DEV_MODE: \"perhaps\"",
            "AGENT_VAULT_NETWORK_ALLOWLIST: \"10.0.0.0/99\"",
            "AGENT_VAULT_OWNER_EMAIL needs",
            "AGENT_VAULT_HOST_OVERRIDES: \"a=b\"",
            "AGENT_VAULT_RATELIMIT_PROFILE: \"fast\"",
            "AGENT_VAULT_RATELIMIT_AUTH_WINDOW: \"soon\" is not a span",
            "AGENT_VAULT_RATELIMIT_AUTH_BURST: this tier has MAX and WINDOW only",
            "AGENT_VAULT_RATELIMIT_PROXY_RATE must be more than 0",
            "AGENT_VAULT_RATELIMIT_PROXY_BURST: \"1.5\" is not a number",
            "AGENT_VAULT_MAX_CONNECTIONS must be more than 0",
            "AGENT_VAULT_MAX_CONNECTIONS_PER_ACTOR: \"+1\" is not a number",
            "AGENT_VAULT_MAX_REQUEST_BYTES: \"1k\" is not a number of bytes",
            "AGENT_VAULT_LOG_REQUESTS: \"xml\" is neither json nor off",
            "AGENT_VAULT_LOGS_MAX_AGE_HOURS must be between 0",
            "AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT: \"many\" is not a number of rows",
            "DATABASE_URL: this build",
            "HOME is not set",
        ] {
            assert!(message.contains(part), "{part} is missing in:\n{message}");
        }
    }

    #[test]
    fn settings_do_not_show_secrets() {
        let vars = [("HOME", "/"), ("AGENT_VAULT_MASTER_PASSWORD", "hunter22")];
        let shown = format!("{:?}", read_with(&Flags::default(), &vars).unwrap());
        assert!(!shown.contains("hunter22"));
    }
}
