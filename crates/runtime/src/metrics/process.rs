//! What the kernel knows of this process, under the names that Prometheus' own libraries use, and what the runtime knows
//! of itself, under the reference's. Go's garbage collector has no counterpart here.

use std::fs;
use std::path::Path;

use super::gauge;
use super::prometheus::{head, line};
use crate::os;
use crate::os::allocator::{Counted, counted};

/// A limit that there is not.
const UNLIMITED: f64 = u64::MAX as f64;

/// Appends the figures of this process. What the kernel does not tell is left out.
pub(super) fn write(text: &mut String) {
    let (page, ticks) = (rustix::param::page_size() as f64, rustix::param::clock_ticks_per_second() as f64);
    let stat = Stat::read(Path::new("/proc"));
    let stat = stat.as_ref();
    let network = network(Path::new("/proc/self/net/netstat"));
    for (name, help, kind, value) in [
        (
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            "counter",
            stat.map(|stat| stat.cpu_ticks / ticks),
        ),
        ("process_max_fds", "Maximum number of open file descriptors.", "gauge", Some(os::open_files() as f64)),
        (
            "process_network_receive_bytes_total",
            "Number of bytes received by the process over the network.",
            "counter",
            network.map(|(received, _)| received),
        ),
        (
            "process_network_transmit_bytes_total",
            "Number of bytes sent by the process over the network.",
            "counter",
            network.map(|(_, sent)| sent),
        ),
        ("process_open_fds", "Number of open file descriptors.", "gauge", open_files()),
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            "gauge",
            stat.map(|stat| stat.resident_pages * page),
        ),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            "gauge",
            stat.map(|stat| stat.booted_at + stat.started_ticks / ticks),
        ),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge", stat.map(|stat| stat.virtual_bytes)),
        (
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            "gauge",
            Some(os::address_space().map_or(UNLIMITED, |bytes| bytes as f64)),
        ),
    ] {
        if let Some(value) = value {
            head(text, name, help, kind);
            line(text, name, "", value);
        }
    }
}

/// Measures the runtime: each second, as in the reference.
pub(super) fn measure(tasks: usize) {
    gauge("runtime.num_goroutines", tasks as f64);
    if let Some(os::Heap { allocated, from_system }) = os::heap() {
        gauge("runtime.alloc_bytes", allocated as f64);
        gauge("runtime.sys_bytes", from_system as f64);
    }
    let Counted { given, returned } = counted();
    gauge("runtime.malloc_count", given as f64);
    gauge("runtime.free_count", returned as f64);
    gauge("runtime.heap_objects", given.saturating_sub(returned) as f64);
}

/// proc_pid_stat(5)
struct Stat {
    cpu_ticks: f64,
    started_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
    /// Seconds since 1970.
    booted_at: f64,
}

impl Stat {
    fn read(proc: &Path) -> Option<Self> {
        let own = fs::read_to_string(proc.join("self/stat")).ok()?;
        // The second field is the name, which may hold anything.
        let fields: Vec<f64> =
            own.rsplit_once(')')?.1.split_whitespace().skip(1).map(|field| field.parse().unwrap_or_default()).collect();
        // Fields are counted from 1 there, and here from the fourth one.
        let field = |number: usize| fields.get(number - 4).copied();
        let all = fs::read_to_string(proc.join("stat")).ok()?;
        let booted_at = all.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
            booted_at,
        })
    }
}

/// Bytes received and sent in the network namespace of this process.
fn network(netstat: &Path) -> Option<(f64, f64)> {
    let text = fs::read_to_string(netstat).ok()?;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (rows.next()?, rows.next()?);
    let of = |wanted: &str| {
        let at = names.split(' ').position(|name| name == wanted)?;
        values.split(' ').nth(at)?.parse().ok()
    };
    Some((of("InOctets")?, of("OutOctets")?))
}

fn open_files() -> Option<f64> {
    // The directory that is being read is one of them.
    fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_all_that_the_kernel_knows_of_it() {
        let mut text = String::new();
        write(&mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e5 && value("process_virtual_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0 && value("process_start_time_seconds") > 1e9);
        assert!(value("process_network_receive_bytes_total") >= 0.0);
        assert!(value("process_virtual_memory_max_bytes") > 1e6);
        assert_eq!(text.lines().count(), 9 * 3);
    }

    #[test]
    fn a_name_with_spaces_and_brackets_moves_no_field() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("self")).unwrap();
        let fields = (3..=30).map(|number| if number == 3 { "S".to_owned() } else { number.to_string() });
        let own = format!("7 (a) b) {}\n", fields.collect::<Vec<_>>().join(" "));
        std::fs::write(dir.path().join("self/stat"), own).unwrap();
        std::fs::write(dir.path().join("stat"), "cpu 1\nbtime 1000\n").unwrap();
        let stat = Stat::read(dir.path()).unwrap();
        assert_eq!(
            (stat.cpu_ticks, stat.started_ticks, stat.virtual_bytes, stat.resident_pages, stat.booted_at),
            (29.0, 22.0, 23.0, 24.0, 1000.0)
        );
    }
}
