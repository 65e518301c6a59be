//! Templates: containers that are described once. Who makes an endpoint of one gets a copy, so that a template can be
//! changed and deleted without anything happening to endpoints.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use runyard_domain::resource::{Category, Kind, Template};
use runyard_domain::{Access, Resource, ResourceId};
use serde_json::{Value, json};

use super::catalog::{Parameters, check, values};
use super::config::{self, Fields};
use super::place;
use super::reader::{Object, Raw, is_version};
use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::version::{self, Versions, tagged};

const CATEGORIES: [(&str, Category); 3] =
    [("CPU", Category::Cpu), ("NVIDIA", Category::Nvidia), ("AMD", Category::Amd)];

/// What a body says of a template.
#[derive(Default)]
pub(super) struct Body {
    name: Option<String>,
    config: Fields,
    #[expect(clippy::option_option, reason = "not said, null, and a value are three things")]
    persistent: Option<Option<(u32, String)>>,
    serverless: Option<bool>,
    public: Option<bool>,
    category: Option<Category>,
    start_ssh: Option<bool>,
    start_jupyter: Option<bool>,
    cuda_versions: Option<Vec<String>>,
}

impl Body {
    pub(super) fn read(body: &Object<'_>) -> Self {
        Self {
            name: body.name("name"),
            config: Fields::read(body),
            persistent: body.object("mounts", |mounts| Some(mounts.object("persistent", persistent))),
            serverless: body.flag("serverless"),
            public: body.flag("public"),
            category: body.word("category", &CATEGORIES),
            start_ssh: body.flag("startSsh"),
            start_jupyter: body.flag("startJupyter"),
            cuda_versions: body.texts("allowedCudaVersions", "a version as 12.8", is_version),
        }
    }

    fn over(self, template: Template) -> Result<Template, Problem> {
        Ok(Template {
            config: self.config.over(template.config)?,
            persistent: self.persistent.unwrap_or(template.persistent),
            serverless: self.serverless.unwrap_or(template.serverless),
            public: self.public.unwrap_or(template.public),
            category: self.category.unwrap_or(template.category),
            start_ssh: self.start_ssh.unwrap_or(template.start_ssh),
            start_jupyter: self.start_jupyter.unwrap_or(template.start_jupyter),
            cuda_versions: self.cuda_versions.unwrap_or(template.cuda_versions),
        })
    }
}

/// The disk that pods keep: its size in GB and where it is.
pub(super) fn persistent(disk: &Object<'_>) -> Option<(u32, String)> {
    let size = disk.required("size", disk.whole("size", 10..=i64::from(u32::MAX)));
    let path = disk.required("path", disk.text("path"));
    Some((size? as u32, path?))
}

fn view(resource: &Resource) -> Value {
    let Kind::Template(template) = &resource.kind else { return Value::Null };
    let mut view = config::view(&template.config);
    let category = CATEGORIES.iter().find(|(_, category)| *category == template.category);
    let mounts = match &template.persistent {
        Some((size, path)) => json!({"persistent": {"size": size, "path": path}}),
        None => json!({}),
    };
    view.insert("id".into(), json!(resource.id));
    view.insert("name".into(), json!(resource.name));
    view.insert("mounts".into(), mounts);
    view.insert("serverless".into(), json!(template.serverless));
    view.insert("public".into(), json!(template.public));
    view.insert("category".into(), json!(category.map(|(word, _)| *word)));
    view.insert("startSsh".into(), json!(template.start_ssh));
    view.insert("startJupyter".into(), json!(template.start_jupyter));
    view.insert("allowedCudaVersions".into(), json!(template.cuda_versions));
    Value::Object(view)
}

impl Manage {
    /// Every record that endpoints share, oldest first.
    pub(super) fn resources(&self) -> Result<Vec<Resource>, Problem> {
        let mut all = self.inner.engine.reader().resources()?;
        all.sort_by_key(place);
        Ok(all)
    }

    fn templates(&self) -> Result<Vec<Resource>, Problem> {
        let mut all = self.resources()?;
        all.retain(|resource| matches!(resource.kind, Kind::Template(_)));
        Ok(all)
    }

    /// One template.
    pub(super) fn template(&self, id: &str) -> Result<(Resource, Template), Problem> {
        let found = self.inner.engine.reader().resource(&ResourceId::new(id))?;
        let template = found.and_then(|resource| match &resource.kind {
            Kind::Template(template) => Some((template.clone(), resource)),
            _ => None,
        });
        template.map(|(template, resource)| (resource, template)).ok_or_else(|| {
            let id: String = id.chars().take(60).collect();
            Problem::not_found(format!("there is no template '{id}'"))
        })
    }

    fn check_template_name(&self, name: &str, own: Option<&ResourceId>) -> Result<(), Problem> {
        let taken = self.templates()?.iter().any(|other| other.name == name && Some(&other.id) != own);
        if taken {
            return Err(Problem::conflict(format!("there is a template '{name}' already"))
                .hint("take another name, or change that one"));
        }
        Ok(())
    }
}

pub(crate) async fn list(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    let views: Vec<Value> = manage.templates()?.iter().map(view).collect();
    Ok(Json(json!({"templates": views})))
}

/// A page of them, oldest first, for `/api/v1`.
pub(crate) async fn page(
    State(manage): State<Manage>,
    auth: Auth,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    let (page, next) = paging.cut(manage.templates()?, place)?;
    Ok(Json(json!({"templates": page.iter().map(view).collect::<Vec<_>>(), "nextCursor": next})))
}

/// Templates of others: there are no others here.
pub(crate) async fn public(_auth: Auth, Query(query): Query<Parameters>) -> Result<Json<Value>, Problem> {
    for source in values(&query, "source") {
        check(source, &["official", "verified", "community"], "source")?;
    }
    Ok(Json(json!({"templates": []})))
}

pub(crate) async fn create(
    State(manage): State<Manage>,
    auth: Auth,
    body: Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    auth.0.may(Access::Deploy, None)?;
    let (name, body) = body.read(|object| {
        let body = Body::read(object);
        if !object.has("image") {
            object.wrong("missing property 'image'");
        }
        Some((object.required("name", body.name.clone())?, body))
    })?;
    let blank = Template {
        config: runyard_domain::resource::ContainerConfig::default(),
        persistent: None,
        serverless: false,
        public: false,
        category: Category::default(),
        start_ssh: true,
        start_jupyter: true,
        cuda_versions: Vec::new(),
    };
    let template = body.over(blank)?;
    manage.check_config(&template.config).await?;
    let _turn = manage.inner.rest.turn.lock().await;
    manage.check_template_name(&name, None)?;
    let engine = &manage.inner.engine;
    let (id, created_at) = (engine.env().resource_id(), engine.now());
    let resource = Resource { id, name, created_at, kind: Kind::Template(template) };
    let shown = view(&resource);
    engine.put_resource(resource).await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
) -> Result<Response, Problem> {
    auth.0.may(Access::Read, None)?;
    let (resource, _) = manage.template(&id)?;
    Ok(versions.show(&version::of(&resource), view(&resource)))
}

pub(crate) async fn change(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
    body: Raw,
) -> Result<Response, Problem> {
    auth.0.may(Access::Deploy, None)?;
    manage.template(&id)?;
    let body = body.read(|object| Some(Body::read(object)))?;
    let _turn = manage.inner.rest.turn.lock().await;
    let (mut resource, before) = manage.template(&id)?;
    versions.check(&version::of(&resource))?;
    if let Some(name) = &body.name {
        manage.check_template_name(name, Some(&resource.id))?;
        resource.name.clone_from(name);
    }
    let template = body.over(before)?;
    manage.check_config(&template.config).await?;
    resource.kind = Kind::Template(template);
    let shown = tagged(&version::of(&resource), view(&resource));
    manage.inner.engine.put_resource(resource).await?;
    Ok(shown)
}

pub(crate) async fn remove(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
) -> Result<StatusCode, Problem> {
    auth.0.may(Access::Deploy, None)?;
    let _turn = manage.inner.rest.turn.lock().await;
    let (resource, _) = manage.template(&id)?;
    versions.check(&version::of(&resource))?;
    manage.inner.engine.drop_resource(&resource.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
