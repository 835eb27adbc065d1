use std::time::{Duration, Instant};
use steeple_datastore::entries::*;
use steeple_datastore::*;
use steeple_runtime::Clock;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<_> = s.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn sched() -> f64 {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|t| {
            std::fs::read_to_string(t.unwrap().path().join("schedstat"))
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap()
                / 1e9
        })
        .sum()
}
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"))
        .collect::<Vec<_>>()
        .join(" ")
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let store = DataStore::open(Options::sqlite(dir.path().join("d")), Clock::system()).await.unwrap();
    let (t, c) = (Instant::now(), cpu());
    for b in 0..200 {
        let entries = (0..500)
            .map(|i| Entry {
                spiffe_id: format!("spiffe://td/w/{b}/{i}"),
                parent_id: format!("spiffe://td/spire/agent/x/{}", i % 50),
                selectors: vec![Selector::new("k8s", "ns:default"), Selector::new("k8s", format!("sa:{b}-{i}"))],
                ..Entry::default()
            })
            .collect();
        store.write(CreateEntries { entries }).await.unwrap();
        if b % 50 == 49 {
            println!("{} entries {:?} cpu {:.2}", (b + 1) * 500, t.elapsed(), cpu() - c);
        }
    }
    println!("{}", rss());
    let mut feed = store.feed();
    let (t, c) = (Instant::now(), cpu());
    let s = feed.snapshot().await.unwrap();
    println!("snapshot {} {:?} cpu {:.2} {}", s.entries.len(), t.elapsed(), cpu() - c, rss());
    println!("sizeof Entry {} after snapshot: {}", std::mem::size_of::<Entry>(), rss());
    let heap: usize = s.entries.iter().map(|e| 16 + std::mem::size_of::<Entry>() + e.entry_id.capacity() + e.spiffe_id.capacity() + e.parent_id.capacity() + e.hint.capacity() + e.selectors.capacity()*48 + e.selectors.iter().map(|s| s.kind.capacity()+s.value.capacity()).sum::<usize>()).sum();
    println!("heap of entries {} KB, vec cap {}", heap/1024, s.entries.capacity()*8/1024);
    drop(s);
    println!("after drop: {}", rss());
    let c = sched();
    let _ = tokio::time::timeout(Duration::from_secs(10), feed.next()).await;
    println!("idle cpu over 10 s: {:.4}", sched() - c);
    // latency
    let mut lat = vec![];
    for i in 0..300 {
        let t = Instant::now();
        let e = Entry {
            spiffe_id: format!("spiffe://td/z/{i}"),
            parent_id: "spiffe://td/p".into(),
            selectors: vec![Selector::new("a", "b")],
            ..Entry::default()
        };
        let (w, n) = tokio::join!(store.write(CreateEntry { entry: e }), feed.next());
        w.unwrap();
        n.unwrap();
        lat.push(t.elapsed());
    }
    lat.sort();
    println!("create until fed: p50 {:?} p99 {:?}", lat[150], lat[297]);
    let (t, c) = (Instant::now(), cpu());
    for i in 0..1000 {
        store.fetch_entry(&format!("{i}")).await.unwrap();
    }
    println!("1000 fetches {:?} cpu {:.2}", t.elapsed(), cpu() - c);
    let f = EntryFilter {
        by_selectors: Some(MatchSet {
            items: vec![Selector::new("k8s", "ns:default"), Selector::new("k8s", "sa:3-7")],
            behavior: Match::Exact,
        }),
        ..Default::default()
    };
    let t = Instant::now();
    println!("exact {} {:?}", store.list_entries(&f, &Page::default()).await.unwrap().rows.len(), t.elapsed());
    let f = EntryFilter { by_parent_id: Some("spiffe://td/spire/agent/x/3".into()), ..Default::default() };
    let t = Instant::now();
    println!(
        "by parent {} {:?}",
        store.list_entries(&f, &Page { size: 50, token: "1000".into() }).await.unwrap().rows.len(),
        t.elapsed()
    );
    let other = DataStore::open(Options::sqlite(dir.path().join("d")), Clock::system()).await.unwrap();
    let mut lat = vec![];
    for i in 0..50 {
        let t = Instant::now();
        let e = Entry {
            spiffe_id: format!("spiffe://td/y/{i}"),
            parent_id: "spiffe://td/p".into(),
            selectors: vec![Selector::new("a", "b")],
            ..Entry::default()
        };
        let (w, n) = tokio::join!(other.write(CreateEntry { entry: e }), feed.next());
        w.unwrap();
        n.unwrap();
        lat.push(t.elapsed());
    }
    lat.sort();
    println!("foreign create until fed: p50 {:?} p99 {:?}", lat[25], lat[49]);
    let t = Instant::now();
    let all = (0..2000).map(|i| {
        store.write(CreateEntry {
            entry: Entry {
                spiffe_id: format!("spiffe://td/x/{i}"),
                parent_id: "spiffe://td/p".into(),
                selectors: vec![Selector::new("a", "b")],
                ..Entry::default()
            },
        })
    });
    futures::future::join_all(all).await;
    println!("2000 single creates at once {:?}", t.elapsed());
}
