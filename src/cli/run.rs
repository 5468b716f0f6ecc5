//! `agent-vault run`: flags and variables in, an [`entry::Plan`] out.
//!
//! Everything that can be contradicted is contradicted here, before any I/O. Each flag has an
//! `AGENT_VAULT_…` twin, since task definitions speak in variables; a flag wins over its twin. The token
//! has no flag: anyone may read a command line.

mod isolation;
pub(super) mod standalone;
mod supervision;
mod surroundings;
mod telling;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::duration::duration;
use super::{Args, World};
use crate::client::ProxyVars;
use crate::entry::mode::{Asked, Mode};
use crate::entry::preflight::Reach;
use crate::entry::{self, Attacher, BrokerPlan, Plan, Way};
use crate::failure::{Exit, Failure};
use isolation::Isolation;
use telling::Telling;

/// Long enough for a broker's restart, short enough for whoever asks while it is away for longer.
const RETRY: Duration = Duration::from_secs(2);

/// Plans and carries out a run. A failure of ours is told apart from the child's by its exit code.
pub(super) fn run(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    plan(world, args).and_then(|plan| entry::run(&plan)).map_err(entry::own_exit)
}

/// What `run --help` says beyond the usage line.
pub(super) const USAGE: &str = "[flags] -- <command> [args…]

Flags, each with a variable of the same meaning:
  --config FILE         attach credentials here, without a broker, by this document (AGENT_VAULT_CONFIG, which may
                        also hold the document itself)
  --upstream-ca FILE    with a document: roots trusted for upstreams beside the public ones
                        (AGENT_VAULT_UPSTREAM_CA)
  --vault NAME          vault to use (AGENT_VAULT_VAULT)
  --address URL         broker (AGENT_VAULT_ADDR)
  --ttl SECONDS         life of the token minted for a logged-in person
  --wait 30s            wait for a broker that is still starting (AGENT_VAULT_WAIT)
  --retry 2s            wait this long for a broker that goes away later, with what was not sent yet; 0s answers
                        at once (AGENT_VAULT_RETRY)
  --broker-ca FILE      trust this CA for an https broker (AGENT_VAULT_BROKER_CA)
  --ca-dir DIR          where the CA files go (AGENT_VAULT_CA_DIR)
  --no-proxy HOSTS      hosts to reach directly beside those of NO_PROXY and of the platform,
                        comma-separated (AGENT_VAULT_NO_PROXY)
  --no-placeholders     set no variables for credential keys that the environment lacks
                        (AGENT_VAULT_NO_PLACEHOLDERS)
  --env-only            show what the command would find in its environment, secrets hidden, and do not start it
  --json                with --env-only, and of doctor: as JSON
  --log-level LEVEL     error, warn, info or debug (AGENT_VAULT_LOG_LEVEL)
  --quiet               say nothing but errors (AGENT_VAULT_QUIET)
  --stop-timeout 10s    kill the command this long after it was asked to stop (AGENT_VAULT_STOP_TIMEOUT)
  --signal-mode MODE    pass signals to the command's process group or to the child alone: group, child
                        (AGENT_VAULT_SIGNAL_MODE)
  --job-mode MODE       start it in a process group or session of its own, or in ours: auto, group, session,
                        shared (AGENT_VAULT_JOB_MODE)
  --rewrite 15:3        pass a signal on as another, or as 0 not at all (AGENT_VAULT_REWRITE)
  --reload-on-hup       at SIGHUP also read the token file again; the command gets the signal all the same
                        (AGENT_VAULT_RELOAD_ON_HUP)
  --exit-code-map 143:0
                        end with another code than the command's (AGENT_VAULT_EXIT_CODE_MAP)
  --kill-with-parent SIGNAL
                        be sent this signal when our parent ends (AGENT_VAULT_KILL_WITH_PARENT)
  --user UID[:GID]      run the command as another user, without supplementary groups (AGENT_VAULT_USER)
  --drop-capabilities   run it without capabilities (AGENT_VAULT_DROP_CAPABILITIES)
  --no-new-privs        let it gain none from set-user-ID files; implied by the two above
                        (AGENT_VAULT_NO_NEW_PRIVS)
  --direct              replace this process with the command, which then holds the real token (AGENT_VAULT_DIRECT)
  --isolation MODE      host (AGENT_VAULT_ISOLATION)
  --image REF, --mount SRC:DST[:ro|rw], --keep, --no-firewall, --home-volume-shared, --share-agent-dir
                        with --isolation=container only

The token comes from AGENT_VAULT_TOKEN or, as a file, AGENT_VAULT_TOKEN_FILE.
AGENT_VAULT_LOG_FORMAT=json makes each line on stderr an object.";

fn plan(world: &World<'_>, args: Args) -> Result<Plan, Failure> {
    let (flags, behind) = split_at_dashes(args.into_rest());
    isolation::refuse_empty(&flags)?;
    let plan = read(world, Args::new(flags), behind)?;
    if plan.command.is_empty() && plan.show.is_none() {
        return Err(Failure::usage("requires at least 1 arg(s), only received 0")
            .with_hint("agent-vault run [flags] -- <command> [args…]"));
    }
    Ok(plan)
}

/// Reads flags and variables, and the command, if there is one; `behind` is what follows `--`.
pub(super) fn read(world: &World<'_>, mut args: Args, behind: Vec<OsString>) -> Result<Plan, Failure> {
    let mut read = |flag: &'static str, twin: &str| Ok(args.value(flag)?.or_else(|| world.var(twin)));
    let broker_ca = read("--broker-ca", "AGENT_VAULT_BROKER_CA")?;
    let wait = read("--wait", "AGENT_VAULT_WAIT")?;
    let retry = read("--retry", "AGENT_VAULT_RETRY")?;
    let telling = Telling::read(world, &mut args)?;
    let surroundings = surroundings::read(world, &mut args)?;
    let supervision = supervision::read(world, &mut args)?;
    let upstream_ca = args.value("--upstream-ca")?;
    let document = args.value("--config")?;
    let asked = Asked {
        vault: args.value("--vault")?,
        address: args.value("--address")?,
        ttl_seconds: args.number("--ttl")?,
    };
    let is_direct = args.flag("--direct") || is_set(world, "AGENT_VAULT_DIRECT")?;
    let isolation = Isolation::read(&mut args)?;
    let mut command = words(args)?;
    command.extend(behind);
    isolation.check(world)?;
    telling.set_up();
    if let Some(flag) = supervision.needs_us().filter(|_| is_direct) {
        return Err(Failure::usage(format!(
            "{flag} has no effect with --direct: no process of ours stays beside the command"
        ))
        .with_hint(format!("leave out --direct or {flag}; each may also come from its variable")));
    }
    let attacher = match standalone::chosen(world, document)? {
        Some(chosen) => {
            let useless = [
                ("--vault", asked.vault.is_some()),
                ("--address", asked.address.is_some()),
                ("--ttl", asked.ttl_seconds.is_some()),
                ("--direct", is_direct),
            ];
            Attacher::Standalone(Box::new(chosen.settings(world, upstream_ca.as_deref(), &useless)?))
        }
        None if upstream_ca.is_some() => {
            return Err(Failure::usage(
                "--upstream-ca has no effect without --config: the broker dials upstreams",
            ));
        }
        None => Attacher::Broker(Box::new(BrokerPlan {
            mode: Mode::choose(asked, |name| world.var(name))?,
            reach: Reach {
                broker_ca: None,
                proxy: ProxyVars::read(|name| world.var(name)),
                wait: duration("--wait", wait)?.unwrap_or_default(),
                retry: duration("--retry", retry)?.unwrap_or(RETRY),
            },
            broker_ca: broker_ca.map(PathBuf::from),
            way: if is_direct { Way::Direct } else { Way::Relay },
        })),
    };
    Ok(Plan {
        command,
        attacher,
        show: telling.show,
        surroundings,
        supervision,
        health_name: world.var("AGENT_VAULT_HEALTH_NAME"),
    })
}

/// Flags and first words, and what stands behind `--` verbatim.
pub(super) fn split_at_dashes(mut line: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    match line.iter().position(|arg| arg == "--") {
        Some(at) => {
            let behind = line.split_off(at + 1);
            line.pop();
            (line, behind)
        }
        None => (line, Vec::new()),
    }
}

/// The words in front of `--`; a dashed one that no flag took is unknown.
fn words(mut args: Args) -> Result<Vec<OsString>, Failure> {
    let mut words = Vec::new();
    while let Some(word) = args.opt_word()? {
        words.push(word.into());
    }
    Ok(words)
}

fn is_set(world: &World<'_>, name: &str) -> Result<bool, Failure> {
    match world.var(name).as_deref() {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some(other) => Err(Failure::usage(format!("{name}: {other:?} is neither true nor false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: [(&str, &str); 3] =
        [("AGENT_VAULT_TOKEN", "t"), ("AGENT_VAULT_ADDR", "http://h:1"), ("AGENT_VAULT_VAULT", "v")];

    fn planned(line: &[&str], vars: &[(&str, &str)]) -> Result<Plan, String> {
        let var = |name: &str| {
            vars.iter().chain(&AGENT).find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let args = Args::new(line.iter().map(OsString::from).collect());
        plan(&World::new(&var), args).map_err(|failure| failure.message().to_owned())
    }

    fn broker(plan: &Plan) -> &BrokerPlan {
        match &plan.attacher {
            Attacher::Broker(broker) => broker,
            Attacher::Standalone(settings) => panic!("a run without a broker: {settings:?}"),
        }
    }

    fn refusal(line: &[&str], vars: &[(&str, &str)]) -> String {
        planned(line, vars).err().unwrap_or_default()
    }

    #[test]
    fn the_command_is_what_follows_verbatim() {
        let command = |line: &[&str]| planned(line, &[]).unwrap().command;
        assert_eq!(command(&["--", "x", "--foo", "--", "-h"]), ["x", "--foo", "--", "-h"]);
        assert_eq!(command(&["--direct", "claude", "a"]), ["claude", "a"]);
        assert_eq!(command(&["claude", "--", "--foo"]), ["claude", "--foo"]);
    }

    #[test]
    fn what_is_missing_or_unknown_is_refused_in_the_contracts_words() {
        assert_eq!(refusal(&[], &[]), "requires at least 1 arg(s), only received 0");
        assert_eq!(refusal(&["--foo", "--", "x"], &[]), "unknown flag: --foo");
        assert_eq!(refusal(&["claude", "--foo"], &[]), "unknown flag: --foo");
        assert_eq!(refusal(&["--token", "t", "--", "x"], &[]), "unknown flag: --token");
    }

    fn direct(hosts: &str) -> entry::Bypass {
        entry::Bypass::read(Some(hosts), |_| None).unwrap()
    }

    #[test]
    fn every_flag_has_its_variable_and_wins_over_it() {
        let vars = [
            ("AGENT_VAULT_CA_DIR", "/var"),
            ("AGENT_VAULT_BROKER_CA", "/ca"),
            ("AGENT_VAULT_NO_PROXY", "a, b,"),
            ("AGENT_VAULT_WAIT", "2m"),
            ("AGENT_VAULT_RETRY", "5s"),
            ("AGENT_VAULT_DIRECT", "true"),
            ("AGENT_VAULT_NO_PLACEHOLDERS", "1"),
        ];
        let plan = planned(&["--", "x"], &vars).unwrap();
        assert_eq!(plan.surroundings.ca_dir, Some("/var".into()));
        assert_eq!(broker(&plan).broker_ca, Some("/ca".into()));
        assert_eq!(plan.surroundings.bypass, direct("a,b"));
        assert_eq!(broker(&plan).reach.wait, Duration::from_secs(120));
        assert_eq!(broker(&plan).reach.retry, Duration::from_secs(5));
        assert_eq!(broker(&plan).way, Way::Direct);
        assert_eq!(plan.surroundings.placeholders, entry::Placeholders::KeptOut);
        let line = ["--ca-dir=/flag", "--wait", "1h", "--no-proxy=c", "--", "x"];
        let plan = planned(&line, &vars).unwrap();
        assert_eq!(plan.surroundings.ca_dir, Some("/flag".into()));
        assert_eq!(broker(&plan).reach.wait, Duration::from_secs(3600));
        assert_eq!(plan.surroundings.bypass, direct("c"));
    }

    #[test]
    fn showing_the_environment_needs_no_command() {
        assert!(planned(&["--env-only"], &[]).unwrap().show.is_some());
        assert!(planned(&["--env-only", "--json", "--", "x"], &[]).unwrap().show.is_some());
        assert!(planned(&["--", "x"], &[]).unwrap().show.is_none());
        assert_eq!(refusal(&["--json", "--", "x"], &[]), "--json means something with --env-only alone");
        assert_eq!(
            refusal(&["--log-level=loud", "--", "x"], &[]),
            "--log-level: \"loud\" is none of error, warn, info, debug"
        );
    }

    #[test]
    fn what_takes_a_process_beside_the_command_is_refused_without_one() {
        for (flag, value, twin) in [
            ("--stop-timeout", "10s", "AGENT_VAULT_STOP_TIMEOUT"),
            ("--job-mode", "session", "AGENT_VAULT_JOB_MODE"),
            ("--signal-mode", "child", "AGENT_VAULT_SIGNAL_MODE"),
            ("--rewrite", "15:3", "AGENT_VAULT_REWRITE"),
            ("--exit-code-map", "143:0", "AGENT_VAULT_EXIT_CODE_MAP"),
        ] {
            let told =
                format!("{flag} has no effect with --direct: no process of ours stays beside the command");
            assert_eq!(refusal(&[flag, value, "--direct", "--", "x"], &[]), told);
            let vars = [(twin, value), ("AGENT_VAULT_DIRECT", "1")];
            assert_eq!(refusal(&["--", "x"], &vars), told);
            assert!(planned(&[flag, value, "--", "x"], &[]).is_ok(), "{flag}");
        }
        assert!(refusal(&["--reload-on-hup", "--direct", "--", "x"], &[]).starts_with("--reload-on-hup "));
        let kept =
            ["--kill-with-parent=TERM", "--drop-capabilities", "--no-new-privs", "--direct", "--", "x"];
        assert!(planned(&kept, &[]).is_ok());
    }

    #[test]
    fn a_duration_has_a_unit() {
        assert!(refusal(&["--wait", "30", "--", "x"], &[]).contains("--wait"));
    }
}
