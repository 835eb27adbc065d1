//! Why a server refused an item of a batch.

use steeple_config::quote::Quoted;
use steeple_proto::spire::api::types;
use steeple_transport::status::code_name;
use tonic::Code;

/// `(code: NotFound, msg: "entry not found")`
pub(super) fn reason(status: &types::Status) -> String {
    let types::Status { code, message } = status;
    format!("(code: {}, msg: {})", code_name(Code::from_i32(*code)), Quoted(message))
}
