//! Paths and the matcher: the index finds what a scan finds, and no dot segment gets past the judge.

#![no_main]

#[path = "../../tests/reference/mod.rs"]
mod reference;

use agent_vault::authority::Authority;
use agent_vault::vault::matcher::Matcher;
use agent_vault::vault::path;
use agent_vault::vault::service::{InternalNames, Service, list};
use libfuzzer_sys::fuzz_target;
use reference::obvious;
use serde_json::json;

fuzz_target!(|input: &str| {
    // First line the target, second the path, then a service each: `!` in front of one that is disabled.
    let mut lines = input.lines();
    let (Some(target), Some(raw)) = (lines.next(), lines.next()) else { return };
    if let Ok(seen) = path::normalise(raw) {
        let lenient = String::from_utf8_lossy(&seen).replace("%2F", "/").replace('\\', "/");
        for segment in lenient.split('/').skip(1) {
            let bare = segment.split(';').next().expect("a split has a first part");
            assert!(bare != "." && bare != "..", "{raw} leads to {lenient}");
        }
        if let Ok(again) =
            std::str::from_utf8(&seen).map_err(drop).and_then(|seen| path::normalise(seen).map_err(drop))
        {
            assert_eq!(again, seen);
        }
    }
    let Ok(target) = Authority::parse_or(target, 443) else { return };
    assert_eq!(Authority::parse(&target.to_string()).as_ref(), Ok(&target));
    let services: Vec<Service> = lines.take(16).filter_map(service).collect();
    assert_eq!(Matcher::new(&services).find(&target, raw), obvious(&services, &target, raw));
});

fn service(line: &str) -> Option<Service> {
    let (host, is_enabled) = line.strip_prefix('!').map_or((line, true), |host| (host, false));
    let value = json!({"name": "one", "host": host, "enabled": is_enabled, "auth": {"type": "passthrough"}});
    list::check(list::read(&[value]).ok()?, InternalNames::Refused).ok()?.pop()
}
