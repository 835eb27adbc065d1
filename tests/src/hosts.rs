use std::fs;

use anyhow::Result;

use crate::Installation;

/// Has a daemon find these addresses behind a name, and no other names, from its next start on. It sees its callers' users
/// as they are. Needs what [`SmallDisk`](crate::SmallDisk) needs.
///
/// # Errors
/// The file of names cannot be written.
pub fn name_with_addresses(installation: &mut Installation, name: &str, addresses: &[&str]) -> Result<()> {
    const BIND: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    let hosts = installation.conf.with_extension("hosts");
    let lines = addresses.iter().map(|address| format!("{address} {name}\n"));
    fs::write(&hosts, lines.collect::<String>())?;
    let hosts = hosts.to_string_lossy();
    let starter = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", BIND, &hosts];
    installation.starter = starter.map(str::to_owned).to_vec();
    Ok(())
}
