//! What comes through stdin whole.

use std::io::{self, Read as _};

use crate::failure::Failure;
use crate::secret::Secret;

/// Most that is read from stdin or a file: a request body of the broker's largest size (contract A.1).
pub(super) const MAX_INPUT_BYTES: u64 = 1024 * 1024;

/// Everything on stdin, less one line break at its end.
pub(super) fn stdin() -> Result<Secret, Failure> {
    Ok(Secret::without_line_break(stdin_bytes()?))
}

/// Everything on stdin.
pub(super) fn stdin_bytes() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(Failure::new("what is on stdin is longer than 1 MiB"));
    }
    Ok(bytes)
}

pub(super) fn unreadable(error: &io::Error) -> Failure {
    Failure::new(format!("cannot read stdin: {error}"))
}
