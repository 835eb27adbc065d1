package admin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
)

func parseCertificate(der []byte) (*x509.Certificate, error) {
	return x509.ParseCertificate(der)
}

func parsePublicKey(der []byte) (crypto.PublicKey, error) {
	return x509.ParsePKIXPublicKey(der)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

func publicKey(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	return must(x509.MarshalPKIXPublicKey(key.Public()))(t)
}

// request is a certificate request; for no identity where there is no path.
func request(t *testing.T, key *ecdsa.PrivateKey, path string, dnsNames ...string) []byte {
	t.Helper()
	template := &x509.CertificateRequest{DNSNames: dnsNames}
	if path != "" {
		template.URIs = []*url.URL{spiffeid.RequireFromPath(domain, path).URL()}
	}
	return must(x509.CreateCertificateRequest(rand.Reader, template, key))(t)
}

// authority is a certificate of an authority that signs itself.
func authority(t *testing.T) []byte {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
		URIs:                  []*url.URL{domain.ID().URL()},
	}
	return must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
}

// holder is an SVID that the server has made, with its key; it must hold against the server's bundle.
func holder(t *testing.T, svid *types.X509SVID, key *ecdsa.PrivateKey) *x509svid.SVID {
	t.Helper()
	chain := make([]*x509.Certificate, 0, len(svid.CertChain))
	for _, der := range svid.CertChain {
		chain = append(chain, must(parseCertificate(der))(t))
	}
	of, _, err := x509svid.Verify(chain, ownBundle(t))
	if err != nil {
		t.Fatal(err)
	}
	same(t, svid.Id, &types.SPIFFEID{TrustDomain: of.TrustDomain().Name(), Path: of.Path()})
	equal(t, "expiry", svid.ExpiresAt, chain[0].NotAfter.Unix())
	return &x509svid.SVID{ID: of, Certificates: chain, PrivateKey: key}
}
