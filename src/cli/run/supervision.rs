//! The flags of `run` that say how the command is looked after, each with its variable.

use std::str::FromStr;

use super::{Args, World, duration, is_set};
use crate::entry::supervision::{ExitCodes, JobMode, Rewrites, SignalMode, Supervision};
use crate::failure::Failure;
use crate::sys::rights::{Capabilities, Privileges, Rights, User};
use crate::sys::signals::Signal;

pub(super) fn read(world: &World<'_>, args: &mut Args) -> Result<Supervision, Failure> {
    let stop_timeout = match args.value("--stop-timeout")? {
        Some(text) => Some(text),
        None => world.var("AGENT_VAULT_STOP_TIMEOUT"),
    };
    let mut given = Given { world, args };
    let signal_mode = given.one::<SignalMode>("--signal-mode", "AGENT_VAULT_SIGNAL_MODE")?;
    let job_mode = given.one::<JobMode>("--job-mode", "AGENT_VAULT_JOB_MODE")?.unwrap_or_default();
    if job_mode == JobMode::Shared && signal_mode == Some(SignalMode::Group) {
        return Err(Failure::usage("--signal-mode group and --job-mode shared exclude each other")
            .with_hint(
                "a shared process group holds agent-vault itself, so signals can go to the child alone",
            ));
    }
    Ok(Supervision {
        stop_timeout: duration("--stop-timeout", stop_timeout)?,
        job_mode,
        signal_mode,
        reloads_on_hup: given.is_set("--reload-on-hup", "AGENT_VAULT_RELOAD_ON_HUP")?,
        rewrites: given.list::<Rewrites>("--rewrite", "AGENT_VAULT_REWRITE")?,
        exit_codes: given.list::<ExitCodes>("--exit-code-map", "AGENT_VAULT_EXIT_CODE_MAP")?,
        kill_with_parent: given
            .one::<Named>("--kill-with-parent", "AGENT_VAULT_KILL_WITH_PARENT")?
            .map(|Named(signal)| signal),
        rights: rights(&mut given)?,
    })
}

/// A child that was made less must not become more again, or taking it away would promise nothing.
fn rights(given: &mut Given<'_, '_>) -> Result<Rights, Failure> {
    let user = given.one::<Numbers>("--user", "AGENT_VAULT_USER")?.map(|Numbers(user)| user);
    let drops = given.is_set("--drop-capabilities", "AGENT_VAULT_DROP_CAPABILITIES")?;
    let gains_nothing = given.is_set("--no-new-privs", "AGENT_VAULT_NO_NEW_PRIVS")?;
    Ok(Rights {
        user,
        capabilities: if drops { Capabilities::Dropped } else { Capabilities::AsInherited },
        privileges: if gains_nothing || drops || user.is_some() {
            Privileges::NeverGained
        } else {
            Privileges::Gained
        },
    })
}

/// What the line and the environment say; the line wins.
struct Given<'g, 'w> {
    world: &'g World<'w>,
    args: &'g mut Args,
}

impl Given<'_, '_> {
    fn is_set(&mut self, flag: &'static str, twin: &str) -> Result<bool, Failure> {
        Ok(self.args.flag(flag) || is_set(self.world, twin)?)
    }

    fn one<T: FromStr<Err = &'static str>>(
        &mut self,
        flag: &'static str,
        twin: &str,
    ) -> Result<Option<T>, Failure> {
        match self.args.value(flag)? {
            Some(text) => parse(&text, &format!("{flag:?} flag")).map(Some),
            None => self.world.var(twin).map(|text| parse(&text, twin)).transpose(),
        }
    }

    /// A list whose flag may also be repeated.
    fn list<T: FromStr<Err = &'static str> + Default>(
        &mut self,
        flag: &'static str,
        twin: &str,
    ) -> Result<T, Failure> {
        let lists = self.args.values(flag)?;
        if lists.is_empty() {
            return Ok(self.world.var(twin).map(|text| parse(&text, twin)).transpose()?.unwrap_or_default());
        }
        parse(&lists.join(","), &format!("{flag:?} flag"))
    }
}

fn parse<T: FromStr<Err = &'static str>>(text: &str, place: &str) -> Result<T, Failure> {
    text.parse().map_err(|wanted| Failure::usage(format!("invalid argument {text:?} for {place}: {wanted}")))
}

/// A signal as an operator names it.
struct Named(Signal);

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|()| "a signal, as in TERM, 15 or RTMIN+3")
    }
}

/// A user by numbers: an image need not have a list of names. The group is the user's own number unless
/// said, never root's.
struct Numbers(User);

impl FromStr for Numbers {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The highest number stands for "unchanged" in the system's calls.
        let number = |text: &str| {
            let is_number = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|&number| is_number && number != u32::MAX)
        };
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        match (number(user), number(group)) {
            (Some(user), Some(group)) => Ok(Self(User { user, group })),
            _ => Err("numbers as UID[:GID]; names are not looked up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::*;

    fn given(line: &[&str], vars: &[(&str, &str)]) -> Result<Supervision, String> {
        let var =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut args = Args::new(line.iter().map(OsString::from).collect());
        read(&World::new(&var), &mut args).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn every_flag_has_its_variable_and_wins_over_it() {
        let vars = [
            ("AGENT_VAULT_STOP_TIMEOUT", "5s"),
            ("AGENT_VAULT_SIGNAL_MODE", "child"),
            ("AGENT_VAULT_JOB_MODE", "session"),
            ("AGENT_VAULT_REWRITE", "15:3"),
            ("AGENT_VAULT_EXIT_CODE_MAP", "143:0"),
            ("AGENT_VAULT_KILL_WITH_PARENT", "TERM"),
            ("AGENT_VAULT_USER", "1000"),
        ];
        let found = given(&[], &vars).unwrap();
        assert_eq!(found.stop_timeout, Some(Duration::from_secs(5)));
        assert_eq!(found.signal_mode, Some(SignalMode::Child));
        assert_eq!(found.job_mode, JobMode::Session);
        assert_eq!(found.rewrites, "TERM:QUIT".parse().unwrap());
        assert_eq!(found.exit_codes, "143:0".parse().unwrap());
        assert_eq!(found.kill_with_parent, Some(Signal::TERM));
        assert_eq!(found.rights.user, Some(User { user: 1000, group: 1000 }));
        let line = [
            "--signal-mode=group",
            "--job-mode",
            "group",
            "--rewrite",
            "1:2",
            "--rewrite=2:1",
            "--exit-code-map=1:0",
            "--kill-with-parent=9",
            "--user=1:2",
        ];
        let found = given(&line, &vars).unwrap();
        assert_eq!(found.signal_mode, Some(SignalMode::Group));
        assert_eq!(found.job_mode, JobMode::Group);
        assert_eq!(found.rewrites, "1:2,2:1".parse().unwrap());
        assert_eq!(found.exit_codes, "1:0".parse().unwrap());
        assert_eq!(found.kill_with_parent, Some(Signal::KILL));
        assert_eq!(found.rights.user, Some(User { user: 1, group: 2 }));
    }

    #[test]
    fn what_was_taken_away_does_not_come_back() {
        let privileges = |line: &[&str], vars: &[(&str, &str)]| given(line, vars).unwrap().rights.privileges;
        assert_eq!(privileges(&[], &[]), Privileges::Gained);
        for flag in ["--no-new-privs", "--drop-capabilities", "--user=5"] {
            assert_eq!(privileges(&[flag], &[]), Privileges::NeverGained, "{flag}");
        }
        for twin in ["AGENT_VAULT_NO_NEW_PRIVS", "AGENT_VAULT_DROP_CAPABILITIES"] {
            assert_eq!(privileges(&[], &[(twin, "true")]), Privileges::NeverGained, "{twin}");
        }
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        let refused = |line: &[&str]| given(line, &[]).err().unwrap_or_default();
        assert_eq!(
            refused(&["--job-mode=shared", "--signal-mode=group"]),
            "--signal-mode group and --job-mode shared exclude each other"
        );
        assert_eq!(
            refused(&["--user=app"]),
            "invalid argument \"app\" for \"--user\" flag: numbers as UID[:GID]; names are not looked up"
        );
        for line in ["--user=1:", "--user=4294967295", "--signal-mode=all", "--job-mode=tty", "--rewrite=15"]
        {
            assert!(refused(&[line]).starts_with("invalid argument "), "{line}");
        }
        let variable = given(&[], &[("AGENT_VAULT_KILL_WITH_PARENT", "dad")]).err();
        let text =
            "invalid argument \"dad\" for AGENT_VAULT_KILL_WITH_PARENT: a signal, as in TERM, 15 or RTMIN+3";
        assert_eq!(variable.as_deref(), Some(text));
    }
}
