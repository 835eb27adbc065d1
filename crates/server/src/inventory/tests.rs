//! From what was handed over to what is written, over restarts, crashes and places that fail.

use std::fs;

use steeple_testkit::ManualClock;
use steeple_testkit::record::{Counted, Logged};
use tempfile::TempDir;

use super::*;
use crate::tests::{DAY, manual};

/// A server's data directory, with the records in it.
struct Home {
    dir: TempDir,
    manual: ManualClock,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), manual: manual() }
    }

    fn directory(&self) -> PathBuf {
        self.dir.path().join("inventory")
    }

    async fn start(&self, fail_closed: bool) -> Inventory {
        let files = Files { directory: self.directory(), max_file_size: 1 << 20 };
        let config = InventoryConfig { place: Place::Files(files), fail_closed, keep: DAY };
        Inventory::start(config, self.dir.path(), self.manual.clock()).await.unwrap()
    }

    /// What was written, each record as its `what`, or its cause where it is a gap; and what is found of it.
    fn read(&self, heads: &Logged) -> (Vec<String>, Verdict) {
        let heads = heads.with("Inventory head").into_iter().map(|line| Head {
            chain: line["chain"].clone(),
            seq: line["seq"].parse().unwrap(),
            digest: line["digest"].clone(),
        });
        let (mut told, mut verifier) = (Vec::new(), Verifier::new(heads));
        for file in files_of(&self.directory()).unwrap() {
            read_file(&file, |link| {
                verifier.take(&link);
                told.push(match &link.record.event {
                    Event::Gap(Gap { cause, count }) => format!("{cause:?} {count:?}"),
                    event => event.what().to_owned(),
                });
            })
            .unwrap();
        }
        (told, verifier.finish())
    }

    /// Puts something in the place of the directory that nothing can be written to.
    fn break_it(&self) {
        fs::remove_dir_all(self.directory()).unwrap();
        fs::write(self.directory(), "").unwrap();
    }

    fn repair_it(&self) {
        fs::remove_file(self.directory()).unwrap();
        fs::create_dir(self.directory()).unwrap();
    }
}

fn event() -> Option<Event> {
    Some(Event::X509Svid(Issued {
        why: Why::Own,
        id: "spiffe://example.org/spire/server".to_owned(),
        through: None,
        entry: None,
        serial: None,
        jti: None,
        token: None,
        key: None,
        authority: String::new(),
        expires: 0,
    }))
}

async fn record(inventory: &Inventory) -> Result<(), NotRecorded> {
    inventory.record(event).await
}

#[tokio::test]
async fn a_chain_goes_on_over_restarts_and_every_head_vouches_for_it() {
    let (heads, home) = (Logged::new(), Home::new());
    for _ in 0..3 {
        let inventory = home.start(false).await;
        record(&inventory).await.unwrap();
        inventory.close().await;
    }
    let (told, verdict) = home.read(&heads);
    assert_eq!(told, ["start", "x509-svid", "stop"].repeat(3));
    let [found] = &verdict.chains[..] else { panic!("{verdict:?}") };
    assert!(verdict.is_sound() && found.vouched == 9 && found.gaps.is_empty(), "{verdict:?}");
}

#[tokio::test]
async fn a_head_is_told_each_minute_in_which_something_was_written() {
    let (heads, home) = (Logged::new(), Home::new());
    let inventory = home.start(false).await;
    let told = async |seq: &str| {
        while heads.with("Inventory head").last().is_none_or(|line| line["seq"] != seq) {
            tokio::task::yield_now().await;
        }
    };
    told("1").await;
    for seq in ["2", "3"] {
        record(&inventory).await.unwrap();
        // It gathers, then it writes, then the minute is over.
        home.manual.wake(..=Duration::from_millis(50)).await;
        home.manual.wake(Duration::from_secs(1)..).await;
        told(seq).await;
    }
    assert_eq!(heads.with("Inventory head").len(), 3);
    inventory.close().await;
}

#[tokio::test]
async fn a_server_that_was_killed_declares_a_gap_and_one_whose_records_are_gone_says_how_many() {
    let (heads, home) = (Logged::new(), Home::new());
    let killed = home.start(false).await;
    record(&killed).await.unwrap();
    home.manual.until_somebody_sleeps(..=Duration::from_millis(50)).await;
    home.start(false).await.close().await;
    let (told, verdict) = home.read(&heads);
    assert_eq!(told, ["start", "x509-svid", "Crash None", "start", "stop"]);
    assert!(verdict.is_sound(), "{verdict:?}");

    let file = files_of(&home.directory()).unwrap().remove(0);
    let text = fs::read_to_string(&file).unwrap();
    // All but the first two.
    fs::write(&file, text.split_inclusive('\n').take(2).collect::<String>()).unwrap();
    home.start(false).await.close().await;
    let (told, verdict) = home.read(&heads);
    assert_eq!(told, ["start", "x509-svid", "Lost Some(3)", "start", "stop"]);
    assert!(verdict.is_sound() && verdict.chains[0].vouched == 8, "{verdict:?}");
}

#[tokio::test]
async fn what_finds_no_place_in_the_queue_is_dropped_counted_and_declared() {
    let (heads, counted, home) = (Logged::new(), Counted::new(), Home::new());
    let inventory = home.start(false).await;
    home.break_it();
    // Nobody takes from the queue meanwhile, for nothing here waits.
    for _ in 0..QUEUE + 10 {
        record(&inventory).await.unwrap();
    }
    assert_eq!(counted.of("inventory.dropped"), 10);
    home.manual.until_somebody_sleeps(Duration::ZERO..=writer::RETRY).await;
    assert_eq!(heads.with("Failed to write the inventory").len(), 1);
    home.repair_it();
    inventory.close().await;
    let (told, verdict) = home.read(&heads);
    assert_eq!(told.iter().filter(|what| *what == "x509-svid").count(), QUEUE);
    assert_eq!(told.iter().filter(|what| *what == "Dropped Some(10)").count(), 1);
    assert!(verdict.is_sound(), "{verdict:?}");
}

#[tokio::test]
async fn an_operator_who_wants_it_gets_nothing_signed_without_its_record() {
    let (heads, counted, home) = (Logged::new(), Counted::new(), Home::new());
    let inventory = home.start(true).await;
    record(&inventory).await.unwrap();
    assert!(home.read(&heads).0.contains(&"x509-svid".to_owned()));

    home.break_it();
    for refused in 1..=2 {
        record(&inventory).await.unwrap_err();
        assert_eq!(counted.of("inventory.refused"), refused);
    }
    home.repair_it();
    home.manual.wake(Duration::ZERO..=writer::RETRY).await;
    while record(&inventory).await.is_err() {
        tokio::task::yield_now().await;
    }
    inventory.close().await;
    assert_eq!(heads.with("The inventory is written again").len(), 1);
}

#[test]
fn heads_and_records_are_read_from_a_log_in_either_form() {
    let dir = tempfile::tempdir().unwrap();
    let link = chain::Chain::behind(Head::of_new("0c".to_owned())).add(7, event().unwrap()).unwrap();
    let head = Head::behind(&link.record, &link.text);
    let text = format!(
        "time=\"2026\" level=info msg=\"Inventory record\" record={:?} spiffe_id=\"spiffe://a\" what=x509-svid\n\
         time=\"2026\" level=info msg=\"Inventory head\" chain=0c digest={} seq=1 type=audit\n\
         time=\"2026\" level=info msg=other\n",
        link.text, head.digest
    );
    let json = [
        serde_json::json!({"level": "info", "msg": "Inventory record", "record": link.text}),
        serde_json::json!({"msg": "Inventory head", "chain": "0c", "digest": head.digest, "seq": 1}),
        serde_json::json!({"msg": "other"}),
    ];
    let json = json.map(|line| format!("{line}\n")).concat();
    for (name, log) in [("text", text), ("json", json)] {
        let path = dir.path().join(name);
        fs::write(&path, log).unwrap();
        let mut links = Vec::new();
        read_file(&path, |link| links.push(link)).unwrap();
        assert_eq!((links, heads_of_log(&path).unwrap()), (vec![link.clone()], vec![head.clone()]), "{name}");
    }
    let path = dir.path().join("other");
    fs::write(&path, "{\"seq\":1\n").unwrap();
    assert!(read_file(&path, drop).is_err());
    assert_eq!(head.to_string().parse(), Ok(head));
}

#[test]
fn a_filter_lets_through_what_it_names() {
    let link = chain::Chain::behind(Head::of_new("0c".to_owned())).add(7, event().unwrap()).unwrap();
    let passes = |filter: Filter| filter.lets_through(&link.record);
    let id = || "spiffe://example.org/spire/server".to_owned();
    assert!(passes(Filter { id: id(), through: id(), expires_after: Some(0), ..Filter::default() }));
    assert!(!passes(Filter { authority: "other".to_owned(), ..Filter::default() }));
    assert!(!passes(Filter { expires_before: Some(0), ..Filter::default() }));
    let stop = Record { event: Event::Stop, ..link.record.clone() };
    assert!(!Filter::default().lets_through(&stop));
}
