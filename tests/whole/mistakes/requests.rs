//! Calls whose messages are wrong.

use anyhow::{Context, Result, ensure};
use steeple_proto::spire::api::server::svid::v1::MintX509svidRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use steeple_proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest,
};
use steeple_tests::{Domain, case, say};
use steeple_transport::dial;
use tonic::{Code, Request, Response, Status, Streaming};

#[test]
fn refuses_a_malformed_csr() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let mut client = SvidClient::new(dial::local(&domain.server.socket));
        let garbage: &[&[u8]] = &[b"garbage", b"", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30; 5000]];
        for csr in garbage {
            let refusal = client.mint_x509svid(MintX509svidRequest { csr: csr.to_vec(), ttl: 0 }).await.unwrap_err();
            assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
            let text = if csr.is_empty() { "missing CSR" } else { "malformed CSR" };
            assert!(refusal.message().starts_with(text), "{refusal:?}");
        }
        // More than a message may have: it is not even read.
        let endless = MintX509svidRequest { csr: vec![0x30; 5_000_000], ttl: 0 };
        let refusal = client.mint_x509svid(endless).await.unwrap_err();
        assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
        assert_eq!(refusal.message(), "grpc: received message larger than max (5000005 vs. 4194304)");
        domain.server.command(&["healthcheck"]).await?.ok()?;
        Ok(())
    })
}

/// What stands in the place of the one header `workload.spiffe.io: true`.
const HEADERS: &[&[(&str, &str)]] = &[
    &[],
    &[("workload.spiffe.io", "")],
    &[("workload.spiffe.io", "false")],
    &[("workload.spiffe.io", "True")],
    &[("workload.spiffe.io", "1")],
    &[("workload.spiffe.io", "true,true")],
    &[("workload.spiffe.io", "true"), ("workload.spiffe.io", "true")],
    &[("workload.spiffe.io", "false"), ("workload.spiffe.io", "true")],
    &[("broker.spiffe.io", "true")],
];

#[test]
fn asks_each_call_of_the_workload_api_for_its_security_header() -> Result<()> {
    case(async |scratch| {
        let domain = Domain::builder().start(scratch).await?;
        let agent = domain.agent("node1").await?;
        domain.entry(&agent.id, "/web", &[]).await?;
        let workload = agent.workload();
        workload.follow().until_id("spiffe://example.org/web").await?;
        let token = workload.jwt_svids("db").await?.pop().context("no token")?.svid;

        let mut bare = SpiffeWorkloadApiClient::new(dial::local(&agent.socket));
        for headers in HEADERS {
            let jwt = JwtsvidRequest { audience: vec!["db".to_owned()], spiffe_id: String::new() };
            let validate = ValidateJwtsvidRequest { audience: "db".to_owned(), svid: token.clone() };
            let refusals = [
                first(bare.fetch_x509svid(with(X509svidRequest {}, headers)?).await).await,
                first(bare.fetch_x509_bundles(with(X509BundlesRequest {}, headers)?).await).await,
                first(bare.fetch_jwt_bundles(with(JwtBundlesRequest {}, headers)?).await).await,
                bare.fetch_jwtsvid(with(jwt, headers)?).await.map(drop),
                bare.validate_jwtsvid(with(validate, headers)?).await.map(drop),
            ];
            for (i, refusal) in refusals.into_iter().enumerate() {
                let refusal = refusal.err().with_context(|| format!("call {i} is answered with {headers:?}"))?;
                let told = (refusal.code(), refusal.message());
                ensure!(told == (Code::InvalidArgument, "security header missing from request"), "{i}: {refusal:?}");
            }
        }
        // With the one header each of them is answered.
        let one = &[("workload.spiffe.io", "true")];
        first(bare.fetch_x509_bundles(with(X509BundlesRequest {}, one)?).await).await?;
        first(bare.fetch_jwt_bundles(with(JwtBundlesRequest {}, one)?).await).await?;
        workload.validate_jwt("db", &token).await?;
        say(&format!("mistakes: 5 calls refused with {} headers each", HEADERS.len()));
        Ok(())
    })
}

/// A message with headers, in their order.
fn with<T>(message: T, headers: &[(&'static str, &str)]) -> Result<Request<T>> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse()?);
    }
    Ok(request)
}

/// The first message of a stream, or what it is refused with.
async fn first<T>(stream: Result<Response<Streaming<T>>, Status>) -> Result<(), Status> {
    stream?.into_inner().message().await.map(drop)
}
