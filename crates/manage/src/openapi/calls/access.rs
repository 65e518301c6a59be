//! Keys, secrets, logins for registries, and who changed what.

use runyard_domain::Access::{Admin, Deploy, Read};
use serde_json::Value;

use super::super::objects::shared;
use super::super::operation::Operation;
use super::super::settings;
use super::super::shape::{
    flag, form, list, map, named, object, or_null, request, text, text_to, time, within,
};
use super::{Tagged, by, page};
use crate::{keys, members, registries, secrets};

pub(super) fn access() -> Tagged {
    let all = [secrets(), members(), keys(), registries()].concat();
    let audit = Operation::new(
        "GET /api/v1/audit",
        "listChanges",
        Admin,
        by("audit"),
        "Who changed what, from where, and what it was before; newest first",
    )
    .query("endpoint", text(), "only what was done to this endpoint; its id where it is gone")
    .query("who", text(), "only by this key, by id or name, or this member")
    .query("action", text(), "only this kind of change, as endpoint.change, or all of a kind, as endpoint")
    .query("subject", text(), "only what was done to this")
    .query("since", time(), "only at or after")
    .query("until", time(), "only at or before")
    .paged()
    .answers(page("records", "Audit"));
    ("access", [all, vec![audit]].concat())
}

fn secrets() -> Vec<Operation> {
    let asked =
        request([("value?", or_null(text())), ("description?", or_null(text())), ("restart?", flag())]);
    let gone = object([("name", text()), ("deleted", flag()), ("usedBy", list(named("SecretUse")))]);
    vec![
        Operation::new(
            "GET /api/v1/secrets",
            "listSecrets",
            Read,
            by("secret list"),
            "Secrets, never their values",
        )
        .paged()
        .answers(page("secrets", "Secret")),
        Operation::new("GET /api/v1/secrets/{name}", "getSecret", Read, by("secret show"), "A secret")
            .answers(named("Secret"))
            .tagged(),
        Operation::new(
            "PUT /api/v1/secrets/{name}",
            "setSecret",
            Deploy,
            by("secret set"),
            "Makes a secret, or gives it another value or description",
        )
        .takes::<secrets::Set>(asked)
        .answers(named("Secret"))
        .conflicts()
        .tagged()
        .guarded(),
        Operation::new(
            "DELETE /api/v1/secrets/{name}",
            "deleteSecret",
            Deploy,
            by("secret delete"),
            "Removes it; one that is used only by force",
        )
        .query("force", flag(), "also one that is used")
        .answers(gone)
        .conflicts()
        .guarded(),
        Operation::new(
            "POST /api/v1/secrets/rotate-key",
            "rotateSecretKey",
            Admin,
            by("secret rotate-key"),
            "A new key in the key file, and everything sealed with it",
        )
        .answers(object([("key", text())]))
        .conflicts(),
    ]
}

fn members() -> Vec<Operation> {
    let life = within(1, 3_153_600_000);
    let added = request([
        ("email", text_to(254)),
        ("name?", text()),
        ("role", shared::role()),
        ("key?", flag()),
        ("expiresInS?", or_null(life)),
    ]);
    let changed = request([
        ("name?", or_null(text())),
        ("email?", or_null(text_to(254))),
        ("role?", or_null(shared::role())),
        ("disabled?", or_null(flag())),
    ]);
    vec![
        Operation::new("GET /api/v1/me", "whoAmI", Read, by("whoami"), "Who calls").answers(named("Caller")),
        Operation::new(
            "GET /api/v1/members",
            "listMembers",
            Admin,
            by("members list"),
            "Members, by address",
        )
        .paged()
        .answers(page("members", "Member")),
        Operation::new(
            "POST /api/v1/members",
            "addMember",
            Admin,
            by("members add"),
            "Adds a member, with a key where one is asked for, shown this once",
        )
        .takes::<members::Add>(added)
        .answers(named("Member"))
        .conflicts(),
        Operation::new("GET /api/v1/members/{member}", "getMember", Admin, by("members show"), "A member")
            .answers(named("Member")),
        Operation::new(
            "PATCH /api/v1/members/{member}",
            "changeMember",
            Admin,
            by("members set"),
            "Another name, address or role; or the member may do nothing for a while",
        )
        .takes::<members::Change>(changed)
        .answers(named("Member"))
        .conflicts(),
        Operation::new(
            "DELETE /api/v1/members/{member}",
            "removeMember",
            Admin,
            by("members remove"),
            "Removes a member; the keys that are the member's are revoked",
        )
        .answers(named("Member"))
        .conflicts(),
    ]
}

fn keys() -> Vec<Operation> {
    let life = || within(1, 3_153_600_000);
    let origins = list(form("^https?://[a-z0-9.-]+(:[0-9]{1,5})?$"));
    let mut page_use = shared::page();
    page_use["properties"]["origins"] = origins;
    page_use["additionalProperties"] = false.into();
    let made = request([
        ("name", text_to(200)),
        ("access", shared::access()),
        ("endpoints?", list(text())),
        ("grants?", map(shared::access())),
        ("expiresInS?", or_null(life())),
        ("rates?", rates()),
        ("page?", or_null(page_use)),
        ("member?", or_null(text())),
    ]);
    let changed = request([
        ("name?", or_null(text_to(200))),
        ("disabled?", or_null(flag())),
        ("expiresInS?", or_null(life())),
        ("rates?", or_null(rates())),
    ]);
    vec![
        Operation::new("GET /api/v1/keys", "listKeys", Admin, by("keys list"), "Keys, oldest first")
            .query("member", text(), "only those of this member, by address or id")
            .query("sessions", flag(), "those of people who signed in, too")
            .paged()
            .answers(page("keys", "Key"))
            .may_fail(&[404]),
        Operation::new(
            "POST /api/v1/keys",
            "createKey",
            Admin,
            by("keys create"),
            "Makes a key, shown this once",
        )
        .takes::<keys::Create>(made)
        .answers(named("Key"))
        .tagged()
        .may_fail(&[404]),
        Operation::new("GET /api/v1/keys/{id}", "getKey", Admin, by("keys show"), "A key")
            .answers(named("Key"))
            .tagged(),
        Operation::new(
            "PATCH /api/v1/keys/{id}",
            "changeKey",
            Admin,
            by("keys disable"),
            "Another name, life or rates; or it opens nothing for a while",
        )
        .takes::<keys::Change>(changed)
        .answers(named("Key"))
        .conflicts()
        .tagged()
        .guarded(),
        Operation::new(
            "DELETE /api/v1/keys/{id}",
            "revokeKey",
            Admin,
            by("keys revoke"),
            "Revokes it for good",
        )
        .answers(named("Key"))
        .guarded(),
    ]
}

fn rates() -> Value {
    settings::rates(false)
}

fn registries() -> Vec<Operation> {
    let login = request([
        ("name", form("^[a-z0-9][a-z0-9._-]{0,63}$")),
        ("server?", or_null(text())),
        ("username?", or_null(text())),
        ("password", text_to(16_384)),
        ("replace?", flag()),
    ]);
    vec![
        Operation::new(
            "GET /api/v1/registries",
            "listRegistries",
            Deploy,
            by("registries list"),
            "Logins for the registries that images come from",
        )
        .paged()
        .answers(page("registries", "Registry")),
        Operation::new(
            "POST /api/v1/registries",
            "addRegistry",
            Admin,
            by("registries add"),
            "Keeps a login, or replaces one",
        )
        .takes::<registries::Add>(login)
        .answers(named("Registry"))
        .conflicts()
        .tagged()
        .guarded(),
        Operation::new(
            "GET /api/v1/registries/{name}",
            "getRegistry",
            Deploy,
            by("registries list"),
            "A login",
        )
        .answers(named("Registry"))
        .tagged(),
        Operation::new(
            "DELETE /api/v1/registries/{name}",
            "removeRegistry",
            Admin,
            by("registries remove"),
            "Removes a login; one that is used only by force",
        )
        .query("force", flag(), "also one that endpoints use")
        .answers(named("Registry"))
        .conflicts()
        .guarded(),
    ]
}
