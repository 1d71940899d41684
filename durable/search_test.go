package durable_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/require"
)

// search returns the ids on all pages of a search.
func search(t *testing.T, s durable.Store, q durable.Query) (ids []string) {
	t.Helper()
	for {
		page, err := s.Search(background, q)
		require.NoError(t, err)
		for _, p := range page.Promises {
			require.NotEmpty(t, p.ID)
			ids = append(ids, p.ID)
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return ids
		}
	}
}

func place(t *testing.T, s durable.Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		_, err := s.Create(background, durable.CreateRequest{ID: id})
		require.NoError(t, err)
	}
}

func TestOnlyTheStarOfAPatternIsSpecial(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		s := open()
		all := []string{"A", "a", "a%c", "a*c", "a?c", "a[b]c", `a\c`, "a_c", "abbc", "abc", "abcabc", "b", "é"}
		place(t, s, all...)
		for pattern, want := range map[string][]string{
			"":         all, // and not the row that holds the version
			"*":        all,
			"**":       all,
			"a":        {"a"},
			"A*":       {"A"},
			"a%c":      {"a%c"},
			"a_c":      {"a_c"},
			"a?c":      {"a?c"},
			`a\c`:      {`a\c`},
			"a[b]c":    {"a[b]c"},
			"a]*":      nil,
			"a*c":      {"a%c", "a*c", "a?c", "a[b]c", `a\c`, "a_c", "abbc", "abc", "abcabc"},
			"*b*":      {"a[b]c", "abbc", "abc", "abcabc", "b"},
			"ab*bc":    {"abbc", "abcabc"},
			"abc*abc":  {"abcabc"},
			"abc*c*bc": nil,
			"é":        {"é"},
		} {
			require.Equal(t, want, search(t, s, durable.Query{ID: pattern}), "%q", pattern)
		}
	})
}

func TestASearchFindsByStateAndTags(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		s, clock := atNoon(open())
		odd := `a"b'c\<`
		for id, tags := range map[string]map[string]string{
			"sleep": {durable.TimeoutTag: "true", "kind": "x"}, "late": {"kind": "x", "other": "y"}, "resolve": {odd: odd},
			"reject": {"kind": "X"}, "cancel": {"other": "x"}, "waiting": nil,
		} {
			r := durable.CreateRequest{ID: id, Tags: tags, Timeout: noon.Add(time.Second)}
			if id == "waiting" {
				r.Timeout = time.Time{}
			}
			_, err := s.Create(background, r)
			require.NoError(t, err)
			if slices.Contains(ops, id) {
				_, err = request(background, s, id, id, "", true, durable.Value{})
				require.NoError(t, err)
			}
		}
		x := map[string]string{"kind": "x"}
		require.Equal(t, []string{"late", "sleep", "waiting"}, search(t, s, durable.Query{States: []durable.State{durable.Pending}}))
		clock.Time = noon.Add(time.Second)
		for _, c := range []struct { // the first two are the first to see the promises that time out now
			name string
			durable.Query
			want []string
		}{
			{"resolved", durable.Query{States: []durable.State{durable.Resolved}}, []string{"resolve", "sleep"}},
			{"timed out", durable.Query{States: []durable.State{durable.RejectedTimedout}}, []string{"late"}},
			{"pending", durable.Query{States: []durable.State{durable.Pending}}, []string{"waiting"}},
			{"rejected", durable.Query{States: []durable.State{durable.Rejected}}, []string{"reject"}},
			{"canceled", durable.Query{States: []durable.State{durable.RejectedCanceled}}, []string{"cancel"}},
			{"two", durable.Query{States: []durable.State{durable.Pending, durable.RejectedTimedout}}, []string{"late", "waiting"}},
			{"tag", durable.Query{Tags: x}, []string{"late", "sleep"}},
			{"odd tag", durable.Query{Tags: map[string]string{odd: odd}}, []string{"resolve"}},
			{"two tags", durable.Query{Tags: map[string]string{"kind": "x", "other": "y"}}, []string{"late"}},
			{"no tag", durable.Query{Tags: map[string]string{"kind": ""}}, nil},
			{"all three", durable.Query{ID: "*e*", Tags: x, States: []durable.State{durable.Resolved}}, []string{"sleep"}},
		} {
			require.Equal(t, c.want, search(t, s, c.Query), c.name)
		}
	})
}

func TestASearchDoesNotShowAPendingPromiseWhoseTimeoutHasPassed(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		s, clock := atNoon(open())
		made, err := s.Create(background, durable.CreateRequest{ID: "x", Timeout: noon.Add(time.Second)})
		require.NoError(t, err)
		clock.Time = noon.Add(time.Minute)
		page, err := s.Search(background, durable.Query{})
		require.NoError(t, err)
		want := made.Promise
		want.State, want.Completed = durable.RejectedTimedout, noon.Add(time.Second)
		require.Equal(t, durable.Page{Promises: []durable.Promise{want}}, page)

		clock.Time = noon
		got, err := s.Get(background, "x")
		require.NoError(t, err)
		require.Equal(t, want, got, "what a search has shown stays so")
	})
}

func TestPagesFollowEachOtherInTheOrderOfIDs(t *testing.T) {
	everywhere(t, func(t *testing.T, open func() durable.Store) {
		s := open()
		var all []string
		for i := range 105 {
			all = append(all, fmt.Sprintf("%03d", i))
		}
		place(t, s, all...)
		require.Equal(t, all, search(t, s, durable.Query{Limit: 10}))
		require.Equal(t, all, search(t, s, durable.Query{Limit: 105}))
		page, err := s.Search(background, durable.Query{})
		require.NoError(t, err)
		require.Len(t, page.Promises, 100)
		page, err = s.Search(background, durable.Query{Limit: 105})
		require.NoError(t, err)
		require.Empty(t, page.Cursor, "the last page is known to be the last")
		place(t, s, "000a")
		page, err = s.Search(background, durable.Query{Limit: 2, Cursor: "000"})
		require.NoError(t, err)
		require.Equal(t, "001", page.Cursor)
		require.Equal(t, "000a", page.Promises[0].ID, "the cursor is a place, whatever comes and goes")
	})
}
