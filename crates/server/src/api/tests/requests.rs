//! Certificate requests that are none, in every call that takes one. The texts in front are those of `tests/data/api`;
//! behind them stands what `steeple_pki` found wrong, the same in all calls.

use steeple_proto::spire::api::server::agent::v1::RenewAgentRequest;
use steeple_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use steeple_proto::spire::api::server::svid::v1::{
    BatchNewWitsvidRequest, BatchNewX509svidRequest, MintX509svidRequest, NewWitsvidParams, NewX509svidParams,
};
use tonic::Code;

use super::*;

/// A request that is wrong.
struct Wrong {
    name: &'static str,
    csr: Vec<u8>,
    /// Whether only its signature is.
    is_signature: bool,
}

impl Wrong {
    /// What is said behind the words of the call.
    fn why(&self) -> String {
        steeple_pki::CertificateRequest::parse_and_verify(&self.csr).unwrap_err().to_string()
    }

    /// A refusal in the words for either case.
    fn refused(&self, malformed: &str, bad_signature: &str) -> (Code, String) {
        let text = if self.is_signature { bad_signature } else { malformed };
        (Code::InvalidArgument, format!("{text}: {}", self.why()))
    }
}

/// In each of the ways there are.
fn all_wrong() -> Vec<Wrong> {
    let good = good_csr();
    let changed = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    // id-ecPublicKey and prime256v1, each with another last arc.
    let (key_kind, curve) = ([0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    let malformed = |name, csr| Wrong { name, csr, is_signature: false };
    vec![
        malformed("garbage", b"garbage".to_vec()),
        malformed("PEM", b"-----BEGIN CERTIFICATE REQUEST-----\n".to_vec()),
        malformed("truncated", good[..good.len() - 1].to_vec()),
        malformed("only a head", good[..2].to_vec()),
        malformed("more behind it", [&good[..], &[0]].concat()),
        malformed("a length without end", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        malformed("deep nesting", vec![0x30; 5000]),
        malformed("too long", vec![0x30; 65 << 10]),
        malformed("a key of an unknown kind", changed(&key_kind, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 9])),
        malformed("a key on an unknown curve", changed(&curve, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 9])),
        Wrong { name: "changed after it was signed", csr: changed(b"SPIRE", b"SPYRE"), is_signature: true },
        Wrong { name: "without a signature", csr: unsigned(&good), is_signature: true },
    ]
}

fn good_csr() -> Vec<u8> {
    csr_of(&PrivateKey::generate(KeyType::EcP256).unwrap())
}

/// A key on a curve that no token can name.
const P224: [u8; 80] = [
    0x30, 0x4e, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x21, 0x03, 0x3a, 0x00, 0x04, 0xc2, 0x1e, 0x54, 0xe3, 0x8e, 0xd3, 0xc5, 0x69, 0x29, 0x2c, 0x38, 0xcd, 0xfa, 0x4f,
    0xd3, 0xd6, 0x77, 0x37, 0x4c, 0xbb, 0xa7, 0x24, 0xa3, 0xac, 0xbc, 0xd4, 0xff, 0x59, 0x34, 0xb1, 0x59, 0xd5, 0xba,
    0xbc, 0x8c, 0x61, 0x87, 0x47, 0x63, 0x97, 0x5b, 0x5b, 0xc8, 0x19, 0x8e, 0x41, 0xf1, 0x60, 0x52, 0xa2, 0x78, 0xd5,
    0xbd, 0xc3, 0x04, 0x3e,
];

/// With zeros where the signature's two numbers are.
fn unsigned(csr: &[u8]) -> Vec<u8> {
    let mut csr = csr.to_vec();
    let end = csr.len();
    csr[end - 20..].fill(0);
    csr
}

fn told(status: &Status) -> (Code, String) {
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn an_agent_is_not_attested_by_a_request_that_is_wrong() {
    let api = Api::new().await;
    for (i, wrong) in all_wrong().into_iter().enumerate() {
        let token = format!("t-{i}");
        api.token(&token, 60).await;
        let refusal = api.attest_with(&token, wrong.csr.clone()).await.unwrap_err();
        assert_eq!(told(&refusal), wrong.refused("failed to parse CSR", "failed to parse CSR"), "{}", wrong.name);
        // The reference takes the token all the same.
        let again = api.attest_with(&token, good_csr()).await.unwrap_err();
        let gone = "failed to attest: join token does not exist or has already been used";
        assert_eq!(told(&again), (Code::InvalidArgument, gone.to_owned()), "{}", wrong.name);
    }
    api.token("good", 60).await;
    let missing = api.attest_with("good", Vec::new()).await.unwrap_err();
    assert_eq!(told(&missing), (Code::InvalidArgument, "malformed param: missing CSR".to_owned()));
    // That was refused before the token was looked at.
    api.attest_with("good", good_csr()).await.unwrap();
}

#[tokio::test]
async fn an_agent_is_not_renewed_by_a_request_that_is_wrong() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    let mut client = AgentClient::new(api.showing(&agent));
    let mut renew = async |csr: Vec<u8>| {
        client.renew_agent(RenewAgentRequest { params: Some(AgentX509svidParams { csr }) }).await.map(drop)
    };
    for wrong in all_wrong() {
        let refusal = renew(wrong.csr.clone()).await.unwrap_err();
        assert_eq!(told(&refusal), wrong.refused("failed to parse CSR", "failed to parse CSR"), "{}", wrong.name);
    }
    let missing = renew(Vec::new()).await.unwrap_err();
    assert_eq!(told(&missing), (Code::InvalidArgument, "missing CSR".to_owned()));
    // None of them has begun a renewal.
    let node = api.store.fetch_node(agent.spiffe_id().unwrap().as_str()).await.unwrap().unwrap();
    assert_eq!((node.serial, node.new_serial), (Some(agent.serial_decimal()), String::new()));
    renew(good_csr()).await.unwrap();
}

#[tokio::test]
async fn no_svid_is_minted_for_a_request_that_is_wrong() {
    let api = Api::new().await;
    let mut client = SvidClient::new(api.local());
    let mut mint = async |csr| client.mint_x509svid(MintX509svidRequest { csr, ttl: 0 }).await.map(drop).unwrap_err();
    for wrong in all_wrong() {
        let refusal = mint(wrong.csr.clone()).await;
        assert_eq!(told(&refusal), wrong.refused("malformed CSR", "failed to verify CSR signature"), "{}", wrong.name);
    }
    assert_eq!(told(&mint(Vec::new()).await), (Code::InvalidArgument, "missing CSR".to_owned()));
    assert_eq!(told(&mint(good_csr()).await), (Code::InvalidArgument, "CSR URI SAN is required".to_owned()));
}

#[tokio::test]
async fn a_batch_refuses_the_requests_that_are_wrong_and_them_alone() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    api.entry("web", &agent).await;
    api.indexed(&agent, 1).await;
    let wrong = all_wrong();
    // A good one in front of each, one without anything last.
    let mut csrs: Vec<Vec<u8>> = wrong.iter().flat_map(|wrong| [good_csr(), wrong.csr.clone()]).collect();
    csrs.push(Vec::new());
    let params = csrs.into_iter().map(|csr| NewX509svidParams { entry_id: "web".to_owned(), csr }).collect();
    let mut client = SvidClient::new(api.showing(&agent));
    let answer = client.batch_new_x509svid(BatchNewX509svidRequest { params }).await.unwrap().into_inner();

    let mut results = answer.results.into_iter().map(|result| {
        let status = result.status.unwrap();
        (result.svid.is_some(), Code::from_i32(status.code), status.message)
    });
    for wrong in wrong {
        assert_eq!(results.next(), Some((true, Code::Ok, "OK".to_owned())), "before {}", wrong.name);
        let (code, text) = wrong.refused("malformed CSR", "invalid CSR signature");
        assert_eq!(results.next(), Some((false, code, text)), "{}", wrong.name);
    }
    assert_eq!(results.next(), Some((false, Code::InvalidArgument, "missing CSR".to_owned())));
    assert_eq!(results.next(), None);
}

#[tokio::test]
async fn a_batch_of_wit_svids_tells_for_each_item_why_it_has_none() {
    let api = Api::new().await;
    let agent = api.agent("one").await;
    api.entry("web", &agent).await;
    api.indexed(&agent, 1).await;
    let key = PrivateKey::generate(KeyType::EcP256).unwrap().public_key().spki_der().to_vec();
    let item = |entry_id: &str, public_key: &[u8], signing_algorithm: &str| NewWitsvidParams {
        entry_id: entry_id.to_owned(),
        public_key: public_key.to_vec(),
        signing_algorithm: signing_algorithm.to_owned(),
    };
    let params = vec![
        item("web", &key, "ES256"),
        item("", &key, "ES256"),
        item("web", &[], "ES256"),
        item("web", b"x", "ES256"),
        item("none", &key, "ES256"),
        item("web", &key, "RS256"),
        item("web", &P224, "ES256"),
        item("web", &[&P224[..], &[0]].concat(), "ES256"),
    ];
    let mut client = SvidClient::new(api.showing(&agent));
    let answer = client.batch_new_witsvid(BatchNewWitsvidRequest { params }).await.unwrap().into_inner();
    let told = answer.results.into_iter().map(|result| {
        assert_eq!(result.svid, None);
        let status = result.status.unwrap();
        (Code::from_i32(status.code), status.message)
    });
    let expected = [
        (Code::Internal, "failed to sign WIT-SVID: WIT key is not available for signing"),
        (Code::InvalidArgument, "missing entry ID"),
        (Code::InvalidArgument, "missing public key"),
        (Code::InvalidArgument, "malformed public key: asn1: syntax error: truncated tag or length"),
        (Code::NotFound, "entry not found or not authorized"),
        (
            Code::InvalidArgument,
            "invalid signing algorithm or key type: unsupported signing algorithm for ec-p256 key: RS256",
        ),
        (Code::Internal, "failed to sign WIT-SVID: WIT key is not available for signing"),
        (Code::InvalidArgument, "malformed public key: asn1: structure error: malformed publicKeyInfo"),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected.map(|(code, message)| (code, message.to_owned())));
}
