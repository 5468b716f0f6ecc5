//! stub
use super::preflight::Broker;
use crate::failure::Failure;
use crate::net::reactor::{Connection, Service};
use crate::secret::Secret;
use std::sync::Arc;
pub struct Relay {
    _credential: Secret,
    _broker: Broker,
}
impl Relay {
    pub fn new(credential: Secret, broker: Broker) -> Arc<Self> {
        Arc::new(Self { _credential: credential, _broker: broker })
    }
}
impl Service for Relay {
    fn connect(
        &self,
        _s: std::net::TcpStream,
        _p: std::net::SocketAddr,
    ) -> std::io::Result<Box<dyn Connection>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
    fn refuse(&self, _s: std::net::TcpStream) {}
}
pub fn fresh_credential() -> Result<Secret, Failure> {
    hex::<32>().map(|t| format!("av_sess_{t}").into())
}
pub fn fresh_run_id() -> Result<String, Failure> {
    hex::<8>()
}
fn hex<const N: usize>() -> Result<String, Failure> {
    let bytes: ring::rand::Random<[u8; N]> = ring::rand::generate(&ring::rand::SystemRandom::new())
        .map_err(|_| Failure::new("no randomness to be had"))?;
    Ok(bytes.expose().iter().map(|b| format!("{b:02x}")).collect())
}
