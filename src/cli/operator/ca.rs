//! `ca`: the root certificate clients of the proxy have to trust.

use std::path::Path;

use super::broker::{Broker, Reach};
use super::{Args, Flag, PUBLIC_REACH, Verb, World, output};
use crate::client::state;
use crate::failure::{Exit, Failure};

pub(in crate::cli) const VERBS: &[Verb] = &[Verb {
    words: &["ca", "fetch"],
    usage: "[flags]",
    about: "Print the root certificate of the broker's proxy as PEM",
    flags: &[&[Flag("-o FILE", "write it to a file instead")], PUBLIC_REACH],
    example: "agent-vault ca fetch -o agent-vault-ca.pem",
    run: fetch,
}];

fn fetch(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, file) = (Reach::take(&mut args)?, args.value("-o")?);
    args.finish()?;
    let mut broker = Broker::as_nobody(world, &reach)?;
    let reply = broker.get("/v1/mitm/ca.pem")?;
    if !reply.body().starts_with(b"-----BEGIN CERTIFICATE-----") {
        return Err(Failure::new(format!("the answer of {} is not a certificate", broker.address())));
    }
    let Some(file) = file else {
        output::print_bytes(reply.body())?;
        return Ok(Exit::Success);
    };
    state::write_private(Path::new(&file), reply.body())
        .map_err(|error| Failure::new(format!("writing {file}: {error}")))?;
    output::note(&format!("CA certificate written to {file}"));
    Ok(Exit::Success)
}
