package admin

import (
	"crypto/rand"
	"fmt"
	"sort"
	"strings"
	"testing"

	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The parent of the entries here, and of no other.
var node = id("/node")

func selectors(values ...string) []*types.Selector {
	made := make([]*types.Selector, 0, len(values))
	for _, value := range values {
		made = append(made, &types.Selector{Type: "unix", Value: value})
	}
	return made
}

func entry(path string, values ...string) *types.Entry {
	return &types.Entry{ParentId: node, SpiffeId: id(path), Selectors: selectors(values...)}
}

// create makes an entry that has to be good, and takes it away at the end.
func create(t *testing.T, wanted *types.Entry) *types.Entry {
	t.Helper()
	answer := must(entries.BatchCreateEntry(t.Context(), &entryv1.BatchCreateEntryRequest{Entries: []*types.Entry{wanted}}))(t)
	equal(t, "results", len(answer.Results), 1)
	made := answer.Results[0]
	good(t, made.Status)
	afterwards(t, entries.BatchDeleteEntry, &entryv1.BatchDeleteEntryRequest{Ids: []string{made.Entry.Id}})
	return made.Entry
}

func getEntry(t *testing.T, id string) *types.Entry {
	t.Helper()
	return must(entries.GetEntry(t.Context(), &entryv1.GetEntryRequest{Id: id}))(t)
}

func TestAnEntryIsCreatedWithAllThatItHas(t *testing.T) {
	wanted := entry("/whole", "uid:1", "gid:2")
	wanted.X509SvidTtl, wanted.JwtSvidTtl = 120, 60
	wanted.DnsNames = []string{"whole", "whole.example.org"}
	wanted.Hint, wanted.StoreSvid, wanted.ExpiresAt = "hint", true, 4102444800
	wanted.AdditionalAttributes = &types.Entry_AdditionalAttributes{JwtSvidIncludeJti: true}
	made := create(t, wanted)
	if made.Id == "" || made.CreatedAt == 0 {
		t.Fatalf("not told: %v", made)
	}
	want := proto.Clone(wanted).(*types.Entry)
	want.Id, want.CreatedAt = made.Id, made.CreatedAt
	sorted := func(entry *types.Entry) *types.Entry {
		entry = proto.Clone(entry).(*types.Entry)
		sort.Slice(entry.Selectors, func(i, j int) bool { return entry.Selectors[i].Value < entry.Selectors[j].Value })
		return entry
	}
	same(t, sorted(made), sorted(want))
	same(t, sorted(getEntry(t, made.Id)), sorted(want))
	masked := must(entries.GetEntry(t.Context(), &entryv1.GetEntryRequest{Id: made.Id, OutputMask: &types.EntryMask{Hint: true}}))(t)
	same(t, masked, &types.Entry{Id: made.Id, Hint: "hint"})
}

func TestEachEntryOfABatchHasAnAnswerOfItsOwn(t *testing.T) {
	first := create(t, entry("/batch", "uid:1"))
	fresh := entry("/batch/fresh", "uid:2")
	fresh.Id = rand.Text()
	answer := must(entries.BatchCreateEntry(t.Context(), &entryv1.BatchCreateEntryRequest{
		Entries:    []*types.Entry{entry("/batch", "uid:1"), entry("/batch/none"), fresh},
		OutputMask: &types.EntryMask{SpiffeId: true},
	}))(t)
	equal(t, "results", len(answer.Results), 3)
	result(t, answer.Results[0].Status, codes.AlreadyExists, "similar entry already exists")
	same(t, answer.Results[0].Entry, &types.Entry{Id: first.Id, SpiffeId: first.SpiffeId})
	result(t, answer.Results[1].Status, codes.InvalidArgument, "failed to convert entry: selector list is empty")
	good(t, answer.Results[2].Status)
	same(t, answer.Results[2].Entry, &types.Entry{Id: fresh.Id, SpiffeId: fresh.SpiffeId})

	deleted := must(entries.BatchDeleteEntry(t.Context(), &entryv1.BatchDeleteEntryRequest{Ids: []string{fresh.Id, "nobody"}}))(t)
	good(t, deleted.Results[0].Status)
	equal(t, "deleted", deleted.Results[0].Id, fresh.Id)
	result(t, deleted.Results[1].Status, codes.NotFound, "entry not found")
	refused(entries.GetEntry(t.Context(), &entryv1.GetEntryRequest{Id: fresh.Id}))(t, codes.NotFound, "entry not found")
}

func TestEntriesAreFoundByWhatTheyHave(t *testing.T) {
	one := entry("/found/one", "uid:1", "gid:1")
	one.Hint = "first"
	below := entry("/found/below", "uid:1")
	below.Downstream = true
	for _, wanted := range []*types.Entry{one, below, entry("/found/other", "uid:2")} {
		create(t, wanted)
	}
	by := func(match types.SelectorMatch_MatchBehavior, values ...string) *entryv1.ListEntriesRequest_Filter {
		return &entryv1.ListEntriesRequest_Filter{BySelectors: &types.SelectorMatch{Selectors: selectors(values...), Match: match}}
	}
	for _, c := range []struct {
		filter *entryv1.ListEntriesRequest_Filter
		found  string
	}{
		{&entryv1.ListEntriesRequest_Filter{}, "below one other"},
		{&entryv1.ListEntriesRequest_Filter{BySpiffeId: id("/found/one")}, "one"},
		{&entryv1.ListEntriesRequest_Filter{ByHint: wrapperspb.String("first")}, "one"},
		{&entryv1.ListEntriesRequest_Filter{ByDownstream: wrapperspb.Bool(true)}, "below"},
		{by(types.SelectorMatch_MATCH_EXACT, "uid:1"), "below"},
		{by(types.SelectorMatch_MATCH_SUBSET, "uid:1", "gid:1"), "below one"},
		{by(types.SelectorMatch_MATCH_SUPERSET, "uid:1"), "below one"},
		{by(types.SelectorMatch_MATCH_ANY, "gid:1", "uid:2"), "one other"},
	} {
		c.filter.ByParentId = node
		listed := must(entries.ListEntries(t.Context(), &entryv1.ListEntriesRequest{
			Filter: c.filter, OutputMask: &types.EntryMask{SpiffeId: true},
		}))(t)
		equal(t, c.filter.String(), names(listed.Entries), c.found)
		counted := must(entries.CountEntries(t.Context(), &entryv1.CountEntriesRequest{Filter: &entryv1.CountEntriesRequest_Filter{
			BySpiffeId: c.filter.BySpiffeId, ByParentId: c.filter.ByParentId, BySelectors: c.filter.BySelectors,
			ByHint: c.filter.ByHint, ByDownstream: c.filter.ByDownstream,
		}}))(t)
		equal(t, c.filter.String(), int(counted.Count), len(listed.Entries))
	}
}

// names are the last parts of the paths.
func names(entries []*types.Entry) string {
	found := make([]string, 0, len(entries))
	for _, entry := range entries {
		found = append(found, entry.SpiffeId.Path[strings.LastIndexByte(entry.SpiffeId.Path, '/')+1:])
	}
	sort.Strings(found)
	return strings.Join(found, " ")
}

func TestEntriesArePaged(t *testing.T) {
	for number := range 5 {
		create(t, entry(fmt.Sprintf("/paged/%d", number), "uid:1"))
	}
	var listed []*types.Entry
	request := &entryv1.ListEntriesRequest{Filter: &entryv1.ListEntriesRequest_Filter{ByParentId: node}, PageSize: 2}
	for page := 0; page == 0 || request.PageToken != ""; page++ {
		answer := must(entries.ListEntries(t.Context(), request))(t)
		if len(answer.Entries) > 2 {
			t.Fatalf("a page of two: %v", answer)
		}
		listed, request.PageToken = append(listed, answer.Entries...), answer.NextPageToken
	}
	equal(t, "entries", names(listed), "0 1 2 3 4")
}

func TestEntriesAreUpdatedAsFarAsTheMaskSays(t *testing.T) {
	before := create(t, entry("/updated", "uid:1"))
	change := &types.Entry{Id: before.Id, Hint: "new", X509SvidTtl: 300, ParentId: id("/elsewhere")}
	answer := must(entries.BatchUpdateEntry(t.Context(), &entryv1.BatchUpdateEntryRequest{
		Entries:   []*types.Entry{change, {Id: "nobody", Hint: "new"}},
		InputMask: &types.EntryMask{Hint: true, X509SvidTtl: true},
	}))(t)
	good(t, answer.Results[0].Status)
	after := proto.Clone(before).(*types.Entry)
	after.Hint, after.X509SvidTtl, after.RevisionNumber = "new", 300, before.RevisionNumber+1
	same(t, answer.Results[0].Entry, after)
	same(t, getEntry(t, before.Id), after)
	result(t, answer.Results[1].Status, codes.NotFound, "failed to update entry")
}
