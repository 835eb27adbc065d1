//! Database servers that tests start: the programs of the system, in a directory and on a port of their own.
//!
//! A server lives as long as the process that asked for it: it is started by a shell that ends it when its own input
//! does.

mod copies;
mod place;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use steeple_pki::PrivateKey;
use steeple_runtime::Clock;

pub use self::copies::Copied;
pub use self::place::{Place, Transaction, new_name};
use crate::Ca;

/// A running database server, which trusts everybody who comes over loopback.
pub struct DatabaseServer {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// The directory of its socket.
    pub sockets: PathBuf,
    /// A file with the authority of its certificate, which is for `localhost`. Nobody has to use TLS.
    pub authority: PathBuf,
    /// Its input is what keeps the server alive.
    _shell: Child,
}

/// The account that may do everything, without a password.
pub const USER: &str = "steeple";
/// Members of this role of PostgreSQL need a password. It is made by who wants it.
pub const WITH_PASSWORD: &str = "with_password";

/// PostgreSQL. One for all tests of this process.
pub fn postgres() -> &'static DatabaseServer {
    static SERVER: OnceLock<DatabaseServer> = OnceLock::new();
    SERVER.get_or_init(|| start(POSTGRES))
}

/// MariaDB. One for all tests of this process.
pub fn mariadb() -> &'static DatabaseServer {
    static SERVER: OnceLock<DatabaseServer> = OnceLock::new();
    SERVER.get_or_init(|| start(MARIADB))
}

/// PgBouncer before [`postgres`], which lends each transaction any of a few connections. One for all tests of this process.
pub fn pgbouncer() -> &'static DatabaseServer {
    static SERVER: OnceLock<DatabaseServer> = OnceLock::new();
    SERVER.get_or_init(|| start(&PGBOUNCER.replace("@PORT@", &postgres().port.to_string())))
}

/// Makes a database of [`postgres`] from a file that pg_dump wrote.
pub fn restore_postgres(database: &str, dump: &Path) {
    let port = postgres().port.to_string();
    let psql = |name: &str, what: [&str; 2]| {
        let address = ["-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", name];
        let quietly = ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null"];
        run(Command::new("psql").args(address).args(quietly).args(what));
    };
    psql("postgres", ["--command", &format!("CREATE DATABASE {database}")]);
    psql(database, ["--file", &dump.to_string_lossy()]);
}

/// Makes a database of [`mariadb`] from a file that mariadb-dump wrote.
pub fn restore_mariadb(database: &str, dump: &Path) {
    let port = mariadb().port.to_string();
    let client = || {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-h", "127.0.0.1", "-P", &port, "-u", USER]);
        client
    };
    run(client().args(["-e", &format!("CREATE DATABASE {database} CHARACTER SET utf8")]));
    run(client().arg(database).stdin(File::open(dump).unwrap()));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Starts one; `script` prints `ready` when it can be used.
fn start(script: &str) -> DatabaseServer {
    // Free now, and nobody else takes a port without being told to.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::Builder::new().prefix("steeple-db-").tempdir().unwrap().keep();
    let authority = certify(&dir);
    let mut shell = Command::new("bash")
        .args(["-c", &format!("{START}{script}"), "bash"])
        .arg(&dir)
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let ready = lines.by_ref().inspect(|line| said.push(line.clone())).any(|line| line == "ready");
    assert!(ready, "the database does not start:\n{}", said.join("\n"));
    // Somebody has to take what it still says.
    std::thread::spawn(move || lines.for_each(drop));
    DatabaseServer { port, sockets: dir, authority, _shell: shell }
}

/// Writes the server's certificate and key; returns where the authority's is.
fn certify(dir: &Path) -> PathBuf {
    let now = Clock::system().now();
    let ca = Ca::new("database.test", now);
    let (certificate, key) = ca.web("localhost", now - HOUR..now + 24 * HOUR);
    let write = |name: &str, pem: &str| {
        let path = dir.join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    write("server.pem", &certificate.to_pem());
    let key = PrivateKey::from_pkcs8_der(&key).unwrap().to_pkcs8_pem().unwrap();
    let key = write("server.key", &key);
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    write("authority.pem", &ca.root().to_pem())
}

const HOUR: Duration = Duration::from_secs(3600);

/// What both have in common: `serve` runs a server until the input ends, `ready` asks it, `as_owner` runs a program as
/// an account that is not root.
const START: &str = r#"
set -eu
dir=$1 port=$2
exec 2>&1
# Runs in a shell of its own, whose place the program takes: it is the one to be killed.
as_owner() (
    if [ "$(id -u)" = 0 ]; then exec setpriv --reuid="$owner" --regid="$owner" --init-groups "$@"; else exec "$@"; fi
)
serve() {
    # A simple command, so that what is killed is the server and not a shell before it.
    as=
    [ "$(id -u)" != 0 ] || as="setpriv --reuid=$owner --regid=$owner --init-groups"
    $as "$@" > "$dir/log" 2>&1 < /dev/null &
    server=$!
    trap 'kill -KILL $server 2> /dev/null; wait $server 2> /dev/null || true; rm -rf "$dir"' EXIT
    tries=0
    until is_ready > /dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 $server; then cat "$dir/log"; exit 1; fi
        sleep 0.1
    done
    echo ready
    cat > /dev/null
}
cd "$dir"
"#;

const POSTGRES: &str = r#"
owner=postgres
bin=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | sort -V | tail -n 1) || true
[ -n "$bin" ] || bin=$(dirname "$(command -v postgres)")
[ "$(id -u)" != 0 ] || chown -R "$owner:" "$dir"
as_owner "$bin/initdb" -D "$dir/data" -U steeple -A trust -E UTF8 --locale=C.UTF-8 -N > "$dir/initdb.log" 2>&1 ||
    { cat "$dir/initdb.log"; exit 1; }
is_ready() { "$bin/pg_isready" -h "$dir" -p "$port" -U steeple; }
printf "%s\n" "host all +with_password 127.0.0.1/32 scram-sha-256" | cat - "$dir/data/pg_hba.conf" > "$dir/hba"
cat "$dir/hba" > "$dir/data/pg_hba.conf"
serve "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 -c fsync=off \
    -c ssl=on -c ssl_cert_file="$dir/server.pem" -c ssl_key_file="$dir/server.key" \
    -c max_connections=400 -c shared_buffers=64MB -c log_min_messages=warning
"#;

const MARIADB: &str = r#"
owner=mysql
PATH=$PATH:/usr/sbin
[ "$(id -u)" != 0 ] || chown -R "$owner:" "$dir"
as_owner mariadb-install-db --no-defaults --datadir="$dir/data" --skip-test-db > "$dir/install.log" 2>&1 ||
    { cat "$dir/install.log"; exit 1; }
printf "%s\n" "CREATE USER steeple@127.0.0.1;" "GRANT ALL ON *.* TO steeple@127.0.0.1 WITH GRANT OPTION;" > "$dir/init.sql"
is_ready() { mariadb-admin --no-defaults -h 127.0.0.1 -P "$port" -u steeple ping; }
serve mariadbd --no-defaults --datadir="$dir/data" --socket="$dir/socket" --pid-file="$dir/pid" \
    --bind-address=127.0.0.1 --port="$port" --skip-name-resolve --init-file="$dir/init.sql" --max-connections=400 \
    --ssl-cert="$dir/server.pem" --ssl-key="$dir/server.key" \
    --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=5
"#;

const PGBOUNCER: &str = r#"
owner=postgres
PATH=$PATH:/usr/sbin
printf '"steeple" ""\n' > "$dir/users"
cat > "$dir/ini" << END
[databases]
* = host=127.0.0.1 port=@PORT@
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = any
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 3
max_client_conn = 400
ignore_startup_parameters = extra_float_digits
END
sed -i "s/^\* = .*/& user=steeple/" "$dir/ini"
[ "$(id -u)" != 0 ] || chown -R "$owner:" "$dir"
is_ready() { "$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)/pg_isready" -h 127.0.0.1 -p "$port" -U steeple; }
serve pgbouncer "$dir/ini"
"#;
