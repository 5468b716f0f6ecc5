//! How platforms ask a container to end, as far as they are known by their variables.

use std::time::Duration;

/// The signal a platform sends first, and how long after it it kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) platform: &'static str,
    pub(super) signal: &'static str,
    pub(super) grace: Duration,
    /// Where an operator sets the grace.
    pub(super) setting: &'static str,
}

/// The defaults of those platforms, by the names in [`crate::entry::bypass`].
const STOPS: [Stop; 4] = [
    Stop { platform: "ECS", signal: "SIGTERM", grace: Duration::from_secs(30), setting: "stopTimeout" },
    Stop {
        platform: "Kubernetes",
        signal: "SIGTERM",
        grace: Duration::from_secs(30),
        setting: "terminationGracePeriodSeconds",
    },
    Stop { platform: "Fly", signal: "SIGINT", grace: Duration::from_secs(5), setting: "kill_timeout" },
    Stop { platform: "Cloud Run", signal: "SIGTERM", grace: Duration::from_secs(10), setting: "no setting" },
];

/// What container runtimes do by themselves.
const PLAIN: Stop = Stop {
    platform: "a container runtime",
    signal: "SIGTERM",
    grace: Duration::from_secs(10),
    setting: "docker stop --time, stop_grace_period",
};

/// The first of these platforms that is known, else what runtimes do.
pub(super) fn stop(platforms: &[&str]) -> Stop {
    let known = |name: &&str| STOPS.iter().find(|stop| stop.platform == *name).copied();
    platforms.iter().find_map(known).unwrap_or(PLAIN)
}
