//! The least that a proxy with a thread for each connection can cost on this machine: bytes are copied both
//! ways, and nothing else is done. No TLS, no HTTP, no credential.
//!
//! What the ways that do a job cost beyond this is their own; this much is the kernel's price for being in
//! between, and differs from machine to machine more than anything else here.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What a thread of it needs.
const STACK_BYTES: usize = 128 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// Stands in front of each of these ports until the process is killed; says where on stdout.
pub(crate) fn serve(ports: &[u16]) -> io::Result<()> {
    let listeners: Vec<TcpListener> =
        ports.iter().map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    for listener in &listeners {
        writeln!(io::stdout(), "copying from {}", listener.local_addr()?.port())?;
    }
    let mut threads = Vec::new();
    for (listener, &port) in listeners.into_iter().zip(ports) {
        threads.push(thread::Builder::new().spawn(move || accept(&listener, port))?);
    }
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a listener of the copier panicked"))??;
    }
    Ok(())
}

fn accept(listener: &TcpListener, port: u16) -> io::Result<()> {
    for client in listener.incoming() {
        let client = client?;
        // However it ends, both connections end with it.
        let carry = move || copy(client, port).unwrap_or_default();
        thread::Builder::new().stack_size(STACK_BYTES).spawn(carry)?;
    }
    Ok(())
}

/// Six calls into the kernel for a request and its answer: wait, read, write, and back.
fn copy(mut client: TcpStream, port: u16) -> io::Result<()> {
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let ready = {
            let mut both =
                [client.as_fd(), upstream.as_fd()].map(|socket| PollFd::new(socket, PollFlags::POLLIN));
            poll(&mut both, PollTimeout::NONE)?;
            both.map(|socket| socket.any().unwrap_or(true))
        };
        if ready[0] && !pass(&mut client, &mut upstream, &mut buffer)?
            || ready[1] && !pass(&mut upstream, &mut client, &mut buffer)?
        {
            return Ok(());
        }
    }
}

/// Passes on what is there; false at the end.
fn pass(from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
    let count = from.read(buffer)?;
    to.write_all(&buffer[..count])?;
    Ok(count > 0)
}
