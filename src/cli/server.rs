//! `agent-vault server` and `server stop`.

use super::{Args, Flag, Verb, World, output};
use crate::config::server::{self as config, Flags};
use crate::failure::{Exit, Failure};
use crate::log;
use crate::server::{self, Detached};

pub(super) const VERBS: &[Verb] = &[
    Verb {
        words: &["server"],
        usage: USAGE,
        about: "Run the broker",
        flags: &[],
        example: "agent-vault server --data-dir /data",
        run,
    },
    Verb {
        words: &["server", "stop"],
        usage: "[flags]",
        about: "Stop the broker of this machine",
        flags: &[&[Flag("--data-dir DIR", "state (~/.agent-vault; AGENT_VAULT_DATA_DIR)")]],
        example: "agent-vault server stop",
        run: stop,
    },
];

const USAGE: &str = "[flags]

Flags:
  --host ADDRESS             where both ports listen (127.0.0.1)
  -p, --port PORT            control API (14321; 0 for any free one; PORT)
  --mitm-port PORT           proxy (14322; 0 for none, auto for any free one)
  --data-dir DIR             state (~/.agent-vault; AGENT_VAULT_DATA_DIR)
  -d, --detach               go on in the background, log to server.log in the data directory
  --password-file FILE       master password from a file (AGENT_VAULT_MASTER_PASSWORD_FILE)
  --password-stdin           master password from the first line of stdin; an empty line means none
  --owner-email EMAIL        owner account to make on the first start (AGENT_VAULT_OWNER_EMAIL), with
                             AGENT_VAULT_OWNER_PASSWORD or AGENT_VAULT_OWNER_PASSWORD_FILE
  --upstream-ca FILE         roots trusted for upstreams beside the public ones (AGENT_VAULT_UPSTREAM_CA)
  --max-request-bytes N      longest request body (1 GiB; AGENT_VAULT_MAX_REQUEST_BYTES)
  --max-response-bytes N     longest response body (0: no limit; AGENT_VAULT_MAX_RESPONSE_BYTES)
  --log-level LEVEL          info or debug (AGENT_VAULT_LOG_LEVEL)
  --log-requests json        each proxied request as a line of JSON on stderr, too (AGENT_VAULT_LOG_REQUESTS)
  --metrics WHO              who may read /metrics: owner, open or off (owner; AGENT_VAULT_METRICS)

The master password comes from AGENT_VAULT_MASTER_PASSWORD or, as a file, AGENT_VAULT_MASTER_PASSWORD_FILE.
AGENT_VAULT_LOG_FORMAT=json makes each line of the log an object.
AGENT_VAULT_ADDR names the public address. Limits of connections and rates are variables: docs/limits.md.";

/// Serves until it is asked to end.
fn run(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let detaches = args.flag(["-d", "--detach"]);
    let flags = Flags {
        host: args.value("--host")?,
        port: args.value(["-p", "--port"])?,
        mitm_port: args.value("--mitm-port")?,
        data_dir: args.value("--data-dir")?,
        database_url: args.value("--database-url")?,
        log_level: args.value("--log-level")?,
        log_requests: args.value("--log-requests")?,
        metrics: args.value("--metrics")?,
        max_request_bytes: args.value("--max-request-bytes")?,
        max_response_bytes: args.value("--max-response-bytes")?,
        owner_email: args.value("--owner-email")?,
        password_file: args.value("--password-file")?,
        password_stdin: args.flag("--password-stdin"),
        upstream_ca: args.value("--upstream-ca")?,
    };
    args.finish()?;
    log::set_format(world.log_format()?);
    let settings = config::read(&flags, &|name| world.var(name))?;
    if detaches {
        let Detached { pid, log } = server::detach(&settings, &kept(&flags))?;
        output::success(world, &format!("Server running (PID {pid}); log: {}", log.display()))?;
        return Ok(Exit::Success);
    }
    server::run(settings)?;
    Ok(Exit::Success)
}

/// What of the command line is for the server that stays. Passwords and the first owner are dealt with
/// before it is started, and a store elsewhere was refused.
fn kept(flags: &Flags) -> Vec<String> {
    let Flags {
        data_dir,
        database_url: _,
        host,
        port,
        mitm_port,
        log_level,
        log_requests,
        metrics,
        max_request_bytes,
        max_response_bytes,
        owner_email: _,
        password_file: _,
        password_stdin: _,
        upstream_ca,
    } = flags;
    let all = [
        ("--host", host),
        ("--port", port),
        ("--mitm-port", mitm_port),
        ("--data-dir", data_dir),
        ("--log-level", log_level),
        ("--log-requests", log_requests),
        ("--metrics", metrics),
        ("--max-request-bytes", max_request_bytes),
        ("--max-response-bytes", max_response_bytes),
        ("--upstream-ca", upstream_ca),
    ];
    let given = all.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    given.map(|(name, value)| format!("{name}={value}")).collect()
}

/// Stops the server of this data directory.
fn stop(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let flags = Flags { data_dir: args.value("--data-dir")?, ..Flags::default() };
    args.finish()?;
    server::stop(&config::data_dir_only(&flags, &|name| world.var(name))?)?;
    output::success(world, "Server stopped.")?;
    Ok(Exit::Success)
}
