package enginetest

import (
	"context"
	"database/sql"
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
	{"TheBacklogIsThatOfAllProcesses", backlogOfAll},
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
