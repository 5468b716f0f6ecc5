//! Request and response heads: no panic, no difference by split, and what was read prints and reads back.

#![no_main]

#[path = "../../tests/reference/mod.rs"]
mod reference;

use agent_vault::http1::fields::{is_field_line, write_field};
use agent_vault::http1::framing::Framing;
use agent_vault::http1::head::{RequestHead, ResponseHead};
use libfuzzer_sys::fuzz_target;
use reference::parse;

fuzz_target!(|input: &[u8]| {
    // The first byte says which head it is and how large the pieces are.
    let Some((&choice, input)) = input.split_first() else { return };
    let (is_request, step) = (choice & 1 == 0, usize::from(choice >> 1) + 1);
    let mut cuts: Vec<usize> = (0..input.len()).step_by(step).collect();
    cuts.push(input.len());
    let whole = parse(is_request, input, &[input.len()]);
    assert_eq!(parse(is_request, input, &cuts), whole);
    let Ok(Some((start, fields, end))) = whole else { return };

    // The start line as it came, the fields as we write them.
    let line = input[..end].strip_prefix(b"\r\n").unwrap_or(&input[..end]);
    let line_end = line.windows(2).position(|pair| pair == b"\r\n").expect("a head has lines") + 2;
    let mut printed = line[..line_end].to_vec();
    for (name, value) in &fields {
        let from = printed.len();
        write_field(&mut printed, name, value);
        assert!(is_field_line(&printed[from..printed.len() - 2]));
    }
    printed.extend_from_slice(b"\r\n");
    let again = parse(is_request, &printed, &[printed.len()]);
    assert_eq!(again, Ok(Some((start, fields, printed.len()))));

    // Who asks for a framing gets one or a refusal.
    if is_request {
        let mut head = RequestHead::default();
        head.parse(input, &mut 0).expect("it was read before");
        let framing = Framing::of_request(&head);
        assert_ne!(framing, Ok(Framing::UntilClose));
        if head.fields().all("transfer-encoding").next().is_some() {
            assert!(matches!(framing, Ok(Framing::Chunked) | Err(_)));
        }
        let _ = (head.check_host(), head.wants_keep_alive());
    } else {
        let mut head = ResponseHead::default();
        head.parse(input, &mut 0).expect("it was read before");
        let _ = (Framing::of_response(&head, "GET"), head.wants_keep_alive());
        assert_eq!(Framing::of_response(&head, "HEAD"), Ok(Framing::Empty));
    }
});
