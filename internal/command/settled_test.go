package command

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/repeat"
	"github.com/stretchr/testify/require"
)

// effects is a host with a database, in which handlers write what they do.
func effects(t *testing.T, h func(tx *sql.Tx, batch []*Task) error) (*scriptedHost, Config) {
	t.Helper()
	c, open := recording(t)
	host := &scriptedHost{fakeHost: *open(), traits: engine.Traits{Dialect: engine.SQLiteSQL, OneWriter: true, Savepoints: true}}
	t.Cleanup(func() { host.db.Close() })
	_, err := host.db.Exec("CREATE TABLE effects (n INTEGER)")
	require.NoError(t, err)
	c.Durable = nil
	own := handling(h)
	c.Errors, c.Retry, c.Handle = own.Errors, own.Retry, own.Handle
	return host, c
}

func (h *scriptedHost) count(t *testing.T, query string) (n int) {
	t.Helper()
	require.NoError(t, h.db.QueryRow(query).Scan(&n))
	return n
}

// durably is effects for commands that are recorded.
func durably(t *testing.T, h func(tx *sql.Tx, batch []*Task) error) (*scriptedHost, Config) {
	t.Helper()
	host, c := effects(t, h)
	recorded, _ := recording(t)
	c.Durable, c.Flights = recorded.Durable, flight.New[engine.Answer](0)
	c.Durable.Lease, c.Durable.Store = time.Hour, durable.SQLite.NewStore(host.db)
	return host, c
}

// What fails in Try is undone, and its batch is committed without it: so nothing may be recorded of it before it is done.
func TestACommandThatIsToBeTriedByItselfIsNotRecordedByItsBatch(t *testing.T) {
	tries := 0
	h, c := effects(t, func(tx *sql.Tx, batch []*Task) error {
		for _, n := range numbers(batch) {
			if err := n.task.Try(true, func() error {
				if _, err := tx.Exec("INSERT INTO effects VALUES (?)", n.n); err != nil {
					return err
				}
				if n.n == 2 {
					if tries++; tries == 1 {
						return errNo
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	c.MaxLen, c.MaxDelay = 3, time.Hour // a batch is what is there when it is full
	r := New(h, c)
	defer r.Close()
	var ns []*number
	for n, id := range []string{"a", "b", "c"} {
		ns = append(ns, newNumber(r.Kind(), id, n+1, 0))
		r.Go(t.Context(), &ns[n].task)
	}
	for _, n := range ns {
		v, err := n.task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, n.n, v)
		require.False(t, n.task.Replayed(), "its own attempt found it settled")
	}
	require.Equal(t, 2, tries)
	require.Equal(t, 3, h.count(t, "SELECT count(*) FROM effects"))
	require.Equal(t, 3, h.count(t, "SELECT count(*) FROM groupcommit_promises WHERE id <> '' AND state = 1"))
}

func TestNothingIsCommittedOfADurableCommandWhoseOutcomeIsNotTaken(t *testing.T) {
	h, c := durably(t, func(tx *sql.Tx, _ []*Task) error {
		_, err := tx.Exec("INSERT INTO effects VALUES (1)")
		return err
	})
	_, err := h.db.Exec("CREATE TRIGGER deaf BEFORE UPDATE OF state ON groupcommit_promises BEGIN SELECT RAISE(IGNORE); END")
	require.NoError(t, err)
	r := New(h, c)
	r.Start()
	defer r.Close()
	_, err = do(t, r, "x")
	require.Error(t, err)
	require.Zero(t, h.count(t, "SELECT count(*) FROM effects"))
}

// Another process may have taken a command over and settled it, while it failed here for good.
func TestACommandThatFailsHereAndSucceedsElsewhereHasSucceeded(t *testing.T) {
	h, c := durably(t, func(*sql.Tx, []*Task) error { return errNo })
	c.Retry = func(int) (time.Duration, bool) {
		_, err := h.db.Exec("UPDATE groupcommit_promises SET state = 1, value = '4711', completed_at = 1")
		return 0, err != nil
	}
	r := New(h, c)
	r.Start()
	defer r.Close()
	v, err := do(t, r, "x")
	require.NoError(t, err)
	require.Equal(t, "4711", v)
}

// A durable command is rejected for its own errors, and not for those that any command would meet there and then.
func TestADurableCommandStaysPendingAfterAnErrorThatIsNotItsOwn(t *testing.T) {
	elsewhere := errors.New("of the machine, the file or the network")
	for name, set := range map[string]func(*scriptedHost){
		"the transaction does not begin": func(h *scriptedHost) { h.begin = func() error { return errNo } },
		"the connection is gone":         func(h *scriptedHost) { h.gone = true },
		"COMMIT has no answer":           func(h *scriptedHost) { h.commit = func() (bool, error) { return true, errNo } },
		"the error may not come again":   func(h *scriptedHost) { h.transient = elsewhere },
		"the error is of the environment": func(h *scriptedHost) {
			h.traits.Environment = func(err error) bool { return errors.Is(err, elsewhere) }
		},
		"the driver says that it cannot":       func(h *scriptedHost) { elsewhere = driver.ErrBadConn },
		"and rejected, if it is the handler's": nil,
	} {
		t.Run(name, func(t *testing.T) {
			failing := true
			h, c := durably(t, func(*sql.Tx, []*Task) error {
				switch name {
				case "COMMIT has no answer":
					return nil
				case "the connection is gone", "and rejected, if it is the handler's":
					return errNo
				}
				return elsewhere
			})
			c.Retry = func(int) (time.Duration, bool) { return 0, !failing }
			if set != nil {
				set(h)
			}
			r := New(h, c)
			n := newNumber(r.Kind(), "x", 1, 0)
			r.Start()
			r.Go(t.Context(), &n.task)
			_, err := n.task.Await(t.Context())
			state := h.count(t, "SELECT state FROM groupcommit_promises WHERE id = 'x'")
			r.Close()
			if set == nil {
				require.Equal(t, errNo, err)
				require.EqualValues(t, durable.Rejected, state)
				return
			}
			require.ErrorContains(t, err, "x is pending")
			require.EqualValues(t, durable.Pending, state)
		})
	}
}

// The claim of the next attempt finds out what became of the one before. What that finds is not of unknown outcome any more.
func TestTheDoubtAboutACommandEndsWithTheNextClaim(t *testing.T) {
	for _, begins := range []bool{true, false} {
		var h *scriptedHost
		h, c := effects(t, func(*sql.Tx, []*Task) error {
			if h.commit == nil {
				h.commit = func() (bool, error) { return true, errors.New("no answer") }
				return nil
			}
			return errNo
		})
		r := New(h, c)
		if !begins {
			first := true
			h.begin = func() error {
				if first {
					first = false
					return nil
				}
				return errNo
			}
		}
		_, err := do(t, r, "x")
		var unknown *engine.OutcomeUnknownError
		require.Equal(t, !begins, errors.As(err, &unknown), "%v", err)
		if begins {
			require.Equal(t, errNo, err)
		}
		r.Close()
	}
}

// The id of a command that another process has is free again when that process has settled it and the row has been deleted. The
// caller that still waits for it is told.
func TestACommandThatIsWaitedForIsAnsweredWhenItsIDHasGoneToAnother(t *testing.T) {
	handled := 0
	h, c := durably(t, func(_ *sql.Tx, batch []*Task) error {
		handled += len(batch)
		return nil
	})
	r := New(h, c)
	r.keeper.rounds = repeat.Start(time.Hour, func(context.Context) time.Duration { return 0 }) // the test asks
	defer r.Close()
	theirs := newNumber(r.Kind(), "x", 1, 0)
	param, err := theirs.task.describe()
	require.NoError(t, err)
	_, err = r.keeper.insert(t.Context(), h.db, &theirs.task, param, "another process")
	require.NoError(t, err)

	waits, next := newNumber(r.Kind(), "x", 1, 0), newNumber(r.Kind(), "x", 2, 0)
	r.Go(t.Context(), &waits.task)
	require.Equal(t, durable.Pending, waits.task.State())
	_, err = h.db.Exec("DELETE FROM groupcommit_promises WHERE id = 'x'")
	require.NoError(t, err)
	r.Go(t.Context(), &next.task)
	require.Equal(t, durable.Rejected, waits.task.State(), "it would never be answered")
	_, err = waits.task.Await(t.Context())
	require.ErrorContains(t, err, "no longer in the database")

	_, err = h.db.Exec("UPDATE groupcommit_promises SET lease_owner = 'another process' WHERE id = 'x'")
	require.NoError(t, err)
	same := newNumber(r.Kind(), "x", 2, 0)
	r.Go(t.Context(), &same.task)
	require.Equal(t, durable.Pending, next.task.State())
	_, err = h.db.Exec("UPDATE groupcommit_promises SET lease_owner = ? WHERE id = 'x'", r.kind.owner)
	require.NoError(t, err)
	r.keeper.ask(t.Context())
	for _, n := range []*number{same, next} {
		v, err := n.task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, v)
	}
	require.Equal(t, 1, handled)
}

// A command that was cancelled may learn of it only at its next attempt. By then its row may have been deleted, and its id be
// another command's.
func TestACommandWhoseIDHasGoneToAnotherIsNotHandledInItsPlace(t *testing.T) {
	var r *Runner
	var next *number
	handled := map[int]int{}
	h, c := durably(t, func(_ *sql.Tx, batch []*Task) error {
		for _, n := range numbers(batch) {
			handled[n.n]++
		}
		return failing(batch)
	})
	c.Retry = func(int) (time.Duration, bool) {
		_, err := h.db.Exec("DELETE FROM groupcommit_promises WHERE id = 'x'")
		r.Go(context.Background(), &next.task)
		return 0, err == nil
	}
	r = New(h, c)
	r.keeper.rounds = repeat.Start(time.Hour, func(context.Context) time.Duration { return 0 }) // the test asks
	defer r.Close()
	before := newNumber(r.Kind(), "x", 1, 1)
	next = newNumber(r.Kind(), "x", 2, 0)
	r.Go(t.Context(), &before.task)
	_, err := before.task.Await(t.Context())
	require.ErrorContains(t, err, "no longer in the database")
	r.keeper.ask(t.Context())
	v, err := next.task.Await(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, v)
	require.Equal(t, map[int]int{1: 1, 2: 1}, handled)
}
