//! Containers with a shell in them: the image for what is asked of the first process itself.
//!
//! A run in it has no broker and no network but loopback. It attaches nothing: one service is named, so that
//! every other host is refused by its rules, which tells who was let in from who was not.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::docker::{Docker, Static};
use crate::support::{Ended, Running, find, run, skip};

/// What scripts call. A link each, since busybox is one program.
const TOOLS: [&str; 14] =
    ["cat", "env", "grep", "id", "killall", "ls", "sed", "sh", "sleep", "test", "touch", "tr", "wc", "wget"];

const IMAGE: &str = "FROM scratch\nCOPY bin /bin\nCOPY note /note\nENV PATH=/bin\n";

const RULES: &str = "{\"services\": [{\"name\": \"api\", \"host\": \"api.example.test\", \
    \"auth\": {\"type\": \"bearer\", \"token\": \"API_KEY\"}}]}";

/// The name of the one container a test has at a time.
const NAME: &str = "app";

/// The image, built.
pub(crate) struct Shell {
    pub(crate) docker: Docker,
}

impl Shell {
    pub(crate) fn new(test: &str) -> Option<Self> {
        let Some(busybox) = find("busybox") else {
            skip(test, "busybox is missing; install busybox-static");
            return None;
        };
        let binary = Static::find(test)?.binary;
        let docker = Docker::new(test)?;
        let bin = docker.context.dir("shell/bin");
        fs::copy(busybox, bin.join("busybox")).expect("a copy of busybox");
        for tool in TOOLS {
            symlink("busybox", bin.join(tool)).expect("a link to busybox");
        }
        fs::copy(binary, bin.join("agent-vault")).expect("a copy of the binary");
        docker.context.write("shell/note", "This is no program.\n");
        docker.context.write("shell/Dockerfile", IMAGE);
        docker.run(&["build", "-t", "shell", "shell"]);
        Some(Self { docker })
    }

    /// `words` in a container of its own, on a network by podman's name for it.
    pub(crate) fn container(&self, network: &str, options: &[&str], words: &[&str]) -> Command {
        let mut command = self.docker.command();
        command.env("TEST_NETWORK", network).args(["run", "--rm"]).args(options).arg("shell").args(words);
        command
    }

    /// `words` in a container of its own, with rules for a run.
    pub(crate) fn ruled(&self, options: &[&str], words: &[&str]) -> Command {
        let rules = format!("--env=AGENT_VAULT_CONFIG={RULES}");
        self.container("none", &[&[rules.as_str(), "--env=API_KEY=k"], options].concat(), words)
    }

    /// `agent-vault` in a container of its own.
    pub(crate) fn vault(&self, options: &[&str], words: &[&str]) -> Command {
        self.ruled(options, &[&["agent-vault"], words].concat())
    }

    /// A script under `agent-vault run`, with nothing said.
    pub(crate) fn script(&self, options: &[&str], script: &str) -> Command {
        self.vault(options, &["run", "--", "sh", "-c", script])
    }
}

/// A container that stays, until a test is done with it.
pub(crate) struct Contained<'s> {
    shell: &'s Shell,
    pub(crate) running: Running,
}

impl<'s> Contained<'s> {
    pub(crate) fn start(shell: &'s Shell, options: &[&str], words: &[&str]) -> Self {
        let options = [&["--name", NAME], options].concat();
        Self { shell, running: Running::start(&mut shell.vault(&options, words)) }
    }

    /// `docker VERB… CONTAINER`.
    #[track_caller]
    pub(crate) fn ask(&self, verb: &[&str]) {
        self.shell.docker.run(&[verb, &[NAME]].concat());
    }

    /// Runs something beside the app.
    #[track_caller]
    pub(crate) fn exec(&self, words: &[&str]) -> Ended {
        self.shell.docker.run(&[&["exec", NAME], words].concat())
    }

    /// A container on this one's network.
    #[track_caller]
    pub(crate) fn neighbour(&self, options: &[&str], words: &[&str]) -> Ended {
        run(&mut self.shell.container(&format!("container:{NAME}"), options, words), b"").expect_success()
    }
}

impl Drop for Contained<'_> {
    fn drop(&mut self) {
        // Where the test went well there is none left.
        run(self.shell.docker.command().args(["rm", "--force", "--ignore", "--time", "0", NAME]), b"");
    }
}
