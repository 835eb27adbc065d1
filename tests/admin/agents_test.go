package admin

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func joinToken(t *testing.T) string {
	t.Helper()
	token := must(agents.CreateJoinToken(t.Context(), &agentv1.CreateJoinTokenRequest{Ttl: 60}))(t)
	if left := time.Until(time.Unix(token.ExpiresAt, 0)); token.Value == "" || left < 30*time.Second || left > time.Minute {
		t.Fatalf("a token for a minute: %v", token)
	}
	return token.Value
}

// attest is what an agent does with a token.
func attest(t *testing.T, token string) (*agentv1.AttestAgentResponse_Result, *x509svid.SVID, error) {
	t.Helper()
	key := newKey(t)
	stream := must(agentv1.NewAgentClient(dial(t, nil)).AttestAgent(t.Context()))(t)
	params := &agentv1.AttestAgentRequest_Params{
		Data:   &types.AttestationData{Type: "join_token", Payload: []byte(token)},
		Params: &agentv1.AgentX509SVIDParams{Csr: request(t, key, "")},
	}
	if err := stream.Send(&agentv1.AttestAgentRequest{Step: &agentv1.AttestAgentRequest_Params_{Params: params}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	result := answer.GetResult()
	return result, holder(t, result.GetSvid(), key), nil
}

func attested(t *testing.T) (*types.SPIFFEID, *x509svid.SVID) {
	t.Helper()
	token := joinToken(t)
	result, svid, err := attest(t, token)
	if err != nil {
		t.Fatal(err)
	}
	same(t, result.Svid.Id, id("/spire/agent/join_token/"+token))
	equal(t, "can attest again", result.Reattestable, false)
	afterwards(t, agents.DeleteAgent, &agentv1.DeleteAgentRequest{Id: result.Svid.Id})
	return result.Svid.Id, svid
}

// renew is a call that agents alone may make.
func renew(t *testing.T, svid *x509svid.SVID) error {
	t.Helper()
	params := &agentv1.AgentX509SVIDParams{Csr: request(t, newKey(t), "")}
	_, err := agentv1.NewAgentClient(dial(t, svid)).RenewAgent(t.Context(), &agentv1.RenewAgentRequest{Params: params})
	return err
}

func TestAJoinTokenBringsOneAgent(t *testing.T) {
	token := joinToken(t)
	result, _, err := attest(t, token)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = attest(t, token)
	refused(0, err)(t, codes.InvalidArgument, "failed to attest: join token does not exist or has already been used")
	must(agents.DeleteAgent(t.Context(), &agentv1.DeleteAgentRequest{Id: result.Svid.Id}))(t)
}

func TestAJoinTokenThatNamesItsAgentLeavesAnEntry(t *testing.T) {
	named := must(agents.CreateJoinToken(t.Context(), &agentv1.CreateJoinTokenRequest{Ttl: 60, AgentId: id("/named")}))(t)
	filter := &entryv1.ListEntriesRequest_Filter{BySpiffeId: id("/named")}
	found := must(entries.ListEntries(t.Context(), &entryv1.ListEntriesRequest{Filter: filter}))(t).Entries
	equal(t, "entries", len(found), 1)
	afterwards(t, entries.BatchDeleteEntry, &entryv1.BatchDeleteEntryRequest{Ids: []string{found[0].Id}})
	same(t, found[0].ParentId, id("/spire/agent/join_token/"+named.Value))
	refused(agents.CreateJoinToken(t.Context(), &agentv1.CreateJoinTokenRequest{}))(t, codes.InvalidArgument, "ttl is required, you must provide one")
}

func TestAgentsAreCountedListedAndShown(t *testing.T) {
	before := must(agents.CountAgents(t.Context(), &agentv1.CountAgentsRequest{}))(t).Count
	mine, svid := attested(t)
	attested(t)
	equal(t, "agents", must(agents.CountAgents(t.Context(), &agentv1.CountAgentsRequest{}))(t).Count, before+2)

	shown := must(agents.GetAgent(t.Context(), &agentv1.GetAgentRequest{Id: mine}))(t)
	want := &types.Agent{
		Id:                   mine,
		AttestationType:      "join_token",
		X509SvidSerialNumber: svid.Certificates[0].SerialNumber.String(),
		X509SvidExpiresAt:    svid.Certificates[0].NotAfter.Unix(),
	}
	same(t, shown, want)
	masked := must(agents.GetAgent(t.Context(), &agentv1.GetAgentRequest{Id: mine, OutputMask: &types.AgentMask{AttestationType: true}}))(t)
	same(t, masked, &types.Agent{Id: mine, AttestationType: "join_token"})

	for _, c := range []struct {
		filter *agentv1.ListAgentsRequest_Filter
		found  int32
	}{
		{&agentv1.ListAgentsRequest_Filter{ByAttestationType: "join_token"}, before + 2},
		{&agentv1.ListAgentsRequest_Filter{ByAttestationType: "x509pop"}, 0},
		{&agentv1.ListAgentsRequest_Filter{ByBanned: wrapperspb.Bool(false)}, before + 2},
		{&agentv1.ListAgentsRequest_Filter{ByCanReattest: wrapperspb.Bool(true)}, 0},
	} {
		listed := must(agents.ListAgents(t.Context(), &agentv1.ListAgentsRequest{Filter: c.filter}))(t)
		equal(t, c.filter.String(), int32(len(listed.Agents)), c.found)
	}
	page := must(agents.ListAgents(t.Context(), &agentv1.ListAgentsRequest{PageSize: 1}))(t)
	equal(t, "page", len(page.Agents), 1)
	next := must(agents.ListAgents(t.Context(), &agentv1.ListAgentsRequest{PageSize: 1, PageToken: page.NextPageToken}))(t)
	if len(next.Agents) != 1 || next.Agents[0].Id.Path == page.Agents[0].Id.Path {
		t.Fatalf("the same page twice: %v", next)
	}
}

func TestABannedAgentIsShutOut(t *testing.T) {
	_, good := attested(t)
	if err := renew(t, good); err != nil {
		t.Fatal(err)
	}
	banned, svid := attested(t)
	must(agents.BanAgent(t.Context(), &agentv1.BanAgentRequest{Id: banned}))(t)
	equal(t, "banned", must(agents.GetAgent(t.Context(), &agentv1.GetAgentRequest{Id: banned}))(t).Banned, true)
	listed := must(agents.ListAgents(t.Context(), &agentv1.ListAgentsRequest{
		Filter: &agentv1.ListAgentsRequest_Filter{ByBanned: wrapperspb.Bool(true)}, OutputMask: &types.AgentMask{Banned: true},
	}))(t)
	equal(t, "banned agents", len(listed.Agents), 1)
	same(t, listed.Agents[0], &types.Agent{Id: banned, Banned: true})
	shutOut(t, renew(t, svid), types.PermissionDeniedDetails_AGENT_BANNED)
	refused(agents.BanAgent(t.Context(), &agentv1.BanAgentRequest{Id: id("/spire/agent/nobody")}))(t, codes.NotFound, "agent not found")
}

func TestAnEvictedAgentIsForgotten(t *testing.T) {
	evicted, svid := attested(t)
	must(agents.DeleteAgent(t.Context(), &agentv1.DeleteAgentRequest{Id: evicted}))(t)
	refused(agents.GetAgent(t.Context(), &agentv1.GetAgentRequest{Id: evicted}))(t, codes.NotFound, "agent not found")
	refused(agents.DeleteAgent(t.Context(), &agentv1.DeleteAgentRequest{Id: evicted}))(t, codes.NotFound, "agent not found")
	shutOut(t, renew(t, svid), types.PermissionDeniedDetails_AGENT_NOT_ATTESTED)
}

func shutOut(t *testing.T, err error, reason types.PermissionDeniedDetails_Reason) {
	t.Helper()
	denied := status.Convert(err)
	equal(t, "code", denied.Code(), codes.PermissionDenied)
	equal(t, "details", len(denied.Details()), 1)
	details, ok := denied.Details()[0].(*types.PermissionDeniedDetails)
	if !ok || details.Reason != reason {
		t.Fatalf("got %v, want %v", denied.Details(), reason)
	}
}
