package admin

import (
	"bytes"
	"encoding/hex"
	"testing"

	localauthorityv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/localauthority/v1"
	"google.golang.org/grpc/codes"
)

func TestAnX509AuthorityIsPreparedAndActivated(t *testing.T) {
	state := func() *localauthorityv1.GetX509AuthorityStateResponse {
		return must(authorities.GetX509AuthorityState(t.Context(), &localauthorityv1.GetX509AuthorityStateRequest{}))(t)
	}
	first := state().Active
	prepared := must(authorities.PrepareX509Authority(t.Context(), &localauthorityv1.PrepareX509AuthorityRequest{}))(t).PreparedAuthority
	same(t, state().Prepared, prepared)
	same(t, state().Active, first)
	equal(t, "is in the bundle", hasX509Authority(t, prepared.AuthorityId), true)

	refused(authorities.ActivateX509Authority(t.Context(), &localauthorityv1.ActivateX509AuthorityRequest{}))(t,
		codes.InvalidArgument, "no authority ID provided")
	refused(authorities.TaintX509Authority(t.Context(), &localauthorityv1.TaintX509AuthorityRequest{AuthorityId: first.AuthorityId}))(t,
		codes.InvalidArgument, "unable to taint current local authority")
	activated := must(authorities.ActivateX509Authority(t.Context(), &localauthorityv1.ActivateX509AuthorityRequest{
		AuthorityId: prepared.AuthorityId,
	}))(t).ActivatedAuthority
	same(t, activated, prepared)
	same(t, state().Active, prepared)
	same(t, state().Old, first)
	refused(authorities.RevokeX509Authority(t.Context(), &localauthorityv1.RevokeX509AuthorityRequest{AuthorityId: first.AuthorityId}))(t,
		codes.Internal, "failed to revoke X.509 authority: it is not possible to revoke an untainted root CA")

	svid, key := mint(t, "/minted")
	leaf := holder(t, svid, key).Certificates[0]
	equal(t, "signed by", hex.EncodeToString(leaf.AuthorityKeyId), prepared.AuthorityId)
}

func hasX509Authority(t *testing.T, authorityID string) bool {
	t.Helper()
	wanted := must(hex.DecodeString(authorityID))(t)
	for _, authority := range ownBundle(t).X509Authorities() {
		if bytes.Equal(authority.SubjectKeyId, wanted) {
			return true
		}
	}
	return false
}

func TestAJWTAuthorityIsPreparedActivatedTaintedAndRevoked(t *testing.T) {
	state := func() *localauthorityv1.GetJWTAuthorityStateResponse {
		return must(authorities.GetJWTAuthorityState(t.Context(), &localauthorityv1.GetJWTAuthorityStateRequest{}))(t)
	}
	known := func(authority *localauthorityv1.AuthorityState) bool {
		_, known := ownBundle(t).FindJWTAuthority(authority.AuthorityId)
		return known
	}
	first := state().Active
	prepared := must(authorities.PrepareJWTAuthority(t.Context(), &localauthorityv1.PrepareJWTAuthorityRequest{}))(t).PreparedAuthority
	same(t, state().Prepared, prepared)
	equal(t, "is in the bundle", known(prepared), true)
	activated := must(authorities.ActivateJWTAuthority(t.Context(), &localauthorityv1.ActivateJWTAuthorityRequest{
		AuthorityId: prepared.AuthorityId,
	}))(t).ActivatedAuthority
	same(t, activated, prepared)
	same(t, state().Active, prepared)
	same(t, state().Old, first)

	refused(authorities.RevokeJWTAuthority(t.Context(), &localauthorityv1.RevokeJWTAuthorityRequest{AuthorityId: first.AuthorityId}))(t,
		codes.Internal, "failed to revoke JWT authority: it is not possible to revoke an untainted key")
	tainted := must(authorities.TaintJWTAuthority(t.Context(), &localauthorityv1.TaintJWTAuthorityRequest{AuthorityId: first.AuthorityId}))(t)
	equal(t, "tainted", tainted.TaintedAuthority.AuthorityId, first.AuthorityId)
	revoked := must(authorities.RevokeJWTAuthority(t.Context(), &localauthorityv1.RevokeJWTAuthorityRequest{AuthorityId: first.AuthorityId}))(t)
	equal(t, "revoked", revoked.RevokedAuthority.AuthorityId, first.AuthorityId)
	equal(t, "is in the bundle", known(first), false)
}
