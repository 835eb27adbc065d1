//! The span of a call that is answered.

use http::HeaderMap;
use steeple_runtime::trace::{HEADER, Kind, Open, Parent, Tracer};

use super::Method;
use crate::connection::Connection;

/// Methods whose answers come for as long as somebody listens. Their spans end with the first of them: what comes later
/// answers no call, and a span that ends in a month is of no use to anybody.
const FOLLOWED: &[&str] = &[
    "/SpiffeWorkloadAPI/FetchX509SVID",
    "/SpiffeWorkloadAPI/FetchX509Bundles",
    "/SpiffeWorkloadAPI/FetchJWTBundles",
    "/SpiffeWorkloadAPI/FetchWITSVID",
    "/SpiffeWorkloadAPI/FetchWITBundles",
    "/grpc.health.v1.Health/Watch",
    "/steeple.agent.sync.v1.Sync/Follow",
];

/// Begins the span of a call, if the call is in a trace, or is to begin one. Agents are believed whether theirs is to be
/// gone on with; anybody else could have each call written down.
pub(super) fn begin(
    tracer: Option<&Tracer>,
    method: &'static Method,
    connection: &Connection,
    headers: &HeaderMap,
) -> Option<Open> {
    let tracer = tracer?;
    let name = method.path.trim_start_matches('/');
    let parent = headers.get(HEADER).and_then(|text| Parent::parse(text.to_str().ok()?));
    let is_agent = connection.svid().is_some_and(|svid| svid.id.is_agent());
    match parent {
        Some(parent) if is_agent => tracer.go_on(name, Kind::Server, parent),
        parent => tracer.begin(name, Kind::Server, parent),
    }
}

/// Whether the span of a call ends with the first answer.
pub(super) fn ends_with_the_first_answer(method: &Method) -> bool {
    FOLLOWED.contains(&method.path.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::{Methods, ServiceName};
    use super::*;

    #[test]
    fn a_method_of_another_service_is_no_stream_for_having_the_name_of_one() {
        let service = |full| ServiceName {
            full,
            log: full,
            metric: "metric",
            connections: None,
            methods: &["Watch", "Check", "Follow", "FetchX509SVID"],
        };
        let services = ["grpc.health.v1.Health", "steeple.agent.sync.v1.Sync", "SpiffeWorkloadAPI", "a.v1.Other"];
        let methods = Methods::new(&services.map(service));
        let mut ending: Vec<_> = methods.iter().filter(|method| ends_with_the_first_answer(method)).collect();
        ending.sort_by_key(|method| &method.path);
        let ending: Vec<_> = ending.iter().map(|method| method.path.as_str()).collect();
        assert_eq!(
            ending,
            ["/SpiffeWorkloadAPI/FetchX509SVID", "/grpc.health.v1.Health/Watch", "/steeple.agent.sync.v1.Sync/Follow"]
        );
    }
}
