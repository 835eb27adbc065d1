"""Workloads for the tests of whole daemons, with py-spiffe (packages spiffe and spiffe-tls): the same commands, flags
and events as those in Go (tests/go/main.go says which)."""

import argparse
import json
import logging
import os
import socket
import sys
import threading
import time
import warnings

from OpenSSL import SSL, crypto
from spiffe import SpiffeId, WorkloadApiClient, X509Source
from spiffe.svid.jwt_svid import JwtSvid
from spiffe.spiffe_id.spiffe_id import TrustDomain
from spiffetls.context import create_ssl_context
from spiffetls.tlsconfig.authorize import authorize_id

# The caller kills a workload that it no longer wants; this is only so that a forgotten one does not stay.
LIMIT = 300
# Between two connections.
PAUSE = 0.02
# For one connection, from dialling to the answer.
PATIENCE = 10

printing = threading.Lock()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["watch", "jwt", "serve", "call"])
    for flag in ["socket", "audience", "foreign", "expired", "peer", "address"]:
        parser.add_argument(f"-{flag}")
    parser.add_argument("-rotations", type=int, default=1)
    flags = parser.parse_args()
    threading.Thread(target=lambda: (time.sleep(LIMIT), os._exit(1)), daemon=True).start()
    # The packages warn of their own use of what they are going to drop, and log what they also raise.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        {"watch": watch, "jwt": jwt, "serve": serve, "call": call}[flags.command](flags)
    except Exception as error:
        event("error", error=reasons(error))
        os._exit(1)
    # Threads of gRPC may not end.
    sys.stdout.flush()
    os._exit(0)


def watch(flags):
    updated = threading.Event()
    with X509Source(socket_path=flags.socket) as source:
        source.subscribe_for_updates(updated.set)
        serials = set()
        while len(serials) <= flags.rotations:
            context = source.get_x509_context()
            svid = context.default_svid
            verify(svid.cert_chain, context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain))
            if svid.leaf.serial_number not in serials:
                serials.add(svid.leaf.serial_number)
                event("svid", id=str(svid.spiffe_id), serial=str(svid.leaf.serial_number))
            if len(serials) <= flags.rotations and not updated.wait(LIMIT):
                raise TimeoutError("no update")
            updated.clear()


def verify(chain, bundle):
    """What the agent hands out must hold against the bundle that it hands out. py-spiffe has no verification of its own
    outside of TLS."""
    store = crypto.X509Store()
    for authority in bundle.x509_authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
    leaf, *between = [crypto.X509.from_cryptography(certificate) for certificate in chain]
    crypto.X509StoreContext(store, leaf, between).verify_certificate()


def jwt(flags):
    with WorkloadApiClient(flags.socket) as client:
        audience = {flags.audience}
        svid = client.fetch_jwt_svid(audience=audience)
        bundles = client.fetch_jwt_bundles()

        def validate(token, audience):
            claimed = JwtSvid.parse_insecure(token, audience).spiffe_id.trust_domain
            bundle = bundles.get_bundle_for_trust_domain(claimed)
            if bundle is None:
                raise LookupError(f"no bundle for trust domain {claimed}")
            return JwtSvid.parse_and_validate(token, bundle, audience)

        def refused(why, token, audience):
            """Says why a token is not accepted, by the library and by the agent; an empty text where it is."""
            # Unread claims would hide the bundle that it is to be refused for.
            library = failure(lambda: validate(token, {audience}))
            event("refused", why=why, library=library, agent=failure(lambda: client.validate_jwt_svid(token, audience)))

        parsed = validate(svid.token, audience)
        validated = client.validate_jwt_svid(svid.token, flags.audience)
        event("jwt", id=str(parsed.spiffe_id), validated=str(validated.spiffe_id), audience=sorted(parsed.audience))
        refused("audience", svid.token, f"another-{flags.audience}")
        refused("trust_domain", flags.foreign, flags.audience)
        refused("expired", flags.expired, flags.audience)


def serve(flags):
    """Answers each connection of the peer with what it sent. A handshake that fails is its own event."""
    source = X509Source(socket_path=flags.socket)
    listener = socket.create_server(("127.0.0.1", 0), backlog=50)
    event("listening", address=f"127.0.0.1:{listener.getsockname()[1]}")
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, source, flags.peer), daemon=True).start()


def answer(connection, source, peer):
    try:
        # A context for each connection, in place of spiffetls.listen: that one changes the certificate and the key of
        # its context one after the other when the source is updated, and a handshake between the two fails.
        context = create_ssl_context(SSL.TLS_SERVER_METHOD, source, authorize_id(SpiffeId(peer)))
        tls = SSL.Connection(context, connection)
        tls.set_accept_state()
        patient(connection)
        tls.do_handshake()
        while True:
            try:
                tls.sendall(tls.recv(1024))
            except SSL.ZeroReturnError:
                break
        tls.shutdown()
    except Exception as error:
        event("failed", error=reasons(error))
    finally:
        connection.close()


def call(flags):
    """Makes one connection after the other until it has shown and seen enough certificates."""
    with X509Source(socket_path=flags.socket) as source:
        handshakes, own, theirs = 0, set(), set()
        while len(own) <= flags.rotations or len(theirs) <= flags.rotations:
            shown = source.get_x509_context().default_svid.leaf.serial_number
            theirs.add(echo(source, flags))
            own.add(shown)
            handshakes += 1
            time.sleep(PAUSE)
        event("done", handshakes=handshakes, own=len(own), theirs=len(theirs))


def echo(source, flags):
    """Makes one connection, waits for the answer to one message, and returns the serial number of the server's."""
    host, port = flags.address.split(":")
    context = create_ssl_context(SSL.TLS_CLIENT_METHOD, source, authorize_id(SpiffeId(flags.peer)), SSL.VERIFY_PEER)
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        tls = SSL.Connection(context, connection)
        tls.set_connect_state()
        patient(connection)
        tls.do_handshake()
        tls.sendall(b"hello")
        received = b""
        while len(received) < 5:
            received += tls.recv(5 - len(received))
        if received != b"hello":
            raise ConnectionError("no echo")
        serial = tls.get_peer_certificate().get_serial_number()
        tls.shutdown()
        return serial


def patient(connection):
    """A limit that the kernel keeps: pyOpenSSL wants sockets that block."""
    connection.setblocking(True)
    limit = PATIENCE.to_bytes(8, sys.byteorder) + bytes(8)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def failure(work):
    try:
        work()
        return ""
    except Exception as error:
        return reasons(error)


def reasons(error):
    """An error with all below it, since the outermost often says only that something failed."""
    texts = []
    while error is not None:
        texts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return ": ".join(texts)


def event(name, **pairs):
    with printing:
        print(json.dumps({"event": name, **pairs}, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main()
