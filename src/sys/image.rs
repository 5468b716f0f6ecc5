//! The program's own pages, as far as they are mapped.
#![allow(unsafe_code, reason = "the C library lists a program's segments and drops its pages by pointers")]

use std::ffi::{c_int, c_void};

use nix::libc;
use nix::unistd::{SysconfVar, sysconf};

/// Lets go of the pages of code and constants that were used so far. They stay in the kernel's cache, from
/// where those that are used again come back one by one; what only a start needs does not.
pub fn let_go() {
    // SAFETY: the function below keeps to what it is called with, and needs nothing from here.
    unsafe { libc::dl_iterate_phdr(Some(drop_segments), std::ptr::null_mut()) };
}

/// Is called with the program itself first, and ends the walk there.
extern "C" fn drop_segments(found: *mut libc::dl_phdr_info, _size: usize, _: *mut c_void) -> c_int {
    // SAFETY: the C library hands in a description that is valid until this returns.
    let found = unsafe { &*found };
    let page_bytes =
        sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(page_bytes) = page_bytes else { return 1 };
    // SAFETY: it says how many headers there are.
    let headers = unsafe { std::slice::from_raw_parts(found.dlpi_phdr, usize::from(found.dlpi_phnum)) };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        // What was written to is nowhere else.
        if header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let (Ok(address), Ok(size)) =
            (usize::try_from(found.dlpi_addr + header.p_vaddr), usize::try_from(header.p_memsz))
        else {
            continue;
        };
        // Some linkers begin a segment within a page. No other has a share of that page, nor of the last one:
        // each is mapped by itself.
        let before = address % page_bytes;
        let first = std::ptr::with_exposed_provenance_mut(address - before);
        // SAFETY: nothing was ever written there, so what is read next is what the file says, as before.
        unsafe { libc::madvise(first, before + size, libc::MADV_DONTNEED) };
    }
    1
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_goes_on() {
        let text = String::from("a constant and code");
        super::let_go();
        assert_eq!(text, "a constant and code");
    }
}
