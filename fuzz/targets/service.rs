//! Service lists as JSON: no panic, and what was accepted prints and reads back the same.

#![no_main]

use agent_vault::vault::service::{InternalNames, list};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        // What a store may hold; read more leniently, so only its own print has to hold.
        if let Ok(stored) = list::from_stored(text) {
            let printed = list::to_json(&stored).to_string();
            assert_eq!(list::from_stored(&printed).expect("our own print is read"), stored);
        }
    }
    let Ok(Value::Array(values)) = serde_json::from_slice(input) else { return };
    let Ok(drafts) = list::read(&values) else { return };
    let Ok(checked) = list::check(drafts, InternalNames::Refused) else { return };
    let Value::Array(printed) = list::to_json(&checked) else { unreachable!("a list prints as an array") };
    let again = list::check(list::read(&printed).expect("our own print is read"), InternalNames::Refused);
    assert_eq!(again.expect("our own print is accepted"), checked);
});
