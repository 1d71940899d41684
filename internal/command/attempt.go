package command

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A handler is a program's function for batches, as attempts call it.
type handler struct {
	kind    *Kind
	call    func(ctx context.Context, tx *sql.Tx, batch []*Task) error
	maxTime time.Duration
	one     sync.Mutex // held by the attempt that is under way where there is no writer: a handler has one batch at a time
}

// An attempt is one transaction of a handler:
//
//	BEGIN; claim the ids; the handler; record the outcomes; COMMIT
//
// Commands whose ids are settled are answered with what is recorded, and the handler does not get them.
type attempt struct {
	*handler
	batch   []*Task
	handled []*Task // those that the handler gets
	tx      Tx
	ctx     context.Context
	now     time.Time
	over    atomic.Bool // the handler has returned
	trying  bool        // Try is under way
	stop    error       // what Try has told the handler to stop for

	last []engine.Statement // they record the outcomes together with COMMIT
	result
}

// A result is what an attempt has come to. Without an err each command has its outcome, but for those aside and the others.
type result struct {
	err     error
	aside   []*Task // undone, and to be tried by themselves
	others  []*Task // recorded, and not this process's to handle
	culprit *Task   // err is of this one alone
	began   bool    // the handler was reached
	split   bool    // err may be of any one of them: COMMIT found it
	severed bool    // the connection was gone when err came
	final   bool    // trying again would be wrong
	unknown bool    // COMMIT was sent, and its answer never came
	commit  time.Duration
}

// attempt handles a batch once, while no other attempt is under way. Where there is one writer, its turns see to that. t is a
// turn that the caller has already, or nil.
func (h *handler) attempt(batch []*Task, t *turn.Turn) result {
	ctx := context.WithValue(context.Background(), handlingKey{}, h.kind.host)
	if !h.kind.traits.OneWriter { // with one, a context that can end costs each statement a goroutine
		h.one.Lock()
		defer h.one.Unlock()
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.maxTime)
		defer cancel()
	}
	a := &attempt{handler: h, batch: batch, ctx: ctx, now: time.Now()}
	if a.err = a.begin(t); a.err != nil {
		return a.result
	}
	defer a.tx.Close()
	for _, step := range []func() error{a.claim, a.handle, a.record, a.finish} {
		if a.err = step(); a.err != nil {
			a.severed = a.ctx.Err() == nil && a.tx.Gone()
			break
		}
	}
	return a.result
}

// staleRetries is how often an attempt looks for a connection that is not stale: database/sql's own number.
const staleRetries = 2

func (a *attempt) begin(t *turn.Turn) (err error) {
	for range staleRetries + 1 {
		if a.tx, err = a.kind.host.Begin(a.ctx, t); !errors.Is(err, driver.ErrBadConn) {
			return err
		}
	}
	return err
}

// claim makes the commands' ids the transaction's own, and answers those that are settled.
func (a *attempt) claim() error {
	var rows []record.Row
	if a.kind.table.Dialect != nil {
		for _, t := range a.batch {
			if t.id != "" {
				rows = append(rows, t.row())
			}
		}
	}
	switch {
	case len(rows) == 0:
		a.handled = a.batch
		return nil
	case a.kind.owner != "":
		return a.hold(rows)
	}
	found, err := a.kind.table.Claim(a.ctx, a.tx.SQL(), rows)
	if err != nil {
		return err
	}
	for _, t := range a.batch {
		t.doubt = nil // the claim is one that no other transaction can take back
		if r, ok := found[t.id]; ok {
			t.replay(r)
		} else {
			a.handled = append(a.handled, t)
		}
	}
	return nil
}

// hold is claim for commands that are recorded.
func (a *attempt) hold(rows []record.Row) error {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	held, err := a.kind.table.Hold(a.ctx, a.tx.SQL(), ids, a.kind.owner, a.now)
	if err != nil {
		return err
	}
	for _, t := range a.batch {
		t.doubt = nil
		if key, ok := held[t.id]; ok && key == t.key { // the id may have gone to another command
			a.handled = append(a.handled, t)
		} else {
			a.others = append(a.others, t)
		}
	}
	return nil
}

// handle has the handler handle the commands.
func (a *attempt) handle() error {
	if len(a.handled) == 0 || a.handled[0].refused { // one that is refused is by itself
		return nil
	}
	a.began = true
	err := a.guarded()
	a.over.Store(true)
	if stop, ok := err.(stopError); ok {
		err = stop.error
	} else if err == nil {
		err = a.stop // the handler has not returned what Try has told it
	}
	open, idle, lost := a.tx.State()
	switch {
	case a.culprit != nil: // whatever the handler says
		return a.err
	case lost != nil:
		return cmp.Or(err, lost)
	case a.ctx.Err() != nil:
		return fmt.Errorf("groupcommit: the handler of %q took longer than MaxTime, which is %v: %w", a.kind.name, a.maxTime, cmp.Or(err, a.ctx.Err()))
	case !open, errors.Is(err, a.kind.errors.Ended):
		a.final = true
		return a.kind.errors.Ended
	case idle && err == nil:
		return a.kind.errors.Undone
	}
	return err
}

// guarded runs the handler in a goroutine of its own, so that runtime.Goexit ends nothing but that.
func (a *attempt) guarded() error {
	for _, t := range a.handled {
		t.attempt = a
	}
	ended := make(chan error, 1)
	go func() {
		err := errors.New("groupcommit: the handler has called runtime.Goexit")
		defer func() { ended <- err }()
		err = engine.Guard(func() error { return a.call(a.ctx, a.tx.SQL(), a.handled) })
	}()
	return <-ended
}

// record writes down what the commands with ids have come to.
func (a *attempt) record() error {
	k := a.kind
	if k.table.Dialect == nil {
		return nil
	}
	var rows []record.Row
	for _, t := range a.handled {
		if t.id == "" || slices.Contains(a.aside, t) {
			continue
		}
		row := t.row()
		row.State = durable.Resolved
		if err := t.rejection; err != nil {
			row.State, row.Value = durable.Rejected, k.rejection(err)
		} else if row.Value, err = k.Encode(t.typed.Result()); err != nil {
			a.culprit = t
			return fmt.Errorf("groupcommit: command %q of kind %q: its result of type %T cannot be encoded: %w", t.id, k.name, t.typed.Result(), err)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 || a.recordsLast(rows) {
		return nil
	}
	if k.owner == "" {
		return k.table.Record(a.ctx, a.tx.SQL(), rows, a.now)
	}
	n, err := k.table.Settle(a.ctx, a.tx.SQL(), rows)
	if err == nil && n != int64(len(rows)) {
		err = record.Incomplete(len(rows), n)
	}
	return err
}

// recordsLast leaves the recording to COMMIT, if that can travel with it. False if it cannot, or should not: a command without
// an id cannot find out what became of a COMMIT that was sent.
func (a *attempt) recordsLast(rows []record.Row) bool {
	if !a.tx.Finishes() || slices.ContainsFunc(a.batch, func(t *Task) bool { return t.id == "" }) {
		return false
	}
	from := durable.Resolved
	if a.kind.owner != "" {
		from = durable.Pending
	}
	statements, ok := a.kind.table.Last(rows, from, a.now)
	if !ok {
		return false
	}
	for _, s := range statements {
		last := engine.Statement{Query: s.Text}
		for i, arg := range s.Args {
			last.Args = append(last.Args, driver.NamedValue{Ordinal: i + 1, Value: arg})
		}
		a.last = append(a.last, last)
	}
	return true
}

// finish commits, and answers the commands.
func (a *attempt) finish() (err error) {
	start := time.Now()
	var before bool
	if before, a.unknown, err = a.tx.Commit(a.last); before {
		return record.LastFailed(err)
	}
	if err != nil {
		if !a.unknown {
			_, a.split = a.kind.final(err)
		}
		return err
	}
	if slices.ContainsFunc(a.batch, func(t *Task) bool { return t.replayed }) { // with what another transaction has recorded
		if err = a.kind.makeDurable(); err != nil {
			a.unknown = true
			return err
		}
	}
	a.commit = time.Since(start)
	for _, t := range a.handled {
		switch {
		case len(a.aside) > 0 && slices.Contains(a.aside, t):
		case t.rejection != nil:
			t.answer(nil, t.rejection)
		default:
			t.answer(t.typed.Result(), nil)
		}
	}
	return nil
}
