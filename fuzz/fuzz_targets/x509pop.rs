//! The messages of `x509pop`, as the server and the agent read them. What is accepted is written and read back to the
//! same, and nobody is attested without a signature.
#![no_main]

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use libfuzzer_sys::fuzz_target;
use steeple_catalog::node_attestor::{ChallengeStream, Evidence, ServerPlugin};
use steeple_catalog::{Configuration, Host, PluginError};
use steeple_config::hcl;
use steeple_config::plugins::PluginData;
use steeple_plugins::node_attestor::x509pop;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;
use tokio::runtime::{Builder, Runtime};

fuzz_target!(|data: &[u8]| {
    for message in [data].into_iter().chain(data.split(|byte| *byte == b'\n')) {
        for (at, written) in x509pop::written_again(message).into_iter().enumerate() {
            if let Ok(written) = written {
                assert_eq!(x509pop::written_again(&written)[at].as_ref().ok(), Some(&written));
            }
        }
    }
    // One line to begin with, one that answers the server's challenge.
    let (payload, response) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let evidence = Evidence { payload: payload.into(), client_ip: None, untrusted_host: None };
    let mut agent = Agent { response: response.into(), asked: false };
    assert!(RUNTIME.block_on(SERVER.attest(evidence, &mut agent)).is_err(), "attested without a signature");
});

struct Agent {
    response: Vec<u8>,
    asked: bool,
}

#[async_trait]
impl ChallengeStream for Agent {
    async fn ask(&mut self, _challenge: Vec<u8>) -> Result<Vec<u8>, PluginError> {
        self.asked = true;
        Ok(std::mem::take(&mut self.response))
    }
}

/// Its chain is one that the server asks about.
const ASKED: &[u8] = include_bytes!("../corpus/x509pop/ecdsa");

/// Takes certificates of the authority in the file, whose key nobody has any more.
static SERVER: LazyLock<Arc<dyn ServerPlugin>> = LazyLock::new(|| {
    let text = format!("ca_bundle_path = {:?}", concat!(env!("CARGO_MANIFEST_DIR"), "/static.authority.pem"));
    let data = PluginData::Fixed(hcl::parse(text).expect("a configuration"));
    let trust_domain = TrustDomain::parse("static.test").expect("a name");
    let configuration = Configuration { trust_domain, data, host: Host::new(Clock::system()) };
    let server = x509pop::server(&configuration).expect("a plugin");
    let payload = ASKED.split(|byte| *byte == b'\n').next().unwrap_or_default().into();
    let mut agent = Agent { response: Vec::new(), asked: false };
    let attested = server.attest(Evidence { payload, client_ip: None, untrusted_host: None }, &mut agent);
    assert!(RUNTIME.block_on(attested).is_err() && agent.asked);
    server
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));
