//! The environment this process was started with.
//!
//! The standard library leaves out entries without `=` and folds the rest into a map; a child gets its
//! environment as it was, in its order, so the block is read whole here. It can also be overwritten:
//! `/proc/PID/environ` shows the original block for as long as the process lives, whatever the process
//! does with its variables.
#![allow(unsafe_code, reason = "the block is reached through the C library's `environ` pointer alone")]

use std::ffi::{CStr, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt as _;

unsafe extern "C" {
    static mut environ: *const *mut c_char;
}

/// Every entry as it stands, usually `NAME=value`, in order.
pub fn read() -> Vec<OsString> {
    pointers()
        .map(|entry| {
            // SAFETY: each entry of the block is a NUL-terminated string that lives as long as the process.
            let entry = unsafe { CStr::from_ptr(entry) };
            OsStr::from_bytes(entry.to_bytes()).to_owned()
        })
        .collect()
}

/// Overwrites the values of these variables in the original block with zeros.
///
/// Called before a second thread exists: nothing else may read the block meanwhile.
pub fn overwrite(names: &[&str]) {
    for entry in pointers() {
        // SAFETY: as in `read`; the slice ends before the first write.
        let length = unsafe { CStr::from_ptr(entry) }.count_bytes();
        // SAFETY: the entry's bytes are ours to write (the kernel put them on our stack), nobody else
        // holds a reference to them, and the terminating zero stays where it is.
        let bytes = unsafe { std::slice::from_raw_parts_mut(entry.cast::<u8>(), length) };
        let Some(split) = bytes.iter().position(|&b| b == b'=') else { continue };
        let (name, value) = bytes.split_at_mut(split + 1);
        if names.iter().any(|known| known.as_bytes() == &name[..split]) {
            zeroize::Zeroize::zeroize(value);
        }
    }
}

/// The pointers of the block, up to its closing null.
fn pointers() -> impl Iterator<Item = *mut c_char> {
    // SAFETY: the C library sets `environ` before `main`, and this program never changes its own
    // environment (clippy.toml bans the functions that would).
    let mut next = unsafe { environ };
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: `next` points into the array, which ends with a null pointer that is never passed.
        let entry = unsafe { *next };
        if entry.is_null() {
            return None;
        }
        // SAFETY: the entry was not the closing null, so the array goes on.
        next = unsafe { next.add(1) };
        Some(entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_holds_what_the_standard_library_sees() {
        let block = read();
        for (name, value) in std::env::vars_os() {
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            assert!(block.contains(&entry));
        }
    }
}
