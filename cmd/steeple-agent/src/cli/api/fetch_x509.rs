use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use anyhow::anyhow;
use steeple_config::flags::FlagSet;
use steeple_proto::workload::X509svidRequest;
use steeple_runtime::Clock;
use steeple_runtime::os::files::replace_private;
use steeple_spiffe::workload_api::X509Context;
use steeple_spiffe::{pem, x509};

use super::json;
use super::update::{Identity, Style, Update};
use crate::cli::client::{AgentFlags, Timeout};
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, usage};

/// Prints the X509-SVIDs that the agent has for this process, and writes them into files if that is asked for.
pub(crate) async fn fetch_x509(args: &[String]) -> anyhow::Result<()> {
    let (mut agent, mut output, mut timeout) = (AgentFlags::default(), Output::default(), Timeout::default());
    let (mut silent, mut directory) = (false, String::new());
    let flags = FlagSet::new("fetch x509")
        .flag("output", &mut output, Output::HELP)
        .flag("timeout", &mut timeout, Timeout::HELP)
        .flag("silent", &mut silent, "Do not print the SVIDs")
        .flag("write", &mut directory, "The `directory` to write SVIDs, keys and bundles to; not with JSON");
    usage::parse(agent.add_to(flags), args)?;

    let agent = agent.agent()?;
    let start = Instant::now();
    let first = timeout.limit(async {
        let stream = agent.workload().stub().fetch_x509svid(X509svidRequest {}).await?;
        stream.into_inner().message().await
    });
    let response = first.await.map_err(|status| agent.failed(&status))?.ok_or_else(|| anyhow!("EOF"))?;
    let waited = start.elapsed();
    let answer = json::x509_svids(&response);
    let update = Update::from(X509Context::from_message(response)?);
    update.verify(Clock::system().now())?;
    match output.format() {
        Format::Json => print_json(&answer),
        Format::Pretty => {
            if !silent {
                console::out(&update.pretty(waited, Style::Fetch));
            }
            if !directory.is_empty() {
                write(Path::new(&directory), &update, |line| console::out(&line))?;
            }
        }
    }
    Ok(())
}

/// Writes each SVID with its key, its bundle, and the bundles of the trust domains that it federates with. Says so of each
/// file before it is written.
pub(super) fn write(directory: &Path, update: &Update, mut say: impl FnMut(String)) -> anyhow::Result<()> {
    let Update { svids, federated_bundles } = update;
    // Go prints joined paths without a dot in front.
    let directory: PathBuf = directory.components().filter(|part| *part != Component::CurDir).collect();
    for (index, Identity { svid, bundle }) in svids.iter().enumerate() {
        let path = directory.join(format!("svid.{index}.pem"));
        say(format!("Writing SVID #{index} to file {}.\n", path.display()));
        write_public(&path, &x509::to_pem(&svid.chain))?;

        let path = directory.join(format!("svid.{index}.key"));
        say(format!("Writing key #{index} to file {}.\n", path.display()));
        // Unlike the reference: never half of a key, and never with the mode of a file that was there before.
        let key = pem::encode("PRIVATE KEY", &svid.key_pkcs8);
        replace_private(&path, key.as_bytes()).map_err(|error| unwritten(&path, &error))?;

        let path = directory.join(format!("bundle.{index}.pem"));
        say(format!("Writing bundle #{index} to file {}.\n", path.display()));
        write_public(&path, &x509::to_pem(bundle))?;

        for (number, (trust_domain, bundle)) in federated_bundles.iter().enumerate() {
            let path = directory.join(format!("federated_bundle.{index}.{number}.pem"));
            let what = format!("federated bundle #{number} for trust domain {trust_domain}");
            say(format!("Writing {what} to file {}.\n", path.display()));
            write_public(&path, &x509::to_pem(bundle))?;
        }
    }
    Ok(())
}

fn write_public(path: &Path, pem: &str) -> anyhow::Result<()> {
    fs::write(path, pem).map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow!("open {}: {}", path.display(), console::reason(error))
}
