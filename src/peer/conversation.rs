//! Message after message on one connection, parked in between.
//!
//! A thread serves a conversation while it is lively. When nothing comes for a moment, the connection
//! gives its buffers back and waits in the main thread's poll; what it is resumed with is the next
//! message. The proxy, the control API and the relay keep their connections this way.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::http1::respond::{After, Answer};
use crate::net::Deadline;
use crate::net::channel::{Channel, wait_readable};
use crate::net::reactor::{Connection, Next};

/// A thread waits this long for the next message before it parks the connection: long enough for a busy
/// client, short enough that an idle one costs no thread.
const LINGER: Duration = Duration::from_millis(100);
/// Longest idle time between messages (contract A.1, B.10).
pub const IDLE_TIME: Duration = Duration::from_secs(2 * 60);

/// One client's messages, in order.
pub trait Conversation: Send {
    /// The stream that carries them now.
    fn channel(&self) -> &dyn Channel;

    /// The other end, once the conversation has become a tunnel.
    fn other_end(&self) -> Option<&dyn Channel> {
        None
    }

    /// How long it may be silent.
    fn idle_time(&self) -> Duration {
        IDLE_TIME
    }

    /// Reads one message and answers it, or carries what there is through a tunnel.
    fn serve_one(&mut self) -> After;

    /// Gives buffers back before a long idle time.
    fn release(&mut self);
}

/// A conversation as the reactor runs it.
pub struct Served<C> {
    conversation: C,
    has_begun: bool,
}

impl<C: Conversation> Served<C> {
    pub fn new(conversation: C) -> Self {
        Self { conversation, has_begun: false }
    }

    /// Whether nothing comes for a moment.
    fn is_quiet(&self) -> bool {
        let channel = self.conversation.channel();
        let nothing_on = |channel: &dyn Channel, span: Duration| {
            channel.received().is_empty() && wait_readable(channel.socket(), Deadline::after(span)).is_err()
        };
        match self.conversation.other_end() {
            // A tunnel has been silent for a moment already when it comes here.
            Some(other) => nothing_on(channel, Duration::ZERO) && nothing_on(other, Duration::ZERO),
            None => nothing_on(channel, LINGER),
        }
    }
}

impl<C: Conversation + 'static> Connection for Served<C> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.conversation.channel().socket()
    }

    fn other_socket(&self) -> Option<BorrowedFd<'_>> {
        self.conversation.other_end().map(Channel::socket)
    }

    fn run(mut self: Box<Self>) -> Next {
        loop {
            if self.has_begun && self.is_quiet() {
                self.conversation.release();
                let until = Instant::now() + self.conversation.idle_time();
                return Next::Park(self, until);
            }
            self.has_begun = true;
            if self.conversation.serve_one() == After::Close {
                return Next::Close;
            }
        }
    }
}

/// Answers a client there is no room for; does not block.
pub fn turn_away(mut stream: TcpStream, answer: &Answer) {
    // The client may be gone already; there is nobody else to tell.
    drop(stream.write_all(&answer.to_bytes("", After::Close)));
}
