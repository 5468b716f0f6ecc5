//! What is remembered of an exchange: names, a status and a duration, never a value.

use std::time::Instant;

use crate::authority::Authority;
use crate::log::{self, Level};
use crate::vault::service::Service;

use super::error::Error;

/// One exchange, from its request's head to its end.
pub(super) struct Record {
    started: Instant,
    method: String,
    host: String,
    path: String,
    service: String,
    credential_keys: String,
    is_passthrough: bool,
}

impl Record {
    /// Starts the clock. The path is taken without its query.
    pub(super) fn start(method: &str, target: &Authority, path: &str) -> Self {
        Self {
            started: Instant::now(),
            method: method.to_owned(),
            host: target.to_string(),
            path: path.split('?').next().unwrap_or_default().to_owned(),
            service: String::new(),
            credential_keys: String::new(),
            is_passthrough: true,
        }
    }

    pub(super) fn matched(&mut self, service: &Service) {
        self.service.clone_from(&service.name);
        self.credential_keys = service.credential_keys().join(",");
        self.is_passthrough = false;
    }

    /// Writes the record where the exchange ended.
    pub(super) fn finish(&self, status: u16, error: Option<&Error>) {
        if !log::is_enabled(Level::Debug) {
            return;
        }
        let code = error.map(Error::log_code).unwrap_or_default();
        log::event(
            Level::Debug,
            "proxy_request",
            &[
                ("ingress", &"mitm"),
                ("method", &self.method),
                ("host", &self.host),
                ("path", &self.path),
                ("matched_service", &self.service),
                ("credential_keys", &self.credential_keys),
                ("status", &status),
                ("total_ms", &self.started.elapsed().as_millis()),
                ("err", &code),
                ("reason", &error.map(Error::reason).unwrap_or_default()),
                ("passthrough", &self.is_passthrough),
            ],
        );
    }
}
