use super::*;

const PLUGINS: &str = r#"
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "x.sqlite3" } }
  KeyManager "memory" {}
}
"#;

fn parse(server: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("server {{\n{server}\n}}\n{PLUGINS}"), "server.conf", Flags::default())
}

fn refusal(server: &str) -> String {
    parse(server).unwrap_err().to_string()
}

#[test]
fn what_the_author_should_think_over_is_told_in_the_references_order() {
    let keys = r#"
        default_x509_svid_ttl = "200h"
        ca_subject {}
        experimental { sql_transaction_timeout = "10s" feature_flags = ["i_am_a_test_flag"] }
    "#;
    let warnings = parse(&format!("{LEAST}{keys}")).unwrap().warnings;
    let begin = |warning: &Warning| warning.text.split_whitespace().next().unwrap_or_default().to_owned();
    let told: Vec<_> = warnings.iter().map(|warning| (begin(warning), warning.is_deprecation)).collect();
    let of_experimental = "experimental.sql_transaction_timeout";
    let expected = [
        ("default_x509_svid_ttl", false),
        ("ca_subject", false),
        ("Experimental", false),
        (of_experimental, true),
        ("Developer", false),
    ];
    assert_eq!(told, expected.map(|(begin, is_deprecation)| (begin.to_owned(), is_deprecation)));
}

const LEAST: &str = "trust_domain = \"example.org\"\ndata_dir = \"data\"\n";

#[test]
fn a_file_that_says_the_least_gets_the_references_defaults() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.bind_address.to_string(), "0.0.0.0:8081");
    assert_eq!(config.socket_path, PathBuf::from("/tmp/spire-server/private/api.sock"));
    assert_eq!(config.ca.ttl, Duration::from_secs(86_400));
    assert_eq!(config.lifetimes.agent, Duration::from_secs(3600));
    assert_eq!(config.ca.subject, CaSubject::default());
    assert!(config.unbuilt.is_empty());
}

#[test]
fn flags_stand_above_the_file_and_empty_ones_say_nothing() {
    let flags = Flags { trust_domain: "other.org".into(), server_port: 9000, ..Flags::default() };
    let text = format!("server {{ {LEAST} bind_port = \"0x1F91\" }}\n{PLUGINS}");
    let config = Config::parse(&text, "server.conf", flags).unwrap();
    assert_eq!(config.trust_domain.name(), "other.org");
    assert_eq!(config.bind_address.port(), 9000);
    let config = Config::parse(&text, "server.conf", Flags::default()).unwrap();
    assert_eq!(config.bind_address.port(), 0x1F91);
}

#[test]
fn each_mistake_is_told_in_the_references_words() {
    for (keys, expected) in [
        ("", "trust_domain must be configured"),
        ("trust_domain = \"example.org\"", "data_dir must be configured"),
        (
            "trust_domain = \"Example Org!\"\ndata_dir = \"d\"",
            "could not parse trust_domain \"Example Org!\": trust domain characters are limited to lowercase letters, \
             numbers, dots, dashes, and underscores",
        ),
    ] {
        assert_eq!(refusal(keys), expected);
    }
    for (key, expected) in [
        ("ca_ttl = \"1d\"", "could not parse default CA ttl \"1d\": time: unknown unit \"d\" in duration \"1d\""),
        ("agent_ttl = \"b\"", "could not parse agent ttl \"b\": time: invalid duration \"b\""),
        (
            "ca_key_type = \"ed25519\"",
            "error parsing ca_key_type: key type \"ed25519\" is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]",
        ),
        (
            "experimental { wit_key_type = \"zz\" }\nnonsense = 1",
            "error parsing wit_key_type: key type \"zz\" is unknown; must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]",
        ),
        ("log_level = \"loud\"", "could not start logger: not a valid logrus Level: \"loud\""),
        ("log_format = \"xml\"", "could not start logger: unknown logger format: \"xml\""),
        ("bind_port = 99999", "could not resolve bind address \"0.0.0.0:99999\": address 99999: invalid port"),
        (
            "max_attested_node_info_staleness = \"\"\nadmin_ids = [\"x\"]",
            "could not parse max attested node staleness \"\": time: invalid duration \"\"",
        ),
        (
            "prune_attested_nodes_expired_for = \"x\"\nnonsense = 1",
            "could not parse prune_attested_nodes_expired_for: time: invalid duration \"x\"",
        ),
        (
            "proxy_protocol_trusted_cidrs = [\"10.0.0.0/8\", \"::1/128\", \"10.0.0.1\"]",
            "invalid proxy_protocol_trusted_cidrs value \"10.0.0.1\": invalid CIDR address: 10.0.0.1",
        ),
        (
            "proxy_protocol_trusted_cidrs = [\"10.0.0.0/33\"]",
            "invalid proxy_protocol_trusted_cidrs value \"10.0.0.0/33\": invalid CIDR address: 10.0.0.0/33",
        ),
        ("admin_ids = [\"example.org/a\"]", "could not parse admin ID \"example.org/a\": scheme is missing or invalid"),
        (
            "experimental { feature_flags = [\"zzz\", \"aaa\"] }",
            "error loading feature flags: unknown feature flag(s): [aaa zzz]",
        ),
        (
            "bind_port = true",
            "unable to decode configuration at \"server.conf\": At 4:13: root.server.bind_port: unknown type *ast.LiteralType",
        ),
    ] {
        assert_eq!(refusal(&format!("{LEAST}{key}")), expected, "{key}");
    }
}

#[test]
fn lengths_of_our_own_keys_have_defaults_and_are_long_enough() {
    let own = |keys: &str| parse(&format!("{LEAST}experimental {{ steeple {{ {keys} }} }}"));
    let lengths =
        |keys: &str| own(keys).map(|config| (config.connection_age.as_secs(), config.max_staleness.as_secs()));
    assert_eq!(lengths("").unwrap(), (180, 3600));
    assert_eq!(lengths("connection_age = \"1s\" max_staleness = \"10s\"").unwrap(), (1, 10));
    for (keys, expected) in [
        ("connection_age = \"999ms\"", "experimental.steeple.connection_age: it must be at least 1s"),
        ("connection_age = \"-1h\"", "experimental.steeple.connection_age: it must be at least 1s"),
        ("connection_age = \"soon\"", "experimental.steeple.connection_age: time: invalid duration \"soon\""),
        ("max_staleness = \"9s\"", "experimental.steeple.max_staleness: it must be at least 10s"),
    ] {
        assert_eq!(own(keys).unwrap_err().to_string(), expected, "{keys}");
    }
}

#[test]
fn agents_are_pruned_only_when_they_have_been_over_for_some_time() {
    let pruning = |keys: &str| parse(&format!("{LEAST}{keys}")).unwrap().prune_nodes;
    let pruned = |expired_for, include_tofu, batch| {
        Some(NodePruning { expired_for: Duration::from_secs(expired_for), include_tofu, batch })
    };
    assert_eq!(pruning("prune_tofu_nodes = true"), None);
    assert_eq!(pruning("prune_attested_nodes_expired_for = \"1h\""), pruned(3600, false, 1000));
    let batch = |batch: &str| {
        let keys = "prune_attested_nodes_expired_for = \"1m\"\nprune_tofu_nodes = true\n";
        pruning(&format!("{keys}prune_attested_nodes_batch_size = {batch}"))
    };
    assert_eq!(batch("7"), pruned(60, true, 7));
    assert_eq!(batch("-5"), pruned(60, true, 1000));
    for nothing in ["0s", "-1h"] {
        assert_eq!(pruning(&format!("prune_attested_nodes_expired_for = \"{nothing}\"")), None, "{nothing}");
    }
}

#[test]
fn everything_is_read_again_less_often_than_changes() {
    let with = |keys: &str| parse(&format!("{LEAST}experimental {{ {keys} }}"));
    for wrong in [
        "cache_reload_interval = \"10s\" full_cache_reload_interval = \"10s\"",
        "full_cache_reload_interval = \"5s\"",
        "full_cache_reload_interval = \"-1s\"",
        "cache_reload_interval = \"24h\"",
    ] {
        let refused = with(wrong).unwrap_err().to_string();
        assert_eq!(refused, "full cache reload interval must be greater than cache reload interval", "{wrong}");
    }
    for right in [
        "full_cache_reload_interval = \"0s\"",
        "cache_reload_interval = \"0s\" full_cache_reload_interval = \"6s\"",
        "cache_reload_interval = \"-1h\" full_cache_reload_interval = \"1s\"",
    ] {
        assert!(with(right).is_ok(), "{right}");
    }
}

#[test]
fn post_quantum_key_exchange_is_preferred_and_can_be_required() {
    let exchange = |keys: &str| parse(&format!("{LEAST}{keys}")).unwrap().key_exchange;
    assert_eq!(exchange(""), KeyExchange::PreferPostQuantum);
    assert_eq!(exchange("experimental { require_pq_kem = true }"), KeyExchange::RequirePostQuantum);
}

#[test]
fn wit_svids_are_signed_where_the_flag_is_on() {
    let wit = |keys: &str| {
        let config = parse(&format!("{LEAST}ca_key_type = \"ec-p384\"\nexperimental {{ {keys} }}")).unwrap();
        (config.ca.wit_key_type, config.wit_issuer)
    };
    assert_eq!(wit("wit_key_type = \"rsa-2048\" wit_issuer = \"us\""), (None, None));
    assert_eq!(wit("feature_flags = [\"wit-svid\"]"), (Some(KeyType::EcP384), Some(String::new())));
    let all = "feature_flags = [\"wit-svid\"] wit_key_type = \"rsa-2048\" wit_issuer = \"us\"";
    assert_eq!(wit(all), (Some(KeyType::Rsa2048), Some("us".to_owned())));
}

#[test]
fn unknown_keys_are_named_with_section_and_line() {
    let error = parse(&format!("{LEAST}nonsense = 1\nca_subject {{ more = 2 }}")).unwrap_err();
    assert_eq!(error.to_string(), "unknown configuration detected");
    assert_eq!(
        error.in_full(),
        "unknown configuration detected\n  line 4: \"nonsense\" means nothing in section server\n  line 5: \"more\" means \
         nothing in section ca_subject"
    );
    // Where the reference ignores them, so do we; and `experimental.steeple` is ours.
    assert!(parse(&format!("{LEAST}experimental {{ nonsense = 1 steeple {{ x = 1 }} }}")).is_ok());
}

#[test]
fn a_collector_is_read_and_a_mistake_told_by_its_key() {
    let with = |keys: &str| {
        let otlp = format!("experimental {{ steeple {{ otlp {{ endpoint = \"http://c.test\" {keys} }} }} }}");
        parse(&format!("{LEAST}{otlp}"))
    };
    assert_eq!(with("traces { ratio = 0.5 }").unwrap().otlp.and_then(|otlp| otlp.ratio), Some(0.5));
    let refused = with("metrics { interval = \"0s\" }").unwrap_err().to_string();
    assert_eq!(refused, "experimental.steeple.otlp.metrics.interval must be at least 1s");
}

#[test]
fn what_is_not_built_yet_is_told() {
    let config = parse(&format!("{LEAST}federation {{ bundle_endpoint {{}} }}")).unwrap();
    assert_eq!(config.unbuilt, ["federation.bundle_endpoint"]);
}

#[test]
fn the_datastore_is_one_sql_block() {
    let text = "server { trust_domain = \"example.org\" data_dir = \"d\" }\nplugins {}";
    let refused = Config::parse(text, "server.conf", Flags::default()).unwrap_err();
    assert_eq!(refused.to_string(), "expecting a DataStore plugin");
    let text = format!("server {{ {LEAST} }}\nplugins {{ KeyManager \"memory\" {{}} }}");
    match Config::parse(&text, "server.conf", Flags::default()).unwrap_err() {
        ConfigError::NoDataStore(rest) => assert_eq!(rest.plugins[0].name, "memory"),
        other => panic!("{other}"),
    }
}

#[test]
fn keys_for_windows_are_refused_by_the_server() {
    let told =
        "invalid configuration: named_pipe_name is not supported in this platform; please use socket_path instead";
    assert_eq!(refusal(&format!("{LEAST}experimental {{ named_pipe_name = \"a\" }}")), told);
}
