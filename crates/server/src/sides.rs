//! Every route of a server, for each side that it is reached from.

use std::sync::Arc;

use axum::{Extension, Router, middleware};
use runyard_console::Console;
use runyard_engine::Engine;
use runyard_fleet::Fleet;
use runyard_gateway::{Gateway, Timing};
use runyard_manage::Manage;

use crate::config::Limits;
use crate::edge::{self, AgentGate};
use crate::operator::Operator;
use crate::reasons::FleetReasons;
use crate::serve::Face;

/// The routes of a server, as they are reached from different sides.
pub(crate) struct Sides {
    /// By users over TCP.
    pub(crate) public: Router,
    /// By the agent over the data directory's socket, and by the owner with the key that lies beside it.
    pub(crate) socket: Router,
    /// By this very process.
    pub(crate) inside: Router,
    /// By people with browsers, as a part of the public one.
    pub(crate) console: Console,
}

/// Every route, for each side.
pub(crate) fn routes(
    engine: &Engine,
    fleet: &Fleet,
    manage: &Manage,
    operator: &Operator,
    face: &Face<'_>,
    limits: &Limits,
) -> Sides {
    let refresh = fleet.clone();
    let options = runyard_gateway::Options {
        open: face.open,
        in_flight_bytes: (limits.in_flight_mib << 20) as usize,
        rates: limits.rates.clone(),
        timing: Timing {
            body_silence: limits.public.patience,
            body_rate: limits.public.rate,
            ..Timing::default()
        },
        on_refresh: Arc::new(move |worker| refresh.refresh(&worker)),
        ..runyard_gateway::Options::default()
    };
    let gateway = Gateway::new(engine.clone(), Arc::new(FleetReasons(fleet.clone())), options);
    let watched = middleware::from_fn_with_state(gateway.clone(), edge::watch_body);
    let jobs = runyard_gateway::job_routes(gateway.clone());
    let calls = manage.routes().merge(manage.rest_routes()).layer(watched.clone());
    let inside_calls = jobs.clone().merge(calls.clone()).merge(manage.doors()).merge(manage.sessions());
    let inside_calls = inside_calls.merge(manage.recorded(operator.routes()));
    let console = Console::new(runyard_console::Options {
        engine: engine.clone(),
        runtime: fleet.runtime().clone(),
        api: inside_calls,
        url: face.url.to_owned(),
        open: face.open,
    });
    let public = jobs
        .merge(runyard_gateway::worker_routes(gateway))
        .merge(calls)
        .merge(manage.doors().merge(console.routes()).layer(watched))
        .merge(manage.sessions())
        .merge(manage.recorded(operator.routes()))
        .fallback(runyard_manage::nothing_there)
        .layer(middleware::from_fn_with_state(engine.clone(), edge::with_request_id));
    let agent = AgentGate { engine: engine.clone(), key_file: operator.inner.paths.agent_key() };
    let socket = public.clone().layer(middleware::from_fn_with_state(agent, edge::admit_agent));
    let inside = public.clone().layer(Extension(engine.vault().local_caller()));
    Sides { public, socket, inside, console }
}
