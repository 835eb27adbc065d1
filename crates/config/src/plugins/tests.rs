use super::*;
use crate::hcl;

fn plugins(text: &str) -> Vec<PluginBlock> {
    read(&hcl::parse(text).unwrap()).unwrap().unwrap()
}

fn plugin(block: &str) -> PluginBlock {
    let [plugin] = plugins(&format!("plugins {{\n  NodeAttestor \"x\" {{ {block} }}\n}}")).try_into().unwrap();
    plugin
}

fn error(text: &str) -> String {
    read(&hcl::parse(text).unwrap()).unwrap_err().to_string()
}

/// Type, name and printed data of each.
fn summary(text: &str) -> Vec<(String, String, String)> {
    let data = |data| match data {
        PluginData::Fixed(body) => Body::to_string(&body).replace('"', ""),
        PluginData::None => String::new(),
        PluginData::File(path) => format!("file {}", path.display()),
    };
    plugins(text).into_iter().map(|plugin| (plugin.kind, plugin.name, data(plugin.data))).collect()
}

#[test]
fn reads_every_key() {
    let block = r#"plugin_cmd = "./p" plugin_args = ["-a", "b"] plugin_checksum = "00ff" enabled = false plugin_data { k = 1 }"#;
    let PluginBlock { kind, name, line, cmd, args, checksum, enabled, data } = plugin(block);
    assert_eq!((kind.as_str(), name.as_str(), line), ("NodeAttestor", "x", 2));
    assert_eq!((cmd, args), (Some("./p".to_owned()), vec!["-a".to_owned(), "b".to_owned()]));
    assert_eq!((checksum.as_deref(), enabled), (Some("00ff"), false));
    let PluginData::Fixed(body) = data else { panic!("{data:?}") };
    assert_eq!(body.to_string(), "k = 1\n");
}

#[test]
fn an_empty_declaration_is_an_enabled_built_in_plugin() {
    let PluginBlock { kind: _, name: _, line: _, cmd, args, checksum, enabled, data } =
        plugin("plugin_cmd = \"\" plugin_checksum = \"\"");
    assert_eq!((cmd, args.len(), checksum, enabled, data), (None, 0, None, true, PluginData::None));
}

#[test]
fn empty_and_null_data_are_none() {
    assert_eq!(plugin("plugin_data {}").data, PluginData::None);
    assert_eq!(plugin("plugin_data = []").data, PluginData::None);
    for data in ["{}", "null", "[]", "[{}]"] {
        let text = format!(r#"{{"plugins": {{"KeyManager": [{{"memory": {{"plugin_data": {data}}}}}]}}}}"#);
        assert_eq!(plugins(&text)[0].data, PluginData::None, "{data}");
    }
}

#[test]
fn every_shape_means_the_same() {
    let declarations =
        [("DataStore", "sql", "a = b\n"), ("KeyManager", "memory", ""), ("NodeAttestor", "x", "a c {}\n")];
    let expected = declarations.map(|(kind, name, data)| (kind.to_owned(), name.to_owned(), data.to_owned()));
    for text in [
        r#"plugins { DataStore "sql" { plugin_data { a = "b" } } KeyManager "memory" {} NodeAttestor "x" { plugin_data { a "c" {} } } }"#,
        r#"plugins { DataStore { sql { plugin_data { a = "b" } } } KeyManager memory { plugin_data {} } NodeAttestor "x" plugin_data { a c {} } }"#,
        r#"plugins = { "DataStore" = { "sql" = { "plugin_data" = { "a" = "b" } } } "KeyManager" = [{ "memory" = {} }] "NodeAttestor" "x" "plugin_data" a c {} }"#,
        r#"plugins { DataStore "sql" { plugin_data { a = "b" } } } Plugins "KeyManager" "memory" {} plugins { NodeAttestor "x" { plugin_data = [{ a "c" {} }] } }"#,
        r#"plugins = [{ DataStore "sql" { plugin_data { a = "b" } } }, { KeyManager { memory {} } NodeAttestor x { Plugin_Data a c {} } }]"#,
        r#"{"plugins": {"DataStore": {"sql": {"plugin_data": {"a": "b"}}}, "KeyManager": {"memory": {"plugin_data": {}}}, "NodeAttestor": {"x": {"plugin_data": {"a": {"c": {}}}}}}}"#,
        r#"{"plugins": {"DataStore": [{"sql": {"plugin_data": {"a": "b"}}}], "KeyManager": [{"memory": {"plugin_data": null}}], "NodeAttestor": [{"x": [{"plugin_data": [{"a": [{"c": {}}]}]}]}]}}"#,
        r#"{"plugins": [{"DataStore": [{"sql": {"plugin_data": {"a": "b"}}}]}, {"KeyManager": {"memory": null}, "NodeAttestor": {"x": {"plugin_data": {"a": {"c": {}}}}}}]}"#,
    ] {
        assert_eq!(summary(text), expected, "{text}");
    }
}

#[test]
fn keeps_the_order_of_the_text() {
    let text = "plugins { B \"z\" {} A \"y\" {} B \"a\" {} }";
    let names: Vec<_> = plugins(text).into_iter().map(|plugin| plugin.name).collect();
    assert_eq!(names, ["z", "y", "a"]);
}

#[test]
fn json_data_that_holds_objects_alone_is_one_declaration() {
    let text = r#"{"plugins": {"NodeAttestor": {"x": {"plugin_data": {"a": {"k": 1}, "b": {"k": 2}}}}}}"#;
    let [(_, _, data)] = summary(text).try_into().unwrap();
    assert_eq!(data, "a {\n  k = 1\n}\nb {\n  k = 2\n}\n");
}

#[test]
fn data_from_a_file_is_a_path() {
    assert_eq!(plugin("plugin_data_file = \"a/b\"").data, PluginData::File("a/b".into()));
    assert_eq!(plugin("plugin_data_file = \"\"").data, PluginData::File("".into()));
}

#[test]
fn refuses_both_kinds_of_data() {
    for data in ["plugin_data { a = 1 }", "plugin_data {}"] {
        assert_eq!(
            error(&format!("plugins {{ NodeAttestor \"x509pop\" {{ {data} plugin_data_file = \"\" }} }}")),
            "failed to create plugin config for \"NodeAttestor\"/\"x509pop\": \
             only one of [plugin_data, plugin_data_file] can be used"
        );
    }
    let text = r#"{"plugins": {"A": {"b": {"plugin_data": null, "plugin_data_file": "f"}}}}"#;
    assert_eq!(plugins(text)[0].data, PluginData::File("f".into()));
}

#[test]
fn refuses_a_second_declaration() {
    let expected = "plugin \"KeyManager\"/\"memory\" declared more than once";
    for text in [
        "plugins { KeyManager \"memory\" {}\n KeyManager \"memory\" {} }",
        "plugins { KeyManager { memory {} } }\n plugins { KeyManager memory {} }",
        r#"{"plugins": {"KeyManager": [{"memory": {}}, {"memory": {}}]}}"#,
        r#"{"plugins": {"KeyManager": [{"memory": {"plugin_data": {"a": {}}}}, {"memory": {"plugin_data": {"b": {}}}}]}}"#,
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    assert_eq!(plugins("plugins { KeyManager \"memory\" {}\n keymanager \"memory\" {} }").len(), 2);
}

#[test]
fn says_which_plugin_has_a_value_that_does_not_fit() {
    let text = "plugins {\n KeyManager \"memory\" { enabled = \"true\" } }";
    let error = read(&hcl::parse(text).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to decode plugin config for \"KeyManager\"/\"memory\": \
         At 2:34: root.enabled: unknown type *ast.LiteralType"
    );
    assert_eq!(error.pos().map(|pos| pos.line), Some(2));
    let text = "plugins { KeyManager \"memory\" { plugin_data = \"x\" } }";
    assert!(self::error(text).ends_with("root.plugin_data: not an object type for struct (*ast.LiteralType)"));
}

#[test]
fn refuses_what_declares_no_plugin() {
    for text in ["plugins = 1", "plugins { KeyManager = \"memory\" }", "plugins { KeyManager = [1] }"] {
        assert!(error(text).ends_with("plugins are declared as Type \"name\" { ... }"), "{text}");
    }
}

#[test]
fn tells_an_absent_section_from_an_empty_one() {
    let read = |text: &str| read(&hcl::parse(text).unwrap()).unwrap().map(|plugins| plugins.len());
    assert_eq!(read("server {}"), None);
    assert_eq!(read("{\"plugins\": null}"), None);
    assert_eq!(read("plugins {}"), Some(0));
    assert_eq!(read("{\"plugins\": {\"KeyManager\": null}}"), Some(0));
}

#[test]
fn checks_the_form_of_a_checksum() {
    assert_eq!(parse_checksum(&"0aF".repeat(64)[..64]).unwrap()[..3], [0x0A, 0xF0, 0xAF]);
    let error = |text: &str| parse_checksum(text).unwrap_err().to_string();
    assert_eq!(error("xyz"), "checksum is not a valid hex string");
    assert_eq!(error("abc"), "checksum is not a valid hex string");
    assert_eq!(error("abcd"), "expected checksum of length 64; got 4");
    assert_eq!(error(""), "expected checksum of length 64; got 0");
}
