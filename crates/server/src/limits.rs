//! How much one address may ask of the server: the reference's limits.

use steeple_transport::rpc::Rate;

/// `ratelimit`: which limits are on. Those on published keys and status messages always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// `attestation`
    pub attestation: bool,
    /// `signing`
    pub signing: bool,
}

const AGENT: &str = "/spire.api.server.agent.v1.Agent";
const BUNDLE: &str = "/spire.api.server.bundle.v1.Bundle";
const SVID: &str = "/spire.api.server.svid.v1.SVID";

/// One bucket each: a rate and the methods that share it.
pub(crate) fn rates(on: RateLimits) -> Vec<Rate> {
    let rate = |per_second, methods: &[(&str, &str, &'static str)]| Rate {
        per_second,
        methods: methods.iter().map(|(service, method, refusal)| (format!("{service}/{method}"), *refusal)).collect(),
    };
    const SIGNING: &str = "rejecting request due to certificate signing rate limiting";
    const PUBLISHING: &str = "rejecting request due to key publishing rate limiting";
    let attestation = [rate(1, &[(AGENT, "AttestAgent", "rejecting request due to attest agent rate limiting")])];
    let signing = [
        rate(
            500,
            &[
                (SVID, "BatchNewX509SVID", SIGNING),
                (SVID, "NewDownstreamX509CA", "rejecting request due to downstream CA signing rate limit"),
                (AGENT, "RenewAgent", "rejecting request due to renew agent rate limiting"),
            ],
        ),
        rate(500, &[(SVID, "NewJWTSVID", "rejecting request due to JWT signing request rate limiting")]),
        rate(500, &[(SVID, "BatchNewWITSVID", SIGNING)]),
    ];
    let always = [
        rate(500, &[(BUNDLE, "PublishJWTAuthority", PUBLISHING), (BUNDLE, "PublishWITAuthority", PUBLISHING)]),
        rate(10, &[(AGENT, "PostStatus", "rejecting request due to post status rate limiting")]),
    ];
    let attestation = attestation.into_iter().filter(|_| on.attestation);
    attestation.chain(signing.into_iter().filter(|_| on.signing)).chain(always).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authpolicy::network_services;

    #[test]
    fn each_limited_method_is_one_of_the_network() {
        let services = network_services();
        for rate in rates(RateLimits { attestation: true, signing: true }) {
            for (path, _) in rate.methods {
                let found = services
                    .iter()
                    .any(|service| service.methods.iter().any(|method| path == format!("/{}/{method}", service.full)));
                assert!(found, "{path}");
            }
        }
    }

    #[test]
    fn a_switch_takes_its_limits_away_and_leaves_the_others() {
        let count = |attestation, signing| rates(RateLimits { attestation, signing }).len();
        assert_eq!((count(true, true), count(false, true), count(true, false), count(false, false)), (6, 5, 3, 2));
    }

    /// As recorded of the reference: how many a second, who shares them, and how a refusal ends.
    #[test]
    fn buckets_are_the_references() {
        let bucket = |rate: &Rate| {
            let methods = rate.methods.iter().map(|(path, refusal)| {
                let (_, method) = path.rsplit_once('/').unwrap();
                format!("{method}: {}", refusal.strip_prefix("rejecting request due to ").unwrap())
            });
            (rate.per_second, methods.collect::<Vec<_>>().join(", "))
        };
        let buckets: Vec<_> = rates(RateLimits { attestation: true, signing: true }).iter().map(bucket).collect();
        let expected = [
            (1, "AttestAgent: attest agent rate limiting"),
            (
                500,
                "BatchNewX509SVID: certificate signing rate limiting, NewDownstreamX509CA: downstream CA signing rate limit, \
                 RenewAgent: renew agent rate limiting",
            ),
            (500, "NewJWTSVID: JWT signing request rate limiting"),
            (500, "BatchNewWITSVID: certificate signing rate limiting"),
            (
                500,
                "PublishJWTAuthority: key publishing rate limiting, PublishWITAuthority: key publishing rate limiting",
            ),
            (10, "PostStatus: post status rate limiting"),
        ];
        assert_eq!(buckets, expected.map(|(per_second, methods)| (per_second, methods.to_owned())));
    }
}
