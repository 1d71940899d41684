package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

type entry struct{ K int }

// logging is a handler that leaves a row for each command, and how often it was called.
func logging(calls *int) groupcommit.Handler[entry, int] {
	return func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		*calls++
		for _, c := range batch {
			if _, err := tx.ExecContext(ctx, "INSERT INTO log (k) VALUES ($1)", c.Value.K); err != nil {
				return err
			}
			c.Resolve(2 * c.Value.K)
		}
		return nil
	}
}

func handle[R any](t *testing.T, db *sql.DB, h groupcommit.Handler[entry, R], opts ...groupcommit.HandlerOption) *groupcommit.Commands[entry, R] {
	t.Helper()
	cs, err := groupcommit.Handle(db, h, opts...)
	require.NoError(t, err)
	return cs
}

// soon is a context for what must not wait for ever.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(background, 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// heldBatch has n commands in one batch, which begins when release is called. The others may be anything.
func heldBatch[R any](r *rig, cs *groupcommit.Commands[entry, R], first func(), n int, id func(k int) string) []*groupcommit.PromiseOf[R] {
	r.Helper()
	var promises []*groupcommit.PromiseOf[R]
	for k := range n {
		promises = append(promises, cs.Go(background, id(k), entry{k}))
	}
	r.eventually("commands are queued", func() bool { return cs.Stats().Queued == n })
	first()
	return promises
}

// gated is a handler whose first batch waits until it is let go, or until the test ends: closing the database waits for it.
func gated[R any](t *testing.T, h groupcommit.Handler[entry, R]) (gatedHandler groupcommit.Handler[entry, R], there chan struct{}, open func()) {
	there, opened := make(chan struct{}), make(chan struct{})
	open = sync.OnceFunc(func() { close(opened) })
	t.Cleanup(open)
	first := true
	return func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, R]) error {
		if first {
			first = false
			close(there)
			<-opened
			return nil
		}
		return h(ctx, tx, batch)
	}, there, open
}

func TestALostAcknowledgementOfABatchIsFoundOutByItsIDs(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]proxy.Action{"it was committed": proxy.CutAfterForward, "it never arrived": proxy.Cut} {
		for _, kind := range []string{"recorded with its effect", "durable"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				r, p := promised(t)
				calls := 0
				log := logging(&calls)
				h, there, open := gated(t, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
					err := log(ctx, tx, batch)
					if calls == 1 {
						onCommit(p, action)
					}
					return err
				})
				var opts []groupcommit.HandlerOption
				if kind == "durable" {
					opts = append(opts, groupcommit.Durable())
				}
				cs := handle(t, r.db, h, opts...)
				cs.Go(background, "plug", entry{-1})
				bounded.Receive(t, "the handler has its first batch", there)
				promises := heldBatch(r, cs, open, 20, func(k int) string { return fmt.Sprint("id ", k) })
				for k, promise := range promises {
					got, err := promise.Await(background)
					require.NoError(t, err)
					require.Equal(t, 2*k, got)
				}
				r.once(20)
				require.Equal(t, map[proxy.Action]int{proxy.CutAfterForward: 1, proxy.Cut: 2}[action], calls)
			})
		}
	}
}

func TestALostAcknowledgementWithoutIDsIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	r, p := promised(t)
	calls := 0
	cs := handle(t, r.db, logging(&calls))
	_, err := cs.Do(background, "", entry{0})
	require.NoError(t, err)
	onCommit(p, proxy.CutAfterForward)
	_, err = cs.Do(background, "", entry{1})
	require.ErrorAs(t, err, new(*groupcommit.OutcomeUnknownError))
	require.Equal(t, 2, calls, "it is not tried again")
	_, err = cs.Do(background, "", entry{2})
	require.NoError(t, err)
	r.eventually("the COMMIT that has lost its connection is over", func() bool { return r.value("SELECT count(*) FROM log") == "3" })
	r.once(3)
}

func TestAConnectionThatDiesInAHandlerIsAnotherAttempts(t *testing.T) {
	t.Parallel()
	r := setUp(t, groupcommit.Promises())
	calls := 0
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		calls++
		if _, err := tx.ExecContext(ctx, "INSERT INTO log (k) VALUES ($1)", batch[0].Value.K); err != nil {
			return err
		}
		if calls == 1 {
			tx.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())") // and the error is swallowed
		}
		return nil
	})
	for _, id := range []string{"a", ""} {
		calls = 0
		_, err := cs.Do(background, id, entry{len(id)})
		if id == "" { // COMMIT was tried, as far as anybody knows
			require.ErrorAs(t, err, new(*groupcommit.OutcomeUnknownError))
			continue
		}
		require.NoError(t, err)
		require.Equal(t, 2, calls)
	}
	r.once(1)
}

func TestALostServerIsNoFaultOfADurableCommand(t *testing.T) {
	t.Parallel()
	raise := func(code string) func(context.Context, *sql.Tx, *proxy.Proxy) error {
		return func(ctx context.Context, tx *sql.Tx, _ *proxy.Proxy) error {
			_, err := tx.ExecContext(ctx, "DO $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '"+code+"'; END$$")
			return err
		}
	}
	cut := func(ctx context.Context, tx *sql.Tx, p *proxy.Proxy) error {
		const query = "SELECT 'cut'" // nothing else speaks it: the database has other connections, which look for pending commands
		p.OnClient(func(m proxy.Message) proxy.Action {
			if m.SQL == query {
				return proxy.Cut
			}
			return proxy.Pass
		})
		_, err := tx.ExecContext(ctx, query)
		return err
	}
	for name, c := range map[string]struct {
		fail func(context.Context, *sql.Tx, *proxy.Proxy) error
		ours bool
	}{
		"the backend is ended": {func(ctx context.Context, tx *sql.Tx, _ *proxy.Proxy) error {
			_, err := tx.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
			return err
		}, false},
		"the connection is cut": {cut, false},
		"and nobody is told of it": {func(ctx context.Context, tx *sql.Tx, p *proxy.Proxy) error {
			cut(ctx, tx, p)
			return errors.New("the handler's own words")
		}, false},
		"the disk is full":      {raise("53100"), false},
		"memory":                {raise("53200"), false},
		"the system":            {raise("58030"), false},
		"a standby":             {raise("25006"), false},
		"a statement's timeout": {raise("57014"), true},
		"a division by zero":    {raise("22012"), true},
		"another error":         {func(context.Context, *sql.Tx, *proxy.Proxy) error { return io.ErrUnexpectedEOF }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := promised(t)
			failed := false
			cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
				if !failed {
					failed = true
					return c.fail(ctx, tx, p)
				}
				return nil
			}, groupcommit.Durable(), groupcommit.Retry(groupcommit.Never))
			_, err := cs.Do(soon(t), "x", entry{1})
			require.Error(t, err)
			require.Equal(t, !c.ours, errors.As(err, new(*groupcommit.PendingError)), "%v", err)
			require.NoError(t, cs.Recover(soon(t)))
			want := map[bool]durable.State{true: durable.Rejected, false: durable.Resolved}[c.ours]
			require.Equal(t, fmt.Sprint(int(want)), r.value("SELECT state FROM groupcommit_promises WHERE id = 'x'"))
		})
	}
}

func TestATransientErrorOfAHandlerIsTriedAgainWithTheWholeBatch(t *testing.T) {
	t.Parallel()
	r := setUp(t, groupcommit.Promises())
	var batches []int
	h, there, open := gated(t, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		batches = append(batches, len(batch))
		for _, c := range batch {
			err := c.Try(func() (int, error) {
				if _, err := tx.ExecContext(ctx, "INSERT INTO log (k) VALUES ($1)", c.Value.K); err != nil {
					return 0, err
				}
				if c.Value.K == 2 && len(batches) < 3 {
					_, err := tx.ExecContext(ctx, "DO $$BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END$$")
					return 0, err
				}
				return c.Value.K, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	cs := handle(t, r.db, h)
	cs.Go(background, "", entry{-1})
	bounded.Receive(t, "the handler has its first batch", there)
	for k, p := range heldBatch(r, cs, open, 5, func(k int) string { return fmt.Sprint(k) }) {
		got, err := p.Await(background)
		require.NoError(t, err)
		require.Equal(t, k, got)
	}
	require.Equal(t, []int{5, 5, 5}, batches)
	r.once(5)
}

func TestACommandIsCompletedByTheServersClock(t *testing.T) {
	t.Parallel()
	for _, kind := range [][]groupcommit.HandlerOption{nil, {groupcommit.Durable()}} {
		r := skewed(t)
		calls := 0
		cs := handle(t, r.db, logging(&calls), kind...)
		for k := range 2 { // as expected, and not
			_, err := cs.Do(soon(t), fmt.Sprint(k), entry{k})
			require.NoError(t, err)
			p, err := groupcommit.Lookup(background, r.db, fmt.Sprint(k))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(3*time.Hour), p.Completed, time.Minute)
		}
	}
}

func TestAHandlerHasMaxTime(t *testing.T) {
	r := setUp(t)
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		if batch[0].Value.K == 1 {
			tx.ExecContext(ctx, "SELECT pg_sleep(60)")
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO log (k) VALUES ($1)", batch[0].Value.K)
		return err
	}, groupcommit.MaxTime(time.Second), groupcommit.Retry(groupcommit.Never))
	_, err := cs.Do(background, "", entry{1})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, `the handler of "pgx_test.entry" took longer than MaxTime, which is 1s`)
	_, err = cs.Do(background, "", entry{2})
	require.NoError(t, err)
	r.once(1)
}

func TestCommandsInEveryModeOfTheDriver(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", mode)}, groupcommit.Promises())
			calls := 0
			cs := handle(t, r.db, logging(&calls))
			type mail struct{ K int }
			mails, err := groupcommit.Handle(r.db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, m mail) (string, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO rows (k) VALUES ($1)", m.K)
				return strings.Repeat("x", m.K), err
			}), groupcommit.Durable())
			require.NoError(t, err)
			for k := range 4 {
				id := fmt.Sprintf(`id "%d"\ ä`, k/2)
				got, err := cs.Do(background, id, entry{k / 2})
				require.NoError(t, err)
				require.Equal(t, k/2*2, got)
				text, err := mails.Do(background, "mail of "+id, mail{k / 2})
				require.NoError(t, err)
				require.Len(t, text, k/2)
			}
			r.once(2)
			require.Equal(t, "2", r.value("SELECT count(*) FROM rows"))
			require.NoError(t, mails.Recover(background))
		})
	}
}

func TestAHandlerThatCommitsByItselfLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, commit := range map[string]func(tx *sql.Tx) error{
		"commit":   (*sql.Tx).Commit,
		"rollback": (*sql.Tx).Rollback,
		"by text":  func(tx *sql.Tx) error { _, err := tx.Exec("COMMIT"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t, groupcommit.Promises())
			calls := 0
			log := logging(&calls)
			fail := true
			cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
				if err := log(ctx, tx, batch); err != nil || !fail {
					return err
				}
				return commit(tx)
			})
			_, err := cs.Do(background, "a", entry{1})
			require.ErrorContains(t, err, "a handler must not end its transaction")
			_, err = groupcommit.Lookup(background, r.db, "a")
			require.ErrorIs(t, err, durable.ErrNotFound)
			require.Equal(t, "0", r.value("SELECT count(*) FROM log"))
			fail = false
			got, err := cs.Do(background, "a", entry{1})
			require.NoError(t, err)
			require.Equal(t, 2, got)
			r.once(1)
		})
	}
}

func TestADurableCommandNeedsNoRoomInTheQueue(t *testing.T) {
	t.Parallel()
	r := setUp(t, groupcommit.Promises())
	calls := 0
	h, there, open := gated(t, logging(&calls))
	cs := handle(t, r.db, h, groupcommit.Durable(), groupcommit.MaxQueue(1))
	cs.Go(background, "plug", entry{-1})
	bounded.Receive(t, "the handler has its first batch", there)
	var promises []*groupcommit.PromiseOf[int]
	for k := range 5 { // none of them waits
		promises = append(promises, cs.Go(background, fmt.Sprint(k), entry{k}))
	}
	open()
	for k, p := range promises {
		got, err := p.Await(background)
		require.NoError(t, err)
		require.Equal(t, 2*k, got)
	}
	r.once(5)
}
