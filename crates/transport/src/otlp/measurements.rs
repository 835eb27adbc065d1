//! All measurements, each interval.

use std::collections::BTreeMap;
use std::time::Duration;

use steeple_proto::opentelemetry::proto::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use steeple_proto::opentelemetry::proto::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest,
};
use steeple_proto::opentelemetry::proto::metrics::v1::metric::Data;
use steeple_proto::opentelemetry::proto::metrics::v1::number_data_point::Value;
use steeple_proto::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use steeple_runtime::metrics::count;
use steeple_runtime::metrics::pushed::{BOUNDS, Figure, Named, Point, Pushed, Spread};
use tonic::transport::Channel;

use super::{Outlet, attribute, nanoseconds, scope};
use crate::status::describe;

/// Sends all series each interval, and once more when it is told to stop. What is not taken is not sent again: the next
/// time brings the same sums, and more.
pub(super) async fn send(pushed: Pushed, interval: Duration, channel: Channel, outlet: Outlet) {
    let started = nanoseconds(outlet.clock.now());
    let mut client = MetricsServiceClient::new(channel);
    loop {
        let is_last = outlet.closing.unless_stopped(outlet.clock.sleep(interval)).await.is_none();
        let now = nanoseconds(outlet.clock.now());
        let request = request(pushed.points(), started, now, &outlet);
        match outlet.call(client.export(request)).await {
            Ok(answer) => {
                if let Some(ExportMetricsPartialSuccess { rejected_data_points: 1.., error_message }) =
                    answer.partial_success
                {
                    outlet.tell("measurements", &error_message);
                }
            }
            Err(status) => {
                count("steeple.otlp.failures");
                outlet.tell("measurements", &describe(&status));
            }
        }
        if is_last {
            return;
        }
    }
}

fn request(points: Vec<Point>, started: u64, now: u64, outlet: &Outlet) -> ExportMetricsServiceRequest {
    // Series of one name are one metric, whose kind is that of the first of them.
    let mut metrics = BTreeMap::<String, Metric>::new();
    for Point { named: Named { name, labels, is_timer }, figure } in points {
        let attributes = labels.iter().map(|(key, value)| attribute(key, value)).collect();
        let metric = metrics.entry(name).or_insert_with_key(|name| Metric {
            name: name.clone(),
            unit: if is_timer { "ms".to_owned() } else { String::new() },
            data: Some(empty(&figure)),
            ..Metric::default()
        });
        let number = |value, attributes| NumberDataPoint {
            start_time_unix_nano: started,
            time_unix_nano: now,
            value: Some(Value::AsDouble(value)),
            attributes,
        };
        match (&mut metric.data, figure) {
            (Some(Data::Sum(sum)), Figure::Sum(value)) => sum.data_points.push(number(value, attributes)),
            (Some(Data::Gauge(gauge)), Figure::Last(value)) => gauge.data_points.push(number(value, attributes)),
            (Some(Data::Histogram(histogram)), Figure::Spread(spread)) => {
                let Spread { count, sum, least, most, buckets } = spread;
                histogram.data_points.push(HistogramDataPoint {
                    start_time_unix_nano: started,
                    time_unix_nano: now,
                    count,
                    sum: Some(sum),
                    bucket_counts: buckets.to_vec(),
                    explicit_bounds: BOUNDS.to_vec(),
                    attributes,
                    min: (count > 0).then_some(least),
                    max: (count > 0).then_some(most),
                });
            }
            _ => {}
        }
    }
    let scope_metrics = ScopeMetrics { scope: scope(), metrics: metrics.into_values().collect() };
    let resource_metrics =
        ResourceMetrics { resource: Some(outlet.resource.clone()), scope_metrics: vec![scope_metrics] };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
}

fn empty(figure: &Figure) -> Data {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    match figure {
        Figure::Sum(_) => Data::Sum(Sum { data_points: Vec::new(), aggregation_temporality, is_monotonic: true }),
        Figure::Last(_) => Data::Gauge(Gauge::default()),
        Figure::Spread(_) => Data::Histogram(Histogram { data_points: Vec::new(), aggregation_temporality }),
    }
}
