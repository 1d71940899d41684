package expvars_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"expvar"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/expvars"
	_ "github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3-groupcommit", "file:"+filepath.Join(t.TempDir(), "test.db")+"?_journal=WAL&_sync=OFF&groupcommit_promises=on")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	_, err = db.Exec("CREATE TABLE a (k INTEGER UNIQUE)")
	require.NoError(t, err)
	return db
}

var names atomic.Int64

// name is one that no other test has, and no other run of the test.
func name(s string) string { return fmt.Sprint(s, names.Add(1)) }

// served is what the handler of package expvar says of a name.
func served(t *testing.T, name string) map[string]any {
	t.Helper()
	w := httptest.NewRecorder()
	expvar.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/debug/vars", nil))
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &all))
	require.Contains(t, all, name)
	var v map[string]any
	require.NoError(t, json.Unmarshal(all[name], &v))
	return v
}

func TestTheCountersOfADatabaseAreServed(t *testing.T) {
	db := open(t)
	name := name("served")
	require.NoError(t, expvars.Publish(name, db))
	type entry struct{ K int }
	cs, err := groupcommit.Handle(db, groupcommit.Each(func(_ context.Context, _ *sql.Tx, e entry) (int, error) { return e.K, nil }), groupcommit.Kind("entries"))
	require.NoError(t, err)
	_, err = cs.Do(t.Context(), "one", entry{1})
	require.NoError(t, err)
	var all sync.WaitGroup
	for k := range 100 {
		all.Go(func() { db.Exec("INSERT INTO a VALUES (?)", k%50) })
	}
	all.Wait()
	v := served(t, name)
	s, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.EqualValues(t, 100, v["calls"])
	require.EqualValues(t, s.Groups, v["groups"])
	require.Equal(t, map[string]any{"constraint": 50.}, v["errors"])
	require.Equal(t, map[string]any{"other": 1.}, v["apart"])
	sizes := v["sizes"].(map[string]any)
	require.EqualValues(t, s.Groups, sizes["count"])
	require.EqualValues(t, 100, sizes["sum"])
	require.EqualValues(t, s.Sizes.Quantile(.99), sizes["p99"])
	calls := v["call_seconds"].(map[string]any)
	require.EqualValues(t, 100, calls["count"])
	require.InDelta(t, float64(s.Latencies.Sum())/1e9, calls["sum"], 1e-9)
	require.InDelta(t, float64(s.Latencies.Quantile(.5))/1e9, calls["p50"], 1e-9)
	require.EqualValues(t, 1, v["commands"].(map[string]any)["entries"].(map[string]any)["resolved"])
	require.Contains(t, v, "pool")
}

func TestANameThatIsTakenIsAnError(t *testing.T) {
	another, ours := name("of another"), name("ours")
	expvar.NewInt(another)
	db := open(t)
	require.ErrorContains(t, expvars.Publish(another, db), fmt.Sprintf("%q is taken", another))
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = expvars.Publish(ours, db) })
	}
	all.Wait()
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
		}
	}
	require.Equal(t, 1, n)
	require.NoError(t, expvars.Publish(name("ours"), db))
}

func TestADatabaseThatIsNotOursIsNotPublished(t *testing.T) {
	plain, err := sql.Open("sqlite3", ":memory:")
	require.NoError(t, err)
	defer plain.Close()
	require.ErrorContains(t, expvars.Publish("plain", plain), "not groupcommit's")
	require.Nil(t, expvar.Get("plain"))
}

func TestAClosedDatabaseKeepsItsCounters(t *testing.T) {
	db := open(t)
	name := name("closed")
	require.NoError(t, expvars.Publish(name, db))
	_, err := db.Exec("INSERT INTO a VALUES (1)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.EqualValues(t, 1, served(t, name)["calls"])
}
