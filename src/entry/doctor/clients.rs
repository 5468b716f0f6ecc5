//! Client programs, and the variable by which each comes to trust the vault's CA.

use std::ffi::OsStr;

use crate::entry::child;

/// A program by the name it has on the search path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) program: &'static str,
    pub(super) trusts: Trusts,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trusts {
    /// What this variable leads to.
    By(&'static str),
    /// Nothing we can tell it; what a person can do.
    Not(&'static str),
}
use Trusts::{By, Not};

const CLIENTS: [Client; 18] = [
    Client { program: "curl", trusts: By("CURL_CA_BUNDLE") },
    Client { program: "git", trusts: By("GIT_SSL_CAINFO") },
    Client { program: "openssl", trusts: By("SSL_CERT_FILE") },
    Client { program: "python3", trusts: By("SSL_CERT_FILE") },
    Client { program: "pip", trusts: By("PIP_CERT") },
    Client { program: "node", trusts: By("NODE_EXTRA_CA_CERTS") },
    Client { program: "deno", trusts: By("DENO_CERT") },
    Client { program: "bun", trusts: By("NODE_EXTRA_CA_CERTS") },
    Client { program: "java", trusts: By("JAVA_TOOL_OPTIONS") },
    Client { program: "ruby", trusts: By("SSL_CERT_FILE") },
    Client { program: "perl", trusts: By("PERL_LWP_SSL_CA_FILE") },
    Client { program: "dotnet", trusts: By("SSL_CERT_FILE") },
    Client { program: "cargo", trusts: By("CARGO_HTTP_CAINFO") },
    Client { program: "aws", trusts: By("AWS_CA_BUNDLE") },
    Client { program: "gcloud", trusts: By("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE") },
    Client { program: "mix", trusts: By("HEX_CACERTS_PATH") },
    Client { program: "wget", trusts: Not("pass --ca-certificate=$SSL_CERT_FILE") },
    Client { program: "php", trusts: Not("set curl.cainfo and openssl.cafile to $SSL_CERT_FILE with -d") },
];

/// Those that a command would find.
pub(super) fn on(path: Option<&OsStr>) -> Vec<&'static Client> {
    let is_there = |client: &&Client| child::resolve(OsStr::new(client.program), path).is_ok();
    CLIENTS.iter().filter(is_there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::environment::{ADDS_ROOTS, REPLACES_ROOTS};

    #[test]
    fn every_variable_is_one_that_is_set() {
        for client in &CLIENTS {
            if let By(variable) = client.trusts {
                let is_set = REPLACES_ROOTS.contains(&variable)
                    || ADDS_ROOTS.contains(&variable)
                    || variable == crate::entry::java::VARIABLE;
                assert!(is_set, "{}", client.program);
            }
        }
    }
}
