// Package admin is what administrators build on the public SDK of SPIRE's APIs. It knows nothing of Steeple: it does all
// that an administrator may do to a server, and compares each answer. It is built as a test and run by tests/whole, once
// over the server's own socket, and once over TLS with an SVID that makes its holder an administrator:
//
//	admin -socket S -server A              over the socket
//	admin -socket S -server A -workload W  over TLS, with the SVID that the Workload API at W gives
package admin

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	localauthorityv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/localauthority/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	trustdomainv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/trustdomain/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// How long a change may take until the server goes by it.
const soon = 10 * time.Second

var (
	socket   = flag.String("socket", "", "the server's own socket")
	address  = flag.String("server", "", "host and port of the server")
	workload = flag.String("workload", "", "Workload API, as unix:///path; without it all goes through the server's socket")

	domain = spiffeid.RequireTrustDomainFromString("example.org")

	// The administrator's connection, and what is asked over it.
	conn         *grpc.ClientConn
	agents       agentv1.AgentClient
	authorities  localauthorityv1.LocalAuthorityClient
	bundles      bundlev1.BundleClient
	entries      entryv1.EntryClient
	svids        svidv1.SVIDClient
	trustDomains trustdomainv1.TrustDomainClient
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	target, shown := "unix://"+*socket, insecure.NewCredentials()
	if *workload != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(*workload)))
		if err != nil {
			return 0, err
		}
		defer source.Close()
		target, shown = *address, credentials.NewTLS(tlsconfig.MTLSClientConfig(source, source, isServer()))
	}
	var err error
	if conn, err = grpc.NewClient(target, grpc.WithTransportCredentials(shown)); err != nil {
		return 0, err
	}
	defer conn.Close()
	agents = agentv1.NewAgentClient(conn)
	authorities = localauthorityv1.NewLocalAuthorityClient(conn)
	bundles = bundlev1.NewBundleClient(conn)
	entries = entryv1.NewEntryClient(conn)
	svids = svidv1.NewSVIDClient(conn)
	trustDomains = trustdomainv1.NewTrustDomainClient(conn)
	return m.Run(), nil
}

func isServer() tlsconfig.Authorizer {
	return tlsconfig.AuthorizeID(spiffeid.RequireFromPath(domain, "/spire/server"))
}

// dial connects over TLS with an SVID, or with none.
func dial(t *testing.T, svid *x509svid.SVID) *grpc.ClientConn {
	t.Helper()
	var config *tls.Config
	if svid == nil {
		config = tlsconfig.TLSClientConfig(ownBundle(t), isServer())
	} else {
		config = tlsconfig.MTLSClientConfig(svid, ownBundle(t), isServer())
	}
	conn := must(grpc.NewClient(*address, grpc.WithTransportCredentials(credentials.NewTLS(config))))(t)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ownBundle is the trust domain's bundle as the server tells it.
func ownBundle(t *testing.T) *spiffebundle.Bundle {
	t.Helper()
	told := must(bundles.GetBundle(t.Context(), &bundlev1.GetBundleRequest{}))(t)
	bundle := spiffebundle.New(domain)
	for _, authority := range told.X509Authorities {
		bundle.AddX509Authority(must(parseCertificate(authority.Asn1))(t))
	}
	for _, authority := range told.JwtAuthorities {
		key := must(parsePublicKey(authority.PublicKey))(t)
		if err := bundle.AddJWTAuthority(authority.KeyId, key); err != nil {
			t.Fatal(err)
		}
	}
	return bundle
}

func id(path string) *types.SPIFFEID {
	return &types.SPIFFEID{TrustDomain: domain.Name(), Path: path}
}

// must is an answer that has to be good: must(call())(t).
func must[T any](answer T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// refused is a call that has to fail: refused(call())(t, code, message).
func refused[T any](_ T, err error) func(*testing.T, codes.Code, string) {
	return func(t *testing.T, code codes.Code, message string) {
		t.Helper()
		if got := status.Convert(err); got.Code() != code || got.Message() != message {
			t.Fatalf("got %v: %q, want %v: %q", got.Code(), got.Message(), code, message)
		}
	}
}

// result is what has become of one of several things.
func result(t *testing.T, got *types.Status, code codes.Code, message string) {
	t.Helper()
	if codes.Code(got.GetCode()) != code || got.GetMessage() != message {
		t.Fatalf("got %v, want %v: %q", got, code, message)
	}
}

func good(t *testing.T, got *types.Status) {
	t.Helper()
	result(t, got, codes.OK, "OK")
}

func same(t *testing.T, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// eventually asks again until the server goes by what was changed.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	end := time.Now().Add(soon)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// afterwards takes back what a test has made. Its context is over by then, and what is gone already may be.
func afterwards[R, A any](t *testing.T, call func(context.Context, R, ...grpc.CallOption) (A, error), request R) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		_, _ = call(ctx, request)
	})
}
