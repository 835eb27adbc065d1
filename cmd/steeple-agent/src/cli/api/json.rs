//! The Workload API's messages as JSON in the reference's mapping: names as in the .proto file, bytes as base64, whatever is
//! unset with its default but for messages, which are left out.

use std::collections::HashMap;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::Value;
use steeple_console::json::{bytes, object};
use steeple_proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidResponse, ValidateJwtsvidResponse, X509svid, X509svidResponse,
};
use steeple_spiffe::Certificate;

use super::update::{Identity, Update};

/// `X509SVIDResponse`
pub(super) fn x509_svids(response: &X509svidResponse) -> Value {
    let X509svidResponse { svids, crl, federated_bundles } = response;
    let svid = |svid: &X509svid| {
        let X509svid { spiffe_id, x509_svid, x509_svid_key, bundle, hint } = svid;
        object([
            ("spiffe_id", spiffe_id.as_str().into()),
            ("x509_svid", bytes(x509_svid)),
            ("x509_svid_key", bytes(x509_svid_key)),
            ("bundle", bytes(bundle)),
            ("hint", hint.as_str().into()),
        ])
    };
    object([
        ("svids", svids.iter().map(svid).collect()),
        ("crl", crl.iter().map(|list| bytes(list)).collect()),
        ("federated_bundles", by_trust_domain(federated_bundles)),
    ])
}

/// As [`x509_svids`], but for the keys: what is watched goes to logs.
pub(super) fn update(update: &Update) -> Value {
    let Update { svids, federated_bundles } = update;
    let chain = |certificates: &[Certificate]| {
        bytes(&certificates.iter().flat_map(Certificate::der).copied().collect::<Vec<_>>())
    };
    let svid = |Identity { svid, bundle }: &Identity| {
        object([
            ("spiffe_id", svid.id.as_str().into()),
            ("x509_svid", chain(&svid.chain)),
            ("bundle", chain(bundle)),
            ("hint", svid.hint.as_str().into()),
        ])
    };
    let federated = federated_bundles.iter().map(|(trust_domain, bundle)| (trust_domain.clone(), chain(bundle)));
    object([("svids", svids.iter().map(svid).collect()), ("federated_bundles", Value::Object(federated.collect()))])
}

/// `JWTSVIDResponse`
pub(super) fn jwt_svids(response: &JwtsvidResponse) -> Value {
    let JwtsvidResponse { svids } = response;
    let svid = |svid: &Jwtsvid| {
        let Jwtsvid { spiffe_id, svid, hint } = svid;
        object([
            ("spiffe_id", spiffe_id.as_str().into()),
            ("svid", svid.as_str().into()),
            ("hint", hint.as_str().into()),
        ])
    };
    object([("svids", svids.iter().map(svid).collect())])
}

/// `JWTBundlesResponse`
pub(super) fn jwt_bundles(response: &JwtBundlesResponse) -> Value {
    let JwtBundlesResponse { bundles } = response;
    object([("bundles", by_trust_domain(bundles))])
}

/// `ValidateJWTSVIDResponse`
pub(super) fn validated(response: &ValidateJwtsvidResponse) -> Value {
    let ValidateJwtsvidResponse { spiffe_id, claims } = response;
    let claims = claims.as_ref().map_or(Value::Null, |claims| without_nulls(self::claims(claims)));
    object([("spiffe_id", spiffe_id.as_str().into()), ("claims", claims)])
}

/// `google.protobuf.Struct`, which is JSON itself. Decoding has bounded its depth.
pub(super) fn claims(claims: &Struct) -> Value {
    let Struct { fields } = claims;
    Value::Object(fields.iter().map(|(name, value)| (name.clone(), claim(value))).collect())
}

fn claim(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(value)) => number(*value),
        Some(Kind::StringValue(value)) => value.as_str().into(),
        Some(Kind::ListValue(ListValue { values })) => values.iter().map(claim).collect(),
        Some(Kind::StructValue(value)) => claims(value),
    }
}

/// A whole number without a fraction: moments are what most numbers of a token are.
fn number(value: f64) -> Value {
    // Every whole number of this size is exact, and fits.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT { (value as i64).into() } else { value.into() }
}

/// The reference drops `null` wherever it stands, also in what others signed.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().filter(|item| !item.is_null()).map(without_nulls).collect(),
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        scalar => scalar,
    }
}

fn by_trust_domain<B: AsRef<[u8]>>(bundles: &HashMap<String, B>) -> Value {
    let bundles = bundles.iter().map(|(trust_domain, bundle)| (trust_domain.clone(), bytes(bundle.as_ref())));
    Value::Object(bundles.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_the_json_that_they_were() {
        let kind = |kind| prost_types::Value { kind: Some(kind) };
        let list = ListValue { values: vec![kind(Kind::StringValue("a".into())), kind(Kind::BoolValue(true))] };
        let fields = [
            ("exp", kind(Kind::NumberValue(1_795_537_789.0))),
            ("half", kind(Kind::NumberValue(0.5))),
            ("aud", kind(Kind::ListValue(list))),
            ("none", kind(Kind::NullValue(0))),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let claims = Struct { fields };
        let text = self::claims(&claims).to_string();
        assert_eq!(text, r#"{"aud":["a",true],"exp":1795537789,"half":0.5,"none":null}"#);
        let response = ValidateJwtsvidResponse { spiffe_id: "spiffe://a/b".into(), claims: Some(claims) };
        let text = validated(&response).to_string();
        assert_eq!(text, r#"{"claims":{"aud":["a",true],"exp":1795537789,"half":0.5},"spiffe_id":"spiffe://a/b"}"#);
    }
}
