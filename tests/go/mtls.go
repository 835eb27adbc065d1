package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

const (
	// Between two connections: often enough that some fall into the moment of a rotation.
	pause = 10 * time.Millisecond
	// For one connection, from dialling to the answer.
	patience = 10 * time.Second
)

// serve answers each connection of the peer with what it sent. A handshake that fails is its own event.
func serve(ctx context.Context) error {
	source, err := x509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	id, err := peerID()
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(id)))
	if err != nil {
		return err
	}
	event("listening", "address", listener.Addr().String())
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := io.Copy(conn, conn); err != nil {
				event("failed", "error", err.Error())
			}
		}()
	}
}

// call makes one connection after the other until it has shown and seen enough certificates.
func call(ctx context.Context) error {
	source, err := x509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	id, err := peerID()
	if err != nil {
		return err
	}
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(id))
	handshakes, own, theirs := 0, map[string]bool{}, map[string]bool{}
	for len(own) <= *rotations || len(theirs) <= *rotations {
		svid, err := source.GetX509SVID()
		if err != nil {
			return err
		}
		serial, err := echo(ctx, config)
		if err != nil {
			return err
		}
		handshakes++
		own[svid.Certificates[0].SerialNumber.String()] = true
		theirs[serial] = true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	event("done", "handshakes", handshakes, "own", len(own), "theirs", len(theirs))
	return nil
}

// echo makes one connection, waits for the answer to one message (TLS 1.3: only then has the server accepted us), and
// returns the serial number of the server's certificate.
func echo(ctx context.Context, config *tls.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", *address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return "", err
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return "", err
	}
	state := conn.(*tls.Conn).ConnectionState()
	if string(answer) != "hello" || len(state.PeerCertificates) == 0 {
		return "", errors.New("no echo")
	}
	return state.PeerCertificates[0].SerialNumber.String(), nil
}
