//! The tools: static programs that were built before, and containers with storage of the test's own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Ended, TempDir, bare, find, readme_block, repository_file, run, search_path, skip, succeeds, target_dir,
};

/// The static programs that `scripts/build-static.sh --examples` left behind.
pub(crate) struct Static {
    target: &'static str,
    pub(crate) binary: PathBuf,
    pub(crate) probe: PathBuf,
}

impl Static {
    pub(crate) fn find(test: &str) -> Option<Self> {
        let arm = cfg!(target_arch = "aarch64");
        let target = if arm { "aarch64-unknown-linux-musl" } else { "x86_64-unknown-linux-musl" };
        let release = target_dir().join(target).join("release");
        let built =
            Self { target, binary: release.join("agent-vault"), probe: release.join("examples/probe") };
        if built.binary.is_file() && built.probe.is_file() {
            return Some(built);
        }
        skip(test, "there is no static binary yet; run scripts/build-static.sh --examples");
        None
    }
}

/// `docker` as the README uses it, in a build context that holds what a clone and a build would.
pub(crate) struct Docker {
    pub(crate) context: TempDir,
    storage: TempDir,
}

impl Docker {
    pub(crate) fn new(test: &str) -> Option<Self> {
        let built = Static::find(test)?;
        for tool in ["podman", "buildah", "runc"] {
            if find(tool).is_none() {
                skip(test, &format!("{tool} is missing; install podman, buildah and runc"));
                return None;
            }
        }
        if !succeeds("sh", &["-c", "test $(id -u) = 0"]) {
            skip(test, "containers with storage of their own want root");
            return None;
        }
        let docker = Self { context: TempDir::new(), storage: TempDir::new() };
        let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/container/docker.sh");
        symlink(shim, docker.storage.dir("bin").join("docker")).expect("a link to the stand-in");
        let limits = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=10000:10000\"]\n";
        docker.storage.write("containers.conf", limits);
        docker.fill_context(&built);
        Some(docker)
    }

    fn fill_context(&self, built: &Static) {
        for file in ["Dockerfile.scratch", "Dockerfile.distroless", ".dockerignore"] {
            self.context.write(file, &repository_file(file));
        }
        let release = self.context.dir(&format!("target/{}/release", built.target));
        fs::copy(&built.binary, release.join("agent-vault")).expect("a copy of the binary");
        let app = self.context.dir("checkout");
        fs::copy(&built.probe, app.join("app")).expect("a copy of the app");
        self.context.write("checkout/Dockerfile", &readme_block("In a container", "dockerfile"));
    }

    /// A shell in the context, for which `docker` is the stand-in.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut path = self.storage.join("bin").into_os_string();
        path.push(":");
        path.push(search_path());
        let mut command = bare(Path::new("sh"), self.context.path());
        command.env("PATH", path).env("TEST_STORAGE", self.storage.path()).args(["-euc", script]);
        command
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = self.shell("exec docker \"$@\"");
        command.arg("docker");
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        run(self.command().args(args), b"").expect_success()
    }

    /// The paths of all files in an image, sorted.
    #[track_caller]
    pub(crate) fn files_of(&self, image: &str) -> Vec<String> {
        let mounted = self.run(&["image", "mount", image]);
        let root = PathBuf::from(mounted.stdout.trim());
        let mut files = Vec::new();
        list(&root, &root, &mut files);
        self.run(&["image", "unmount", image]);
        files.sort();
        files
    }

    /// What contract D.3 says of the image, as its configuration has it.
    #[track_caller]
    pub(crate) fn expect_broker_defaults(&self, image: &str) {
        let inspected = self.run(&["image", "inspect", image]).stdout;
        let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
        let config = &inspected[0]["Config"];
        assert_eq!(config["User"], "65532:65532");
        assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/local/bin/agent-vault"]));
        assert_eq!(config["Cmd"], serde_json::json!(["server", "--host", "0.0.0.0", "--port", "14321"]));
        assert!(config["Volumes"]["/data"].is_object(), "{config}");
        for port in ["14321/tcp", "14322/tcp"] {
            assert!(config["ExposedPorts"][port].is_object(), "{config}");
        }
        let environment = config["Env"].as_array().expect("a list");
        assert!(environment.contains(&"HOME=/data".into()), "{config}");
        let health = &inspected[0]["Healthcheck"];
        assert_eq!(health["Test"], serde_json::json!(["CMD", "/usr/local/bin/agent-vault", "health"]));
        assert_eq!(health["Interval"], 30_000_000_000_u64);
        assert_eq!(health["Retries"], 3);
    }
}

fn list(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the image").flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(root, &path, files);
        } else {
            let inside = path.strip_prefix(root).expect("found below the root");
            files.push(inside.to_string_lossy().into_owned());
        }
    }
}
