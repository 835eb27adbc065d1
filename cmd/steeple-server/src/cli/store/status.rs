//! `store status`

use std::fmt::Write;

use anyhow::anyhow;
use serde_json::{Value, json};
use steeple_config::flags::FlagSet;
use steeple_proto::steeple::server::store::v1::store_client::StoreClient;
use steeple_proto::steeple::server::store::v1::{Comparison, Gap, GetStatusRequest, GetStatusResponse};

use crate::cli::client::ServerFlags;
use crate::cli::output::{Format, Output, print_json};
use crate::cli::{console, usage};

/// Prints how far the server is in reading its database.
pub(crate) async fn status(args: &[String]) -> anyhow::Result<()> {
    let (mut server, mut output) = (ServerFlags::default(), Output::default());
    let flags = FlagSet::new("store status").flag("output", &mut output, Output::HELP);
    usage::parse(server.add_to(flags), args)?;

    let server = server.server()?;
    let response = StoreClient::new(server.channel()).get_status(GetStatusRequest {}).await;
    let status = response.map_err(|status| anyhow!("{}", server.failed(&status)))?.into_inner();
    match output.format() {
        Format::Json => print_json(&as_json(&status)),
        Format::Pretty => console::out(&pretty(&status)),
    }
    Ok(())
}

fn pretty(status: &GetStatusResponse) -> String {
    let GetStatusResponse {
        database_type,
        newest_entry_event,
        newest_node_event,
        lag_ms,
        gaps,
        told_of_writes,
        comparison,
        foreign_changes,
        last_foreign_change_ms,
    } = status;
    let told = if *told_of_writes { "told of writes" } else { "asked for writes" };
    let compared = match comparison {
        Some(Comparison { age_ms, differences }) => format!("{} ago, {differences} differences", seconds(*age_ms)),
        None => "never".to_owned(),
    };
    let foreign = match foreign_changes {
        0 => "none seen while this server wrote nothing".to_owned(),
        changes => format!("at least {changes} changes, the last one {} ago", seconds(*last_foreign_change_ms)),
    };
    let mut text = format!(
        "Database:            {database_type}, {told}\n\
         Newest entry event:  {newest_entry_event}\n\
         Newest node event:   {newest_node_event}\n\
         Known to be whole:   {} ago\n\
         Read and compared:   {compared}\n\
         Other writers:       {foreign}\n\
         Open gaps:           {}\n",
        seconds(*lag_ms),
        gaps.len()
    );
    for Gap { of_nodes, first, last, age_ms } in gaps {
        let table = if *of_nodes { "node" } else { "entry" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {table} events {first} to {last}, for {}", seconds(*age_ms));
    }
    text
}

/// Milliseconds as seconds.
fn seconds(milliseconds: i64) -> String {
    format!("{:.1} s", milliseconds as f64 / 1000.0)
}

fn as_json(status: &GetStatusResponse) -> Value {
    let GetStatusResponse {
        database_type,
        newest_entry_event,
        newest_node_event,
        lag_ms,
        gaps,
        told_of_writes,
        comparison,
        foreign_changes,
        last_foreign_change_ms,
    } = status;
    let gap = |gap: &Gap| {
        let Gap { of_nodes, first, last, age_ms } = gap;
        json!({ "of_nodes": of_nodes, "first": first, "last": last, "age_ms": age_ms })
    };
    let comparison = comparison
        .as_ref()
        .map(|Comparison { age_ms, differences }| json!({ "age_ms": age_ms, "differences": differences }));
    json!({
        "database_type": database_type,
        "newest_entry_event": newest_entry_event,
        "newest_node_event": newest_node_event,
        "lag_ms": lag_ms,
        "gaps": gaps.iter().map(gap).collect::<Vec<_>>(),
        "told_of_writes": told_of_writes,
        "comparison": comparison,
        "foreign_changes": foreign_changes,
        "last_foreign_change_ms": last_foreign_change_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_listed_and_what_never_happened_is_said() {
        let status = GetStatusResponse {
            database_type: "postgres".to_owned(),
            newest_entry_event: 12,
            lag_ms: 250,
            gaps: vec![Gap { of_nodes: false, first: 10, last: 11, age_ms: 1500 }],
            ..GetStatusResponse::default()
        };
        let expected = "Database:            postgres, asked for writes\nNewest entry event:  12\n\
                        Newest node event:   0\nKnown to be whole:   0.2 s ago\n\
                        Read and compared:   never\nOther writers:       none seen while this server wrote nothing\n\
                        Open gaps:           1\n  entry events 10 to 11, for 1.5 s\n";
        assert_eq!(pretty(&status), expected);
    }
}
