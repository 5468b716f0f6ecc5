//! Bodies in every framing: no panic, no difference by split, and what was decoded encodes and decodes again.

#![no_main]

#[path = "../../tests/reference/mod.rs"]
mod reference;

use agent_vault::http1::chunked::{self, LAST_CHUNK};
use agent_vault::http1::framing::Framing;
use libfuzzer_sys::fuzz_target;
use reference::{decode, read_body};

fuzz_target!(|input: &[u8]| {
    // The first two bytes say which framing it is and how large the pieces are.
    let &[choice, step, ref input @ ..] = input else { return };
    let framing = match choice {
        0 => Framing::Empty,
        1 => Framing::UntilClose,
        2..=99 => Framing::Length(u64::from(choice)),
        _ => Framing::Chunked,
    };
    let mut cuts: Vec<usize> = (0..input.len()).step_by(usize::from(step) + 1).collect();
    cuts.push(input.len());
    let whole = read_body(framing, input, &[input.len()]);
    assert_eq!(read_body(framing, input, &cuts), whole);
    let Ok((body, Some(end))) = whole else { return };
    match framing {
        Framing::Empty => assert_eq!((body.len(), end), (0, 0)),
        Framing::UntilClose => assert_eq!((body.as_slice(), end), (input, input.len())),
        Framing::Length(length) => assert_eq!((body.len() as u64, end as u64), (length, length)),
        Framing::Chunked => {
            let mut coded = Vec::new();
            for piece in body.chunks(usize::from(step) + 1) {
                chunked::write_size(&mut coded, piece.len());
                coded.extend_from_slice(piece);
                coded.extend_from_slice(b"\r\n");
            }
            coded.extend_from_slice(LAST_CHUNK);
            assert_eq!(decode(&coded, &[coded.len()]), Ok((body, Some(coded.len()))));
        }
    }
});
