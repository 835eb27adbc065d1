use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use steeple_catalog::node_attestor::{AgentAttributes, ServerNodeAttestor};
use steeple_catalog::{Host, IdentityProvider};
use steeple_proto::workload::{X509svid, X509svidResponse};
use steeple_spiffe::Certificate;
use steeple_testkit::{Ca, FakeEndpoint, ManualClock};
use tonic::Code;

use super::*;
use crate::node_attestor::tests::{Attested, attest, clock, configuration, testdata};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// SHA-1 of the certificates, by openssl.
const NODE1: &str = "b0dede558c83eae527cc06e8992da7dcf1092290";
const CA: &str = "f1fc0668b122892315b0f15288210328e313d7e6";
const INTERMEDIATE: &str = "d0ec50d26a68ed8b43cfe628a1d1154e0120b856";

struct Case {
    clock: ManualClock,
    host: Host,
}

fn case() -> Case {
    let clock = clock();
    Case { host: Host::new(clock.clock()), clock }
}

fn path(name: &str) -> String {
    format!("{:?}", testdata(name).display().to_string())
}

fn below_ca(more: &str) -> String {
    format!("ca_bundle_path = {}\n{more}", path("ca.pem"))
}

/// An agent with a certificate from the folder, node1 with its intermediate.
fn node(name: &str) -> Arc<dyn AgentPlugin> {
    let more =
        if name == "node1" { format!("intermediates_path = {}", path("intermediate.pem")) } else { String::new() };
    let text = format!(
        "private_key_path = {}\ncertificate_path = {}\n{more}",
        path(&format!("{name}.key")),
        path(&format!("{name}.pem"))
    );
    agent(&configuration(&text, &case().host)).unwrap()
}

impl Case {
    fn server(&self, text: &str) -> ServerNodeAttestor {
        ServerNodeAttestor::new("x509pop", server(&configuration(text, &self.host)).unwrap())
    }

    fn refused(&self, text: &str) -> String {
        let error = server(&configuration(text, &self.host)).err().expect("it is refused");
        assert_eq!(error.code, Code::InvalidArgument);
        error.message
    }

    async fn attests(&self, text: &str, name: &str) -> AgentAttributes {
        attest(&*node(name), &self.server(text), None).await.server.unwrap()
    }

    async fn denies(&self, text: &str, name: &str) -> (Code, String) {
        let error = attest(&*node(name), &self.server(text), None).await.server.unwrap_err();
        (error.code, error.message.strip_prefix("nodeattestor(x509pop): ").unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_node_is_what_its_certificate_says() {
    let attributes = case().attests(&below_ca(""), "node1").await;
    assert_eq!(attributes.spiffe_id, format!("spiffe://example.org/spire/agent/x509pop/{NODE1}"));
    assert!(attributes.can_reattest);
    let expected = [
        "subject:cn:node1".to_owned(),
        format!("ca:fingerprint:{INTERMEDIATE}"),
        format!("ca:fingerprint:{CA}"),
        "serialnumber:0abc".to_owned(),
        "san:env:prod/eu".to_owned(),
        "san:rack:7".to_owned(),
    ];
    assert_eq!(attributes.selector_values, expected);
}

#[tokio::test]
async fn each_kind_of_key_proves_itself() {
    for name in ["p384", "p521", "rsa"] {
        let attributes = case().attests(&below_ca(""), name).await;
        assert_eq!(attributes.selector_values[0], format!("subject:cn:{name}"));
    }
}

#[tokio::test]
async fn several_bundles_are_one() {
    let text = format!("ca_bundle_paths = [{}, {}]", path("stranger.pem"), path("ca.pem"));
    let attributes = case().attests(&text, "rsa").await;
    // The stranger has the same name, but has signed nothing.
    let authorities = attributes.selector_values.iter().filter(|value| value.starts_with("ca:")).collect::<Vec<_>>();
    assert_eq!(authorities, [&format!("ca:fingerprint:{CA}")]);
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused() {
    let case = case();
    let stranger = format!("ca_bundle_path = {}", path("stranger.pem"));
    let denied = case.denies(&stranger, "node1").await;
    let text = "certificate verification failed: x509: certificate signed by unknown authority";
    assert_eq!(denied, (Code::PermissionDenied, text.to_owned()));
    case.clock.advance(HOUR * 24 * 365 * 80);
    let (code, text) = case.denies(&below_ca(""), "node1").await;
    assert_eq!(code, Code::PermissionDenied);
    assert!(text.starts_with("certificate verification failed: x509: certificate has expired or is not yet valid"));
}

#[tokio::test]
async fn a_certificate_that_is_not_for_signing_is_refused() {
    for name in ["encipher", "silent"] {
        let text = "unable to generate challenge: certificate not intended for digital signature use";
        assert_eq!(case().denies(&below_ca(""), name).await, (Code::Internal, text.to_owned()), "{name}");
    }
}

#[tokio::test]
async fn chains_and_keys_have_limits() {
    let case = case();
    let text = "too many intermediate certificates".to_owned();
    let dir = tempfile::tempdir().unwrap();
    let chain = dir.path().join("chain.pem");
    let pem = |name: &str| fs::read_to_string(testdata(name)).unwrap();
    fs::write(&chain, pem("node1.pem") + &pem("intermediate.pem") + &pem("ca.pem")).unwrap();
    let config =
        format!("private_key_path = {}\ncertificate_path = {:?}", path("node1.key"), chain.display().to_string());
    let long = agent(&configuration(&config, &case.host)).unwrap();
    let attested = attest(&*long, &case.server(&below_ca("max_intermediates = 1")), None).await;
    let error = attested.server.unwrap_err();
    assert_eq!((error.code, error.message), (Code::InvalidArgument, format!("nodeattestor(x509pop): {text}")));
    // An authority that is sent along is as good as one that is not.
    attest(&*long, &case.server(&below_ca("max_intermediates = 2")), None).await.server.unwrap();

    let text = "leaf certificate key size too large".to_owned();
    assert_eq!(case.denies(&below_ca("max_rsa_key_size = 2048"), "rsa").await, (Code::InvalidArgument, text));
    case.attests(&below_ca("max_rsa_key_size = 3072"), "rsa").await;
}

#[tokio::test]
async fn the_clients_address_must_be_one_of_the_certificates_if_that_is_asked_for() {
    let case = case();
    let server = case.server(&below_ca("verify_client_ip = true"));
    let node = node("node1");
    for ip in ["10.0.0.7", "2001:db8::7"] {
        attest(&*node, &server, Some(ip.parse().unwrap())).await.server.unwrap();
    }
    let error = attest(&*node, &server, Some(IpAddr::from([10, 0, 0, 8]))).await.server.unwrap_err();
    let text = "nodeattestor(x509pop): client IP 10.0.0.8 does not match any certificate IP SAN";
    assert_eq!((error.code, &*error.message), (Code::PermissionDenied, text));
    let error = attest(&*node, &server, None).await.server.unwrap_err();
    assert_eq!(error.code, Code::Internal);
}

#[tokio::test]
async fn a_path_is_made_by_the_template() {
    for (template, path) in [
        ("/{{ .PluginName }}/{{ .Subject.CommonName }}", "/x509pop/node1"),
        ("/cn/{{ .Subject.CommonName | upper }}/{{ .SerialNumberHex }}", "/cn/NODE1/0abc"),
        ("/sn/{{ .SerialNumber }}/{{ .Subject.SerialNumber }}", "/sn/2748/SN-0007"),
        ("/dns/{{ index .DNSNames 1 }}", "/dns/node1.internal"),
        ("/san/{{ .URISanSelectors.rack }}", "/san/7"),
        ("/ou{{ range .Subject.OrganizationalUnit }}/{{ lower . }}{{ end }}", "/ou/racks"),
        ("/td/{{ .TrustDomain }}", "/td/example.org"),
        ("/uri{{ (index .URIs 0).Path }}", "/uri/env/prod/eu"),
        ("/ip/{{ index .IPAddresses 0 }}", "/ip/10.0.0.7"),
        (
            "/{{ .PublicKeyAlgorithm }}/{{ .NotAfter.Unix }}/{{ print .NotAfter | trunc 10 }}",
            "/ECDSA/4041954253/2098-01-30",
        ),
    ] {
        let text = below_ca(&format!("agent_path_template = {template:?}"));
        let attributes = case().attests(&text, "node1").await;
        assert_eq!(attributes.spiffe_id, format!("spiffe://example.org/spire/agent{path}"));
    }
}

#[tokio::test]
async fn a_template_that_makes_no_path_gives_no_id() {
    for template in
        ["node", "/{{ .Subject.Nickname }}", "/{{ .URISanSelectors.zone }}", "/a b", "/{{ .SVIDPathTrimmed }}"]
    {
        let text = below_ca(&format!("agent_path_template = {template:?}"));
        let (code, message) = case().denies(&text, "node1").await;
        assert_eq!(code, Code::Internal, "{template}");
        assert!(message.starts_with("failed to make spiffe id: "), "{template}: {message}");
    }
}

/// The server's own authorities, which can be none.
struct Own(Arc<[Certificate]>);

impl IdentityProvider for Own {
    fn x509_authorities(&self) -> Result<Arc<[Certificate]>, PluginError> {
        Ok(Arc::clone(&self.0))
    }
}

/// An agent that shows an SVID out of files.
fn with_svid(ca: &Ca, path: &str, case: &Case) -> (Arc<dyn AgentPlugin>, Certificate) {
    let now = case.clock.now();
    let svid = ca.svid(path, now..now + HOUR);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        format!("{:?}", path.display().to_string())
    };
    let text = format!(
        "private_key_path = {}\ncertificate_path = {}",
        file("key.pem", &svid.key.to_pkcs8_pem().unwrap()),
        file("cert.pem", &svid.leaf().to_pem())
    );
    let agent = agent(&configuration(&text, &case.host)).unwrap();
    // Read again at the attestation: the files stay until the process ends.
    let _kept = dir.keep();
    (agent, svid.leaf().clone())
}

#[tokio::test]
async fn an_svid_of_the_own_trust_domain_attests_in_spiffe_mode() {
    let case = case();
    let ca = Ca::new("example.org", case.clock.now());
    case.host.provide_identity(Arc::new(Own(ca.authorities())));
    for (mode, svid, path) in [
        ("mode = \"spiffe\"", "/spire-exchange/rack/7", "x509pop/rack/7"),
        ("mode = \"spiffe\"\nspiffe_prefix = \"/nodes\"", "/nodes/a", "x509pop/a"),
        ("mode = \"spiffe\"\nspiffe_prefix = \"\"", "/any/path", "x509pop/any/path"),
        ("mode = \"spiffe\"\nagent_path_template = \"/of/{{ .SVIDPathTrimmed }}\"", "/spire-exchange/b", "of/b"),
    ] {
        let (agent, _) = with_svid(&ca, svid, &case);
        let attributes = attest(&*agent, &case.server(mode), None).await.server.unwrap();
        assert_eq!(attributes.spiffe_id, format!("spiffe://example.org/spire/agent/{path}"), "{mode}");
        assert!(attributes.can_reattest);
    }
    let server = case.server("mode = \"spiffe\"");
    let denied = |attested: Attested| {
        let error = attested.server.unwrap_err();
        assert_eq!(error.code, Code::PermissionDenied);
        error.message.strip_prefix("nodeattestor(x509pop): ").unwrap().to_owned()
    };
    let (outside, _) = with_svid(&ca, "/web", &case);
    assert_eq!(denied(attest(&*outside, &server, None).await), "x509 cert doesnt match SVID prefix");
    let unknown = "certificate verification failed: x509: certificate signed by unknown authority";
    assert_eq!(denied(attest(&*node("node1"), &server, None).await), unknown);
    let stranger = Ca::new("example.org", case.clock.now());
    let (forged, _) = with_svid(&stranger, "/spire-exchange/a", &case);
    assert_eq!(denied(attest(&*forged, &server, None).await), unknown);
}

#[tokio::test]
async fn a_certificate_without_an_svids_name_does_not_attest_in_spiffe_mode() {
    let case = case();
    let ca = steeple_spiffe::x509::parse_pem(&fs::read_to_string(testdata("ca.pem")).unwrap()).unwrap();
    case.host.provide_identity(Arc::new(Own(ca.into())));
    let denied = case.denies("mode = \"spiffe\"", "p384").await;
    assert_eq!(denied, (Code::PermissionDenied, "valid SVID x509 cert not found".to_owned()));
}

#[tokio::test]
async fn a_server_without_authorities_believes_nobody_in_spiffe_mode() {
    let case = case();
    let ca = Ca::new("example.org", case.clock.now());
    let (agent, _) = with_svid(&ca, "/spire-exchange/a", &case);
    let server = case.server("mode = \"spiffe\"");
    let error = attest(&*agent, &server, None).await.server.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    case.host.provide_identity(Arc::new(Own(Arc::from([]))));
    let error = attest(&*agent, &server, None).await.server.unwrap_err();
    assert_eq!(error.code, Code::PermissionDenied);
}

#[test]
fn a_server_says_what_is_wrong_with_its_configuration() {
    let case = case();
    for (text, error) in [
        (String::new(), "one of ca_bundle_path or ca_bundle_paths must be configured"),
        ("mode = \"other\"".into(), "mode can only be either spiffe or external_pki"),
        (
            below_ca("ca_bundle_paths = [\"b\"]"),
            "only one of ca_bundle_path or ca_bundle_paths can be configured, not both",
        ),
        (below_ca("mode = \"spiffe\""), "you can not use ca_bundle_path or ca_bundle_paths in spiffe mode"),
        (
            "ca_bundle_path = \"/nowhere/ca.pem\"".into(),
            "unable to load trust bundle \"/nowhere/ca.pem\": open /nowhere/ca.pem: no such file or directory",
        ),
        (below_ca("max_intermediates = 0"), "max_intermediates must be greater than 0"),
        (below_ca("max_rsa_key_size = -1"), "max_rsa_key_size must be greater than 0"),
    ] {
        assert_eq!(case.refused(&text), error);
    }
    let error = case.refused(&below_ca("agent_path_template = \"/{{ .CommonName\""));
    assert_eq!(error, "failed to parse agent svid template: \"/{{ .CommonName\": template: 1: unclosed action");
}

#[test]
fn an_agent_says_what_is_wrong_with_its_configuration() {
    let case = case();
    let (key, certificate) = (path("node1.key"), path("node1.pem"));
    for (text, error) in [
        (String::new(), "private_key_path is required"),
        (format!("private_key_path = {key}"), "certificate_path is required"),
        (
            format!("private_key_path = \"/nowhere/key\"\ncertificate_path = {certificate}"),
            "unable to load keypair: open /nowhere/key: no such file or directory",
        ),
        (
            format!("private_key_path = {}\ncertificate_path = {certificate}", path("p384.key")),
            "unable to load keypair: private key does not match public key",
        ),
        (
            format!("private_key_path = {key}\ncertificate_path = {certificate}\nintermediates_path = \"/nowhere/i\""),
            "unable to load intermediate certificates: open /nowhere/i: no such file or directory",
        ),
        (
            "spiffe_endpoint_socket = \"tcp://localhost:1\"".into(),
            "invalid spiffe_endpoint_socket: tcp endpoint host \"localhost\" is not an IP address",
        ),
    ] {
        let refused = agent(&configuration(&text, &case.host)).err().expect("it is refused");
        assert_eq!((refused.code, &*refused.message), (Code::InvalidArgument, error));
    }
}

#[tokio::test]
async fn files_that_were_replaced_are_read_again() {
    let case = case();
    let dir = tempfile::tempdir().unwrap();
    let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
    let put = |name: &str| {
        fs::copy(testdata(&format!("{name}.key")), &key).unwrap();
        fs::copy(testdata(&format!("{name}.pem")), &certificate).unwrap();
    };
    put("p384");
    let text = format!(
        "private_key_path = {:?}\ncertificate_path = {:?}",
        key.display().to_string(),
        certificate.display().to_string()
    );
    let agent = agent(&configuration(&text, &case.host)).unwrap();
    let server = case.server(&below_ca(""));
    let first = attest(&*agent, &server, None).await.server.unwrap();
    put("rsa");
    let second = attest(&*agent, &server, None).await.server.unwrap();
    assert_ne!(first.spiffe_id, second.spiffe_id);
    fs::remove_file(&key).unwrap();
    let gone = attest(&*agent, &server, None).await.agent.unwrap_err();
    assert!(gone.message.starts_with("unable to load keypair: open "), "{gone}");
}

#[tokio::test]
async fn a_workload_api_that_does_not_answer_is_unavailable() {
    let case = case();
    let agent = agent(&configuration("spiffe_endpoint_socket = \"unix:///nowhere/api.sock\"", &case.host)).unwrap();
    let error = attest(&*agent, &case.server(&below_ca("")), None).await.agent.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.starts_with("unable to fetch SVID from workload API: "), "{error}");
}

#[tokio::test]
async fn a_node_attests_with_the_svid_that_another_agent_gives_it() {
    let case = case();
    let ca = Ca::new("example.org", case.clock.now());
    case.host.provide_identity(Arc::new(Own(ca.authorities())));
    let upper = FakeEndpoint::start();
    let agent = agent(&configuration(&format!("spiffe_endpoint_socket = {:?}", upper.uri()), &case.host)).unwrap();
    let answering = async {
        let now = case.clock.now();
        let svid = ca.svid("/spire-exchange/rack/7", now..now + HOUR);
        let svid = X509svid {
            spiffe_id: svid.id.to_string(),
            x509_svid: svid.chain_der().into(),
            x509_svid_key: svid.key_der().to_vec().into(),
            bundle: ca.root().der().to_vec().into(),
            hint: String::new(),
        };
        let call = upper.x509_svids.next().await;
        call.answer(X509svidResponse { svids: vec![svid], ..X509svidResponse::default() }).gone().await;
    };
    let server = case.server("mode = \"spiffe\"");
    let (attested, ()) = tokio::join!(attest(&*agent, &server, None), answering);
    assert_eq!(attested.server.unwrap().spiffe_id, "spiffe://example.org/spire/agent/x509pop/rack/7");
}
