//! What a deploy is asked for, as it comes over the wire or from a repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runyard_build::environment::Asked;
use runyard_build::{CasesError, TestCase};
use runyard_domain::endpoint::{Managed, WEEK_MS};
use runyard_domain::git::Commit;
use runyard_domain::{EndpointId, PythonWish, secret};
use runyard_fleet::{Expected, TestRequest};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::problem::Problem;
use crate::secrets::SecretEnv;
use crate::{Manage, container};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) bundle: Option<String>,
    /// A folder on the server's machine, run in place: only for the owner of the data directory.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) handler: Option<PathBuf>,
    /// Its workers are containers.
    pub(crate) container: Option<container::Request>,
    /// What is asked of a handler's interpreter and requirements.
    #[serde(default)]
    pub(crate) python: PythonWish,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Secure variables to set or to take away; the endpoint's others stay.
    #[serde(default, rename = "secretEnv")]
    pub(crate) secret_env: SecretEnv,
    /// The endpoint whose secure variables it has too; nobody says so but the making of a pull request's endpoint.
    #[serde(skip)]
    pub(crate) inherits: Option<EndpointId>,
    #[serde(default)]
    pub(crate) settings: Map<String, Value>,
    pub(crate) note: Option<String>,
    #[serde(default)]
    pub(crate) create: bool,
    /// The commit that it was made of; nobody says so but this server's own reading of a repository.
    #[serde(skip)]
    pub(crate) commit: Option<Commit>,
    /// Whether the folder's test requests run before the release gets traffic; its worker has to come up
    /// in any case.
    #[serde(default = "yes")]
    pub(crate) tests: bool,
    /// Requests that run instead of the folder's own.
    #[serde(default)]
    pub(crate) cases: Vec<Case>,
    /// It gets so many of a hundred jobs until it has proved itself.
    pub(crate) canary: Option<u32>,
    /// What the endpoint's record says of the file that it was made of.
    #[serde(skip)]
    pub(crate) managed: Option<Managed>,
    /// What its log says first.
    #[serde(skip)]
    pub(crate) remarks: Vec<String>,
    /// Whether it is made of the endpoint's blueprint.
    #[serde(skip)]
    pub(crate) of_blueprint: bool,
}

/// A request that the release has to answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Case {
    name: String,
    input: Box<RawValue>,
    timeout_ms: Option<i64>,
    /// The handler is to fail.
    #[serde(default)]
    failure: bool,
    output: Option<Value>,
}

/// The most requests that a release is tested with.
const MOST_CASES: usize = 100;

impl Request {
    /// Refuses what no worker could be started or tested with. An image that is a local command needs no engine.
    fn check(&self, is_local: bool) -> Result<(), Problem> {
        check_env(&self.env)?;
        self.secret_env.check(self.env.keys())?;
        if let Some(container) = self.container.as_ref().filter(|_| !is_local) {
            container.check(self.bundle.is_some())?;
        }
        match self.python.wrong() {
            Some((field, allowed)) => {
                return Err(Problem::invalid(format!("'python.{field}' must be {allowed}")));
            }
            None if self.container.is_some() && !self.python.is_empty() => {
                return Err(Problem::invalid(
                    "'python' is for handlers: a container brings its own interpreter and packages",
                ));
            }
            None => {}
        }
        if self.cases.len() > MOST_CASES {
            return Err(Problem::invalid(format!("a release is tested with {MOST_CASES} requests at most")));
        }
        match self.cases.iter().find(|case| case.input.get() == "null") {
            Some(case) => Err(Problem::invalid(format!("the test '{}' has no input", case.name))),
            None => Ok(()),
        }
    }
}

impl Case {
    /// As it was asked for.
    pub(crate) fn view(&self) -> Value {
        let Self { name, input, timeout_ms, failure, output } = self;
        json!([name, input, timeout_ms, failure, output])
    }

    /// As the fleet runs it.
    pub(crate) fn request(self) -> TestRequest {
        let Self { name, input, timeout_ms, failure, output } = self;
        TestRequest {
            name,
            input: String::from(Box::<str>::from(input)).into(),
            timeout_ms: timeout_ms.map(|ms| ms.clamp(1, WEEK_MS)),
            expected: Expected { failure, output },
        }
    }
}

fn yes() -> bool {
    true
}

/// What is asked of a release's environment.
pub fn asked_of(wish: &PythonWish) -> Asked {
    Asked { python: wish.version.clone(), requirements: wish.requirements.as_ref().map(PathBuf::from) }
}

impl Manage {
    /// Refuses what nothing here could be started or tested with.
    pub(crate) fn check_request(&self, request: &Request) -> Result<(), Problem> {
        let local = request.container.as_ref().and_then(|container| self.local_image(container));
        request.check(local.is_some())
    }
}

/// What no environment can hold is refused before it keeps every worker from starting.
pub(crate) fn check_env(env: &BTreeMap<String, String>) -> Result<(), Problem> {
    for (name, value) in env {
        if value == secret::MASK {
            let name: String = name.chars().take(60).collect();
            return Err(Problem::invalid(format!(
                "the value of {name:?} is {}, which is what is shown instead of a secret: give the value itself",
                secret::MASK
            )));
        }
        if !is_variable(name) || value.contains('\0') {
            let name: String = name.chars().take(60).collect();
            return Err(Problem::invalid(format!(
                "{name:?} cannot be a variable: a name is not empty and holds no '=', and neither it nor its value \
                 holds a zero byte"
            )));
        }
    }
    Ok(())
}

/// The test requests that come with the code.
pub(super) fn own_tests(code: &Path) -> Result<Vec<TestRequest>, CasesError> {
    let request = |case: TestCase| TestRequest {
        name: case.name,
        input: case.input.into(),
        timeout_ms: case.timeout_ms.map(|ms| ms.min(WEEK_MS as u64) as i64),
        expected: Expected::default(),
    };
    Ok(runyard_build::tests_of(code)?.into_iter().map(request).collect())
}

/// Whether an environment can hold a variable of this name.
pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
