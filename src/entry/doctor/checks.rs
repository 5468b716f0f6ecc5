//! What the facts mean: one check for each question a person has when an app does not get its credentials.

use super::clients::Trusts;
use super::facts::{Facts, Found, ProcessFacts, TokenFrom};
use super::{Finding, Verdict, platform};

/// `CAP_SYS_PTRACE`: reads any process's memory, whatever that process says.
const SYS_PTRACE: u64 = 1 << 19;

type Check = fn(&Facts) -> Finding;

/// Each check by its name, in the order a run would fail.
const CHECKS: [(&str, Check); 10] = [
    ("command", command),
    ("token", token),
    ("rules", attacher),
    ("proxy", proxy),
    ("ca", ca),
    ("clients", clients),
    ("direct", direct),
    ("role", role),
    ("memory", memory),
    ("stop", stop),
];

pub(super) fn all(facts: &Facts) -> Vec<(&'static str, Finding)> {
    CHECKS.map(|(name, check)| (name, check(facts))).into()
}

fn command(facts: &Facts) -> Finding {
    match &facts.command {
        None => Finding::note("none given").with_hint("agent-vault doctor -- <command> looks it up, too"),
        Some(Ok(file)) => Finding::well(file.display().to_string()),
        Some(Err(failure)) => failure.into(),
    }
}

fn token(facts: &Facts) -> Finding {
    match &facts.token {
        TokenFrom::Variable => Finding::well("in AGENT_VAULT_TOKEN, which the command does not get"),
        TokenFrom::Nowhere => Finding::well("none needed: the credentials are attached here"),
        TokenFrom::Login => Finding::well("minted with the login of this user"),
        TokenFrom::File { path, is_open_to_child: false } => {
            Finding::well(format!("in {}, which the command cannot read", path.display()))
        }
        TokenFrom::File { path, is_open_to_child: true } => {
            Finding::note(format!("in {}, which the command can read as well", path.display())).with_hint(
                "keep the file to the user agent-vault runs as, and run the command as another with --user",
            )
        }
    }
}

fn attacher(facts: &Facts) -> Finding {
    match &facts.attacher {
        Err(failure) => failure.into(),
        Ok(Found { broker: Some(address), vault, keys, .. }) => Finding::well(format!(
            "{address} accepts the token for vault {vault:?} and names {keys} credential keys"
        )),
        Ok(Found { broker: None, vault, keys, .. }) => Finding::well(format!(
            "the document of vault {vault:?} is in order and has {keys} credential keys"
        )),
    }
}

fn proxy(facts: &Facts) -> Finding {
    match &facts.attacher {
        Err(_) => Finding::note("unknown until that is put right"),
        Ok(Found { proxy: None, .. }) => Finding::well("of our own, on 127.0.0.1"),
        Ok(Found { proxy: Some((proxy, Ok(()))), .. }) => Finding::well(format!("{proxy} takes connections")),
        Ok(Found { proxy: Some((proxy, Err(error))), .. }) => {
            Finding::new(Verdict::Wrong, format!("{proxy} cannot be reached: {error}"))
                .with_hint("publish the proxy's port (14322) of the broker beside that of its API (14321)")
        }
    }
}

fn ca(facts: &Facts) -> Finding {
    match &facts.ca_place {
        Ok(dir) => Finding::well(format!("can be written below {}", dir.parent().unwrap_or(dir).display())),
        Err(failure) => failure.into(),
    }
}

fn clients(facts: &Facts) -> Finding {
    let (mut told, mut untold) = (Vec::new(), Vec::new());
    for client in &facts.clients {
        match client.trusts {
            Trusts::By(variable) => told.push(format!("{} ({variable})", client.program)),
            Trusts::Not(remedy) => untold.push(format!("{}: {remedy}", client.program)),
        }
    }
    let known = if told.is_empty() {
        "none on PATH; what reads SSL_CERT_FILE, as Go programs do, trusts the CA".to_owned()
    } else {
        format!("the CA is trusted by {}", told.join(", "))
    };
    if untold.is_empty() {
        Finding::well(known)
    } else {
        Finding::note(known).with_hint(format!("some have no variable for it: {}", untold.join("; ")))
    }
}

fn direct(facts: &Facts) -> Finding {
    let known = match facts.platforms.as_slice() {
        [] => "no platform known by its variables".to_owned(),
        names => names.join(", "),
    };
    Finding::well(format!("{} ({known})", facts.direct.join(",")))
}

fn role(facts: &Facts) -> Finding {
    if facts.roles.is_empty() {
        return Finding::well("no endpoint for credentials of a task or machine can be reached");
    }
    let is_direct = facts.roles.iter().any(|address| {
        facts.direct.iter().any(|host| address.rsplit_once(':').is_some_and(|(known, _)| known == host))
    });
    let through = if is_direct { ", and NO_PROXY names it" } else { ", past the proxy" };
    Finding::note(format!(
        "the command can take the credentials of its task or machine at {}{through}",
        facts.roles.join(", ")
    ))
    .with_hint("give the role no more than the app may do by itself")
}

fn memory(facts: &Facts) -> Finding {
    if facts.is_direct {
        return Finding::note("--direct: the command itself holds the broker's token");
    }
    let process = &facts.process;
    if holds_ptrace(process) {
        return Finding::new(Verdict::Wrong, "the command would hold CAP_SYS_PTRACE and could read ours")
            .with_hint(
                "run it with --drop-capabilities or as --user UID, or take the capability from the container",
            );
    }
    let mut text = "ours is closed to the command: not dumpable, no CAP_SYS_PTRACE".to_owned();
    if process.child_user != process.user {
        text.push_str(&format!(", and it runs as user {}", process.child_user));
    }
    if let Some(scope) = process.ptrace_scope {
        text.push_str(&format!("; yama ptrace_scope {scope}"));
    }
    Finding::well(text)
}

/// Whether the child could trace any process. Root regains at exec whatever the bounding set allows.
fn holds_ptrace(process: &ProcessFacts) -> bool {
    if process.drops_capabilities {
        return false;
    }
    let set = match process.child_user {
        0 => process.bounding,
        user if user == process.user => process.effective,
        // Changing the user empties the sets.
        _ => 0,
    };
    set & SYS_PTRACE != 0
}

fn stop(facts: &Facts) -> Finding {
    let stop = platform::stop(&facts.platforms);
    let grace = stop.grace.as_secs();
    let first = if facts.process.is_init { "process 1 here" } else { "not process 1 here" };
    let text = format!(
        "{first}; {} asks with {} and kills {grace} s later ({}); the signal goes on to the command",
        stop.platform, stop.signal, stop.setting
    );
    match facts.stop_timeout {
        Some(timeout) if timeout >= stop.grace => Finding::note(text).with_hint(format!(
            "--stop-timeout is {} s: unless the platform's grace is longer than that, it kills first",
            timeout.as_secs()
        )),
        _ => Finding::well(text),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::Failure;

    fn facts() -> Facts {
        Facts {
            command: None,
            token: TokenFrom::Variable,
            attacher: Err(Failure::new("no broker").with_hint("find one")),
            is_direct: false,
            ca_place: Err(Failure::new("no place")),
            clients: Vec::new(),
            direct: vec!["localhost".to_owned()],
            platforms: Vec::new(),
            roles: Vec::new(),
            process: ProcessFacts {
                is_init: true,
                user: 1000,
                child_user: 1000,
                drops_capabilities: false,
                effective: 0,
                bounding: SYS_PTRACE,
                ptrace_scope: Some(1),
            },
            stop_timeout: None,
        }
    }

    #[test]
    fn a_failure_is_told_with_its_hint() {
        let finding = attacher(&facts());
        assert_eq!((finding.verdict, finding.text.as_str()), (Verdict::Wrong, "no broker"));
        assert_eq!(finding.hint.as_deref(), Some("find one"));
        assert_eq!(proxy(&facts()).verdict, Verdict::Note);
    }

    #[test]
    fn who_could_trace_us() {
        let cases = [
            // Our user, the child's user, dropped, effective, bounding; whether it could.
            (1000, 1000, false, 0, SYS_PTRACE, false),
            (1000, 1000, false, SYS_PTRACE, SYS_PTRACE, true),
            (0, 0, false, 0, SYS_PTRACE, true),
            (0, 0, false, 0, 0, false),
            (0, 0, true, SYS_PTRACE, SYS_PTRACE, false),
            (0, 65532, false, SYS_PTRACE, SYS_PTRACE, false),
        ];
        for (user, child_user, drops_capabilities, effective, bounding, could) in cases {
            let process =
                ProcessFacts { user, child_user, drops_capabilities, effective, bounding, ..facts().process };
            let expected = if could { Verdict::Wrong } else { Verdict::Well };
            assert_eq!(memory(&Facts { process, ..facts() }).verdict, expected, "{user} {child_user}");
        }
    }

    #[test]
    fn a_reachable_role_is_told() {
        let found = role(&Facts { roles: vec!["169.254.170.2:80"], ..facts() });
        assert_eq!(found.verdict, Verdict::Note);
        assert!(found.text.ends_with("169.254.170.2:80, past the proxy"), "{}", found.text);
        let direct = vec!["169.254.170.2".to_owned()];
        let found = role(&Facts { roles: vec!["169.254.170.2:80"], direct, ..facts() });
        assert!(found.text.ends_with("and NO_PROXY names it"), "{}", found.text);
    }

    #[test]
    fn each_platform_has_its_way_to_stop() {
        for (platforms, expected) in [
            (vec![], "a container runtime asks with SIGTERM and kills 10 s later"),
            (vec!["ECS"], "ECS asks with SIGTERM and kills 30 s later (stopTimeout)"),
            (vec!["EKS", "Kubernetes"], "Kubernetes asks with SIGTERM and kills 30 s later"),
            (vec!["Fly"], "Fly asks with SIGINT and kills 5 s later (kill_timeout)"),
            (vec!["Cloud Run"], "Cloud Run asks with SIGTERM and kills 10 s later"),
        ] {
            let found = stop(&Facts { platforms, ..facts() });
            assert!(found.verdict == Verdict::Well && found.text.contains(expected), "{}", found.text);
        }
        let late = Facts { stop_timeout: Some(Duration::from_secs(10)), ..facts() };
        assert_eq!(stop(&late).verdict, Verdict::Note);
        let early = Facts { stop_timeout: Some(Duration::from_secs(9)), ..facts() };
        assert_eq!(stop(&early).verdict, Verdict::Well);
    }
}
