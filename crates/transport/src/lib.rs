//! Between the wire and the rooms: sockets and TLS, who is at the other end, and the layers that every call passes.
//!
//! * [`listen`] accepts connections on a Unix socket or on TCP with TLS, each with its [`connection::Connection`].
//! * [`tls`] makes rustls configurations that authorize by SPIFFE ID and follow rotation.
//! * [`rpc`] is the stack of layers around every service: log, metrics, authorization, limits, audit.
//! * [`shares`] divides what a listener has among those who want it, so that nobody uses it up.
//! * [`security_header`] is what calls of the Workload API must carry.
//! * [`id`] writes SPIFFE IDs into messages.
//! * [`logger`] is what both daemons' loggers answer.
//! * [`health`] tells over HTTP whether the daemon is well.
//! * [`scrape`] gives what was measured to Prometheus.
//! * [`otlp`] sends that, and traces, to a collector of OpenTelemetry.
//! * [`profiling`] makes profiles of the daemon.
//! * [`dial`] is the other side: channels to a server's API or to a local socket.

pub mod connection;
pub mod dial;
pub mod health;
mod http1;
pub mod id;
pub mod listen;
pub mod logger;
pub mod otlp;
pub mod profiling;
pub mod rpc;
pub mod scrape;
pub mod security_header;
pub mod shares;
pub mod status;
pub mod sync;
pub mod tls;
