//! Routes that need no token: health, status, the proxy's root, the agents' skill.

use serde_json::{Map, Value};

use super::super::Call;
use super::super::refusal::Reply;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::vault::SKILL;

pub(super) fn health(_: &Call<'_>) -> Reply {
    Ok(Answer::json(200, &json!({"status": "ok"})))
}

pub(super) fn status(call: &Call<'_>) -> Reply {
    let initialized = call.api.is_initialized()?;
    let mut body = Map::new();
    body.insert("initialized".to_owned(), initialized.into());
    body.insert("needs_first_user".to_owned(), (!initialized).into());
    if call.api.settings.is_base_url_chosen {
        body.insert("base_url".to_owned(), call.api.settings.base_url.as_str().into());
    }
    let admission = call.store().admission()?;
    if admission.invite_only {
        body.insert("invite_only".to_owned(), true.into());
    }
    if !admission.allowed_email_domains.is_empty() {
        body.insert("allowed_email_domains".to_owned(), admission.allowed_email_domains.into());
    }
    Ok(Answer::json(200, &Value::Object(body)))
}

/// The proxy's root certificate, and in a field the port where the proxy listens.
pub(super) fn root_certificate(call: &Call<'_>) -> Reply {
    let Some(notice) = call.api.proxy.get() else {
        let mut answer = Answer::text(404, "MITM proxy is not enabled on this server");
        // The common fields are added to every answer; this shape brings one of them along.
        answer.fields.retain(|(name, _)| *name == "Content-Type");
        return Ok(answer);
    };
    let fields = vec![
        ("Content-Type", "application/x-pem-file".to_owned()),
        ("Content-Disposition", "attachment; filename=\"agent-vault-ca.pem\"".to_owned()),
        ("X-MITM-Port", notice.port.to_string()),
    ];
    Ok(Answer { status: 200, fields, body: notice.root_pem.clone().into_bytes() })
}

/// How an agent works behind the proxy.
pub(super) fn skill(_: &Call<'_>) -> Reply {
    let fields = vec![("Content-Type", "text/markdown; charset=utf-8".to_owned())];
    Ok(Answer { status: 200, fields, body: SKILL.as_bytes().to_vec() })
}
