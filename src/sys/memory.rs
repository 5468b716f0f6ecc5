//! The allocator: the system's, behind a few free blocks that a busy thread keeps for itself.
//!
//! A request allocates and frees the same few sizes every time, most of them inside rustls. musl has
//! one lock for all threads, whose every unlock wakes who waits for it, and unmaps a page with its last
//! block: at sixteen busy connections that was more system calls a request than its reads and writes. So
//! a thread that serves connections takes what it frees again, without lock and call. It keeps little, and
//! nothing while it waits for work; every other thread goes to the system's allocator as ever.
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// Sizes that are kept, each the whole of a slot of musl's allocator: rounding up to them takes no more
/// memory than is taken anyway. The last is for whole TLS records alone.
const SIZES: [usize; 33] = [
    12, 28, 44, 60, 76, 92, 108, 124, 140, 156, 188, 236, 284, 316, 396, 492, 572, 668, 796, 1004, 1148,
    1340, 1628, 2028, 2332, 2716, 3260, 4076, 4668, 5436, 6540, 8172, 18_700,
];
/// The class of a whole record (RFC 8446 §5.1): rustls makes a vector for each that it reads or writes, one at
/// a time. So one is kept.
const RECORD: usize = SIZES.len() - 1;
/// Sizes above this slot of musl's are in the one of a record.
const BELOW_RECORD: usize = 16_364;
/// The largest of the classes that follow each other.
const MAX_SMALL: usize = SIZES[RECORD - 1];
/// By sixteenths of a size, the smallest class it fits in: every allocation asks.
const CLASSES: [u8; 511] = {
    let mut classes = [0; 511];
    let (mut at, mut class) = (0, 0_u8);
    while at < classes.len() {
        // All sizes are four short of a multiple of sixteen.
        if at * STEP + STEP - 4 > SIZES[class as usize] {
            class += 1;
        }
        classes[at] = class;
        at += 1;
    }
    classes
};
const STEP: usize = 16;
/// Most bytes of small blocks that a thread keeps. Past it all are given back: what is used over and over is
/// soon here again.
const MAX_KEPT: usize = 16 * 1024;
/// Alignment of every block that is kept.
const ALIGN: usize = 8;

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

thread_local! {
    // Without a destructor, so that reaching it allocates nothing and is allowed to the thread's very end.
    static KEPT: Kept = const { Kept { is_on: Cell::new(false), bytes: Cell::new(0), free: [const { Cell::new(ptr::null_mut()) }; SIZES.len()] } };
}

/// A thread's free blocks by size, each list linked through the blocks themselves.
struct Kept {
    is_on: Cell<bool>,
    /// In small blocks.
    bytes: Cell<usize>,
    free: [Cell<*mut Free>; SIZES.len()],
}

/// A free block. The smallest has room for it.
struct Free {
    next: *mut Self,
}

/// As long as this lives its thread keeps blocks.
#[derive(Debug)]
pub struct Keeping(PhantomData<*mut ()>);

impl Keeping {
    pub fn start() -> Self {
        KEPT.with(|kept| kept.is_on.set(true));
        Self(PhantomData)
    }

    /// Gives back what is kept, before the thread waits for long.
    pub fn give_back(&self) {
        KEPT.with(Kept::give_back);
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        KEPT.with(|kept| kept.is_on.set(false));
        self.give_back();
    }
}

impl Kept {
    fn take(&self, class: usize) -> Option<ptr::NonNull<Free>> {
        let block = ptr::NonNull::new(self.free[class].get())?;
        // SAFETY: blocks in the list are free, hence ours alone, and `keep` has written their link.
        self.free[class].set(unsafe { block.as_ref().next });
        if class != RECORD {
            self.bytes.set(self.bytes.get() - SIZES[class]);
        }
        Some(block)
    }

    /// # Safety
    /// `block` has the size of `class`, comes from [`System`], and nobody uses it any more.
    unsafe fn keep(&self, class: usize, block: *mut Free) {
        if class == RECORD {
            if !self.free[RECORD].get().is_null() {
                // SAFETY: the caller's own promise.
                unsafe { System.dealloc(block.cast(), layout_of(class)) };
                return;
            }
        } else {
            if self.bytes.get() + SIZES[class] > MAX_KEPT {
                self.give_back();
            }
            self.bytes.set(self.bytes.get() + SIZES[class]);
        }
        // SAFETY: the block is free, aligned to `ALIGN` and long enough for a link.
        unsafe { block.write(Free { next: self.free[class].get() }) };
        self.free[class].set(block);
    }

    fn give_back(&self) {
        for class in 0..SIZES.len() {
            while let Some(block) = self.take(class) {
                // SAFETY: what is kept came from the system's allocator with this layout.
                unsafe { System.dealloc(block.as_ptr().cast(), layout_of(class)) };
            }
        }
    }
}

/// The smallest class a layout fits in, if it is one that may be kept. Only the layout decides, so that a
/// block is of the same class when it is freed, whichever thread frees it.
fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > ALIGN {
        return None;
    }
    match layout.size() {
        size if size <= MAX_SMALL => Some(CLASSES[(size + 3) / STEP].into()),
        size if size > BELOW_RECORD && size <= SIZES[RECORD] => Some(RECORD),
        _ => None,
    }
}

fn layout_of(class: usize) -> Layout {
    // SAFETY: a power of two, and sizes far below the limit.
    unsafe { Layout::from_size_align_unchecked(SIZES[class], ALIGN) }
}

// SAFETY: blocks come from `System` and are at least as large and as aligned as was asked for. A block is in
// a list of one thread or in use, never both, and goes back with the layout it was taken with.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's own promise.
            return unsafe { System.alloc(layout) };
        };
        match KEPT.with(|kept| kept.take(class)) {
            Some(block) => block.as_ptr().cast(),
            // SAFETY: the size is not zero.
            None => unsafe { System.alloc(layout_of(class)) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: `alloc` took it from there with this layout.
            return unsafe { System.dealloc(block, layout) };
        };
        KEPT.with(|kept| {
            if kept.is_on.get() {
                // SAFETY: the caller gives up the block, and `alloc` gave it the size of its class.
                unsafe { kept.keep(class, block.cast()) };
            } else {
                // SAFETY: `alloc` took it from there with the layout of its class.
                unsafe { System.dealloc(block, layout_of(class)) };
            }
        });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class_of(layout).is_none() {
            // The system knows which of its pages are zero already.
            // SAFETY: the caller's own promise.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's own promise.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block is at least as long.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is not zero and does not overflow when rounded up.
        let grown = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class_of(layout), class_of(grown)) {
            // SAFETY: the caller's own promise; neither block is one of a class.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (old, new) if old == new => block,
            _ => {
                // SAFETY: the caller's own promise.
                let moved = unsafe { self.alloc(grown) };
                if !moved.is_null() {
                    // SAFETY: both are at least this long, and they are two blocks.
                    unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
                    // SAFETY: the caller gives up the block.
                    unsafe { self.dealloc(block, layout) };
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        KEPT.with(|kept| kept.bytes.get())
    }

    #[test]
    fn a_block_has_the_class_of_its_layout_and_room_for_it() {
        for size in 1..=9000 {
            let class = class_of(Layout::from_size_align(size, 8).unwrap());
            assert_eq!(class.is_none(), size > 8172);
            assert!(
                class.is_none_or(|class| SIZES[class] >= size && (class == 0 || SIZES[class - 1] < size))
            );
        }
        let of = |size| class_of(Layout::from_size_align(size, 1).unwrap());
        assert_eq!([16_364, 18_701].map(of), [None; 2]);
        // A plaintext of the largest size, and a record of one.
        assert_eq!([16_365, 16_384, 16_384 + 256 + 5, 18_700].map(of), [Some(RECORD); 4]);
        assert_eq!(class_of(Layout::from_size_align(64, 16).unwrap()), None);
    }

    #[test]
    fn a_keeping_thread_gets_its_blocks_again_and_gives_them_back() {
        let keeping = Keeping::start();
        let first = Vec::<u8>::with_capacity(1000);
        let address = first.as_ptr().addr();
        drop(first);
        assert!(kept() >= 1000);
        let second = Vec::<u8>::with_capacity(999);
        assert_eq!(second.as_ptr().addr(), address);
        drop(second);
        keeping.give_back();
        assert_eq!(kept(), 0);
        for round in 0..100 {
            drop((0..40).map(|n| vec![n; 20 + 20 * round]).collect::<Vec<Vec<usize>>>());
            assert!(kept() <= MAX_KEPT);
        }
        let record = || Vec::<u8>::with_capacity(16_384);
        let (first, second) = (record(), record());
        let address = first.as_ptr().addr();
        drop((first, second));
        let again = record();
        assert_eq!(again.as_ptr().addr(), address);
        let has_record = || KEPT.with(|kept| !kept.free[RECORD].get().is_null());
        assert!(!has_record(), "only one of two was kept");
        drop(again);
        assert!(has_record());
        keeping.give_back();
        assert!(!has_record());
        drop(keeping);
        drop(vec![1_u8; 1000]);
        assert_eq!(kept(), 0, "who does not keep has nothing");
    }

    #[test]
    fn contents_survive_growing_and_shrinking_through_all_sizes_and_threads() {
        let keeping = Keeping::start();
        let mut bytes: Vec<u8> = Vec::new();
        for n in 0..20_000_usize {
            bytes.push(n.to_le_bytes()[0]);
        }
        while bytes.len() > 1 {
            assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == n.to_le_bytes()[0]));
            bytes.truncate(bytes.len() / 2);
            bytes.shrink_to_fit();
        }
        let theirs =
            std::thread::Builder::new().spawn(|| vec![vec![7_u8; 100]; 100]).unwrap().join().unwrap();
        assert!(theirs.iter().flatten().all(|byte| *byte == 7));
        drop(theirs);
        assert!(
            vec![0_u64; 50].iter().all(|word| *word == 0),
            "a kept block is zeroed when that is asked for"
        );
        drop(keeping);
    }
}
