//! The service catalog: how well-known services want their credential (contract F.7).

use super::super::Call;
use super::super::refusal::Reply;
use crate::http1::respond::Answer;

/// The table, in the form clients read it.
const CATALOG: &str = include_str!("../catalog.json");

pub(super) fn list(_: &Call<'_>) -> Reply {
    let fields = vec![("Content-Type", "application/json".to_owned())];
    Ok(Answer { status: 200, fields, body: CATALOG.as_bytes().to_vec() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::vault::service::{InternalNames, Service, list};

    /// The service a client makes of a template, with the key it suggests.
    fn service_of(template: &Value) -> Value {
        let key = &template["suggested_credential_key"];
        let auth = match template["auth_type"].as_str().unwrap() {
            "bearer" => json!({"type": "bearer", "token": key}),
            "basic" => json!({"type": "basic", "username": "USERNAME", "password": key}),
            "api-key" => {
                let mut auth = Map::from_iter([("type".to_owned(), json!("api-key"))]);
                auth.insert("key".to_owned(), key.clone());
                for optional in ["header", "prefix"] {
                    if let Some(text) = template.get(optional) {
                        auth.insert(optional.to_owned(), text.clone());
                    }
                }
                Value::Object(auth)
            }
            "custom" => {
                // A template without headers leaves them to the person.
                let own = json!({"X-Key": format!("{{{{ {} }}}}", key.as_str().unwrap())});
                json!({"type": "custom", "headers": template.get("headers").unwrap_or(&own)})
            }
            other => json!({"type": other}),
        };
        let mut service = json!({"name": template["id"], "host": template["host"], "auth": auth});
        if let Some(substitutions) = template.get("substitutions") {
            service["substitutions"] = substitutions.clone();
        }
        service
    }

    #[test]
    fn every_template_makes_a_service_that_uses_its_key() {
        let catalog: Value = serde_json::from_str(CATALOG).unwrap();
        let templates = catalog["services"].as_array().unwrap();
        assert_eq!(templates.len(), 34);
        let values: Vec<Value> = templates.iter().map(service_of).collect();
        // Together, so that the names are known to be different.
        let services: Vec<Service> =
            list::read(&values).and_then(|drafts| list::check(drafts, InternalNames::Refused)).unwrap();
        for (template, service) in templates.iter().zip(&services) {
            assert_eq!(service.joined_host(), template["host"].as_str().unwrap());
            let key = template["suggested_credential_key"].as_str().unwrap();
            assert!(service.credential_keys().contains(&key), "{template}");
            for required in ["name", "description"] {
                assert!(template[required].as_str().is_some_and(|text| !text.is_empty()), "{template}");
            }
        }
    }
}
