// Package turn lets those who write to a database with one writer take turns, first come first served.
package turn

import (
	"context"
	"sync"
	"time"
)

// A Writer is the right to write to a database that has one writer at a time. Whoever writes takes a turn on it, first
// come first served: a group, a write transaction, a RETURNING query, a schema change. So the database never sees
// two writers of this process at once, and never has to answer that it is locked.
//
// A turn may be tentative: a transaction that has only read so far might write later, and to fail it then for a
// snapshot that went stale is the very thing that turns prevent; but it might also never write, and nobody should
// wait for long behind a mere reader. So a tentative turn can be overtaken once it is overtakeAfter old. Its
// transaction is then what it would have been on the plain driver.
//
// Rejected: a sync.Mutex, since a wait for it cannot end by a context; a channel of one token, which is not first come
// first served and has nobody's name on the turn.
type Writer struct {
	mu     sync.Mutex
	holder *Turn
	first  *Turn // the waiting ones, oldest first
	last   *Turn
}

// overtakeAfter is how long a transaction that has not written keeps other writers away.
const overtakeAfter = time.Second

// A turn is one holder's, used again and again. The writer's mutex guards all fields but ready.
type Turn struct {
	tentative bool
	taken     time.Time
	waiting   bool
	next      *Turn
	ready     chan struct{} // cap 1: a token when the turn is handed over
}

func New() *Turn { return &Turn{ready: make(chan struct{}, 1)} }

// take waits for the turn until ctx is done, which gives its error, or until wait is over, which gives busy. Who only
// wants a tentative turn gives a channel: it goes on without one when that is closed, or after overtakeAfter, like one that
// was overtaken, because it may never write. A nil writer has room for everybody.
func (w *Writer) Take(ctx context.Context, t *Turn, enough <-chan struct{}, wait time.Duration, busy error) error {
	if w == nil {
		return nil
	}
	tentative := enough != nil
	w.mu.Lock()
	if w.holder == nil {
		w.give(t, tentative)
		w.mu.Unlock()
		return nil
	}
	t.tentative, t.waiting, t.next = tentative, true, nil
	if w.last == nil {
		w.first = t
	} else {
		w.last.next = t
	}
	w.last = t
	w.mu.Unlock()
	if tentative {
		wait, busy = min(wait, overtakeAfter), nil
	}
	return w.await(ctx, t, enough, wait, busy)
}

func (w *Writer) await(ctx context.Context, t *Turn, enough <-chan struct{}, wait time.Duration, busy error) error {
	limit := time.NewTimer(wait)
	defer limit.Stop()
	look := time.NewTicker(overtakeAfter / 8)
	defer look.Stop()
	for {
		var err error
		select {
		case <-t.ready:
			return nil
		case <-look.C:
			if w.overtake(t) {
				return nil
			}
			continue
		case <-ctx.Done():
			err = ctx.Err()
		case <-enough:
		case <-limit.C:
			if w.overtake(t) {
				return nil
			}
			err = busy
		}
		if w.abandon(t) {
			return err
		}
		<-t.ready // handed over meanwhile; it goes to the next
		w.Leave(t)
		return err
	}
}

// overtake gives t the turn if it is the first to wait and the holder's turn is tentative and old.
func (w *Writer) overtake(t *Turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first != t || w.holder == nil || !w.holder.tentative || time.Since(w.holder.taken) < overtakeAfter {
		return false
	}
	w.unlink(t)
	w.give(t, t.tentative)
	return true
}

// takeFree takes the turn if nobody has it.
func (w *Writer) TakeFree(t *Turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder != nil {
		return false
	}
	w.give(t, false)
	return true
}

// abandon takes t out of the waiting ones. False if it has the turn already.
func (w *Writer) abandon(t *Turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.waiting {
		return false
	}
	w.unlink(t)
	return true
}

// firm makes a tentative turn one that nobody overtakes. False if t has lost its turn, or never had it.
func (w *Writer) Firm(t *Turn) bool {
	if w == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder != t {
		return false
	}
	t.tentative = false
	return true
}

// leave ends the turn and hands it to the one who has waited longest. It does nothing for a t that was overtaken.
func (w *Writer) Leave(t *Turn) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder != t {
		return
	}
	w.holder = nil
	if next := w.first; next != nil {
		w.unlink(next)
		w.give(next, next.tentative)
		next.ready <- struct{}{}
	}
}

// Free reports that nobody has the turn.
func (w *Writer) Free() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.holder == nil
}

func (w *Writer) give(t *Turn, tentative bool) {
	w.holder, t.tentative = t, tentative
	if tentative {
		t.taken = time.Now()
	}
}

func (w *Writer) unlink(t *Turn) {
	t.waiting = false
	var before *Turn
	for x := w.first; x != t; x = x.next {
		before = x
	}
	if before == nil {
		w.first = t.next
	} else {
		before.next = t.next
	}
	if w.last == t {
		w.last = before
	}
	t.next = nil
}
