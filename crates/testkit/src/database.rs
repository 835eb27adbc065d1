//! Database servers that tests start: the programs of the system, in a directory and on a port of their own.
//!
//! A server lives as long as the process that asked for it, or the value: it is started by a shell that ends it when its
//! own input does.

mod copies;
mod place;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, OnceLock};
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
    /// Files with a certificate of that authority for clients, and its key.
    pub client: (PathBuf, PathBuf),
    shell: Mutex<Shell>,
}

/// Does with a server what it is told. Its input is what keeps the server alive.
struct Shell {
    process: Child,
    said: Receiver<String>,
}

impl DatabaseServer {
    /// Stops the server in an orderly way. Connections are refused from then on.
    pub fn stop(&self) {
        self.tell("stop", "stopped");
    }

    /// Starts the server again on what it had.
    pub fn start_again(&self) {
        self.tell("start", "ready");
    }

    /// Leaves no byte on the small disk, where the server has one.
    pub fn fill_disk(&self) {
        self.tell("fill", "filled");
    }

    /// Takes away what filled the small disk.
    pub fn make_room(&self) {
        self.tell("free", "freed");
    }

    fn tell(&self, word: &str, answer: &str) {
        let mut shell = self.shell.lock().unwrap();
        writeln!(shell.process.stdin.as_mut().unwrap(), "{word}").unwrap();
        let said: Vec<String> = shell.said.iter().take_while(|line| line != answer).collect();
        // What comes last is the answer, or the shell has ended.
        assert!(shell.process.try_wait().unwrap().is_none(), "the database has ended:\n{}", said.join("\n"));
    }
}

/// The account that may do everything, without a password.
pub const USER: &str = "steeple";
/// Members of this role of PostgreSQL need a password. It is made by who wants it.
pub const WITH_PASSWORD: &str = "with_password";
/// Likewise a certificate.
pub const WITH_CERTIFICATE: &str = "with_certificate";

/// PostgreSQL. One for all tests of this process.
pub fn postgres() -> &'static DatabaseServer {
    static SERVER: OnceLock<DatabaseServer> = OnceLock::new();
    SERVER.get_or_init(own_postgres)
}

/// MariaDB. One for all tests of this process.
pub fn mariadb() -> &'static DatabaseServer {
    static SERVER: OnceLock<DatabaseServer> = OnceLock::new();
    SERVER.get_or_init(|| start(&[MARIADB]))
}

/// A PostgreSQL that no other case has.
pub fn own_postgres() -> DatabaseServer {
    start(&[POSTGRES, NEW_POSTGRES, SERVED_POSTGRES])
}

/// A copy of a PostgreSQL that follows it, and can be promoted.
pub fn standby_of(primary: &DatabaseServer) -> DatabaseServer {
    let copied = COPIED_POSTGRES.replace("@PORT@", &primary.port.to_string());
    start(&[POSTGRES, &copied, SERVED_POSTGRES])
}

/// A MariaDB that no other case has, and that others can follow.
pub fn own_mariadb() -> DatabaseServer {
    start(&["replication=yes", MARIADB])
}

/// A MariaDB that no other case has, and that calls itself by this version.
pub fn mariadb_called(version: &str) -> DatabaseServer {
    start(&[&format!("version={version}"), MARIADB])
}

/// Why this machine has no [`postgres_on_small_disk`] and [`mariadb_on_small_disk`], if it has none.
pub fn no_small_disks() -> Option<String> {
    match Command::new(WITH_MOUNTS[0]).args(&WITH_MOUNTS[1..]).args(["-c", "mount -t tmpfs tmpfs /mnt"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("no mounts: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// A shell whose mounts nobody else sees, which only root can have.
const WITH_MOUNTS: &[&str] = &["unshare", "--mount", "bash"];

/// The database, and the tablespace of PostgreSQL, that is on a small disk.
pub const SMALL: &str = "small";

/// A PostgreSQL with the tablespace [`SMALL`].
pub fn postgres_on_small_disk() -> DatabaseServer {
    start_in(WITH_MOUNTS, &["disk=$dir/small", POSTGRES, NEW_POSTGRES, SERVED_POSTGRES])
}

/// A MariaDB with the database [`SMALL`].
pub fn mariadb_on_small_disk() -> DatabaseServer {
    start_in(WITH_MOUNTS, &["disk=$dir/data/small", MARIADB])
}

/// PgBouncer before [`postgres`], which lends each transaction any of a few connections. One for all tests of this process.
pub fn pgbouncer() -> &'static DatabaseServer {
    static SERVER: OnceLock<DatabaseServer> = OnceLock::new();
    SERVER.get_or_init(|| start(&[&PGBOUNCER.replace("@PORT@", &postgres().port.to_string())]))
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

/// Starts one; the script, which comes in parts, prints `ready` when it can be used.
fn start(script: &[&str]) -> DatabaseServer {
    start_in(&["bash"], script)
}

/// As [`start`], by a shell that another program starts.
fn start_in(shell: &[&str], script: &[&str]) -> DatabaseServer {
    // Free now, and nobody else takes a port without being told to.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::Builder::new().prefix("steeple-db-").tempdir().unwrap().keep();
    let (authority, client) = certify(&dir);
    let mut shell = Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", &[START, &script.concat()].concat(), "bash"])
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
    // Somebody has to take what it still says. Nobody waits for it when the server is dropped.
    let (says, said) = mpsc::channel();
    std::thread::spawn(move || lines.try_for_each(|line| says.send(line)));
    DatabaseServer { port, sockets: dir, authority, client, shell: Mutex::new(Shell { process: shell, said }) }
}

/// Writes the certificates and keys of the server and of clients; returns where the authority's and the clients' are.
fn certify(dir: &Path) -> (PathBuf, (PathBuf, PathBuf)) {
    let ca = Ca::new("database.test", Clock::system().now());
    write_certificate(&ca, "localhost", dir, "server");
    let authority = dir.join("authority.pem");
    std::fs::write(&authority, ca.root().to_pem()).unwrap();
    (authority, write_certificate(&ca, "client.test", dir, "client"))
}

/// Writes a certificate for a DNS name, good for a day, and its key; returns where they are.
pub fn write_certificate(ca: &Ca, dns_name: &str, dir: &Path, file: &str) -> (PathBuf, PathBuf) {
    let now = Clock::system().now();
    let (certificate, key) = ca.web(dns_name, now - HOUR..now + 24 * HOUR);
    let key = PrivateKey::from_pkcs8_der(&key).unwrap().to_pkcs8_pem().unwrap();
    let paths = (dir.join(file).with_extension("pem"), dir.join(file).with_extension("key"));
    std::fs::write(&paths.0, certificate.to_pem()).unwrap();
    std::fs::write(&paths.1, key).unwrap();
    std::fs::set_permissions(&paths.1, std::fs::Permissions::from_mode(0o600)).unwrap();
    paths
}

const HOUR: Duration = Duration::from_secs(3600);

/// What all have in common: `serve` runs a server until the input ends, and does what that says; `is_ready` asks it, `as_owner`
/// runs a program as an account that is not root, `mount_disk` mounts a small disk where `disk` says.
const START: &str = r#"
set -eu
dir=$1 port=$2
exec 2>&1
# Runs in a shell of its own, whose place the program takes: it is the one to be killed.
as_owner() (
    if [ "$(id -u)" = 0 ]; then exec setpriv --reuid="$owner" --regid="$owner" --init-groups "$@"; else exec "$@"; fi
)
mount_disk() {
    [ -n "${disk-}" ] || return 0
    mkdir "$disk"
    mount -t tmpfs -o size=48m,mode=700 tmpfs "$disk"
    chown "$owner:" "$disk"
}
clean() {
    # It may be stopped.
    kill -KILL $server 2> /dev/null || true
    wait $server 2> /dev/null || true
    # What it started may end a moment later.
    [ -z "${disk-}" ] || umount --lazy "$disk"
    rm -rf "$dir"
}
run() {
    # A simple command, so that what is killed is the server and not a shell before it.
    as=
    [ "$(id -u)" != 0 ] || as="setpriv --reuid=$owner --regid=$owner --init-groups"
    $as "$@" >> "$dir/log" 2>&1 < /dev/null &
    server=$!
    tries=0
    until is_ready > /dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 $server; then cat "$dir/log"; exit 1; fi
        sleep 0.1
    done
    echo ready
}
serve() {
    trap clean EXIT
    run "$@"
    while read -r word; do
        case $word in
            start) run "$@" ;;
            stop) kill -"$stop" $server; wait $server || true; echo stopped ;;
            fill) cat /dev/zero > "$disk/ballast" 2> /dev/null || echo filled ;;
            free) rm "$disk/ballast"; echo freed ;;
        esac
    done
}
cd "$dir"
"#;

const POSTGRES: &str = r#"
owner=postgres stop=INT
bin=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | sort -V | tail -n 1) || true
[ -n "$bin" ] || bin=$(dirname "$(command -v postgres)")
[ "$(id -u)" != 0 ] || chown -R "$owner:" "$dir"
"#;

const NEW_POSTGRES: &str = r#"
as_owner "$bin/initdb" -D "$dir/data" -U steeple -A trust -E UTF8 --locale=C.UTF-8 -N > "$dir/initdb.log" 2>&1 ||
    { cat "$dir/initdb.log"; exit 1; }
printf "%s\n" "host all +with_password 127.0.0.1/32 scram-sha-256" \
    "hostssl all +with_certificate 127.0.0.1/32 trust clientcert=verify-ca" \
    "hostnossl all +with_certificate 127.0.0.1/32 reject" | cat - "$dir/data/pg_hba.conf" > "$dir/hba"
cat "$dir/hba" > "$dir/data/pg_hba.conf"
"#;

const COPIED_POSTGRES: &str = r#"
as_owner "$bin/pg_basebackup" -h 127.0.0.1 -p @PORT@ -U steeple -D "$dir/data" --checkpoint=fast --write-recovery-conf
"#;

const SERVED_POSTGRES: &str = r#"
is_ready() { "$bin/pg_isready" -h "$dir" -p "$port" -U steeple; }
mount_disk
serve "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 -c fsync=off \
    -c ssl=on -c ssl_cert_file="$dir/server.pem" -c ssl_key_file="$dir/server.key" -c ssl_ca_file="$dir/authority.pem" \
    -c max_connections=400 -c shared_buffers=64MB -c log_min_messages=warning
"#;

const MARIADB: &str = r#"
owner=mysql stop=TERM
PATH=$PATH:/usr/sbin
[ "$(id -u)" != 0 ] || chown -R "$owner:" "$dir"
as_owner mariadb-install-db --no-defaults --datadir="$dir/data" --skip-test-db > "$dir/install.log" 2>&1 ||
    { cat "$dir/install.log"; exit 1; }
printf "%s\n" "CREATE USER steeple@127.0.0.1;" "GRANT ALL ON *.* TO steeple@127.0.0.1 WITH GRANT OPTION;" > "$dir/init.sql"
mount_disk
# What the server writes for those who follow it, or calls itself.
log=
[ -z "${replication-}" ] || log="--log-bin --server-id=$port"
[ -z "${version-}" ] || log="--version=$version"
is_ready() { mariadb-admin --no-defaults -h 127.0.0.1 -P "$port" -u steeple ping; }
serve mariadbd --no-defaults --datadir="$dir/data" --socket="$dir/socket" --pid-file="$dir/pid" --tmpdir="$dir" \
    --bind-address=127.0.0.1 --port="$port" --skip-name-resolve --init-file="$dir/init.sql" --max-connections=400 \
    --ssl-cert="$dir/server.pem" --ssl-key="$dir/server.key" --ssl-ca="$dir/authority.pem" \
    --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=5 $log
"#;

const PGBOUNCER: &str = r#"
owner=postgres stop=INT
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
END
sed -i "s/^\* = .*/& user=steeple/" "$dir/ini"
[ "$(id -u)" != 0 ] || chown -R "$owner:" "$dir"
is_ready() { "$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)/pg_isready" -h 127.0.0.1 -p "$port" -U steeple; }
serve pgbouncer "$dir/ini"
"#;
