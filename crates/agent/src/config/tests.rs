use super::*;

const LEAST: &str = "trust_domain = \"example.org\"\nserver_address = \"127.0.0.1\"\nserver_port = 8081\n";

fn parse(agent: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("agent {{\n{agent}\n}}\nplugins {{}}"), "agent.conf", Flags::default())
}

fn refusal(agent: &str) -> String {
    parse(agent).unwrap_err().to_string()
}

#[test]
fn a_file_that_says_the_least_gets_the_references_defaults() {
    let config = parse(&format!("{LEAST}insecure_bootstrap = true")).unwrap();
    assert_eq!(config.socket_path, PathBuf::from("/tmp/spire-agent/public/api.sock"));
    assert_eq!(config.sync_interval, Duration::from_secs(5));
    assert_eq!((config.x509_cache_size, config.jwt_cache_size), (1000, 1000));
    assert_eq!(config.bootstrap, Bootstrap::Insecure);
    assert!(config.sync_by_stream && config.join_token.is_none() && config.unbuilt.is_empty());
}

#[test]
fn each_mistake_is_told_in_the_references_words() {
    for (keys, expected) in [
        ("", "server_address must be configured"),
        ("server_address = \"a\"", "server_port must be configured"),
        ("server_address = \"a\"\nserver_port = 1", "trust_domain must be configured"),
        (
            LEAST,
            "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be configured unless \
             insecure_bootstrap is set",
        ),
    ] {
        assert_eq!(refusal(keys), expected);
    }
    for (key, expected) in [
        (
            "trust_bundle_path = \"a\"\ntrust_bundle_url = \"https://a/b\"",
            "only one of insecure_bootstrap, trust_bundle_url, or trust_bundle_path can be specified, not the three \
             options",
        ),
        ("trust_bundle_path = \"a\"", "only one of insecure_bootstrap or trust_bundle_path can be specified, not both"),
        ("rebootstrap_mode = \"sometimes\"", "unknown rebootstrap mode specified: sometimes"),
        ("rebootstrap_mode = \"auto\"", "insecure_bootstrap option can not be used with rebootstrapping"),
        ("rebootstrap_delay = \"x\"", "error parsing rebootstrap delay duration: time: invalid duration \"x\""),
        ("log_level = \"loud\"", "could not start logger: not a valid logrus Level: \"loud\""),
        ("x509_svid_cache_max_size = -1", "x509_svid_cache_max_size should not be negative"),
        ("availability_target = \"1h\"", "availability_target must be at least 24h0m0s"),
        (
            "authorized_delegates = [\"spiffe://other.test/d\"]",
            "error validating authorized delegate: SPIFFE ID \"spiffe://other.test/d\" is not a member of trust domain \
             \"example.org\"",
        ),
        (
            "join_token = \"a\"\njoin_token_file = \"b\"",
            "only one of join_token or join_token_file can be specified, not both",
        ),
        (
            "admin_socket_path = \"/tmp/spire-agent/public/admin.sock\"",
            "admin socket cannot be in the same directory or a subdirectory as that containing the Workload API socket",
        ),
        (
            "experimental { ratelimit { fetch_x509_svid = -1 } }",
            "experimental.ratelimit.fetch_x509_svid must not be negative",
        ),
        (
            "experimental { jwt_svid_cache_hit_timeout = \"40s\" }",
            "jwt_svid_cache_hit_timeout (40s) must be less than 30s",
        ),
        (
            "experimental { jwt_svid_cache_hit_timeout = \"4s\" }",
            "jwt_svid_cache_hit_timeout (4s) must be greater than 5s",
        ),
        (
            "workload_x509_svid_key_type = \"rsa-4096\"\nnonsense = 1",
            "key type \"rsa-4096\" is unknown; must be one of [rsa-2048, ec-p256, ec-p384]",
        ),
        (
            "experimental { sync_interval = \"x\" }",
            "could not parse synchronization interval: time: invalid duration \"x\"",
        ),
        ("nonsense = 1", "unknown configuration detected"),
        ("experimental { broker { zz = 1 } }", "unknown configuration detected"),
        (
            "availability_target = \"1h\"\nexperimental { broker {} }",
            "experimental.broker requires socket_path, bind_address, or both",
        ),
        ("retry_bootstrap = true", "unknown configuration detected"),
    ] {
        assert_eq!(refusal(&format!("{LEAST}insecure_bootstrap = true\n{key}")), expected, "{key}");
    }
}

#[test]
fn a_url_on_a_socket_is_checked_as_in_the_reference() {
    let parameter = |own| format!("trust_bundle_url query params can not start with {own}");
    let scheme = "trust bundle URL must start with http:// when used with trust bundle unix socket";
    for (url, expected) in [
        ("https://a/b", scheme.to_owned()),
        ("http://a/b?x=1&spire-a=1", parameter("spire-")),
        ("http://a/b?spiffe-a=1", parameter("spiffe-")),
    ] {
        let keys = format!("{LEAST}trust_bundle_url = \"{url}\"\ntrust_bundle_unix_socket = \"/s\"");
        assert_eq!(refusal(&keys), expected, "{url}");
    }
    for url in ["http://a/b?x=spire-a#?spire-b", "HTTP://a/b"] {
        let config = parse(&format!("{LEAST}trust_bundle_url = \"{url}\"\ntrust_bundle_unix_socket = \"/s\"")).unwrap();
        assert!(matches!(config.bootstrap, Bootstrap::UrlOnSocket { .. }), "{url}");
    }
}

#[test]
fn the_first_bundle_comes_from_one_place() {
    let config =
        parse(&format!("{LEAST}trust_bundle_url = \"https://a/b\"\ntrust_bundle_format = \"spiffe\"")).unwrap();
    assert_eq!(config.bootstrap, Bootstrap::Url("https://a/b".into(), BundleFormat::Spiffe));
    assert_eq!(
        refusal(&format!("{LEAST}trust_bundle_url = \"http://a/b\"")),
        "trust bundle URL must start with https://"
    );
    assert!(parse(&format!("{LEAST}trust_bundle_url = \"HTTPS://a/b\"")).is_ok());
    assert_eq!(
        refusal(&format!("{LEAST}trust_bundle_path = \"a\"\ntrust_bundle_format = \"der\"")),
        "invalid value for trust_bundle_format, expected \"pem\" or \"spiffe\""
    );
}

#[test]
fn a_first_bundle_from_another_agent_comes_from_nowhere_else() {
    const KEY: &str = "trust_bundle_spiffe_workload_api";
    let with = |rest: &str| format!("{LEAST}{KEY} = \"unix:///run/upper.sock\"\n{rest}");
    let config = parse(&with("rebootstrap_mode = \"auto\"")).unwrap();
    assert_eq!(config.bootstrap, Bootstrap::WorkloadApi(Endpoint::Unix("/run/upper.sock".into())));
    for (other, name) in [
        ("insecure_bootstrap = true", "insecure_bootstrap"),
        ("trust_bundle_url = \"https://a/b\"", "trust_bundle_url"),
        ("trust_bundle_path = \"a\"", "trust_bundle_path"),
        ("trust_bundle_path = \"a\"\ntrust_bundle_url = \"a\"\ninsecure_bootstrap = true", "insecure_bootstrap"),
    ] {
        assert_eq!(refusal(&with(other)), format!("only one of {name} or {KEY} can be specified, not both"));
    }
    let socket = refusal(&with("trust_bundle_unix_socket = \"/s\""));
    assert_eq!(socket, format!("trust_bundle_unix_socket can not be used with {KEY}"));
    assert!(refusal(&with("trust_bundle_format = \"der\"")).starts_with("invalid value for trust_bundle_format"));
    for wrong in ["/run/upper.sock", "tcp://localhost:1", "unix:///a?b"] {
        let refused = refusal(&format!("{LEAST}{KEY} = \"{wrong}\""));
        let expected = format!("{KEY} is not a valid SPIFFE Workload API endpoint address: ");
        assert!(refused.starts_with(&expected), "{refused}");
    }
}

#[test]
fn key_exchange_is_post_quantum_alone_when_that_is_required() {
    let exchange = |keys: &str| parse(&format!("{LEAST}insecure_bootstrap = true\n{keys}")).unwrap().key_exchange;
    assert_eq!(exchange(""), KeyExchange::PreferPostQuantum);
    assert_eq!(exchange("experimental { require_pq_kem = true }"), KeyExchange::RequirePostQuantum);
}

#[test]
fn a_broker_api_that_listens_somewhere_is_told_as_not_built_yet() {
    let broker =
        "experimental { broker { bind_address = \"127.0.0.1:0\" brokers = [{ id = \"spiffe://a.test/b\" }] } }";
    let config = parse(&format!("{LEAST}insecure_bootstrap = true\n{broker}")).unwrap();
    assert_eq!(config.unbuilt, ["experimental.broker"]);
}

#[test]
fn keys_of_workloads_are_of_the_type_that_is_named_in_either_case() {
    let key_type = |keys: &str| parse(&format!("{LEAST}insecure_bootstrap = true\n{keys}")).unwrap().workload_key_type;
    assert_eq!(key_type(""), KeyType::EcP256);
    assert_eq!(key_type("workload_x509_svid_key_type = \"RSA-2048\""), KeyType::Rsa2048);
    assert_eq!(key_type("workload_x509_svid_key_type = \"ec-P384\""), KeyType::EcP384);
}

#[test]
fn more_servers_are_a_list_of_different_places() {
    let with = |list: &str| {
        let steeple = format!("experimental {{ steeple {{ server_addresses = [{list}] }} }}");
        parse(&format!("{LEAST}insecure_bootstrap = true\n{steeple}"))
    };
    let places = with("\"b.example.org:1\", \"[::1]:8081\"").unwrap().server_addresses;
    assert_eq!(places.iter().map(Place::to_string).collect::<Vec<_>>(), ["b.example.org:1", "[::1]:8081"]);
    assert!(with("").unwrap().server_addresses.is_empty());
    let many = (1..=65).map(|port| format!("\"a:{port}\"")).collect::<Vec<_>>().join(", ");
    for (list, expected) in [
        ("\"b\"", "\"b\": it must be host:port, with an IPv6 address in brackets"),
        ("\"https://b:1\"", "\"https://b:1\": it must be host:port, with an IPv6 address in brackets"),
        ("\"b:1\", \"b:1\"", "\"b:1\": it is named twice"),
        ("\"127.0.0.1:8081\"", "\"127.0.0.1:8081\": it is named twice"),
        (&many, "\"a:65\": there are 64 at most"),
    ] {
        let refused = with(list).unwrap_err().to_string();
        assert_eq!(refused, format!("experimental.steeple.server_addresses: {expected}"));
    }
}

#[test]
fn a_collector_is_read_and_a_mistake_told_by_its_key() {
    let with = |keys: &str| {
        let otlp = format!("experimental {{ steeple {{ otlp {{ endpoint = \"http://c.test\" {keys} }} }} }}");
        parse(&format!("{LEAST}insecure_bootstrap = true\n{otlp}"))
    };
    assert_eq!(with("traces { ratio = 0.5 }").unwrap().otlp.and_then(|otlp| otlp.ratio), Some(0.5));
    let refused = with("traces { ratio = 2 }").unwrap_err().to_string();
    assert_eq!(refused, "experimental.steeple.otlp.traces.ratio must be from 0 to 1, not 2");
}

#[test]
fn profiles_are_made_as_the_keys_say() {
    let profiling = |keys: &str| parse(&format!("{LEAST}insecure_bootstrap = true\n{keys}")).unwrap().profiling;
    let keys = "profiling_port = 6060\nprofiling_freq = 30\nprofiling_names = [\"heap\"]\n";
    assert_eq!(profiling(keys), None);
    let Profiling { port, every, names } = profiling(&format!("{keys}profiling_enabled = true")).unwrap();
    assert_eq!((port, every, names), (Some(6060), Some(Duration::from_secs(30)), vec!["heap".to_owned()]));
}

#[test]
fn flags_stand_above_the_file() {
    let flags = Flags { join_token: "abc".into(), insecure_bootstrap: true, ..Flags::default() };
    let config = Config::parse(&format!("agent {{\n{LEAST}\n}}\nplugins {{}}"), "agent.conf", flags).unwrap();
    assert_eq!(config.join_token.as_ref().map(|token| token.as_str()), Some("abc"));
}

#[test]
fn keys_for_windows_are_refused_by_the_agent() {
    for (key, place) in [("named_pipe_name", "socket_path"), ("admin_named_pipe_name", "admin_socket_path")] {
        let keys = format!("{LEAST}insecure_bootstrap = true\nexperimental {{ {key} = \"a\" }}");
        let told =
            format!("invalid configuration: {key} is not supported in this platform; please use {place} instead");
        assert_eq!(refusal(&keys), told);
    }
}

#[test]
fn what_the_file_says_is_what_the_agent_has() {
    let keys = r#"
        insecure_bootstrap = true
        allowed_foreign_jwt_claims = ["role"]
        availability_target = "30h"
        experimental {
            jwt_svid_cache_hit_timeout = "7s"
            sync_interval = "11s"
            use_sync_authorized_entries = false
        }
    "#;
    let config = parse(&format!("{LEAST}{keys}")).unwrap();
    assert_eq!(config.allowed_foreign_jwt_claims, ["role"]);
    assert_eq!(config.availability_target, Some(Duration::from_secs(30 * 60 * 60)));
    assert_eq!((config.jwt_hit_timeout, config.sync_interval), (Duration::from_secs(7), Duration::from_secs(11)));
    assert!(!config.sync_by_stream);
}
