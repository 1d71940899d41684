package groupcommit

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/applog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type tenant struct{}

func as(name any) context.Context { return context.WithValue(context.Background(), tenant{}, name) }

func byTenant(ctx context.Context) any { return ctx.Value(tenant{}) }

// watched notes the groups of a database.
type watched struct {
	mu  sync.Mutex
	all [][]string // of each group, whose calls and which
}

func (g *watched) observe(info GroupInfo) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var of []string
	for _, c := range info.Calls {
		of = append(of, fmt.Sprint(c.Context().Value(tenant{}), " ", c.Args[0].Value))
	}
	g.all = append(g.all, of)
}

func TestOnlyCallsOfEqualKeysShareAGroupAndKeepTheirOrder(t *testing.T) {
	f, g := newFake(), &watched{}
	db := f.db(t, Partition(byTenant), Writers(1), OnGroup(g.observe))
	tenants := []string{"a", "b", "c"}
	var all []*Promise
	for _, name := range tenants {
		all = append(all, Go(as(name), db, "INSERT INTO plug VALUES (?)", -1))
	}
	queued := func(n int) func() bool {
		return func() bool { st, err := StatsOf(db); return err == nil && st.Queued == n }
	}
	require.Eventually(t, func() bool { return f.count("stmt exec")+f.count("exec") == len(tenants) }, 5*time.Second, time.Millisecond)
	for i := range 10 {
		for _, name := range tenants {
			all = append(all, Go(as(name), db, "INSERT INTO t VALUES (?)", i))
		}
	}
	require.Eventually(t, queued(30), 5*time.Second, time.Millisecond)
	close(f.hold)
	for _, p := range all {
		_, err := p.Await(context.Background())
		require.NoError(t, err)
	}
	var want [][]string
	for _, name := range tenants {
		var of []string
		for i := range 10 {
			of = append(of, fmt.Sprint(name, " ", i))
		}
		want = append(want, []string{name + " -1"}, of)
	}
	require.NoError(t, db.Close())
	assert.ElementsMatch(t, want, g.all)
}

func TestACallWaitsForNoOtherKey(t *testing.T) {
	f := newFake()
	db := f.db(t, Partition(byTenant))
	plug := Go(as("slow"), db, "INSERT INTO plug VALUES (?)", 0)
	require.Eventually(t, func() bool { return f.count("exec") == 1 }, 5*time.Second, time.Millisecond)
	behind := Go(as("slow"), db, "INSERT INTO t VALUES (?)", 1)
	for range 3 {
		_, err := db.ExecContext(as("quick"), "INSERT INTO t VALUES (?)", 2)
		require.NoError(t, err)
		_, err = db.ExecContext(as(nil), "INSERT INTO t VALUES (?)", 3)
		require.NoError(t, err)
	}
	assert.False(t, plug.State().Done())
	assert.False(t, behind.State().Done())
	close(f.hold)
	_, err := behind.Await(context.Background())
	require.NoError(t, err)
}

func TestAKeyThatIsNoneIsItsOwnCallersError(t *testing.T) {
	boom := errors.New("boom")
	db := newFake().db(t, Partition(func(ctx context.Context) any {
		if v, ok := ctx.Value(tenant{}).(error); ok {
			panic(v)
		}
		return ctx.Value(tenant{})
	}))
	for _, test := range []struct {
		key  any
		want string
	}{
		{[]string{"a"}, "a key of type []string, which cannot be compared"},
		{struct{ v any }{[]int{1}}, "which cannot be compared"},
		{math.NaN(), "the key NaN of type float64, which is not equal to itself"},
		{boom, "its function gave no key: groupcommit: panic during a call: boom"},
	} {
		_, err := db.ExecContext(as(test.key), "INSERT INTO t VALUES (?)", 1)
		assert.ErrorContains(t, err, "groupcommit: option Partition: ")
		assert.ErrorContains(t, err, test.want)
		_, err = Go(as(test.key), db, "INSERT INTO t VALUES (?)", 1).Await(context.Background())
		assert.ErrorContains(t, err, test.want)
		_, err = db.ExecContext(as("fine"), "INSERT INTO t VALUES (?)", 1)
		assert.NoError(t, err)
	}
	_, err := db.ExecContext(as(boom), "INSERT INTO t VALUES (?)", 1)
	assert.ErrorIs(t, err, boom)
}

func TestKeysWithoutACallAreForgottenAndTheirNumbersAreNot(t *testing.T) {
	db := newFake().db(t, Partition(byTenant))
	d, err := databaseOf(t.Context(), db)
	require.NoError(t, err)
	const n = 3 * keptPartitions
	for i := range n {
		_, err := db.ExecContext(as(i), "INSERT INTO t VALUES (?)", i)
		require.NoError(t, err)
	}
	st, err := StatsOf(db)
	require.NoError(t, err)
	assert.EqualValues(t, n, st.Calls)
	assert.EqualValues(t, n, st.Alone)
	assert.Len(t, d.partitions.byKey, keptPartitions)
	assert.Equal(t, keptPartitions, st.Lanes, "one for each that is not forgotten: a forgotten key has no groups at present")
	_, err = db.ExecContext(as(0), "INSERT INTO t VALUES (?)", 0) // who comes again is let in
	require.NoError(t, err)
	assert.Len(t, d.partitions.byKey, keptPartitions)
}

func TestCloseAnswersTheCallsOfAllKeys(t *testing.T) {
	f := newFake()
	db := f.db(t, Partition(byTenant))
	var all []*Promise
	for i := range 100 {
		all = append(all, Go(as(i%7), db, "INSERT INTO t VALUES (?)", i))
	}
	require.NoError(t, db.Close())
	for _, p := range all {
		require.True(t, p.State().Done())
		_, err := p.Await(context.Background())
		require.NoError(t, err)
	}
	assert.Len(t, f.stored(), 100)
	_, err := Go(as(1), db, "INSERT INTO t VALUES (?)", 1).Await(context.Background())
	require.ErrorIs(t, err, ErrClosed)
}

// hooked is the engine of a driver with a hook that reads contexts.
type hooked struct{ Engine }

type hookedSession struct{ engine.Session }

func (h hooked) Open(ctx context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	ses, err := anyEngine().Open(ctx, conn, s)
	return hookedSession{ses}, err
}

func (h hookedSession) Traits() engine.Traits {
	t := h.Session.Traits()
	t.Hook = "Hook"
	return t
}

func TestWithAHookThatReadsContextsEachCallRunsByItselfUnlessPartitionSaysMore(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)

	f := newFake()
	db := f.db(t, WithEngine(hooked{}))
	plug := Go(context.Background(), db, "INSERT INTO plug VALUES (?)", 0)
	require.Eventually(t, func() bool { return f.count("exec") == 1 }, 5*time.Second, time.Millisecond)
	for i := range 20 { // beside each other, as on the plain driver
		_, err := db.Exec("INSERT INTO t VALUES (?)", i)
		require.NoError(t, err)
		_, err = Go(context.Background(), db, "INSERT INTO t VALUES (?)", i).Await(context.Background())
		require.NoError(t, err)
	}
	require.False(t, plug.State().Done())
	close(f.hold)
	require.NoError(t, db.Close())
	assert.True(t, plug.State().Done(), "Close waits for it")
	_, err := plug.Await(context.Background())
	require.NoError(t, err)
	assert.Zero(t, f.count("begin"), "a group")
	applog.Wait()
	assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
	assert.Contains(t, log.String(), "option Partition")
	assert.Contains(t, log.String(), "hook=Hook")

	log.Reset()
	f = newFake()
	db = f.db(t, WithEngine(hooked{}), Partition(byTenant))
	_, err = db.Exec("INSERT INTO t VALUES (?)", 1)
	require.NoError(t, err)
	st, err := StatsOf(db)
	require.NoError(t, err)
	assert.EqualValues(t, 1, st.Calls, "of groups")
	applog.Wait()
	assert.Empty(t, log.String())
	_, err = Handle(db, Each(func(context.Context, *sql.Tx, int) (int, error) { return 0, nil }))
	assert.ErrorContains(t, err, "Hook reads the context")
}
