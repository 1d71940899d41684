package turn

import "sync"

// Readers tell transactions that only read from those that will write, where a database has one writer. If a transaction
// reads and then writes, no other may overtake it in between, because its snapshot would be stale. So it should have the
// writer's turn from its first statement on. A transaction that never writes should not queue for a turn at all.
//
// The text of a transaction's first statement decides, because the transactions of one place in a program begin with the
// same text. A text counts as a reader's after some transactions in a row have ended without a write; one that writes takes
// that back. Until then a transaction has a tentative turn. A new text is judged by how the transactions before it began.
//
// Rejected: a turn for every transaction that is not declared read-only. Transactions that read would queue behind each
// other, and most frameworks never declare one.
type Readers struct {
	mu    sync.RWMutex
	begun map[string]*reading // by the text of the first statement
	fresh int                 // texts in a row that were met for the first time and began readers
}

// reading is what is known of one text.
type reading struct {
	read    int           // transactions in a row that began with it and did not write
	enough  chan struct{} // closed when the text counts as a reader's; a new one when that is taken back
	another bool          // a transaction that began with it has ended
}

const (
	readsEnough = 2    // transactions in a row that make a text a reader's
	freshEnough = 16   // new texts in a row that began readers: then the next new one counts as a reader's
	writesCount = -16  // the count after a transaction that writes
	maxReaders  = 1024 // texts
	maxText     = 8 << 10
)

// Likely reports that a transaction which begins with a query that reads will not write. If it reports false, enough is
// closed when that becomes likely.
func (r *Readers) Likely(query string) (yes bool, enough <-chan struct{}) {
	r.mu.RLock()
	x := r.begun[query]
	if x != nil {
		yes, enough = x.likely(r.fresh), x.enough
	}
	r.mu.RUnlock()
	if x != nil || len(query) > maxText {
		return yes, enough
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x = r.of(query)
	return x.likely(r.fresh), x.enough
}

func (x *reading) likely(fresh int) bool {
	return x.read >= readsEnough || !x.another && fresh >= freshEnough
}

// Ended notes whether a transaction that began with a query has written.
func (r *Readers) Ended(query string, wrote bool) {
	if len(query) > maxText {
		return
	}
	if !wrote {
		r.mu.RLock()
		x := r.begun[query]
		known := x != nil && x.read >= readsEnough
		r.mu.RUnlock()
		if known {
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.of(query)
	if wrote {
		if x.read >= readsEnough {
			x.enough = make(chan struct{})
		}
		x.read = writesCount
		r.fresh = writesCount
	} else {
		if x.read++; x.read == readsEnough {
			close(x.enough)
		}
		if !x.another {
			r.fresh++
		}
	}
	x.another = true
}

// of returns what is known of a text. The caller holds the mutex.
func (r *Readers) of(query string) *reading {
	x := r.begun[query]
	if x == nil {
		if r.begun == nil || len(r.begun) >= maxReaders {
			r.begun = make(map[string]*reading)
		}
		x = &reading{enough: make(chan struct{})}
		r.begun[query] = x
	}
	return x
}
