//! From tracing's events to lines.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Field as LineField, Value, more_fields};
use super::format::Line;
use super::{Level, Sink};

pub(super) struct Layer {
    sink: Arc<Sink>,
}

/// A span's fields, kept for the events inside it.
struct SpanFields(Fields);

#[derive(Default)]
struct Fields {
    message: String,
    fields: Vec<LineField>,
}

impl Layer {
    pub(super) fn new(sink: Arc<Sink>) -> Self {
        Self { sink }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Layer {
    /// Sometimes: the level changes while running.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata.target()) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Spans are kept whatever their level: an error inside needs their fields.
        is_ours(metadata.target()) && (metadata.is_span() || level_of(metadata) <= self.sink.level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut() {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut own = Fields::default();
        event.record(&mut own);
        let Fields { message, mut fields } = own;
        for (name, value) in more_fields() {
            set(&mut fields, name, || value);
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(outer)) = span.extensions().get() {
                for (name, value) in &outer.fields {
                    set(&mut fields, name.clone(), || value.clone());
                }
            }
        }
        if let Some(subsystem) = subsystem_of(metadata.target()) {
            set(&mut fields, "subsystem_name", || Value::Text(subsystem.to_owned()));
        }
        if self.sink.source_location
            && let (Some(file), Some(line)) = (metadata.file(), metadata.line())
        {
            let file = file.rsplit('/').next().unwrap_or(file);
            set(&mut fields, "file", || Value::Text(format!("{file}:{line}")));
            set(&mut fields, "func", || Value::Text(metadata.module_path().unwrap_or_default().to_owned()));
        }
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        let line = Line { at: self.sink.clock.now(), level: level_of(metadata), message: &message, fields: &fields };
        self.sink.write(&line.render(&self.sink));
    }
}

/// The innermost value of a name wins: the event's, then that of the nearest span.
fn set(fields: &mut Vec<LineField>, name: impl Into<Cow<'static, str>>, value: impl FnOnce() -> Value) {
    let name = name.into();
    if !fields.iter().any(|(known, _)| *known == name) {
        fields.push((name, value()));
    }
}

/// Libraries log for their own developers; only our events are written.
fn is_ours(target: &str) -> bool {
    target.starts_with("steeple") || subsystem_of(target).is_some()
}

fn subsystem_of(target: &str) -> Option<&str> {
    const SUBSYSTEMS: &[&str] = &[
        "api",
        "attestor",
        "bundle_client",
        "bundle_publishing",
        "ca",
        "ca_manager",
        "cache_manager",
        "catalog",
        "endpoints",
        "health",
        "manager",
        "node_manager",
        "reconfigurer",
        "registration_manager",
        "sql",
        "svid_rotator",
        "telemetry",
        "workload_attestor",
        "feed",
        "agent_sync",
        "inventory",
    ];
    SUBSYSTEMS.contains(&target).then_some(target)
}

fn level_of(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match self.fields.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.fields.push((name.into(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, Value::Text(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, Value::Text(value.to_owned()));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Integer(i128::from(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Integer(i128::from(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, Value::Text(value.to_string()));
    }
}
