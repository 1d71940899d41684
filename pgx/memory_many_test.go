package pgx

import (
	"context"
	"database/sql/driver"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/stretchr/testify/require"
)

const plainInsert = "INSERT INTO t (a) VALUES ($1)"

// pays reports whether a group of so many calls of a plain insert is worth statements of many rows.
func (m *memory) paysFor(n int, now time.Time) bool {
	var calls []*engine.Call
	for range n {
		c := engine.NewCall(context.Background(), plainInsert, []driver.NamedValue{{Ordinal: 1, Value: int64(1)}}, false)
		calls = append(calls, &c)
	}
	return m.manyPay(m.routes(nil, calls, now), usualWidths.least(), false)
}

func TestManyRowsAreForGroupsThatSaveMoreThanARoundTrip(t *testing.T) {
	m := learned()
	require.False(t, m.paysFor(1000, someTime), "nothing is known")
	m.sample(plainInsert, someTime, short)
	require.False(t, m.paysFor(1000, someTime), "no group has told how far the server is")
	m.tripped(200 * time.Microsecond)
	require.True(t, m.paysFor(140, someTime))
	require.False(t, m.paysFor(130, someTime))
	for range 300 {
		m.tripped(time.Millisecond)
	}
	require.False(t, m.paysFor(390, someTime))
	require.True(t, m.paysFor(410, someTime))
}

func TestManyRowsAreForGroupsWithIDsThatSaveMoreThanTheGuard(t *testing.T) {
	m := learned()
	paysFor := func(n int) bool {
		requests := make([]request, n)
		for i := range requests {
			requests[i] = request{query: plainInsert, insert: sqltext.PlainInsertOf(plainInsert)}
			requests[i].insert = requests[0].insert
		}
		return m.manyPay(requests, usualWidths.least(), true)
	}
	require.True(t, paysFor(70), "whatever the way to the server")
	require.False(t, paysFor(60))
}

func TestAStreamWithViolationsHasSingleRows(t *testing.T) {
	m := learned()
	m.sample(plainInsert, someTime, short)
	m.tripped(200 * time.Microsecond)
	m.ran(plainInsert, 1000, 0)
	m.ran(plainInsert, 1, 1)
	require.False(t, m.paysFor(500, someTime), "after one")
	m.ran(plainInsert, 1000, 0)
	require.True(t, m.paysFor(500, someTime), "it is forgotten")
	for range 100 {
		m.ran(plainInsert, 99, 0)
		m.ran(plainInsert, 1, 1)
		require.False(t, m.paysFor(500, someTime), "one in a hundred")
	}
}

func TestATextWhoseManyRowsFailedByThemselvesHasSingleRowsEverLonger(t *testing.T) {
	m, now := learned(), someTime
	m.sample(plainInsert, now, short)
	m.tripped(200 * time.Microsecond)
	for _, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		require.True(t, m.paysFor(500, now))
		c := engine.NewCall(context.Background(), plainInsert, []driver.NamedValue{{Ordinal: 1, Value: int64(1)}}, false)
		m.manyFailed(m.routes(nil, []*engine.Call{&c}, now), now)
		require.False(t, m.paysFor(500, now.Add(pause-1)))
		now = now.Add(pause)
	}
	require.True(t, m.paysFor(500, now))
	now = now.Add(time.Hour)
	c := engine.NewCall(context.Background(), plainInsert, []driver.NamedValue{{Ordinal: 1, Value: int64(1)}}, false)
	m.manyFailed(m.routes(nil, []*engine.Call{&c}, now), now)
	require.True(t, m.paysFor(500, now.Add(time.Second)), "that is long ago")
}
