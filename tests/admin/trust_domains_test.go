package admin

import (
	"testing"

	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	trustdomainv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/trustdomain/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc/codes"
)

func TestFederationRelationshipsAreCreatedUpdatedListedAndDeleted(t *testing.T) {
	web := &types.FederationRelationship{
		TrustDomain:           "web.test",
		BundleEndpointUrl:     "https://127.0.0.1:9/web",
		BundleEndpointProfile: &types.FederationRelationship_HttpsWeb{HttpsWeb: &types.HTTPSWebProfile{}},
	}
	spiffe := &types.FederationRelationship{
		TrustDomain:       "spiffe.test",
		BundleEndpointUrl: "https://127.0.0.1:9/spiffe",
		BundleEndpointProfile: &types.FederationRelationship_HttpsSpiffe{
			HttpsSpiffe: &types.HTTPSSPIFFEProfile{EndpointSpiffeId: "spiffe://spiffe.test/endpoint"},
		},
		TrustDomainBundle: bundle(t, "spiffe.test"),
	}
	created := must(trustDomains.BatchCreateFederationRelationship(t.Context(), &trustdomainv1.BatchCreateFederationRelationshipRequest{
		FederationRelationships: []*types.FederationRelationship{web, spiffe},
	}))(t)
	afterwards(t, bundles.BatchDeleteFederatedBundle, &bundlev1.BatchDeleteFederatedBundleRequest{TrustDomains: []string{"spiffe.test"}})
	for number, want := range []*types.FederationRelationship{web, spiffe} {
		good(t, created.Results[number].Status)
		same(t, created.Results[number].FederationRelationship, want)
		same(t, getRelationship(t, want.TrustDomain), want)
	}
	same(t, getFederated(t, "spiffe.test"), spiffe.TrustDomainBundle)

	listed := must(trustDomains.ListFederationRelationships(t.Context(), &trustdomainv1.ListFederationRelationshipsRequest{
		OutputMask: &types.FederationRelationshipMask{BundleEndpointUrl: true}, PageSize: 1,
	}))(t)
	equal(t, "page", len(listed.FederationRelationships), 1)
	same(t, listed.FederationRelationships[0], &types.FederationRelationship{TrustDomain: "web.test", BundleEndpointUrl: web.BundleEndpointUrl})
	listed = must(trustDomains.ListFederationRelationships(t.Context(), &trustdomainv1.ListFederationRelationshipsRequest{
		PageSize: 1, PageToken: listed.NextPageToken,
	}))(t)
	equal(t, "page", len(listed.FederationRelationships), 1)
	same(t, listed.FederationRelationships[0], spiffe)

	web.BundleEndpointUrl = "https://127.0.0.1:9/moved"
	updated := must(trustDomains.BatchUpdateFederationRelationship(t.Context(), &trustdomainv1.BatchUpdateFederationRelationshipRequest{
		FederationRelationships: []*types.FederationRelationship{web},
		InputMask:               &types.FederationRelationshipMask{BundleEndpointUrl: true},
	}))(t)
	good(t, updated.Results[0].Status)
	same(t, updated.Results[0].FederationRelationship, web)
	same(t, getRelationship(t, "web.test"), web)

	deleted := must(trustDomains.BatchDeleteFederationRelationship(t.Context(), &trustdomainv1.BatchDeleteFederationRelationshipRequest{
		TrustDomains: []string{"web.test", "spiffe.test", "nobody.test"},
	}))(t)
	good(t, deleted.Results[0].Status)
	good(t, deleted.Results[1].Status)
	result(t, deleted.Results[2].Status, codes.NotFound, "federation relationship not found")
	refused(trustDomains.GetFederationRelationship(t.Context(), &trustdomainv1.GetFederationRelationshipRequest{TrustDomain: "web.test"}))(t,
		codes.NotFound, "federation relationship does not exist")
}

func getRelationship(t *testing.T, name string) *types.FederationRelationship {
	t.Helper()
	return must(trustDomains.GetFederationRelationship(t.Context(), &trustdomainv1.GetFederationRelationshipRequest{TrustDomain: name}))(t)
}
