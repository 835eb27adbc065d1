package admin

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func jwtKey(t *testing.T, name string) *types.JWTKey {
	t.Helper()
	return &types.JWTKey{PublicKey: publicKey(t, newKey(t)), KeyId: name, ExpiresAt: time.Now().Add(time.Hour).Unix()}
}

func bundle(t *testing.T, name string) *types.Bundle {
	t.Helper()
	return &types.Bundle{
		TrustDomain:     name,
		X509Authorities: []*types.X509Certificate{{Asn1: authority(t)}},
		JwtAuthorities:  []*types.JWTKey{jwtKey(t, "key-1")},
		RefreshHint:     60,
		SequenceNumber:  7,
	}
}

func TestAuthoritiesAreAppendedToTheOwnBundle(t *testing.T) {
	before := must(bundles.GetBundle(t.Context(), &bundlev1.GetBundleRequest{}))(t)
	equal(t, "trust domain", before.TrustDomain, domain.Name())
	x509, jwt := &types.X509Certificate{Asn1: authority(t)}, jwtKey(t, rand.Text())
	after := must(bundles.AppendBundle(t.Context(), &bundlev1.AppendBundleRequest{
		X509Authorities: []*types.X509Certificate{x509}, JwtAuthorities: []*types.JWTKey{jwt},
	}))(t)
	want := proto.Clone(before).(*types.Bundle)
	want.X509Authorities, want.JwtAuthorities = append(want.X509Authorities, x509), append(want.JwtAuthorities, jwt)
	want.SequenceNumber = after.SequenceNumber
	same(t, after, want)
	same(t, must(bundles.GetBundle(t.Context(), &bundlev1.GetBundleRequest{}))(t), want)
	if after.SequenceNumber <= before.SequenceNumber {
		t.Fatalf("the sequence number stays: %d", after.SequenceNumber)
	}
	only := must(bundles.GetBundle(t.Context(), &bundlev1.GetBundleRequest{OutputMask: &types.BundleMask{SequenceNumber: true}}))(t)
	same(t, only, &types.Bundle{TrustDomain: domain.Name(), SequenceNumber: after.SequenceNumber})
	refused(bundles.AppendBundle(t.Context(), &bundlev1.AppendBundleRequest{}))(t, codes.InvalidArgument, "no authorities to append")
}

func TestAnAdministratorDoesNotPublishKeysOfServersBelow(t *testing.T) {
	refused(bundles.PublishJWTAuthority(t.Context(), &bundlev1.PublishJWTAuthorityRequest{JwtAuthority: jwtKey(t, "no")}))(t,
		codes.PermissionDenied, "authorization denied for method /spire.api.server.bundle.v1.Bundle/PublishJWTAuthority")
}

func TestFederatedBundlesAreCreatedUpdatedSetListedAndDeleted(t *testing.T) {
	one, two := bundle(t, "one.test"), bundle(t, "two.test")
	created := must(bundles.BatchCreateFederatedBundle(t.Context(), &bundlev1.BatchCreateFederatedBundleRequest{
		Bundle: []*types.Bundle{one, one, bundle(t, domain.Name())},
	}))(t)
	good(t, created.Results[0].Status)
	same(t, created.Results[0].Bundle, one)
	result(t, created.Results[1].Status, codes.AlreadyExists, "bundle already exists")
	result(t, created.Results[2].Status, codes.InvalidArgument, "creating a federated bundle for the server's own trust domain is not allowed")
	same(t, getFederated(t, "one.test"), one)
	equal(t, "bundles", must(bundles.CountBundles(t.Context(), &bundlev1.CountBundlesRequest{}))(t).Count, 2)

	change := bundle(t, "one.test")
	change.RefreshHint = 120
	updated := must(bundles.BatchUpdateFederatedBundle(t.Context(), &bundlev1.BatchUpdateFederatedBundleRequest{
		Bundle: []*types.Bundle{change, two}, InputMask: &types.BundleMask{RefreshHint: true},
	}))(t)
	good(t, updated.Results[0].Status)
	one.RefreshHint = 120
	same(t, getFederated(t, "one.test"), one)
	result(t, updated.Results[1].Status, codes.NotFound, "bundle not found")

	set := must(bundles.BatchSetFederatedBundle(t.Context(), &bundlev1.BatchSetFederatedBundleRequest{Bundle: []*types.Bundle{change, two}}))(t)
	for number, want := range []*types.Bundle{change, two} {
		good(t, set.Results[number].Status)
		same(t, getFederated(t, want.TrustDomain), want)
	}

	// A page may be empty, and not the last one.
	var listed []*types.Bundle
	request := &bundlev1.ListFederatedBundlesRequest{PageSize: 1}
	for page := 0; page == 0 || request.PageToken != ""; page++ {
		answer := must(bundles.ListFederatedBundles(t.Context(), request))(t)
		if len(answer.Bundles) > 1 {
			t.Fatalf("a page of one: %v", answer)
		}
		listed, request.PageToken = append(listed, answer.Bundles...), answer.NextPageToken
	}
	equal(t, "bundles", len(listed), 2)
	same(t, listed[0], change)
	same(t, listed[1], two)

	friend := entry("/friend", "uid:1")
	friend.FederatesWith = []string{"one.test"}
	friendly := create(t, friend)
	restricted := deleteFederated(t, bundlev1.BatchDeleteFederatedBundleRequest_RESTRICT, "one.test")
	result(t, restricted.Status, codes.FailedPrecondition,
		"failed to delete federated bundle: datastore-sql: cannot delete bundle; federated with 1 registration entries")
	good(t, deleteFederated(t, bundlev1.BatchDeleteFederatedBundleRequest_DISSOCIATE, "one.test").Status)
	equal(t, "federates with", len(getEntry(t, friendly.Id).FederatesWith), 0)
	good(t, deleteFederated(t, bundlev1.BatchDeleteFederatedBundleRequest_RESTRICT, "two.test").Status)
	result(t, deleteFederated(t, bundlev1.BatchDeleteFederatedBundleRequest_RESTRICT, "two.test").Status, codes.NotFound, "bundle not found")
	refused(bundles.GetFederatedBundle(t.Context(), &bundlev1.GetFederatedBundleRequest{TrustDomain: "one.test"}))(t,
		codes.NotFound, "bundle not found")
}

func getFederated(t *testing.T, name string) *types.Bundle {
	t.Helper()
	return must(bundles.GetFederatedBundle(t.Context(), &bundlev1.GetFederatedBundleRequest{TrustDomain: name}))(t)
}

func deleteFederated(
	t *testing.T, mode bundlev1.BatchDeleteFederatedBundleRequest_Mode, name string,
) *bundlev1.BatchDeleteFederatedBundleResponse_Result {
	t.Helper()
	answer := must(bundles.BatchDeleteFederatedBundle(t.Context(), &bundlev1.BatchDeleteFederatedBundleRequest{
		TrustDomains: []string{name}, Mode: mode,
	}))(t)
	equal(t, "results", len(answer.Results), 1)
	equal(t, "trust domain", answer.Results[0].TrustDomain, name)
	return answer.Results[0]
}

// inBundle tells whether the own bundle has a key for tokens.
func inBundle(t *testing.T, key *types.JWTKey) bool {
	t.Helper()
	for _, each := range must(bundles.GetBundle(t.Context(), &bundlev1.GetBundleRequest{}))(t).JwtAuthorities {
		if each.KeyId == key.KeyId {
			return bytes.Equal(each.PublicKey, key.PublicKey)
		}
	}
	return false
}
