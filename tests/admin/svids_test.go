package admin

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc/codes"
)

func mint(t *testing.T, path string, dnsNames ...string) (*types.X509SVID, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	csr := request(t, key, path, dnsNames...)
	return must(svids.MintX509SVID(t.Context(), &svidv1.MintX509SVIDRequest{Csr: csr, Ttl: 600}))(t).Svid, key
}

func TestAnX509SVIDIsMintedForWhatTheRequestNames(t *testing.T) {
	svid, key := mint(t, "/minted", "minted.example.org")
	same(t, svid.Id, id("/minted"))
	leaf := holder(t, svid, key).Certificates[0]
	equal(t, "names", slices.Equal(leaf.DNSNames, []string{"minted.example.org"}), true)
	equal(t, "key", leaf.PublicKey.(*ecdsa.PublicKey).Equal(key.Public()), true)
	if left := time.Until(leaf.NotAfter); left < 5*time.Minute || left > 10*time.Minute {
		t.Fatalf("ten minutes were asked for, and %v are left", left)
	}
	refused(svids.MintX509SVID(t.Context(), &svidv1.MintX509SVIDRequest{}))(t, codes.InvalidArgument, "missing CSR")
}

func TestAJWTSVIDIsMintedForAnAudience(t *testing.T) {
	svid := must(svids.MintJWTSVID(t.Context(), &svidv1.MintJWTSVIDRequest{Id: id("/minted"), Audience: []string{"a", "b"}, Ttl: 60}))(t).Svid
	same(t, svid.Id, id("/minted"))
	equal(t, "lifetime", svid.ExpiresAt-svid.IssuedAt, 60)
	token := must(jwtsvid.ParseAndValidate(svid.Token, ownBundle(t), []string{"b"}))(t)
	equal(t, "ID", token.ID.String(), "spiffe://example.org/minted")
	equal(t, "audience", slices.Equal(token.Audience, []string{"a", "b"}), true)
	equal(t, "expiry", token.Expiry.Unix(), svid.ExpiresAt)
	refused(svids.MintJWTSVID(t.Context(), &svidv1.MintJWTSVIDRequest{Id: id("/minted")}))(t,
		codes.InvalidArgument, "at least one audience is required")
}

func TestAServerBelowGetsItsAuthorityAndPublishesItsKeys(t *testing.T) {
	below := entry("/below", "uid:1")
	below.Downstream = true
	create(t, below)
	svid, key := mint(t, "/below")
	conn := dial(t, holder(t, svid, key))

	published := jwtKey(t, rand.Text())
	eventually(t, func() error {
		_, err := bundlev1.NewBundleClient(conn).PublishJWTAuthority(t.Context(), &bundlev1.PublishJWTAuthorityRequest{JwtAuthority: published})
		return err
	})
	equal(t, "in the bundle", inBundle(t, published), true)

	authority := newKey(t)
	csr := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{domain.ID().URL()}}, authority))(t)
	signed := must(svidv1.NewSVIDClient(conn).NewDownstreamX509CA(t.Context(), &svidv1.NewDownstreamX509CARequest{Csr: csr}))(t)
	certificate := must(parseCertificate(signed.CaCertChain[0]))(t)
	equal(t, "is an authority", certificate.IsCA && certificate.BasicConstraintsValid, true)
	equal(t, "key", certificate.PublicKey.(*ecdsa.PublicKey).Equal(authority.Public()), true)
	equal(t, "authorities", len(signed.X509Authorities), len(ownBundle(t).X509Authorities()))
}
