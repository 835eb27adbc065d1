use std::sync::Mutex as StdMutex;

use steeple_runtime::Clock;
use steeple_runtime::logging::Level;
use steeple_transport::tls::KeyExchange;

use super::*;
use crate::authpolicy::Rules;
use crate::config::Flags;
use crate::health;

/// A server's settings, and the file that they come from.
struct Place {
    text: Arc<StdMutex<String>>,
    settings: Settings,
    log: Log,
    reload: Reload,
    _dir: tempfile::TempDir,
}

/// A configuration with these keys.
fn conf(keys: &str) -> String {
    format!(
        "server {{\n trust_domain = \"example.org\"\n data_dir = \"data\"\n {keys}\n}}\n\
         plugins {{\n DataStore \"sql\" {{ plugin_data {{ database_type = \"sqlite3\" connection_string = \"db\" }} }}\n}}\n"
    )
}

fn parsed(text: &str) -> Result<Config, String> {
    Config::parse(text, "server.conf", Flags::default()).map_err(|error| error.to_string())
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = parsed(&conf("")).unwrap();
        let log = steeple_runtime::logging::Options { file: Some(dir.path().join("log")), ..config.log };
        let log = Log::open(log, Clock::system()).unwrap();
        let rules = Rules::load(&config.policy).unwrap();
        let (rates, exchange) = (config.rate_limits, config.key_exchange);
        let settings = Settings::new(config.admin_ids, rules, rates, exchange, &Clock::system());
        let text = Arc::new(StdMutex::new(conf("")));
        let reread: Reread = {
            let text = Arc::clone(&text);
            Arc::new(move || parsed(&text.lock().unwrap()))
        };
        let reload = Reload::new(Parts {
            reread,
            stated: config.stated,
            settings: settings.clone(),
            log: log.clone(),
            loaded: Loaded::default(),
            trust_domain: config.trust_domain,
            host: Host::new(Clock::system()),
            health: health::unknown(Clock::system()),
        });
        Self { text, settings, log, reload, _dir: dir }
    }

    /// Reloads with other keys.
    async fn with(&self, keys: &str) -> Result<Vec<(String, bool)>, String> {
        *self.text.lock().unwrap() = conf(keys);
        let changes = self.reload.reload(false).await.map_err(|error| error.to_string())?;
        Ok(changes.into_iter().map(|Change { setting, needs_restart }| (setting, needs_restart)).collect())
    }
}

#[tokio::test]
async fn each_setting_that_can_change_does() {
    let place = Place::new();
    let changed = async |keys: &str, setting: &str| {
        assert_eq!(place.with(keys).await.unwrap(), [(setting.to_owned(), false)], "{keys}");
    };
    changed("admin_ids = [\"spiffe://example.org/admin\"]", "server.admin_ids").await;
    let admins = place.settings.admin_ids.borrow().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(admins, ["spiffe://example.org/admin"]);
    changed("", "server.admin_ids").await;

    changed("log_level = \"ERROR\"", "server.log_level").await;
    assert_eq!(place.log.level(), Level::Error);
    changed("", "server.log_level").await;

    changed("experimental { require_pq_kem = true }", "server.experimental.require_pq_kem").await;
    assert_eq!(*place.settings.key_exchange.borrow(), KeyExchange::RequirePostQuantum);
    changed("", "server.experimental.require_pq_kem").await;
    assert_eq!(*place.settings.key_exchange.borrow(), KeyExchange::PreferPostQuantum);

    let mut limits = place.settings.limits.subscribe();
    changed("ratelimit { signing = false }", "server.ratelimit.signing").await;
    assert!(limits.has_changed().unwrap());
    limits.mark_unchanged();
    changed("ratelimit { signing = false } log_level = \"WARN\"", "server.log_level").await;
    assert!(!limits.has_changed().unwrap(), "what peers have used up is forgotten for nothing");
}

#[tokio::test]
async fn a_policy_changes_with_its_files_and_one_that_cannot_be_used_changes_nothing() {
    let (place, dir) = (Place::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("policy.rego");
    let write = |allow: bool| {
        let members = ["allow_if_admin", "allow_if_local", "allow_if_downstream", "allow_if_agent"];
        let members: String = members.iter().map(|name| format!(", \"{name}\": false")).collect();
        std::fs::write(&path, format!("package spire\n\nresult := {{\"allow\": {allow}{members}}}\n")).unwrap();
    };
    let local = format!("local {{ rego_path = \"{}\" }}", path.display());
    let keys = format!("experimental {{ auth_opa_policy_engine {{ {local} }} }}");
    let mut policy = place.settings.policy.subscribe();
    let refused = place.with(&keys).await.unwrap_err();
    assert!(refused.contains("unable to obtain authpolicy engine: open "), "{refused}");
    assert!(!policy.has_changed().unwrap());

    write(true);
    assert!(place.with(&keys).await.unwrap().iter().all(|(setting, restart)| setting.starts_with(POLICY) && !restart));
    assert!(policy.has_changed().unwrap());
    policy.mark_unchanged();
    assert_eq!(place.with(&keys).await.unwrap(), []);
    assert!(!policy.has_changed().unwrap());
    write(false);
    assert_eq!(place.with(&keys).await.unwrap(), [(POLICY.to_owned(), false)]);
    assert!(policy.has_changed().unwrap());
    assert_eq!(place.with(&keys).await.unwrap(), []);
}

#[tokio::test]
async fn what_needs_a_restart_is_told_until_then() {
    let place = Place::new();
    for _ in 0..2 {
        assert_eq!(place.with("ca_ttl = \"36h\"").await.unwrap(), [("server.ca_ttl".to_owned(), true)]);
    }
    assert_eq!(place.with("").await.unwrap(), []);
}

#[tokio::test]
async fn a_level_that_was_set_by_hand_stays_unless_the_file_wants_another_one() {
    let place = Place::new();
    place.log.set_level(Level::Trace);
    place.with("admin_ids = [\"spiffe://example.org/admin\"]").await.unwrap();
    assert_eq!(place.log.level(), Level::Trace);
    place.with("log_level = \"WARN\"").await.unwrap();
    assert_eq!(place.log.level(), Level::Warn);
}

#[tokio::test]
async fn another_trust_domain_is_refused_and_nothing_else_is_taken_over() {
    let place = Place::new();
    let other = conf("log_level = \"ERROR\"").replace("example.org", "other.test");
    *place.text.lock().unwrap() = other;
    let refused = place.reload.reload(false).await.unwrap_err();
    assert_eq!(refused.to_string(), "the configuration is for another trust domain, other.test");
    assert_eq!(place.log.level(), Level::Info);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_says_nothing_of_health() {
    let place = Place::new();
    *place.text.lock().unwrap() = conf("log_level = \"ERROR\"");
    assert_eq!(place.reload.reload(true).await.unwrap().len(), 1);
    assert_eq!(place.log.level(), Level::Info);
    *place.text.lock().unwrap() = "nonsense".to_owned();
    assert!(place.reload.reload(true).await.is_err());
}
