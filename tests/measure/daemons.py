"""Daemons and databases that are measured, each in a directory of its own.

Ours are looked for in STEEPLE_BIN, otherwise among cargo's release builds; SPIRE's in STEEPLE_PEER_BIN.
"""

import atexit
import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("STEEPLE_BIN") or Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release")
PEER_BIN = os.environ.get("STEEPLE_PEER_BIN")
STEEPLE = BIN / "steeple"
TRUST_DOMAIN = "example.org"
STARTED = []

# Limits for each address.
UNLIMITED = "ratelimit { attestation = false signing = false }"
LIMITED = "ratelimit { attestation = true signing = true }"

SERVER = """
server {
    trust_domain = "%(domain)s"
    bind_address = "127.0.0.1"
    bind_port = %(port)d
    socket_path = "%(dir)s/server.sock"
    data_dir = "%(dir)s/data"
    log_level = "WARN"
    %(guards)s
}
plugins {
    DataStore "sql" { plugin_data { database_type = "%(kind)s" connection_string = "%(connection)s" } }
    KeyManager "memory" { plugin_data {} }
    NodeAttestor "join_token" { plugin_data {} }
}
"""

AGENT = """
agent {
    trust_domain = "%(domain)s"
    server_address = "127.0.0.1"
    server_port = %(port)d
    socket_path = "%(dir)s/agent.sock"
    data_dir = "%(dir)s/agent"
    trust_bundle_path = "%(dir)s/bundle.pem"
    log_level = "WARN"
}
plugins {
    NodeAttestor "join_token" { plugin_data {} }
    KeyManager "memory" { plugin_data {} }
    WorkloadAttestor "unix" { plugin_data {} }
}
"""


@atexit.register
def end_all():
    """Whatever went wrong, nothing is left running."""
    for process in STARTED:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def start(*args, **options):
    """A process that ends with this one at the latest."""
    process = subprocess.Popen(*args, **options)
    # Who was started last is ended first.
    STARTED.insert(0, process)
    return process


def say(text):
    """Tells how far it is."""
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cpu_seconds(pid):
    """Processor time of all threads that live, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


class Daemon:
    """A process that answers health checks on a socket."""

    def __init__(self, program, directory, args, name):
        self.program, self.dir, self.args, self.name = program, Path(directory), args, name
        self.socket = self.dir / f"{name}.sock"
        self.process = None
        # Until it was healthy for the first time.
        self.start_seconds = self.start_cpu = 0.0

    def start(self, limit=300):
        log = open(self.dir / f"{self.name}.log", "ab")
        begin = time.monotonic()
        self.process = start([self.program, "run", *self.args], stdout=log, stderr=log)
        check = [BIN / f"steeple-{self.name}", "healthcheck", "-socketPath", self.socket]
        while subprocess.run(check, capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() - begin > limit:
                raise SystemExit(f"{self.program} does not start: see {log.name}")
            time.sleep(0.003)
        self.start_seconds, self.start_cpu = time.monotonic() - begin, cpu_seconds(self.pid)
        return self

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Server(Daemon):
    """A server on a database: ours, or the one in another directory of programs. `guards` are further keys of its block."""

    def __init__(self, directory, database, programs=None, guards=UNLIMITED):
        directory = Path(directory)
        (directory / "data").mkdir(parents=True, exist_ok=True)
        self.port, self.database = free_port(), database
        program, self.is_ours = programs_of(programs, "server")
        kind, connection = database
        values = {"dir": directory, "domain": TRUST_DOMAIN, "port": self.port, "kind": kind, "connection": connection,
                  "guards": guards}
        config = directory / "server.conf"
        config.write_text(SERVER % values)
        super().__init__(program, directory, ["-config", config], "server")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def command(self, *args):
        """Our command line; it speaks to either kind."""
        group, verb, *flags = args
        command = [BIN / "steeple-server", group, verb, "-socketPath", self.socket, *flags]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def load(self, operation, *flags, as_agent=False):
        """What one run of `steeple load` tells."""
        flags = ["-serverSocketPath", self.socket, *flags]
        return load(operation, *flags, *(["-serverAddress", self.address] if as_agent else []))

    @contextlib.contextmanager
    def holding(self, operation, *flags):
        """Meanwhile a `steeple load` holds what it has opened. The value waits until something is so."""
        flags = ["-duration", "1h", "-serverSocketPath", self.socket, "-serverAddress", self.address, *map(str, flags)]
        process = start([STEEPLE, "load", operation, *flags], stdout=subprocess.DEVNULL)

        def wait(is_so):
            while not is_so():
                if process.poll() is not None:
                    raise SystemExit(f"steeple load {operation} has ended")
                time.sleep(0.2)

        try:
            yield wait
        finally:
            process.terminate()
            process.wait()


class Agent(Daemon):
    """An agent of a server, with an entry for this process."""

    def __init__(self, directory, server, programs=None):
        directory = Path(directory)
        (directory / "agent").mkdir(parents=True, exist_ok=True)
        self.server = server
        (directory / "bundle.pem").write_text(server.command("bundle", "show"))
        token = server.command("token", "generate", "-spiffeID", f"spiffe://{TRUST_DOMAIN}/host")
        token = token.split("Token: ")[1].split()[0]
        self.id = f"spiffe://{TRUST_DOMAIN}/spire/agent/join_token/{token}"
        program, _ = programs_of(programs, "agent")
        config = directory / "agent.conf"
        config.write_text(AGENT % {"dir": directory, "domain": TRUST_DOMAIN, "port": server.port})
        super().__init__(program, directory, ["-config", config, "-joinToken", token], "agent")

    def provide(self):
        """An entry for this process."""
        selector = f"unix:uid:{os.geteuid()}"
        spiffe_id = f"spiffe://{TRUST_DOMAIN}/load"
        self.server.command("entry", "create", "-parentID", self.id, "-spiffeID", spiffe_id, "-selector", selector)

    def load(self, operation, *flags):
        return load(operation, "-agentSocketPath", self.socket, *flags)


def programs_of(directory, name):
    """The program, and whether it is ours."""
    if directory is None:
        return BIN / f"steeple-{name}", True
    return Path(directory) / f"spire-{name}", False


def load(operation, *flags):
    command = [STEEPLE, "load", operation, "-output", "json", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return json.loads(done.stdout)


def us(told):
    """CPU of the daemon, microseconds an operation."""
    return told["cpu"]["us_per_operation"]


def resident(told):
    """Resident megabytes at the end."""
    return told["resident_bytes"]["after"] / 1e6


class Sqlite:
    """Databases are files."""

    name = "SQLite"
    # After so many seconds a server has nothing left to do.
    quiet_after = 0

    def __init__(self, directory):
        self.dir = Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)

    def database(self, name):
        return ("sqlite3", str(self.dir / f"{name}.sqlite3"))

    def has(self, name):
        return (self.dir / f"{name}.sqlite3").exists()

    def copy(self, old, new):
        self.drop(new)
        shutil.copyfile(self.dir / f"{old}.sqlite3", self.dir / f"{new}.sqlite3")
        return self.database(new)

    def drop(self, name):
        for end in ("", "-wal", "-shm"):
            (self.dir / f"{name}.sqlite3{end}").unlink(missing_ok=True)

    def pids(self):
        return []

    def stop(self):
        pass


class Postgres:
    """A PostgreSQL server of our own in this directory, which is there again in the next run."""

    name = "PostgreSQL"
    # For a minute what was written last is looked at again each second.
    quiet_after = 65

    def __init__(self, directory, *settings):
        self.dir = Path(directory).resolve()
        self.port = free_port()
        # PostgreSQL does not run as root.
        self.user = {}
        self.dir.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self.user = {"user": account.pw_uid, "group": account.pw_gid}
            os.chown(self.dir, account.pw_uid, account.pw_gid)
        data = self.dir / "data"
        if not data.exists():
            self.run("initdb", "-D", data, "-U", "steeple", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        options = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.dir}",
                   "max_connections=400", "shared_buffers=128MB", *settings]
        args = [part for option in options for part in ("-c", option)]
        log = open(self.dir / "log", "ab")
        self.process = start([tool("postgres"), "-D", data, *args], stdout=log, stderr=log, **self.user)
        while subprocess.run([tool("pg_isready"), "-q", *self.address()], **self.user).returncode != 0:
            if self.process.poll() is not None:
                raise SystemExit(f"PostgreSQL does not start: see {log.name}")
            time.sleep(0.05)

    def address(self):
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "steeple"]

    def run(self, name, *args):
        return subprocess.run([tool(name), *args], check=True, capture_output=True, text=True, **self.user).stdout

    def sql(self, text, database="postgres"):
        return self.run("psql", *self.address(), "-d", database, "-XAtqc", text)

    def database(self, name):
        if not self.has(name):
            self.sql(f'CREATE DATABASE "{name}"')
        return ("postgres", f"host=127.0.0.1 port={self.port} user=steeple dbname={name} sslmode=disable")

    def has(self, name):
        return bool(self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'").strip())

    def copy(self, old, new):
        self.drop(new)
        self.sql(f'CREATE DATABASE "{new}" TEMPLATE "{old}"')
        return self.database(new)

    def drop(self, name):
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def pids(self):
        return [self.process.pid]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


class PgBouncer:
    """Before a PostgreSQL: each transaction gets any of its connections, so that a server cannot LISTEN."""

    def __init__(self, postgres, directory):
        self.postgres, self.port, self.dir = postgres, free_port(), Path(directory).resolve()
        self.dir.mkdir(parents=True, exist_ok=True)
        users, settings = self.dir / "users", self.dir / "ini"
        users.write_text('"steeple" ""\n')
        settings.write_text(f"""[databases]
* = host=127.0.0.1 port={postgres.port} user=steeple
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
auth_file = {users}
pool_mode = transaction
default_pool_size = 100
max_client_conn = 400
""")
        if postgres.user:
            for path in (self.dir, users, settings):
                os.chown(path, postgres.user["user"], postgres.user["group"])
        log = open(self.dir / "log", "ab")
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        self.process = start([program, settings], stdout=log, stderr=log, **postgres.user)
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "steeple"]
        while subprocess.run([tool("pg_isready"), "-q", *address], **postgres.user).returncode != 0:
            if self.process.poll() is not None:
                raise SystemExit(f"PgBouncer does not start: see {log.name}")
            time.sleep(0.05)

    def database(self, name):
        """The way to a database of the PostgreSQL behind it."""
        kind, connection = self.postgres.database(name)
        return (kind, connection.replace(f"port={self.postgres.port}", f"port={self.port}"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)


def tool(name):
    """A program of PostgreSQL, of the newest release that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name) or name
