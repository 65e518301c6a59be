//! `GET /ui/chart.csv?page=…&chart=…`: the numbers of one chart of a page, as a file.

use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};

use crate::call::Trouble;
use crate::chart::Chart;
use crate::pages::{metrics, telemetry};
use crate::place::{Place, Query, Tab};
use crate::session::Visit;

/// `GET /ui/chart.csv`.
pub(crate) async fn serve(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let (page, id) = (query.get("page").unwrap_or("/"), query.get("chart").unwrap_or_default());
    let charts = match charts(&visit, page).await {
        Ok(charts) => charts,
        Err(trouble) => return (trouble.status, trouble.words()).into_response(),
    };
    let Some(chart) = charts.iter().find(|chart| chart.id == id) else {
        return (StatusCode::NOT_FOUND, "that page has no such chart").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.csv\"", chart.id)),
    ];
    (headers, chart.csv()).into_response()
}

async fn charts(visit: &Visit, page: &str) -> Result<Vec<Chart>, Trouble> {
    let (path, rest) = page.split_once('?').unwrap_or((page, ""));
    let query = Query::parse(rest);
    match Place::parse(path)? {
        Place::Endpoint { ep, tab: Tab::Metrics } => {
            Ok(metrics::load(visit, &ep, &query).await?.sheet.charts)
        }
        Place::Endpoint { ep, tab: Tab::Telemetry } => {
            Ok(telemetry::load(visit, &ep, &query).await?.sheet.charts)
        }
        _ => Err(Trouble::no_page(path)),
    }
}
