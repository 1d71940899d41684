package main

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// timerBatch is the batcher that many programs write by themselves: a caller hands its row to a goroutine, which commits what
// has come every so often and answers all of it.
type timerBatch struct {
	write func(rows []int) error

	mu      sync.Mutex
	waiting []waitingRow

	quit, done chan struct{}
}

type waitingRow struct {
	n      int
	answer chan error
}

const timerEvery = 10 * time.Millisecond

func newTimerBatch(write func(rows []int) error) *timerBatch {
	b := &timerBatch{write: write, quit: make(chan struct{}), done: make(chan struct{})}
	go b.run()
	return b
}

// call hands in a row and waits for its commit.
func (b *timerBatch) call(n int) error {
	r := waitingRow{n, make(chan error, 1)}
	b.mu.Lock()
	b.waiting = append(b.waiting, r)
	b.mu.Unlock()
	return <-r.answer
}

func (b *timerBatch) stop() error {
	close(b.quit)
	<-b.done
	return nil
}

func (b *timerBatch) run() {
	defer close(b.done)
	tick := time.NewTicker(timerEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.flush()
		case <-b.quit:
			return
		}
	}
}

// flush commits what is waiting.
func (b *timerBatch) flush() {
	b.mu.Lock()
	some := b.waiting
	b.waiting = make([]waitingRow, 0, len(some))
	b.mu.Unlock()
	if len(some) == 0 {
		return
	}
	rows := make([]int, len(some))
	for i, r := range some {
		rows[i] = r.n
	}
	err := b.write(rows)
	for _, r := range some {
		r.answer <- err
	}
}

// timerCalls hand their rows to a timerBatch; those that read do not.
func timerCalls(write func(db *sql.DB, w *work) func(rows []int) error) caller {
	return func(db *sql.DB, w *work) (call func(n int) error, stop func() error, err error) {
		commit := write(db, w)
		b := newTimerBatch(func(rows []int) error {
			err := commit(rows)
			w.byHand.commits++
			w.byHand.calls += len(rows)
			w.byHand.largest = max(w.byHand.largest, len(rows))
			return err
		})
		switch s := w.shape; {
		case s != nil && s.reads != "":
			return alternately(b.call, w.read(db)), b.stop, nil
		case s != nil && s.served:
			call, stop, err := overHTTP(b.call, w)
			if err != nil {
				return nil, b.stop, err
			}
			return call, func() error {
				err := stop()
				b.stop()
				return err
			}, nil
		}
		return b.call, b.stop, nil
	}
}

// bySQLite writes rows as a hand-written loop does.
func bySQLite(db *sql.DB, w *work) func(rows []int) error {
	return func(rows []int) error {
		return w.oneTransaction(db, slices.Values(rows))
	}
}

// byPgxBatch writes rows by one pgx.Batch.
func byPgxBatch(db *sql.DB, w *work) func(rows []int) error {
	return func(rows []int) error {
		return directly(context.Background(), db, func(direct *pgx.Conn) error {
			var b pgx.Batch
			for _, n := range rows {
				w.queue(&b, n)
			}
			return direct.SendBatch(context.Background(), &b).Close()
		})
	}
}
