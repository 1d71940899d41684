package enginetest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var durableStories = []story{
	{"ADurableCommandIsRecordedBeforeGoReturns", durableIsRecorded},
	{"ADurableCommandIsHandledOnceAndReplayed", durableOnce},
	{"WhatIsPendingIsRecoveredInOrderAndOnce", pendingIsRecovered},
	{"WhoAsksForAPendingCommandGetsItsOutcome", askForPending},
	{"ALeaseThatEndedIsTakenOver", leaseTakenOver},
	{"TwoProcessesShareTheWork", twoShare},
	{"AnAddedCommandIsThereIfItsTransactionIs", addedCommand},
	{"ACancelledCommandIsNotHandled", cancelledCommand},
	{"ACommandWhoseTimeIsOverIsNotHandled", timedOutCommand},
	{"AFailingDurableCommandIsRejectedForGood", durableRejected},
	{"AValueThatNoLongerDecodesStaysPending", brokenCommand},
	{"WhatDidNotDecodeIsHandledWhenSomebodyKnowsItsValue", brokenAndAsked},
	{"AnIDThatDidNotDecodeMayBeUsedAgain", brokenAndCancelled},
	{"OnlyCommandsOfTheKindAreCancelled", cancelOfAnotherKind},
	{"ACommandThatSomebodyElseHasTakenIsNotHandled", takenBySomebodyElse},
	{"ACommandThatIsThisProcessesAfterAllIsHandled", takenByThisProcess},
	{"AClosedDatabaseLeavesPendingWhatFails", closedLeavesPending},
}

// log records the commands that a handler has seen.
type log struct {
	mu   sync.Mutex
	seen []int
}

func (l *log) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, n)
}

func (l *log) all() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.seen)
}

// putting is a handler that writes its commands into the database and a log.
func (s *scene) putting(l *log) groupcommit.Handler[put, string] {
	return func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		for _, c := range batch {
			l.add(c.Value.N)
			if err := s.putInto(tx, ctx, c.Value.N); err != nil {
				return err
			}
			c.Resolve(fmt.Sprint("result ", c.Value.N))
		}
		return nil
	}
}

// left is a command that a dead process has left behind. With owner "" no process has a lease of it.
func (s *scene) left(db *sql.DB, id string, param string, created time.Time, owner string, until time.Time) {
	s.Helper()
	var lease, end any
	if owner != "" {
		lease, end = owner, until.UnixMilli()
	}
	s.exec(db, "INSERT INTO groupcommit_promises (id, state, create_key, kind, param, created_at, lease_owner, lease_until) VALUES (?, 0, ?, 'enginetest.put', ?, ?, ?, ?)",
		id, []byte("key of "+id), []byte(param), created.UnixMilli(), lease, end)
}

func (s *scene) state(db *sql.DB, id string) durable.State {
	s.Helper()
	p, err := groupcommit.Lookup(background, db, id)
	require.NoError(s, err)
	return p.State
}

func durableIsRecorded(s *scene) {
	db, _ := s.promising()
	var states, params []string
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, int]) error {
		states = append(states, s.column(tx, "SELECT state FROM groupcommit_promises WHERE id = ?", batch[0].ID())...)
		params = append(params, s.column(tx, "SELECT param FROM groupcommit_promises WHERE id = ?", batch[0].ID())...)
		batch[0].Resolve(7)
		return nil
	}, groupcommit.Durable())
	p := cs.Go(background, "a", put{1})
	_, err := groupcommit.Lookup(background, db, "a")
	require.NoError(s, err, "it is there when Go returns")
	r, err := p.Await(background)
	require.NoError(s, err)
	require.Equal(s, 7, r)
	require.Equal(s, []string{"0"}, states)
	require.Equal(s, []string{`{"N":1}`}, params)
	found, err := groupcommit.Lookup(background, db, "a")
	require.NoError(s, err)
	require.Equal(s, durable.Resolved, found.State)
	require.Equal(s, "7", string(found.Value.Data))
	require.False(s, found.Completed.IsZero())

	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err = cs.Go(ctx, "b", put{2}).Await(background)
	require.ErrorIs(s, err, context.Canceled)
	_, err = groupcommit.Lookup(background, db, "b")
	require.ErrorIs(s, err, durable.ErrNotFound)
}

func durableOnce(s *scene) {
	db, again := s.promising()
	l := new(log)
	cs := handle(s, db, s.putting(l), groupcommit.Durable())
	s.crowd(60, func(i int) {
		r, err := cs.Do(background, fmt.Sprint("id ", i%20), put{i % 20})
		assert.NoError(s, err)
		assert.Equal(s, fmt.Sprint("result ", i%20), r)
	})
	if !s.OneConn {
		db = again()
		cs = handle(s, db, s.putting(l), groupcommit.Durable())
	}
	p := cs.Go(background, "id 3", put{3})
	r, err := p.Await(background)
	require.NoError(s, err)
	require.Equal(s, "result 3", r)
	require.True(s, p.Deduplicated())
	_, err = cs.Do(background, "id 3", put{4})
	require.ErrorIs(s, err, groupcommit.ErrMismatch)
	require.Len(s, l.all(), 20)
	require.Len(s, s.entries(db), 20)
}

func pendingIsRecovered(s *scene) {
	db, _ := s.promising()
	now := time.Now().Add(-time.Minute)
	for _, n := range []int{4, 0, 3, 1, 2} {
		s.left(db, fmt.Sprint("id ", 9-n), fmt.Sprintf(`{"N":%d}`, n), now.Add(time.Duration(n)*time.Second), "", now)
	}
	l := new(log)
	cs := handle(s, db, s.putting(l), groupcommit.Durable(), groupcommit.MaxLen(2))
	require.NoError(s, cs.Recover(s.inTime()))
	require.Equal(s, []int{0, 1, 2, 3, 4}, l.all())
	require.Equal(s, []string{"0", "1", "2", "3", "4"}, s.entries(db))
	require.Equal(s, durable.Resolved, s.state(db, "id 9"))
	require.NoError(s, cs.Recover(s.inTime()))
	require.Len(s, l.all(), 5)
}

// askForPending calls again after a crash: the command is there, and is handled once.
func askForPending(s *scene) {
	if s.OneConn {
		s.Skip("a database that lives in its connection is one process's")
	}
	db, again := s.promising()
	l := new(log)
	add := handle(s, db, s.putting(l), groupcommit.Durable(), groupcommit.Timeout(time.Hour))
	tx, err := db.Begin()
	require.NoError(s, err)
	for i := range 10 {
		require.NoError(s, add.Add(background, tx, fmt.Sprint("id ", i), put{i}))
	}
	require.NoError(s, tx.Commit())
	other := again()
	cs := handle(s, other, s.putting(l), groupcommit.Durable())
	s.crowd(20, func(i int) {
		r, err := cs.Do(background, fmt.Sprint("id ", i%10), put{i % 10})
		assert.NoError(s, err)
		assert.Equal(s, fmt.Sprint("result ", i%10), r)
	})
	require.Len(s, l.all(), 10)
	require.Len(s, s.entries(db), 10)
}

func leaseTakenOver(s *scene) {
	db, _ := s.promising()
	now := time.Now()
	s.left(db, "dead", `{"N":1}`, now, "a process that died", now.Add(-time.Millisecond))
	s.left(db, "dying", `{"N":2}`, now, "a process that is about to", now.Add(300*time.Millisecond))
	s.left(db, "alive", `{"N":3}`, now, "a process that lives", now.Add(time.Hour))
	l := new(log)
	cs := handle(s, db, s.putting(l), groupcommit.Durable(), groupcommit.Lease(100*time.Millisecond))
	ctx, cancel := context.WithCancel(background)
	ended := make(chan error)
	go func() { ended <- cs.Recover(ctx) }()
	bounded.Until(s, "two commands are handled", func() bool { return len(l.all()) >= 2 })
	require.ElementsMatch(s, []int{1, 2}, l.all())
	require.Equal(s, durable.Pending, s.state(db, "alive"))
	s.exec(db, "UPDATE groupcommit_promises SET state = 1, value = ?, completed_at = 1 WHERE id = 'alive'", []byte(`"theirs"`))
	require.NoError(s, bounded.Receive(s, "Recover, which waits for what others do, has ended", ended))
	cancel()
	require.Len(s, l.all(), 2)
}

func twoShare(s *scene) {
	if s.OneConn {
		s.Skip("a database that lives in its connection is one process's")
	}
	db, again := s.promising()
	const n = 300
	for i := range n {
		s.left(db, fmt.Sprintf("id %03d", i), fmt.Sprintf(`{"N":%d}`, i), time.Now(), "", time.Now())
	}
	var recovered sync.WaitGroup
	var logs [2]log
	for i := range logs {
		recovered.Go(func() {
			cs, err := groupcommit.Handle(again(), s.putting(&logs[i]), groupcommit.Durable(), groupcommit.MaxLen(10), groupcommit.Kind("enginetest.put"))
			if assert.NoError(s, err) {
				assert.NoError(s, cs.Recover(s.inTime()))
			}
		})
	}
	bounded.Wait(s, "two processes have recovered all commands", recovered.Wait)
	require.Len(s, s.entries(db), n)
	require.Len(s, append(logs[0].all(), logs[1].all()...), n, "each was handled once")
	require.Equal(s, "0", s.value(db, "SELECT count(*) FROM groupcommit_promises WHERE state = 0"))
}

// addedCommand is an order and its e-mail.
func addedCommand(s *scene) {
	db, _ := s.promising()
	sent := new(log)
	mails := handle(s, db, s.putting(sent), groupcommit.Durable())
	orders := handle2(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[name2, int]) error {
		for _, c := range batch {
			if _, err := tx.ExecContext(ctx, s.insert(), string(c.Value), 1); err != nil {
				return err
			}
			n := len(c.Value)
			for range 2 {
				if err := mails.Add(ctx, tx, "mail of "+string(c.Value), put{n}); err != nil {
					return err
				}
			}
			if err := mails.Add(ctx, tx, "mail of "+string(c.Value), put{n + 1}); !errors.Is(err, groupcommit.ErrMismatch) {
				return fmt.Errorf("another value: %w", err)
			}
			if c.Value == "bad" {
				return errBusiness
			}
		}
		return nil
	}, groupcommit.Retry(groupcommit.Never))
	_, err := orders.Do(background, "order 1", "good!")
	require.NoError(s, err)
	_, err = orders.Do(background, "order 2", "bad")
	require.Same(s, errBusiness, err)
	r, err := mails.Do(background, "mail of good!", put{5})
	require.NoError(s, err)
	require.Equal(s, "result 5", r)
	require.NoError(s, mails.Recover(s.inTime()))
	require.Equal(s, []int{5}, sent.all())
	_, err = groupcommit.Lookup(background, db, "mail of bad")
	require.ErrorIs(s, err, durable.ErrNotFound)
}

func cancelledCommand(s *scene) {
	db, _ := s.promising()
	now := time.Now()
	s.left(db, "x", `{"N":1}`, now, "another", now.Add(time.Hour))
	l := new(log)
	cs := handle(s, db, s.putting(l), groupcommit.Durable())
	require.NoError(s, cs.Cancel(background, "x"))
	require.Equal(s, durable.RejectedCanceled, s.state(db, "x"))
	require.ErrorIs(s, cs.Cancel(background, "none"), durable.ErrNotFound)
	_, err := cs.Do(background, "y", put{2})
	require.NoError(s, err)
	require.ErrorIs(s, cs.Cancel(background, "y"), durable.ErrForbidden)
	require.Equal(s, []int{2}, l.all())
}

func timedOutCommand(s *scene) {
	db, _ := s.promising()
	l := new(log)
	now := time.Now()
	s.left(db, "late", `{"N":1}`, now, "", now)
	s.exec(db, "UPDATE groupcommit_promises SET timeout = ? WHERE id = 'late'", now.UnixMilli()-1)
	cs := handle(s, db, s.putting(l), groupcommit.Durable(), groupcommit.Timeout(time.Hour))
	require.NoError(s, cs.Recover(s.inTime()))
	require.Empty(s, l.all())
	require.Equal(s, durable.RejectedTimedout, s.state(db, "late"))
	_, err := cs.Do(background, "soon", put{2})
	require.NoError(s, err)
	timeout := s.value(db, "SELECT timeout - created_at FROM groupcommit_promises WHERE id = 'soon'")
	require.Equal(s, "3600000", timeout)
}

func durableRejected(s *scene) {
	db, again := s.promising()
	var tries atomic.Int32
	failing := func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		tries.Add(1)
		if err := s.putInto(tx, ctx, 1); err != nil {
			return err
		}
		return errBusiness
	}
	cs := handle(s, db, failing, groupcommit.Durable(), groupcommit.Retry(groupcommit.Constant(0, 2)))
	_, err := cs.Do(background, "x", put{1})
	require.Same(s, errBusiness, err)
	require.EqualValues(s, 3, tries.Load())
	require.Equal(s, durable.Rejected, s.state(db, "x"))
	require.Empty(s, s.entries(db))
	if !s.OneConn {
		db = again()
		cs = handle(s, db, failing, groupcommit.Durable())
	}
	_, err = cs.Do(background, "x", put{1})
	require.ErrorAs(s, err, new(*groupcommit.RejectedError))
	require.EqualValues(s, 3, tries.Load())
}

func brokenCommand(s *scene) {
	db, _ := s.promising()
	now := time.Now().Add(-time.Second)
	s.left(db, "broken", `{"N":"no number"}`, now, "", now)
	s.left(db, "fine", `{"N":1}`, now.Add(time.Millisecond), "", now)
	l := new(log)
	cs := handle(s, db, s.putting(l), groupcommit.Durable())
	err := cs.Recover(s.inTime())
	require.ErrorContains(s, err, `command "broken" of kind "enginetest.put": its recorded value cannot be decoded as enginetest.put; it stays pending`)
	require.ErrorAs(s, err, new(*json.UnmarshalTypeError))
	require.Equal(s, []int{1}, l.all())
	require.Equal(s, durable.Pending, s.state(db, "broken"))

	s.exec(db, "INSERT INTO groupcommit_promises (id, state, create_key, kind, param, created_at, completed_at, value) SELECT 'other result', 1, create_key, kind, param, 1, 1, ? FROM groupcommit_promises WHERE id = 'fine'", []byte("7"))
	_, err = cs.Do(background, "new", put{2})
	require.NoError(s, err)
	s.exec(db, "UPDATE groupcommit_promises SET value = ? WHERE id = 'new'", []byte("7"))
	_, err = cs.Do(background, "new", put{2})
	require.ErrorContains(s, err, `command "new" of kind "enginetest.put": its recorded result cannot be decoded as string`)
	require.Equal(s, []int{1, 2}, l.all())
}

// fickle is a codec that decodes nothing at times.
type fickle struct{ blind atomic.Bool }

func (c *fickle) Encode(v any) ([]byte, error) { return json.Marshal(v) }

func (c *fickle) Decode(data []byte, v any) error {
	if c.blind.Load() {
		return errBusiness
	}
	return json.Unmarshal(data, v)
}

// inTime is a context for a call that must not wait for ever.
func (s *scene) inTime() context.Context {
	ctx, cancel := context.WithTimeout(background, bounded.Patience)
	s.Cleanup(cancel)
	return ctx
}

// add records a command in a new transaction, in which then may do more.
func (s *scene) add(db *sql.DB, cs *groupcommit.Commands[put, string], id string, v put, then func(tx *sql.Tx)) {
	s.Helper()
	tx, err := db.Begin()
	require.NoError(s, err)
	defer tx.Rollback()
	require.NoError(s, cs.Add(background, tx, id, v))
	then(tx)
	require.NoError(s, tx.Commit())
}

func brokenAndAsked(s *scene) {
	db, _ := s.promising()
	l, codec := new(log), new(fickle)
	cs := handle(s, db, s.putting(l), groupcommit.Durable(), groupcommit.WithCodec(codec), groupcommit.Lease(time.Hour))
	codec.blind.Store(true)
	s.add(db, cs, "x", put{1}, func(*sql.Tx) {})
	require.ErrorIs(s, cs.Recover(s.inTime()), errBusiness)
	r, err := cs.Do(s.inTime(), "x", put{1})
	require.NoError(s, err)
	require.Equal(s, "result 1", r)
	require.Equal(s, []int{1}, l.all())
	require.NoError(s, cs.Recover(s.inTime()))
}

func brokenAndCancelled(s *scene) {
	db, _ := s.promising()
	l, codec := new(log), new(fickle)
	cs := handle(s, db, s.putting(l), groupcommit.Durable(), groupcommit.WithCodec(codec))
	codec.blind.Store(true)
	s.add(db, cs, "x", put{1}, func(*sql.Tx) {})
	require.ErrorIs(s, cs.Recover(s.inTime()), errBusiness)
	require.NoError(s, cs.Cancel(background, "x"))
	s.exec(db, "DELETE FROM groupcommit_promises WHERE id = 'x'")

	s.left(db, "x", `{"N":2}`, time.Now(), "another", time.Now().Add(time.Hour))
	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(s, cs.Recover(ctx), context.DeadlineExceeded, "it is another command, which somebody has")
}

func cancelOfAnotherKind(s *scene) {
	db, _ := s.promising()
	cs := handle(s, db, s.putting(new(log)), groupcommit.Durable())
	others := handle2(s, db, groupcommit.Each(func(context.Context, *sql.Tx, name2) (int, error) { return 0, nil }), groupcommit.Durable())
	s.left(db, "x", `{"N":1}`, time.Now(), "another", time.Now().Add(time.Hour))
	require.ErrorIs(s, others.Cancel(background, "x"), durable.ErrNotFound)
	require.Equal(s, durable.Pending, s.state(db, "x"))
	require.ErrorContains(s, others.Cancel(background, ""), "the id")
	require.NoError(s, cs.Cancel(background, "x"))
}

// resolvedElsewhere resolves a command as another process does.
func (s *scene) resolvedElsewhere(db *sql.DB, id, result string) {
	s.Helper()
	s.exec(db, "UPDATE groupcommit_promises SET state = 1, value = ?, completed_at = ?, lease_owner = NULL, lease_until = NULL WHERE id = ?",
		[]byte(result), time.Now().UnixMilli(), id)
}

func takenBySomebodyElse(s *scene) {
	db, _ := s.promising()
	l := new(log)
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		l.add(batch[0].Value.N)
		return errBusiness
	}, groupcommit.Durable(), groupcommit.Retry(func(int) (time.Duration, bool) { // between two attempts
		s.exec(db, "UPDATE groupcommit_promises SET lease_owner = 'another', lease_until = ? WHERE id = 'x'", time.Now().Add(time.Hour).UnixMilli())
		return 0, len(l.all()) < 3
	}))
	p := cs.Go(background, "x", put{1})
	for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline) && len(l.all()) < 2; {
		time.Sleep(time.Millisecond)
	}
	s.resolvedElsewhere(db, "x", `"another's result"`)
	r, err := p.Await(s.inTime())
	require.NoError(s, err)
	require.Equal(s, "another's result", r)
	require.Equal(s, []int{1}, l.all(), "not once more")
}

// takenByThisProcess tells the story of a lease that could not be given up.
func takenByThisProcess(s *scene) {
	db, _ := s.promising()
	l := new(log)
	var owner string
	put1 := s.putting(l)
	cs := handle(s, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[put, string]) error {
		owner = s.value(tx, "SELECT lease_owner FROM groupcommit_promises WHERE id = ?", batch[0].ID())
		return put1(ctx, tx, batch)
	}, groupcommit.Durable())
	_, err := cs.Do(background, "first", put{1})
	require.NoError(s, err)
	s.add(db, cs, "x", put{2}, func(tx *sql.Tx) {
		s.exec(tx, "UPDATE groupcommit_promises SET lease_owner = 'another', lease_until = ? WHERE id = 'x'", time.Now().Add(time.Hour).UnixMilli())
	})
	p := cs.Go(background, "x", put{2})
	s.exec(db, "UPDATE groupcommit_promises SET lease_owner = ? WHERE id = 'x'", owner)
	r, err := p.Await(s.inTime())
	require.NoError(s, err)
	require.Equal(s, "result 2", r)
	require.Equal(s, []int{1, 2}, l.all())
}

func closedLeavesPending(s *scene) {
	if s.OneConn {
		s.Skip("a database that lives in its connection is gone when it is closed")
	}
	db, again := s.promising()
	failed := make(chan struct{})
	var once sync.Once
	cs := handle(s, db, func(context.Context, *sql.Tx, []*groupcommit.Command[put, string]) error {
		once.Do(func() { close(failed) })
		return errBusiness
	}, groupcommit.Durable(), groupcommit.Retry(groupcommit.Constant(24*time.Hour, 1)))
	p := cs.Go(background, "x", put{1})
	bounded.Receive(s, "the command has failed", failed)
	require.NoError(s, db.Close())
	_, err := p.Await(background)
	var pending *groupcommit.PendingError
	require.ErrorAs(s, err, &pending)
	require.Equal(s, "x", pending.ID)
	require.ErrorIs(s, err, errBusiness)

	db = again()
	l := new(log)
	cs = handle(s, db, s.putting(l), groupcommit.Durable())
	r, err := cs.Do(background, "x", put{1})
	require.NoError(s, err, "its lease was given up")
	require.Equal(s, "result 1", r)
}
