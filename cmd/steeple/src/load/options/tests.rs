use super::*;

fn parsed(args: &str) -> Result<Wish, String> {
    parse(&args.split_whitespace().map(Into::into).collect::<Vec<_>>())
}

fn options(args: &str) -> Options {
    match parsed(args) {
        Ok(Wish::Run(options)) => *options,
        other => panic!("{args}: {other:?}"),
    }
}

#[test]
fn every_operation_runs_without_a_flag_and_ends() {
    for traits in &TABLE {
        let options = options(traits.name);
        assert_eq!((options.operation, options.operation.name()), (traits.operation, traits.name));
        let Pace { concurrency, count, duration, rate } = options.pace;
        assert!(concurrency > 0 && (duration.is_some() || count < pace::MOST), "{}", traits.name);
        assert_eq!(rate, None);
    }
}

#[test]
fn flags_are_taken_as_go_programs_take_them() {
    let run = options(
        "batch -count 50 --duration=1m30s -concurrency 16 -rate 200 -warmUp 0 -size 500 -output json -pid 4242 \
         -serverSocketPath s.sock -serverAddress [::1]:9000",
    );
    let duration = Some(Duration::from_secs(90));
    assert_eq!(run.pace, Pace { concurrency: 16, count: 50, duration, rate: Some(200) });
    assert_eq!((run.warm_up, run.size, run.json, run.pid), (0, 500, true, Some(4242)));
    assert_eq!(run.server_socket, PathBuf::from("s.sock"));
    assert_eq!(run.places, ["[::1]:9000".parse().unwrap()]);
    let run = options("attest -serverAddress a:1 -serverAddress b:2 -other 7 -other 8");
    assert_eq!((run.places, run.others), (vec!["a:1".parse().unwrap(), "b:2".parse().unwrap()], vec![7, 8]));
    let run = options("list -by selector");
    assert_eq!((run.by, run.pace.concurrency), (By::Selector, 1));
    let run = options("entries -parents 3 -keep");
    assert_eq!((run.parents, run.keep), (3, true));
    assert_eq!(options("agents -size 0").size, 0);
    let arrival = options("arrival -parentID spiffe://a.test/spire/agent/x -pause 0 -agentSocketPath a.sock");
    assert_eq!(arrival.parent.unwrap().as_str(), "spiffe://a.test/spire/agent/x");
    assert_eq!((arrival.pause, arrival.agent_socket), (Duration::ZERO, PathBuf::from("a.sock")));
}

#[test]
fn a_count_of_zero_means_until_the_duration_is_over() {
    let Pace { count, duration, .. } = options("mint -count 0 -duration 2s").pace;
    assert_eq!((count, duration), (pace::MOST, Some(Duration::from_secs(2))));
    let Pace { count, duration, .. } = options("mint -count 5 -duration 0").pace;
    assert_eq!((count, duration), (5, None));
}

#[test]
fn help_lists_operations_and_the_flags_of_one_with_their_defaults() {
    let Ok(Wish::Help(text)) = parsed("-h") else { panic!("no help") };
    assert!(TABLE.iter().all(|traits| text.contains(&format!("    {:<11} {}\n", traits.name, traits.what))), "{text}");
    let Ok(Wish::Help(text)) = parsed("batch -h") else { panic!("no help") };
    for part in ["-size SVIDs\n", "(default 10)", "-serverAddress host:port\n", "(default 127.0.0.1:8081)"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("-agentSocketPath") && !text.contains("-keep"), "{text}");
}

#[test]
fn says_what_is_wrong_with_an_argument() {
    for (args, part) in [
        ("", "which operation?"),
        ("bake", "there is no operation bake"),
        ("mint here", "there is no argument here"),
        ("mint -size 3", "flag provided but not defined: -size"),
        ("batch -size 501", "it must be a number from 1 to 500"),
        ("mint -concurrency 0", "it must be a number from 1 to 10000"),
        ("mint -duration 0", "neither -duration nor -count says when to end"),
        ("idle -duration 0", "neither -duration nor -count says when to end"),
        ("mint -duration -1s", "it must lie between 0 and 24h"),
        ("mint -output yaml", "it must be text or json"),
        ("jwt -serverAddress localhost", "it must be host:port"),
        ("mint -other me", "it must be the number of a process"),
        ("list -by hint", "it must be page, parent, id or selector"),
        ("change -concurrency 2", "flag provided but not defined: -concurrency"),
        ("arrival -parentID agent", "invalid value \"agent\" for flag -parentID"),
    ] {
        let error = parsed(args).unwrap_err();
        assert!(error.contains(part) && error.contains("Usage"), "{part} in\n{error}");
    }
}
