//! Programs from outside that a test needs, and what happens when one is missing.
//!
//! On a person's machine a test whose tool is missing says so and passes; where everything has been
//! installed on purpose (`AGENT_VAULT_CI=1`) the same is a failure, so that no proof is lost unnoticed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The search path of tests: tools installed for them (`.ci/run` puts them there), then the user's own.
pub(crate) fn search_path() -> OsString {
    let installed = target_dir().join("test-tools/bin");
    let inherited = env::var_os("PATH").unwrap_or_default();
    env::join_paths([installed].into_iter().chain(env::split_paths(&inherited)))
        .expect("a search path that came in can go out")
}

/// The executable a shell would start for `name`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|dir| dir.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether a program runs and ends with 0; used to ask for a module or a minimum version.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    let Some(path) = find(program) else {
        return false;
    };
    let status = Command::new(path)
        .args(args)
        .env("PATH", search_path())
        .env("NODE_PATH", node_modules())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Cargo's target folder: where builds and the tests' tools are.
pub(crate) fn target_dir() -> PathBuf {
    // A test's executable is target/PROFILE/deps/NAME-HASH, whatever CARGO_TARGET_DIR says.
    let executable = env::current_exe().expect("a running test has an executable");
    executable.ancestors().nth(3).expect("cargo's layout is three levels deep").to_owned()
}

/// Says that `test` cannot run here and why; fails it where nothing may be missing.
#[track_caller]
pub(crate) fn skip(test: &str, why: &str) {
    assert!(env::var_os("AGENT_VAULT_CI").is_none(), "{test} may not be skipped here: {why}");
    // Past libtest's capture, so that a skipped test is seen without asking for it.
    writeln!(io::stderr(), "SKIP {test}: {why}").expect("stderr can be written");
}

/// The tools of a test, or `None` after it has been reported as skipped.
#[track_caller]
pub(crate) fn need(test: &str, program: &str, get: &str) -> Option<PathBuf> {
    let found = find(program);
    if found.is_none() {
        skip(test, &format!("{program} is not on the PATH; {get}"));
    }
    found
}

/// A Python with this module.
#[track_caller]
pub(crate) fn need_python(test: &str, module: &str) -> Option<PathBuf> {
    let python = need(test, "python3", "install python3")?;
    if succeeds("python3", &["-c", &format!("import {module}")]) {
        return Some(python);
    }
    skip(test, &format!("python3 has no module {module}; pip install {module}"));
    None
}

/// A Node.js that knows proxy variables, with these packages.
#[track_caller]
pub(crate) fn need_node(test: &str, packages: &[&str]) -> Option<PathBuf> {
    let node = need(test, "node", "install Node.js 24.5 or later")?;
    // Earlier versions know no proxy variables at all, so there is nothing an environment could do.
    let new_enough = "const [major, minor] = process.versions.node.split('.').map(Number);\
                      process.exit(major > 24 || (major === 24 && minor >= 5) ? 0 : 1)";
    if !succeeds("node", &["-e", new_enough]) {
        skip(test, "this Node.js ignores proxy variables; install 24.5 or later");
        return None;
    }
    let missing = packages.iter().find(|name| !succeeds("node", &["-e", &format!("require('{name}')")]));
    if let Some(missing) = missing {
        skip(test, &format!("Node.js finds no package {missing}; npm install {missing}, and set NODE_PATH"));
        return None;
    }
    Some(node)
}

/// Where Node.js looks for packages: those installed for tests, then the user's own.
pub(crate) fn node_modules() -> OsString {
    let installed = target_dir().join("test-tools/node_modules");
    let inherited = env::var_os("NODE_PATH");
    env::join_paths([installed].into_iter().chain(inherited.iter().flat_map(env::split_paths)))
        .expect("a search path that came in can go out")
}
