//! The routes: one short function each, and the table that says where they are.

mod admin_proposals;
mod agents;
mod auth;
mod catalog;
mod credentials;
mod discover;
mod explain;
mod grants;
mod hosts;
mod invites;
mod logs;
mod members;
mod metrics;
mod oauth;
mod proposals;
mod public;
mod services;
mod sessions;
mod settings;
mod users;
mod vaults;

use super::{Access, HEALTH, Instance, Route};
use crate::vault::scope::Role;
use Access::{Actor, Person, Public, Ready, Token, Vault};
pub(crate) use auth::normal_email;

const fn route(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { method, path, access }
}

/// Method, path, who may call, function.
pub(super) const TABLE: &[Route] = &[
    route("GET", HEALTH, Public(public::health)),
    route("GET", "/metrics", Public(metrics::show)),
    route("GET", "/v1/status", Public(public::status)),
    route("GET", "/v1/mitm/ca.pem", Public(public::root_certificate)),
    route("GET", "/v1/service-catalog", Ready(catalog::list)),
    route("GET", "/v1/skills/cli", Ready(public::skill)),
    route("GET", "/discover", Token(discover::discover)),
    route("POST", "/v1/auth/register", Public(auth::register::register)),
    route("POST", "/v1/auth/verify", Public(auth::codes::verify)),
    route("POST", "/v1/auth/resend-verification", Public(auth::codes::resend)),
    route("POST", "/v1/auth/forgot-password", Public(auth::password::forgot)),
    route("POST", "/v1/auth/reset-password", Public(auth::password::reset)),
    route("POST", "/v1/auth/change-password", Person(auth::password::change)),
    route("POST", "/v1/auth/login", Ready(auth::login::login)),
    route("POST", "/v1/auth/logout", Ready(auth::login::logout)),
    route("GET", "/v1/auth/me", Token(auth::account::me)),
    route("DELETE", "/v1/auth/account", Person(auth::account::delete)),
    route("GET", "/v1/auth/sessions", Person(auth::sessions::list)),
    route("DELETE", "/v1/auth/sessions/{}", Person(auth::sessions::revoke)),
    route("GET", "/v1/sessions", Token(sessions::list)),
    route("POST", "/v1/sessions", Token(sessions::mint)),
    route("DELETE", "/v1/sessions/{}", Token(sessions::revoke)),
    route("GET", "/v1/credentials", Token(credentials::list)),
    route("POST", "/v1/credentials", Token(credentials::set)),
    route("DELETE", "/v1/credentials", Token(credentials::delete)),
    route("POST", "/v1/credentials/oauth/connect", Token(oauth::connect)),
    route("GET", "/v1/credentials/oauth/status", Token(oauth::status)),
    route("POST", "/v1/credentials/oauth/tokens", Token(oauth::tokens)),
    route("GET", "/v1/oauth/callback", Ready(oauth::callback)),
    route("GET", "/oauth/complete", Public(oauth::complete)),
    route("GET", "/v1/vaults", Actor(Instance::Any, vaults::list)),
    route("POST", "/v1/vaults", Actor(Instance::Member, vaults::create)),
    route("DELETE", "/v1/vaults/{}", Actor(Instance::Any, vaults::delete)),
    route("GET", "/v1/admin/vaults", Actor(Instance::Owner, vaults::list_all)),
    route("POST", "/v1/vaults/{}/rename", Actor(Instance::Any, vaults::rename)),
    route("POST", "/v1/vaults/{}/join", Actor(Instance::Owner, vaults::join)),
    route("POST", "/v1/vaults/{}/leave", Actor(Instance::Any, vaults::leave)),
    route("GET", "/v1/admin/settings", Actor(Instance::Owner, settings::show)),
    route("PUT", "/v1/admin/settings", Actor(Instance::Owner, settings::set)),
    route("POST", "/v1/admin/settings/rate-limit/preview", Actor(Instance::Owner, settings::preview)),
    route("POST", "/v1/admin/email/test", Actor(Instance::Owner, settings::test_email)),
    route("GET", "/v1/vaults/{}/context", Token(vaults::context)),
    route("GET", "/v1/vaults/{}/settings", Vault(Role::Proxy, vaults::settings)),
    route("PATCH", "/v1/vaults/{}/settings", Actor(Instance::Any, vaults::set_settings)),
    route("GET", "/v1/vaults/{}/services", Vault(Role::Proxy, services::list)),
    route("POST", "/v1/vaults/{}/services", Vault(Role::Admin, services::upsert)),
    route("PUT", "/v1/vaults/{}/services", Vault(Role::Admin, services::replace)),
    route("DELETE", "/v1/vaults/{}/services", Vault(Role::Admin, services::clear)),
    route("GET", "/v1/vaults/{}/services/credential-usage", Vault(Role::Proxy, services::credential_usage)),
    route("PATCH", "/v1/vaults/{}/services/{}", Vault(Role::Admin, services::enable)),
    route("DELETE", "/v1/vaults/{}/services/{}", Vault(Role::Admin, services::remove)),
    route("GET", "/v1/vaults/{}/explain", Vault(Role::Member, explain::explain)),
    route("GET", "/v1/vaults/{}/logs", Vault(Role::Member, logs::list)),
    route("GET", "/v1/vaults/{}/discovered-hosts", Vault(Role::Member, hosts::discovered)),
    route("GET", "/v1/vaults/{}/agents", Vault(Role::Proxy, grants::list)),
    route("POST", "/v1/vaults/{}/agents", Vault(Role::Admin, grants::add)),
    route("DELETE", "/v1/vaults/{}/agents/{}", Vault(Role::Admin, grants::remove)),
    route("POST", "/v1/vaults/{}/agents/{}/role", Vault(Role::Admin, grants::set_role)),
    route("GET", "/v1/vaults/{}/users", Vault(Role::Proxy, members::list)),
    route("POST", "/v1/vaults/{}/users", Vault(Role::Admin, members::add)),
    route("DELETE", "/v1/vaults/{}/users/{}", Vault(Role::Admin, members::remove)),
    route("POST", "/v1/vaults/{}/users/{}/role", Vault(Role::Admin, members::set_role)),
    route("GET", "/v1/users", Actor(Instance::Member, users::list)),
    route("GET", "/v1/admin/users/{}", Actor(Instance::Any, users::show)),
    route("DELETE", "/v1/admin/users/{}", Actor(Instance::Owner, users::remove)),
    route("POST", "/v1/admin/users/{}/role", Actor(Instance::Owner, users::set_role)),
    route("GET", "/v1/users/invites", Actor(Instance::Member, invites::list)),
    route("POST", "/v1/users/invites", Actor(Instance::Member, invites::create)),
    route("DELETE", "/v1/users/invites/{}", Actor(Instance::Any, invites::revoke)),
    route("POST", "/v1/users/invites/{}/reinvite", Actor(Instance::Member, invites::reissue)),
    route("GET", "/v1/users/invites/{}/details", Public(invites::details)),
    route("POST", "/v1/users/invites/{}/accept", Public(invites::accept)),
    route("POST", "/v1/proposals", Token(proposals::create)),
    route("GET", "/v1/proposals", Token(proposals::list)),
    route("GET", "/v1/proposals/approve-details", Ready(proposals::approve_details)),
    route("GET", "/v1/proposals/{}", Token(proposals::show)),
    route("GET", "/approve/{}", Public(proposals::approval_page)),
    route("GET", "/v1/admin/proposals", Token(admin_proposals::list)),
    route("GET", "/v1/admin/proposals/{}", Token(admin_proposals::show)),
    route("POST", "/v1/admin/proposals/{}/approve", Token(admin_proposals::approve)),
    route("POST", "/v1/admin/proposals/{}/reject", Token(admin_proposals::reject)),
    route("GET", "/v1/agents", Actor(Instance::Member, agents::list)),
    route("POST", "/v1/agents", Actor(Instance::Member, agents::create)),
    route("GET", "/v1/agents/{}", Actor(Instance::Member, agents::show)),
    route("DELETE", "/v1/agents/{}", Actor(Instance::Member, agents::revoke)),
    route("POST", "/v1/agents/{}/delete", Actor(Instance::Member, agents::delete)),
    route("POST", "/v1/agents/{}/rotate", Actor(Instance::Member, agents::rotate)),
    route("POST", "/v1/agents/{}/rename", Actor(Instance::Member, agents::rename)),
    route("POST", "/v1/agents/{}/role", Actor(Instance::Owner, agents::set_role)),
];
