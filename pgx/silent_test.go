package pgx_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// promising opens a database with a ledger, that is a program's first use of it.
func (r *rig) promising(dsn string, opts ...groupcommit.Option) *sql.DB {
	r.Helper()
	name := fmt.Sprintf("pgx-groupcommit-test-%d", drivers.Add(1))
	groupcommit.Register(name, stdlib.GetDefaultDriver(), append(opts, groupcommit.Promises())...)
	return r.open(name, dsn)
}

// silentFrom has the server hear nothing any more, from the first message with a text on. heard is closed by that one.
func silentFrom(p *proxy.Proxy, text string) (heard chan struct{}) {
	heard = make(chan struct{})
	var silent atomic.Bool
	p.OnClient(func(m proxy.Message) proxy.Action {
		if strings.Contains(m.SQL, text) && silent.CompareAndSwap(false, true) {
			close(heard)
		}
		if silent.Load() {
			return proxy.Drop
		}
		return proxy.Pass
	})
	return heard
}

// returns requires f to return although the server is silent, and gives its error.
func returns(t *testing.T, p *proxy.Proxy, f <-chan error) error {
	t.Helper()
	t.Cleanup(func() { p.Close() }) // which lets it return
	return bounded.Receive(t, "it returns though the server is silent", f)
}

func TestLookupEndsWithItsContextThoughTheServerIsSilent(t *testing.T) {
	t.Parallel()
	r, p := promised(t)
	require.Equal(t, done, execID(background, r.db, named{"a", logged(1)}))
	_, err := groupcommit.Lookup(background, r.db, "a")
	require.NoError(t, err)
	heard := silentFrom(p, "FROM groupcommit_promises WHERE id")
	ctx, cancel := context.WithCancel(background)
	returned := make(chan error, 1)
	go func() { _, err := groupcommit.Lookup(ctx, r.db, "a"); returned <- err }()
	bounded.Receive(t, "the server has heard it", heard)
	cancel()
	require.ErrorIs(t, returns(t, p, returned), context.Canceled)
}

func TestTheFirstUseEndsWithItsContextThoughTheServerIsSilent(t *testing.T) {
	t.Parallel()
	r, p := promised(t)
	db := r.promising(pgtest.With(r.dsn, pgtest.Via(p.Addr())))
	heard := silentFrom(p, "groupcommit_promises")
	ctx, cancel := context.WithCancel(background)
	returned := make(chan error, 1)
	go func() { returned <- db.PingContext(ctx) }()
	bounded.Receive(t, "the server has heard it", heard)
	cancel()
	require.ErrorIs(t, returns(t, p, returned), context.Canceled)
}

func TestCloseEndsASweepThatIsNotAnswered(t *testing.T) {
	for _, step := range []string{"SELECT ctid AS place FROM groupcommit_promises", "DELETE FROM groupcommit_promises"} {
		r, p := promised(t)
		db := r.promising(pgtest.With(r.dsn, pgtest.Via(p.Addr())), groupcommit.Retention(40*time.Millisecond))
		require.NoError(t, db.Ping())
		heard := silentFrom(p, step)
		r.exec(r.plain, "INSERT INTO groupcommit_promises (id, state, created_at, completed_at) VALUES ('old', 1, 1, 1)")
		bounded.Receive(t, "the server has heard it", heard)
		returned := make(chan error, 1)
		go func() { returned <- db.Close() }()
		require.NoError(t, returns(t, p, returned))
	}
}

// The simple protocol is for poolers that lead each statement to another process of the server.
func TestBySimpleProtocolTheLedgerPreparesNothing(t *testing.T) {
	t.Parallel()
	r, p := promised(t)
	var mu sync.Mutex
	var parsed []string
	db := r.promising(pgtest.With(r.dsn, pgtest.Via(p.Addr()), pgtest.Param("default_query_exec_mode", "simple_protocol")))
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Type == 'P' {
			mu.Lock()
			defer mu.Unlock()
			parsed = append(parsed, m.SQL)
		}
		return proxy.Pass
	})
	require.Equal(t, done, execID(background, db, named{"a", logged(1)}))
	_, err := groupcommit.Lookup(background, db, "a")
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, parsed)
}
