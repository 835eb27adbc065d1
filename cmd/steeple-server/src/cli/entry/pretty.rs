//! Entries for people to read.

use steeple_console::time;
use steeple_proto::spire::api::types;

use crate::cli::id;

/// An entry, a line a property, and an empty line.
pub(super) fn block(entry: &types::Entry) -> String {
    let types::Entry {
        id: entry_id,
        spiffe_id,
        parent_id,
        selectors,
        x509_svid_ttl,
        federates_with,
        admin,
        downstream,
        expires_at,
        dns_names,
        revision_number,
        store_svid,
        jwt_svid_ttl,
        hint,
        created_at: _,
        additional_attributes,
    } = entry;
    let attributes = additional_attributes.unwrap_or_default();
    let types::entry::AdditionalAttributes { disable_x509_svid_prefetch, jwt_svid_include_jti } = attributes;

    let mut block = Block::default();
    block.line("Entry ID", if entry_id.is_empty() { "(none)" } else { entry_id });
    block.line("SPIFFE ID", &id::text(spiffe_id.as_ref()));
    block.line("Parent ID", &id::text(parent_id.as_ref()));
    block.line("Revision", &revision_number.to_string());
    block.line_if(*downstream, "Downstream");
    block.line("X509-SVID TTL", &ttl(*x509_svid_ttl));
    block.line("JWT-SVID TTL", &ttl(*jwt_svid_ttl));
    if *expires_at != 0 {
        block.line("Expiration time", &time::utc(*expires_at));
    }
    for types::Selector { r#type, value } in selectors {
        block.line("Selector", &format!("{type}:{value}"));
    }
    for trust_domain in federates_with {
        block.line("FederatesWith", trust_domain);
    }
    for name in dns_names {
        block.line("DNS name", name);
    }
    block.line_if(*admin, "Admin");
    block.line_if(*store_svid, "StoreSvid");
    if !hint.is_empty() {
        block.line("Hint", hint);
    }
    block.line_if(disable_x509_svid_prefetch, "DisableX509SvidPrefetch");
    block.line_if(jwt_svid_include_jti, "JwtSvidIncludeJti");
    block.0 + "\n"
}

fn ttl(seconds: i32) -> String {
    if seconds == 0 { "default".into() } else { seconds.to_string() }
}

#[derive(Default)]
struct Block(String);

impl Block {
    fn line(&mut self, label: &str, value: &str) {
        self.0.push_str(&format!("{label:<24}: {value}\n"));
    }

    fn line_if(&mut self, condition: bool, label: &str) {
        if condition {
            self.line(label, "true");
        }
    }
}
