package enginetest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var cancelStories = []story{
	{"AnEndedContextExecutesNothing", endedContext},
	{"AContextThatEndsInTheQueueTakesTheCallBack", endsInTheQueue},
	{"AContextThatEndsAfterTheCommitChangesNothing", endsAfterTheCommit},
	{"AContextThatEndsDuringALoneStatementIsHonoured", endsDuringAStatement},
	{"ContextsThatEndAtAnyTimeLeaveTheTruth", endsAtAnyTime},
}

func endedContext(s *scene) {
	ctx, cancel := context.WithCancel(background)
	cancel()
	plain := s.twin()
	_, want := plain.ExecContext(ctx, s.insert(), "x", 1)
	_, err := s.db.ExecContext(ctx, s.insert(), "x", 1)
	s.sameError(want, err, "Exec")
	_, err = s.db.PrepareContext(ctx, s.insert())
	require.ErrorIs(s, err, context.Canceled, "Prepare")
	_, err = s.db.BeginTx(ctx, nil)
	require.ErrorIs(s, err, context.Canceled, "BeginTx")
	require.ErrorIs(s, s.db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)), context.Canceled, "Query")

	p := groupcommit.Go(ctx, s.db, s.insert(), "x", 1)
	_, err = p.Await(background)
	require.Equal(s, context.Canceled, err, "Go")
	require.Equal(s, durable.RejectedCanceled, p.State())

	past, cancel := context.WithDeadline(background, time.Unix(0, 0))
	defer cancel()
	p = groupcommit.Go(past, s.db, s.insert(), "x", 1)
	_, err = p.Await(background)
	require.Equal(s, context.DeadlineExceeded, err)
	require.Equal(s, durable.RejectedTimedout, p.State())
	require.Equal(s, "0", s.value(s.witness(), "SELECT count(*) FROM items"))
}

func endsInTheQueue(s *scene) {
	release := s.hold(s.db)
	before := s.stats(s.db)
	const n = 6
	errs := make([]error, n)
	ended := make([]chan struct{}, n)
	var cancels []context.CancelFunc
	for i := range n { // the first of them leads
		ctx, cancel := context.WithCancel(background)
		defer cancel()
		cancels = append(cancels, cancel)
		ended[i] = make(chan struct{})
		go func() {
			defer close(ended[i])
			if i%2 == 0 {
				_, errs[i] = s.db.ExecContext(ctx, s.insert(), name(i), i)
			} else {
				_, errs[i] = groupcommit.Go(ctx, s.db, s.insert(), name(i), i).Await(background)
			}
		}()
		s.awaitQueued(s.db, i+1)
	}
	for _, i := range []int{0, 1, 4} {
		cancels[i]()
		bounded.Receive(s, "the call that was cancelled returns, while the others still wait", ended[i])
		require.Equal(s, context.Canceled, errs[i])
	}
	s.awaitQueued(s.db, n-3)
	release()
	for _, i := range []int{2, 3, 5} {
		bounded.Receive(s, "the call returns", ended[i])
		require.NoError(s, errs[i])
	}
	require.Equal(s, []string{"2", "3", "5"}, s.column(s.witness(), "SELECT n FROM items ORDER BY n"))
	require.Equal(s, before.Withdrawn+3, s.stats(s.db).Withdrawn)
}

func endsAfterTheCommit(s *scene) {
	var cancel func()
	var mu sync.Mutex
	db := s.openWith(groupcommit.OnGroup(func(info groupcommit.GroupInfo) {
		mu.Lock()
		defer mu.Unlock()
		if cancel != nil && len(info.Calls) > 1 {
			cancel()
		}
	}))
	s.exec(db, "DELETE FROM items")
	ctx, end := context.WithCancel(background)
	defer end()
	mu.Lock()
	cancel = end
	mu.Unlock()
	errs := make([]error, 4)
	var calls []func()
	for i := range errs {
		calls = append(calls, func() {
			if i%2 == 0 {
				_, errs[i] = db.ExecContext(ctx, s.insert(), name(i), i)
			} else {
				_, errs[i] = groupcommit.Go(ctx, db, s.insert(), name(i), i).Await(background)
			}
		})
	}
	s.together(db, calls...)
	require.Error(s, ctx.Err())
	require.Equal(s, make([]error, 4), errs)
	require.Equal(s, "4", s.value(db, "SELECT count(*) FROM items"))
}

func endsDuringAStatement(s *scene) {
	ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	_, err := s.db.ExecContext(ctx, s.Slow)
	if err == nil { // the machine was slower than the statement
		require.NotEqual(s, "0", s.value(s.witness(), "SELECT count(*) FROM items WHERE name LIKE 'slow%'"))
	} else {
		require.ErrorIs(s, err, context.DeadlineExceeded)
		require.Equal(s, "0", s.value(s.witness(), "SELECT count(*) FROM items WHERE name LIKE 'slow%'"))
	}
	s.exec(s.db, "INSERT INTO items (name, n) VALUES (?, 1)", "after")
	require.Equal(s, "after", s.value(s.witness(), "SELECT name FROM items WHERE n = 1"))
}

func endsAtAnyTime(s *scene) {
	const goroutines, each = 12, 25
	var done [goroutines][each]bool
	var cancelled atomic.Int64
	s.crowd(goroutines, func(who int) {
		for n := range each {
			ctx, cancel := context.WithCancel(background)
			if (who+n)%3 == 0 {
				go cancel()
			}
			var err error
			switch insert := s.q("INSERT INTO entries (who, n) VALUES (?, ?)"); who % 3 {
			case 0:
				_, err = s.db.ExecContext(ctx, insert, who, n)
			case 1:
				_, err = groupcommit.Go(ctx, s.db, insert, who, n).Await(background)
			case 2:
				var tx interface {
					execer
					Commit() error
					Rollback() error
				}
				if tx, err = s.db.BeginTx(ctx, nil); err == nil {
					if _, err = tx.ExecContext(ctx, insert, who, n); err == nil {
						err = tx.Commit()
					} else {
						tx.Rollback()
					}
				}
			}
			cancel()
			if err == nil {
				done[who][n] = true
				continue
			}
			cancelled.Add(1)
			assert.Zero(s, (who+n)%3, "an error without a cancellation: %v", err)
			if who%3 != 2 { // of a transaction there are several errors
				assert.ErrorIs(s, err, context.Canceled)
			}
		}
	})
	db := s.witness()
	for who := range done {
		for n, there := range done[who] {
			want := []string{"0"}
			switch {
			case there:
				want[0] = "1"
			case s.CommitIsCancelled:
				want = append(want, "1")
			}
			require.Contains(s, want, s.value(db, "SELECT count(*) FROM entries WHERE who = ? AND n = ?", who, n), "call %d of goroutine %d", n, who)
		}
	}
	s.Logf("%d of %d calls were cancelled", cancelled.Load(), goroutines*each)
}
