use std::io::Write;

use prost::Message;
use steeple_proto::spire::common::Bundle;
use steeple_runtime::Clock;
use steeple_spiffe::TrustDomain;

use super::format::{Header, Writer};
use super::origin::{Origin, PAGE, counted};
use super::{Progress, Step, Watcher};
use crate::{Error, Options};

/// What goes into an archive beside the database.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The trust domain of the servers.
    pub trust_domain: TrustDomain,
    /// Where they answer, `host:port`.
    pub addresses: Vec<String>,
    /// A server's file of keys.
    pub keys: Option<Vec<u8>>,
}

/// Writes all of a database, in the state that it is in now, and returns how many rows there were. Servers may go on
/// meanwhile; an archive that is not whole is known as such when it is read.
///
/// Blocks while `out` does.
///
/// # Errors
/// The database cannot be read, or `out` not written to ([`Error::ArchiveNotWritten`]).
pub async fn backup(
    options: Options,
    clock: &Clock,
    backup: Backup,
    out: impl Write + Send,
    watcher: Watcher<'_>,
) -> Result<u64, Error> {
    let Backup { trust_domain, addresses, keys } = backup;
    let mut origin = Origin::open(options, clock).await?;
    let authorities = match origin.bundle(trust_domain.id().as_str()).await? {
        Some(data) => authorities(&data)?,
        None => Vec::new(),
    };
    let header = Header {
        created_at: clock.now(),
        trust_domain,
        database: origin.dialect().name().to_owned(),
        code_version: origin.code_version().to_owned(),
        addresses,
        authorities,
    };
    let mut out = Writer::new(out);
    out.header(&header)?;
    let mut all = 0;
    for table in origin.tables().await? {
        let of = origin.count(table).await?;
        out.table(table, of)?;
        let (mut last, mut rows) = (None, 0);
        loop {
            let page = origin.page(table, last.as_ref()).await?;
            for row in &page {
                out.row(row)?;
            }
            rows += page.len() as u64;
            watcher(Progress { step: Step::Write, table: table.name, rows, of });
            if page.len() < PAGE {
                break;
            }
            last = page.into_iter().next_back();
        }
        counted(table, of, rows)?;
        all += rows;
    }
    if let Some(keys) = keys {
        out.keys(&keys)?;
    }
    out.finish()?;
    origin.close().await?;
    Ok(all)
}

fn authorities(bundle: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let bundle = Bundle::decode(bundle).map_err(|error| Error::Corrupt(format!("unable to read bundle: {error}")))?;
    Ok(bundle.root_cas.into_iter().map(|ca| ca.der_bytes).collect())
}
