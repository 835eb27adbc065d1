use std::collections::BTreeMap;

use super::*;
use crate::load::process::Process;
use crate::load::samples::Samples;

/// A thousand operations of ten SVIDs in two seconds, with half a second of CPU.
fn report() -> Report {
    let mut samples = Samples::default();
    (0..1000).for_each(|_| samples.add(Duration::from_micros(1500)));
    let run = Run { samples, elapsed: Duration::from_secs(2), ..Run::default() };
    let usage = |cpu, resident| Usages {
        under_load: Usage { cpu: Duration::from_millis(cpu), resident, peak: 30_000_000 },
        others: [1, 2, 3].map(|number| Duration::from_millis(number * cpu)).into(),
    };
    Report {
        operation: "batch",
        processes: Processes {
            under_load: Process { pid: 42, name: "steeple-server".into() },
            others: [(7, "postgres"), (8, "steeple-server"), (9, "steeple-server")]
                .map(|(pid, name)| Process { pid, name: name.into() })
                .into(),
        },
        pace: Some(Pace { concurrency: 4, count: 1000, duration: None, rate: None }),
        run,
        before: usage(1000, 20_000_000),
        after: usage(1500, 25_000_000),
        items: Some(("SVIDs", 10_000)),
        held: false,
        notes: Vec::new(),
    }
}

#[test]
fn the_text_has_every_figure() {
    let expected = "\
batch: 1000 operations in 2.00 s, 500 a second; 10000 SVIDs, 5000 a second; closed loop, 4 at once
  process   steeple-server, pid 42
  CPU       500.0 us an operation; 50.0 us for each of the SVIDs; 25.00 % of a core
  others    postgres, 1 of them: 25.00 % of a core
  others    steeple-server, 2 of them: 125.00 % of a core
  resident  20.0 MB before, 25.0 MB after; at most 30.0 MB
  latency   p50 1.50 ms, p90 1.50 ms, p99 1.50 ms, p99.9 1.50 ms, max 1.50 ms
";
    assert_eq!(report().text(), expected);
}

#[test]
fn the_json_has_the_same_figures() {
    let expected = json!({
        "operation": "batch",
        "process": { "pid": 42, "name": "steeple-server" },
        "loop": { "kind": "closed", "concurrency": 4, "rate": null },
        "seconds": 2.0,
        "operations": 1000,
        "operations_per_second": 500.0,
        "failed": {},
        "interrupted": false,
        "items": { "name": "SVIDs", "count": 10_000, "per_second": 5000.0 },
        "cpu": { "seconds": 0.5, "share_of_a_core": 0.25, "us_per_operation": 500.0, "us_per_item": 50.0 },
        "others": [
            { "name": "postgres", "processes": 1, "seconds": 0.5, "share_of_a_core": 0.25 },
            { "name": "steeple-server", "processes": 2, "seconds": 2.5, "share_of_a_core": 1.25 },
        ],
        "resident_bytes": { "before": 20_000_000, "after": 25_000_000, "peak": 30_000_000 },
        "latency_ms": { "p50": 1.5, "p90": 1.5, "p99": 1.5, "p99.9": 1.5, "max": 1.5 },
        "notes": [],
    });
    assert_eq!(report().json(), expected);
}

#[test]
fn a_run_without_an_operation_divides_by_nothing() {
    let mut report = Report { run: Run::default(), items: None, held: true, ..report() };
    assert!(!report.text().contains("NaN") && !report.text().contains("latency"), "{}", report.text());
    let json = report.json();
    assert!(json.get("latency_ms").is_none() && json.get("bytes_per_stream").is_none(), "{json}");
}

#[test]
fn held_streams_have_their_memory_and_failures_their_reasons() {
    let mut report = report();
    report.held = true;
    report.run.failed = BTreeMap::from([("Unavailable: gone".into(), 3)]);
    let text = report.text();
    assert!(text.contains("\n  a stream  5.0 KB\n") && text.contains("\n  failed    3: Unavailable: gone\n"), "{text}");
    assert_eq!(report.json()["bytes_per_stream"], 5000.0);
}

#[test]
fn an_open_loop_says_its_rate() {
    let mut report = report();
    report.pace = Some(Pace { concurrency: 64, count: 1000, duration: None, rate: Some(500) });
    assert!(report.text().contains("; open loop at 500 a second, at most 64 at once\n"));
    assert_eq!(report.json()["loop"], json!({ "kind": "open", "concurrency": 64, "rate": 500 }));
}

#[test]
fn a_run_at_the_speed_of_the_servers_limit_says_how_to_switch_it_off() {
    let noted = |svids_a_call, addresses| {
        let mut report = report();
        report.note_limits(svids_a_call, addresses);
        report.notes
    };
    // A thousand or, with those that come at once, fifteen hundred SVIDs in two seconds are what is allowed.
    assert!(noted(1, 1)[0].contains("signing = false"));
    assert_eq!(noted(2, 1), Vec::<String>::new());
    // Two addresses are allowed twice as many.
    assert_eq!(noted(1, 2), Vec::<String>::new());
    assert!(noted(2, 2)[0].contains("to 2 addresses"));
    let mut slow = report();
    slow.run.elapsed = Duration::from_secs(4);
    slow.note_limits(1, 1);
    assert_eq!(slow.notes, Vec::<String>::new());
}
