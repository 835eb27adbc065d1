package admin

import (
	"testing"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	debugv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/debug/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	loggerv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/logger/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestTheLoggerIsSetAndReset(t *testing.T) {
	logger := loggerv1.NewLoggerClient(conn)
	if *workload != "" {
		refused(logger.GetLogger(t.Context(), &loggerv1.GetLoggerRequest{}))(t, codes.Unimplemented, "unknown service spire.api.server.logger.v1.Logger")
		return
	}
	launched := must(logger.GetLogger(t.Context(), &loggerv1.GetLoggerRequest{}))(t)
	same(t, launched, &types.Logger{CurrentLevel: types.LogLevel_DEBUG, LaunchLevel: types.LogLevel_DEBUG})
	set := must(logger.SetLogLevel(t.Context(), &loggerv1.SetLogLevelRequest{NewLevel: types.LogLevel_WARN}))(t)
	same(t, set, &types.Logger{CurrentLevel: types.LogLevel_WARN, LaunchLevel: types.LogLevel_DEBUG})
	same(t, must(logger.GetLogger(t.Context(), &loggerv1.GetLoggerRequest{}))(t), set)
	same(t, must(logger.ResetLogLevel(t.Context(), &loggerv1.ResetLogLevelRequest{}))(t), launched)
}

func TestTheServerTellsWhatItHasToDoWith(t *testing.T) {
	debug := debugv1.NewDebugClient(conn)
	if *workload != "" {
		refused(debug.GetInfo(t.Context(), &debugv1.GetInfoRequest{}))(t, codes.Unimplemented, "unknown service spire.api.server.debug.v1.Debug")
		return
	}
	info := must(debug.GetInfo(t.Context(), &debugv1.GetInfoRequest{}))(t)
	equal(t, "agents", info.AgentsCount, must(agents.CountAgents(t.Context(), &agentv1.CountAgentsRequest{}))(t).Count)
	equal(t, "entries", info.EntriesCount, must(entries.CountEntries(t.Context(), &entryv1.CountEntriesRequest{}))(t).Count)
	// The own one, which SPIRE counts, too.
	equal(t, "bundles", info.FederatedBundlesCount, 1)
	equal(t, "chain", len(info.SvidChain), 2)
	same(t, info.SvidChain[0].Id, id("/spire/server"))
}

func TestTheServerIsHealthy(t *testing.T) {
	health := grpc_health_v1.NewHealthClient(conn)
	if *workload != "" {
		refused(health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}))(t, codes.Unimplemented, "unknown service grpc.health.v1.Health")
		return
	}
	healthy := must(health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}))(t)
	equal(t, "status", healthy.Status, grpc_health_v1.HealthCheckResponse_SERVING)
}
