//! An HTTPS origin for a demonstration: says on stdout what reached it.
//!
//! `origin CA_FILE NAME…` serves the names on a free loopback port with a certificate of its own
//! authority, writes that authority to `CA_FILE`, and prints one block per request until it is killed.

use std::env;
use std::fs;
use std::io::{self, Write};

#[path = "../tests/support/origin.rs"]
#[allow(dead_code, reason = "the demonstration uses a part of what tests use")]
mod origin;

use origin::{Origin, Received};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some((ca_file, names @ [_, ..])) = args.split_first() else {
        return Err("usage: origin CA_FILE NAME…".into());
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let origin = Origin::tls(&names);
    fs::write(ca_file, origin.ca_pem())?;
    writeln!(io::stdout(), "origin listening on {}", origin.address())?;
    for index in 0.. {
        show(&origin.next(index), &mut io::stdout().lock())?;
    }
    Ok(())
}

fn show(request: &Received, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "request: {} {}", request.method, request.target)?;
    for (name, value) in &request.fields {
        writeln!(out, "field: {}: {value}", name.to_ascii_lowercase())?;
    }
    writeln!(out, "body: {}", String::from_utf8_lossy(&request.body))?;
    out.flush()
}
