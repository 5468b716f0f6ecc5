//! What a broker answers, for people; a run without a broker explains itself in the same words.

use serde_json::Value;

/// A text of a broker's answer, for a table; empty when it is not there.
pub(super) fn text(object: &Value, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A list of a broker's answer.
pub(super) fn list<'a>(answer: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The rows of a table that tells what would become of a request.
pub(super) fn explained(answer: &Value) -> Vec<Vec<String>> {
    let row = |about: &str, told: String| vec![about.to_owned(), told];
    let (service, refusal) = (&answer["service"], &answer["refusal"]);
    let mut rows = vec![row("target", text(answer, "target")), row("service", service_told(answer))];
    for set in list(service, "sets") {
        rows.push(row("sets", format!("{} {}", text(set, "in"), text(set, "name"))));
    }
    for one in list(service, "substitutions") {
        let surfaces: Vec<&str> = list(one, "in").filter_map(Value::as_str).collect();
        let (placeholder, key) = (text(one, "placeholder"), text(one, "credential"));
        rows.push(row("replaces", format!("{placeholder} by {key} in {}", surfaces.join(", "))));
    }
    let keys: Vec<&str> = list(service, "credentials").filter_map(Value::as_str).collect();
    if !keys.is_empty() {
        rows.push(row("credentials", keys.join(", ")));
    }
    if let Some(missing) = service["missing_credential"].as_str() {
        rows.push(row("missing", missing.to_owned()));
    }
    if !answer["network"].is_null() {
        rows.push(row("network", network_told(&answer["network"])));
    }
    if refusal.is_null() {
        let outcome = match text(answer, "outcome").as_str() {
            "attach" => "goes out with what the service sets",
            _ => "goes out as it is: the vault forwards what no service matches",
        };
        rows.push(row("outcome", outcome.to_owned()));
    } else {
        rows.push(row("outcome", format!("refused with {}: {}", refusal["status"], text(refusal, "reason"))));
        rows.push(row("because", text(refusal, "message")));
        rows.push(row("to do", text(refusal, "remedy")));
    }
    rows
}

fn service_told(answer: &Value) -> String {
    let service = &answer["service"];
    if !service.is_null() {
        return format!(
            "{} ({}), {}",
            text(service, "name"),
            text(service, "host"),
            text(service, "auth_type")
        );
    }
    let others: Vec<&str> = list(answer, "services_of_host").filter_map(Value::as_str).collect();
    match others.as_slice() {
        [] => "none has this host".to_owned(),
        others => format!("none; of this host, but another port or path: {}", others.join(", ")),
    }
}

fn network_told(network: &Value) -> String {
    let addresses: Vec<&str> = list(network, "addresses").filter_map(Value::as_str).collect();
    match text(network, "verdict").as_str() {
        "allowed" => format!("may be dialled at {}", addresses.join(", ")),
        "blocked" => format!("{} is blocked by the network policy", addresses.join(", ")),
        "unresolved" => "the name cannot be resolved from the broker".to_owned(),
        _ => "reached through the site's own proxy".to_owned(),
    }
}
