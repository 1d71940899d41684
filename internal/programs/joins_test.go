package programs

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"entgo.io/ent/dialect/sql/sqlgraph"
	"entgo.io/ent/schema/field"
	"github.com/groupcommit/groupcommit"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"maragu.dev/goqite"
)

// joining says which calls of each library join groups, as docs/with.md does. The others that write do so in transactions.
var joining = map[string][]string{
	"gorm":                                 {},
	"gorm without its default transaction": {"create", "create several", "update", "delete"},
	"bun":                                  {"create", "create several", "update", "delete"},
	"ent":                                  {"create", "create several", "update", "delete"},
	"sqlc":                                 {"create", "update", "delete"},
	"goqite":                               {},
	"river":                                {},
}

func TestTheCallsOfALibraryThatJoinGroupsAreThoseOfItsRecipe(t *testing.T) {
	onBoth(t, func(t *testing.T, e Engine) {
		for name, open := range stores {
			t.Run(name, func(t *testing.T) {
				_, s := sides(t, e)
				store, db := open(t, s)
				must(t, db, e.Schema())
				w := &watcher{t: t, db: db}
				storesCalls(t.Context(), w, store)
				assert.Equal(t, joining[name], w.joined)
			})
		}
		t.Run("goqite", func(t *testing.T) {
			_, s := sides(t, e)
			w := &watcher{t: t, db: s.open(t)}
			q, err := NewGoqite(t.Context(), e, w.db)
			require.NoError(t, err)
			goqitesCalls(t.Context(), w, q)
			assert.Equal(t, joining["goqite"], w.joined)
		})
		t.Run("river", func(t *testing.T) {
			_, s := sides(t, e)
			w := &watcher{t: t, db: s.open(t)}
			client, err := NewRiver(t.Context(), e, w.db)
			require.NoError(t, err)
			riversCalls(t.Context(), w, client)
			assert.Equal(t, joining["river"], w.joined)
		})
	})
}

// A watcher makes calls, one at a time, and sees which of them join a group.
type watcher struct {
	t      *testing.T
	db     *sql.DB
	joined []string
}

func (w *watcher) see(call string, do func() error) {
	w.t.Helper()
	before, err := groupcommit.StatsOf(w.db)
	require.NoError(w.t, err)
	require.NoError(w.t, do(), call)
	after, err := groupcommit.StatsOf(w.db)
	require.NoError(w.t, err)
	in := after.Apart[groupcommit.WhyInTransaction] - before.Apart[groupcommit.WhyInTransaction]
	reads := after.Apart[groupcommit.WhyReads] - before.Apart[groupcommit.WhyReads]
	switch n := after.Calls - before.Calls; {
	case n == 1 && in == 0 && reads == 0:
		w.joined = append(w.joined, call)
	case n != 0 || in == 0 && reads == 0:
		assert.Fail(w.t, call, "%d calls joined a group, and %d were in a transaction", n, in)
	}
}

func storesCalls(ctx context.Context, w *watcher, store Store) {
	user := func(name string) *User {
		return &User{Name: name, Balance: 10, Born: time.Unix(1_700_000_000, 0).UTC()}
	}
	one, two := user("one"), user("two")
	w.joined = []string{}
	w.see("create", func() error { return store.Create(ctx, one) })
	w.see("create several", func() error { return store.CreateAll(ctx, []*User{two, user("three")}) })
	w.see("find", func() error { _, err := store.Find(ctx, one.ID); return err })
	w.see("update", func() error { _, err := store.Rename(ctx, one.ID, "1"); return err })
	w.see("move", func() error { return store.Move(ctx, one.ID, two.ID, 5) })
	if s, ok := store.(*Ent); ok {
		w.see("update one", func() error { return s.updateOne(ctx, two.ID, "2") })
	}
	w.see("delete", func() error { _, err := store.Delete(ctx, one.ID); return err })
}

func goqitesCalls(ctx context.Context, w *watcher, q *goqite.Queue) {
	var m *goqite.Message
	w.joined = []string{}
	w.see("send", func() error { return q.Send(ctx, goqite.Message{Body: []byte("x")}) })
	w.see("receive", func() (err error) { m, err = q.Receive(ctx); return err })
	w.see("delete", func() error { return q.Delete(ctx, m.ID) })
}

func riversCalls(ctx context.Context, w *watcher, client *Inserter) {
	w.joined = []string{}
	w.see("insert", func() error { _, err := client.Insert(ctx, Job{1}, nil); return err })
	w.see("insert several", func() error {
		_, err := client.InsertMany(ctx, []river.InsertManyParams{{Args: Job{2}}, {Args: Job{3}}})
		return err
	})
}

// updateOne is what UpdateOneID(id).SetName(name).Save(ctx) of a generated client comes to.
func (s *Ent) updateOne(ctx context.Context, id int64, name string) error {
	spec := sqlgraph.NewUpdateSpec("users", entColumns, entID())
	spec.Node.ID.Value = id
	spec.SetField("name", field.TypeString, name)
	spec.ScanValues = func([]string) ([]any, error) { return []any{new(any), new(any), new(any), new(any), new(any)}, nil }
	spec.Assign = func([]string, []any) error { return nil }
	return sqlgraph.UpdateNode(ctx, s.drv, spec)
}
