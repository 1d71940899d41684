package command

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/stretchr/testify/require"
)

// A scriptedHost is a fakeHost whose database differs from others as its traits say, and whose transactions do as they are told.
type scriptedHost struct {
	fakeHost
	traits    engine.Traits
	transient error // this one is
	commit    func() (unclear bool, err error)
	lost      error // the connection is
	gone      bool
	left      int // turns
}

func (h *scriptedHost) Traits() *engine.Traits { return &h.traits }
func (h *scriptedHost) Transient(err error) bool {
	return h.transient != nil && errors.Is(err, h.transient)
}
func (h *scriptedHost) Leave(*turn.Turn) { h.left++ }

func (h *scriptedHost) Begin(ctx context.Context, t *turn.Turn) (Tx, error) {
	tx, err := h.fakeHost.Begin(ctx, t)
	if err != nil {
		return nil, err
	}
	return &scriptedTx{tx.(*fakeTx), h}, nil
}

type scriptedTx struct {
	*fakeTx
	host *scriptedHost
}

func (x *scriptedTx) State() (open, idle bool, lost error) { return true, false, x.host.lost }
func (x *scriptedTx) Gone() bool                           { return x.host.gone }

func (x *scriptedTx) Own(text string) error {
	if x.tx == nil {
		return nil
	}
	_, err := x.tx.Exec(text)
	return err
}

func (x *scriptedTx) Commit(last []engine.Statement) (before, unclear bool, err error) {
	if x.host.commit != nil {
		unclear, err = x.host.commit()
		return false, unclear, err
	}
	return x.fakeTx.Commit(last)
}

// final are traits by which errNo would come again, whenever the same is tried.
func final() engine.Traits {
	return engine.Traits{Final: func(err error) (string, bool) { return "", errors.Is(err, errNo) }}
}

var errEnded = errors.New("a handler must not end its transaction")

// handling is config with a handler, without a pause between the attempts.
func handling(h func(tx *sql.Tx, batch []*Task) error) Config {
	c := config()
	c.Errors.Ended, c.Errors.Undone = errEnded, errors.New("a statement has ended the transaction")
	c.Retry = func(failed int) (time.Duration, bool) { return 0, failed < 4 }
	c.Handle = func(_ context.Context, tx *sql.Tx, batch []*Task) error { return h(tx, batch) }
	return c
}

// do has one command carried out.
func do(t *testing.T, r *Runner, id string) (any, error) {
	t.Helper()
	n := newNumber(r.Kind(), id, 1, 0)
	r.Go(t.Context(), &n.task)
	return n.task.Await(t.Context())
}

func TestAStaleConnectionIsNoFailedAttempt(t *testing.T) {
	h, stale := &scriptedHost{}, staleRetries
	h.begin = func() error {
		if stale--; stale >= 0 {
			return driver.ErrBadConn
		}
		return nil
	}
	c := handling(func(*sql.Tx, []*Task) error { return nil })
	c.Retry = func(int) (time.Duration, bool) { return 0, false }
	r := New(h, c)
	defer r.Close()
	_, err := do(t, r, "")
	require.NoError(t, err)
}

// Whatever is done next, such as rejecting what was recorded, may need the turn.
func TestTheTurnOfAnAttemptThatCouldNotBeginIsLeftBeforeAllElse(t *testing.T) {
	h := &scriptedHost{}
	h.begin = func() error { return errNo }
	c, left := config(), -1
	c.Retry = func(int) (time.Duration, bool) {
		left = h.left
		return 0, false
	}
	r := New(h, c)
	defer r.Close()
	_, err := do(t, r, "")
	require.Equal(t, errNo, err)
	require.Equal(t, 1, left)
}

func TestAHandlersOwnErrorIsSaidOfALostConnection(t *testing.T) {
	lost := errors.New("the connection is lost")
	for _, own := range []error{errNo, nil} {
		r := New(&scriptedHost{lost: lost}, handling(func(*sql.Tx, []*Task) error { return own }))
		_, err := do(t, r, "")
		if own == nil {
			own = lost
		}
		require.Equal(t, own, err)
		r.Close()
	}
}

func TestAHandlerThatWasToldThatItHasEndedItsTransactionIsNotTriedAgain(t *testing.T) {
	handled := 0
	c := handling(func(*sql.Tx, []*Task) error {
		handled++
		return fmt.Errorf("my own words: %w", errEnded)
	})
	r := New(&scriptedHost{}, c)
	defer r.Close()
	_, err := do(t, r, "")
	require.Equal(t, errEnded, err)
	require.Equal(t, 1, handled)
}

// An error of COMMIT that would come again rejects the command, but not if COMMIT may have taken effect.
func TestACommitWithoutAnAnswerIsNoRejection(t *testing.T) {
	for _, unclear := range []bool{false, true} {
		h, handled, commits := &scriptedHost{traits: final()}, 0, 0
		h.commit = func() (bool, error) {
			if commits++; commits == 1 {
				return unclear, errNo
			}
			return false, nil // of the rejection
		}
		r := New(h, handling(func(*sql.Tx, []*Task) error {
			handled++
			return nil
		}))
		_, err := do(t, r, "")
		unknown, ok := errors.AsType[*engine.OutcomeUnknownError](err)
		require.Equal(t, unclear, ok, "%v", err)
		if ok {
			err = unknown.Cause
		}
		require.Equal(t, errNo, err)
		require.Equal(t, 1, handled)
		r.Close()
	}
}

func TestAnErrorInTryThatWouldComeAgainIsNotTriedAgain(t *testing.T) {
	handled := 0
	r := New(&scriptedHost{traits: final()}, handling(func(_ *sql.Tx, batch []*Task) error {
		handled++
		return batch[0].Try(false, func() error { return errNo })
	}))
	defer r.Close()
	_, err := do(t, r, "")
	require.Equal(t, errNo, err)
	require.Equal(t, 1, handled)
}

// gated has all commands but the first be one batch, and returns what they have come to.
func gated(t *testing.T, h Host, c Config, ns ...*number) []error {
	t.Helper()
	gate, handle := make(chan struct{}), c.Handle
	c.Handle = func(ctx context.Context, tx *sql.Tx, batch []*Task) error {
		if batch[0].Typed().(*number).n < 0 {
			<-gate
			return nil
		}
		return handle(ctx, tx, batch)
	}
	r := New(h, c)
	defer r.Close()
	first := newNumber(r.Kind(), "", -1, 0)
	r.Go(t.Context(), &first.task)
	synctest.Wait()
	for _, n := range ns {
		n.task.Init(r.Kind(), n, n.task.id)
		r.Go(t.Context(), &n.task)
	}
	synctest.Wait()
	close(gate)
	errs := make([]error, len(ns))
	for i, n := range ns {
		_, errs[i] = n.task.Await(t.Context())
	}
	return errs
}

func TestATransientErrorInTryIsOfTheWholeBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := errors.New("busy")
		var sizes []int
		c := handling(func(_ *sql.Tx, batch []*Task) error {
			sizes = append(sizes, len(batch))
			return batch[0].Try(true, func() error {
				if len(sizes) == 1 {
					return busy
				}
				return nil
			})
		})
		for _, err := range gated(t, &scriptedHost{transient: busy}, c, &number{n: 1}, &number{n: 2}) {
			require.NoError(t, err)
		}
		require.Equal(t, []int{2, 2}, sizes)
	})
}

// Where a failed Try costs the transaction, a batch comes back for a few of those to blame. Then all that are left run one by one.
func TestABatchComesBackForAFewCulpritsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		c := handling(func(_ *sql.Tx, batch []*Task) error {
			sizes = append(sizes, len(batch))
			for _, n := range numbers(batch) {
				if err := n.task.Try(true, func() error { return errNo }); err != nil {
					return err
				}
			}
			return nil
		})
		var ns []*number
		for n := range 8 {
			ns = append(ns, &number{n: n})
		}
		for _, err := range gated(t, &scriptedHost{traits: final()}, c, ns...) {
			require.Equal(t, errNo, err)
		}
		require.Equal(t, []int{8, 7, 6, 5, 1, 1, 1, 1, 1, 1, 1, 1}, sizes)
	})
}

// The one that is in flight is taken back before it is in a batch. That is its own affair.
func TestACommandWhoseForerunnerWasTakenBackIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, open := recording(t)
		c.Durable = nil
		h := open()
		defer h.db.Close()
		gate := make(chan struct{})
		c.Handle = func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			<-gate
			return nil
		}
		r := New(h, c)
		defer r.Close()
		before := newNumber(r.Kind(), "", 0, 0)
		r.Go(t.Context(), &before.task)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		forerunner, n := newNumber(r.Kind(), "x", 1, 0), newNumber(r.Kind(), "x", 1, 0)
		r.Go(ctx, &forerunner.task)
		r.Go(t.Context(), &n.task)
		synctest.Wait()
		cancel()
		_, err := forerunner.task.Await(t.Context())
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, durable.RejectedCanceled, forerunner.task.State())
		close(gate)
		v, err := n.task.Await(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, v)
	})
}
