use std::fs;
use std::os::unix::fs::symlink;

use nix::unistd::{Gid, Uid};

use super::*;

fn unix(options: Options) -> Unix {
    Unix::new(proc_dir(), options, Clock::system())
}

fn with_programs(workload_size_limit: i64) -> Options {
    Options { discover_workload_path: true, workload_size_limit }
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// The values of the selectors of one key.
fn of<'a>(selectors: &'a [String], key: &str) -> Vec<&'a str> {
    selectors.iter().filter_map(|selector| selector.strip_prefix(key)?.strip_prefix(':')).collect()
}

#[test]
fn the_effective_ids_count() {
    let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 20 \n";
    assert_eq!(Owner::of(status).unwrap(), Owner { uid: 2, gid: 6, groups: vec![10, 20] });
    let error = |status: &str| Owner::of(status).unwrap_err().message;
    assert_eq!(error("Uid:\t1\n"), "UIDs lookup: malformed Uid: line in process status");
    assert_eq!(error("Uid:\t1\t2\nGid:\tx\ty\n"), "GIDs lookup: malformed Gid: line in process status");
    let text = "supplementary GIDs lookup: invalid digit found in string";
    assert_eq!(error("Uid:\t1\t2\nGid:\t1\t2\nGroups:\tx\n"), text);
}

#[tokio::test]
async fn this_process_has_its_own_ids() {
    let selectors = unix(Options::default()).attest(own_pid()).await.unwrap();
    assert_eq!(of(&selectors, "uid"), [Uid::effective().to_string()]);
    assert_eq!(of(&selectors, "gid"), [Gid::effective().to_string()]);
    assert!(of(&selectors, "path").is_empty() && of(&selectors, "sha256").is_empty());
}

/// In a directory that looks like /proc.
struct FakeProc(tempfile::TempDir);

impl FakeProc {
    fn new(status: &str, program: &std::path::Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("7")).unwrap();
        fs::write(dir.path().join("7/status"), status).unwrap();
        symlink(program, dir.path().join("7/exe")).unwrap();
        Self(dir)
    }

    async fn attest(&self, options: Options) -> Result<Vec<String>, PluginError> {
        Unix::new(self.0.path().to_owned(), options, Clock::system()).attest(7).await
    }
}

const STATUS: &str = "Uid:\t9\t0\t9\t9\nGid:\t9\t0\t9\t9\nGroups:\t4000000000 0\n";

#[tokio::test]
async fn names_come_from_the_host_and_what_it_does_not_know_has_none() {
    let selectors = FakeProc::new(STATUS, "/nowhere".as_ref()).attest(Options::default()).await.unwrap();
    let expected = [
        "uid:0",
        "user:root",
        "gid:0",
        "group:root",
        "supplementary_gid:4000000000",
        "supplementary_gid:0",
        "supplementary_group:root",
    ];
    assert_eq!(selectors, expected);
}

#[tokio::test]
async fn a_program_is_told_by_path_and_hash() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "abc").unwrap();
    let proc = FakeProc::new(STATUS, &program);
    let path = program.to_str().unwrap();
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for limit in [0, 3, 4] {
        let selectors = proc.attest(with_programs(limit)).await.unwrap();
        assert_eq!(selectors[selectors.len() - 2..], [format!("path:{path}"), format!("sha256:{sha256}")], "{limit}");
    }
    let selectors = proc.attest(with_programs(-1)).await.unwrap();
    assert_eq!((of(&selectors, "path"), of(&selectors, "sha256").len()), (vec![path], 0));

    let error = proc.attest(with_programs(2)).await.unwrap_err();
    assert_eq!(error.message, format!("SHA256 digest: workload {path} exceeds size limit (3 > 2)"));
    assert_eq!(error.code, tonic::Code::Internal);

    fs::remove_file(&program).unwrap();
    let error = proc.attest(with_programs(0)).await.unwrap_err();
    assert!(error.message.starts_with("SHA256 digest: No such file or directory"), "{error}");
    // The path is still to be told, as the kernel tells that of a program whose file is gone.
    assert_eq!(of(&proc.attest(with_programs(-1)).await.unwrap(), "path"), [path]);
    fs::remove_file(proc.0.path().join("7/exe")).unwrap();
    let error = proc.attest(with_programs(-1)).await.unwrap_err();
    assert!(error.message.starts_with("path lookup: No such file or directory"), "{error}");
}

#[tokio::test]
async fn a_program_whose_file_is_gone_is_hashed_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("sleeper");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
    let before = unix(with_programs(0)).attest(child.id() as i32).await.unwrap();
    fs::remove_file(&program).unwrap();
    let after = unix(with_programs(0)).attest(child.id() as i32).await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(of(&before, "path"), [program.to_str().unwrap()]);
    assert_eq!(of(&after, "path"), [format!("{} (deleted)", program.display())]);
    assert_eq!(of(&before, "sha256"), of(&after, "sha256"));
    let content = fs::read("/bin/sleep").unwrap();
    assert_eq!(of(&after, "sha256"), [steeple_spiffe::x509::hex(&steeple_pki::sha256(&content))]);
}

#[tokio::test]
async fn options_have_their_types() {
    use steeple_config::{hcl, plugins::PluginData};
    let host = steeple_catalog::Host::new(steeple_runtime::Clock::system());
    let trust_domain = steeple_spiffe::TrustDomain::parse("example.org").unwrap();
    let build = |text: &str| {
        let data = PluginData::Fixed(hcl::parse(text).unwrap());
        build(&Configuration { trust_domain: trust_domain.clone(), data, host: host.clone() })
    };
    let plugin = build("discover_workload_path = true\nworkload_size_limit = -1").unwrap();
    assert_eq!(of(&plugin.attest(own_pid()).await.unwrap(), "path").len(), 1);
    let error = build("discover_workload_path = \"yes\"").err().unwrap();
    assert!(error.message.starts_with("unable to decode configuration: "), "{error}");
}
