//! Whose a connection's other end is, when that end is on this machine.
//!
//! The kernel answers through socket diagnostics: one small message over netlink, which takes no
//! capability and sees the sockets of this network namespace. Where it does not answer (a sandbox
//! without netlink, a kernel without the module) the table in /proc says the same more slowly.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, send, socket,
};

/// `nlmsghdr`, then `inet_diag_req_v2`.
const REQUEST_BYTES: usize = 16 + 56;
/// `nlmsghdr`, then `inet_diag_msg`.
const REPLY_BYTES: usize = 16 + 72;
/// Message type `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// Where `inet_diag_sockid` begins, in the request and in the reply.
const REQUEST_ID: usize = 16 + 8;
const REPLY_ID: usize = 16 + 4;
/// Ports and addresses of an `inet_diag_sockid`; an interface and a cookie follow.
const ID_BYTES: usize = 36;

/// The two ends of a connection, seen from its other end.
#[derive(Clone, Copy, Debug)]
struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
}

/// The inode of the socket at the other end of `stream`; `None` when no process here holds it (any more).
pub fn other_end(stream: &TcpStream) -> Option<u64> {
    // What was accepted on a v4 address may come from a v6 socket, and the other way round.
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let ends = Ends { local: plain(stream.peer_addr().ok()?), remote: plain(stream.local_addr().ok()?) };
    let inode = match ask_kernel(ends) {
        Ok(Some(inode)) => Some(inode),
        // "Not found" is also the answer of a kernel that cannot look.
        Ok(None) | Err(_) => look_up(ends),
    };
    // A socket that nobody holds any more has no inode.
    inode.filter(|&inode| inode != 0)
}

/// Asks socket diagnostics for the one socket with these ends.
fn ask_kernel(ends: Ends) -> io::Result<Option<u64>> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkSockDiag,
    )?;
    send(netlink.as_raw_fd(), &question(ends), MsgFlags::empty())?;
    let mut reply = [0; 512];
    // The kernel answers while it takes the question, so nothing is waited for.
    let (count, sender) = recvfrom::<NetlinkAddr>(netlink.as_raw_fd(), &mut reply)?;
    let is_kernel = sender.is_some_and(|sender| sender.pid() == 0);
    Ok(answer(&reply[..count], ends).filter(|_| is_kernel))
}

fn question(ends: Ends) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    let length = u32::try_from(REQUEST_BYTES).unwrap_or_default();
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&1_u16.to_ne_bytes()); // NLM_F_REQUEST
    bytes[16] = if ends.local.is_ipv4() { 2 } else { 10 }; // AF_INET, AF_INET6
    bytes[17] = 6; // IPPROTO_TCP
    bytes[20..24].fill(0xff); // in whatever state
    bytes[REQUEST_ID..REQUEST_ID + ID_BYTES].copy_from_slice(&id(ends, Form::Plain));
    bytes[REQUEST_ID + ID_BYTES + 4..].fill(0xff); // whatever its cookie
    bytes
}

/// The inode in a reply, if it is about the socket asked for. A lookup that finds no connection takes a
/// listener on the same port instead, so the ends are compared.
fn answer(reply: &[u8], ends: Ends) -> Option<u64> {
    let reply: &[u8; REPLY_BYTES] = reply.first_chunk()?;
    let is_answer = reply[4..6] == BY_FAMILY.to_ne_bytes();
    let found = &reply[REPLY_ID..REPLY_ID + ID_BYTES];
    let is_asked_for = [Form::Plain, Form::Mapped].iter().any(|&form| found == id(ends, form));
    let inode = reply.last_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))?;
    (is_answer && is_asked_for).then_some(inode.into())
}

/// How a v4 address is written: by itself, or inside a v6 one, as sockets that speak both have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Mapped,
}

/// The beginning of an `inet_diag_sockid`.
fn id(ends: Ends, form: Form) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes[0..2].copy_from_slice(&ends.local.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&ends.remote.port().to_be_bytes());
    for (at, address) in [(4, ends.local.ip()), (20, ends.remote.ip())] {
        let octets = octets(address, form);
        bytes[at..at + octets.len()].copy_from_slice(&octets);
    }
    bytes
}

fn octets(address: IpAddr, form: Form) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) if form == Form::Mapped => v4.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Reads the kernel's tables of connections.
fn look_up(ends: Ends) -> Option<u64> {
    let (plain, mapped) = (("/proc/net/tcp", Form::Plain), ("/proc/net/tcp6", Form::Mapped));
    let places = if ends.local.is_ipv4() { vec![plain, mapped] } else { vec![mapped] };
    places.into_iter().find_map(|(table, form)| {
        let lines = BufReader::new(File::open(table).ok()?).lines().map_while(Result::ok);
        inode_in(lines, &shown(ends.local, form), &shown(ends.remote, form))
    })
}

/// Columns: number, local end, remote end, state, queues, timer, retransmits, user, timeout, inode.
fn inode_in(lines: impl Iterator<Item = String>, local: &str, remote: &str) -> Option<u64> {
    lines.into_iter().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let is_it = columns.next() == Some(local) && columns.next() == Some(remote);
        columns.nth(6).filter(|_| is_it)?.parse().ok()
    })
}

/// An end as the tables have it: words of the address in the machine's own byte order, then the port.
fn shown(end: SocketAddr, form: Form) -> String {
    let octets = octets(end.ip(), form);
    let words = octets.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
    format!("{}:{:04X}", words.collect::<String>(), end.port())
}

/// The number by which /proc/PID/fd shows this socket.
pub fn inode(socket: &impl std::os::fd::AsFd) -> io::Result<u64> {
    nix::sys::stat::fstat(socket).map(|found| found.st_ino).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn ends(accepted: &TcpStream) -> Ends {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Ends { local: plain(accepted.peer_addr().unwrap()), remote: plain(accepted.local_addr().unwrap()) }
    }

    #[test]
    fn both_ways_find_the_clients_socket() {
        // A v6 socket that speaks to a v4 address is how some runtimes connect everywhere.
        for (listen, connect) in
            [("127.0.0.1:0", "127.0.0.1"), ("127.0.0.1:0", "::ffff:127.0.0.1"), ("[::1]:0", "::1")]
        {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((connect, port)).unwrap();
            let accepted = listener.accept().unwrap().0;
            let expected = inode(&client).unwrap();
            assert_eq!(ask_kernel(ends(&accepted)).unwrap(), Some(expected), "{connect}");
            assert_eq!(look_up(ends(&accepted)), Some(expected), "{connect}");
            assert_eq!(other_end(&accepted), Some(expected));
            drop(client);
            assert_eq!(other_end(&accepted), None, "closed: {connect}");
        }
    }
}
