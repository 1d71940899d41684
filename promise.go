package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/fingerprint"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/group"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// A Promise is an Exec whose outcome will come. [Go] makes it. It settles once, awaited or not, and any number of goroutines
// may use it.
type Promise struct {
	exec   exec
	future group.Future
	state  atomic.Uint32
	joined bool                          // the outcome is another call's, which had the same id
	apart  bool                          // it cannot join a group: its connection counts what there is to count
	db     *database                     // nil if it never became a call
	part   *partition                    // until it is settled; nil without Partition
	flight *flight.Flight[engine.Answer] // of a call with an id, unless it is another call's
}

// Go executes query as db.ExecContext does, without waiting for the outcome. db must be a database of ours.
//
// Go waits only if [MaxQueue] calls are waiting already. It then waits for room, and no longer than ctx allows. ctx counts
// until a group claims the call. If it ends before that, the promise is rejected with the context's error and the call is
// certainly not executed; but see [WithID]. The arguments belong to the promise until it is settled: memory that they point
// to must not change before.
//
// Where there is one writer (see [Writers]), the calls of one goroutine are executed in the order of their Go. The
// exception, on a database that may have several, is a call that ran alone for longer than 100 ms.
//
// A statement that cannot join a group runs at once, beside the others. Promises have connections within db's limits: with
// SetMaxOpenConns(1), a promise waits for a transaction that is open.
//
// If the call cannot be made (a database that is not ours, a closed one, an argument that cannot be converted), the promise
// has the error. A driver.Valuer that panics does not panic here: the promise is rejected with a [*PanicError].
func Go(ctx context.Context, db *sql.DB, query string, args ...any) *Promise {
	p := &Promise{}
	p.exec.detached = true
	p.exec.Call = engine.NewCall(ctx, query, nil, false)
	d, err := databaseOf(ctx, db)
	if err != nil {
		return p.reject(err)
	}
	d.Pool.Learn(db)
	traits, err := d.ready(ctx)
	if err != nil {
		if d.isClosed() {
			err = ErrClosed
		}
		return p.reject(err)
	}
	nvs, err := fallback.Named(args)
	if err != nil {
		return p.reject(err)
	}
	p.db = d
	if why := virtual.Refusal(ctx, d.Texts.Get(traits.Dialect, query), traits, nvs); why != virtual.Groupable {
		d.Apart.Note(why)
		p.exec.Args, p.apart = nvs, true
		p.goUngrouped()
		return p
	}
	if nvs, err = checkFor(traits, nvs); err != nil {
		return p.reject(err)
	}
	p.exec.Call = engine.NewCall(ctx, query, nvs, false)
	var b *batcher
	if p.part, b, err = d.batcherFor(ctx); err != nil {
		return p.reject(err)
	}
	if id, ok := virtual.IDOf(ctx); ok {
		p.goOnce(id)
	} else {
		p.join(b, false)
	}
	return p
}

// checkFor converts the arguments as the driver's connection would.
func checkFor(traits *engine.Traits, nvs []driver.NamedValue) ([]driver.NamedValue, error) {
	if traits.Check == nil {
		return nvs, nil
	}
	err := engine.Guard(func() (err error) {
		nvs, err = fallback.Check(nvs, -1, []fallback.ArgCheck{traits.Check, fallback.DefaultCheck})
		return err
	})
	return nvs, err
}

// join hands the call to a batcher's queue. accepted says that the database's own queue has counted it.
func (p *Promise) join(b *batcher, accepted bool) {
	if b = p.db.way(b, p.exec.Query); b == nil {
		p.goApiece(accepted)
		return
	}
	e, q := &p.exec, b.queue
	e.slot.Init(e, e.Context(), e.Bytes())
	enter := q.Go
	if accepted {
		enter = q.GoAccepted
	}
	if err := enter(&e.slot, (*inQueue)(p)); err != nil {
		p.reject(err)
	}
}

// goOnce executes a call with an id, or makes it wait for the one that is under way.
func (p *Promise) goOnce(id string) {
	d, e, since := p.db, &p.exec, time.Now()
	if err := d.keeps(id); err != nil {
		p.reject(err)
		return
	}
	e.Identify(id, "")
	if err := engine.Guard(func() error {
		print, err := fingerprint.Of(id, e.Query, e.Args)
		e.Identify(id, print)
		return err
	}); err != nil {
		p.reject(err)
		return
	}
	f, mine, err := d.inFlight.Begin(id, string(e.Fingerprint()))
	switch {
	case err == flight.ErrTaken:
		p.reject(joinError(e.Context(), id, err))
	case mine:
		p.launch(f, false)
	case !d.all.queue.Accept():
		p.reject(ErrClosed)
	case err != nil:
		go func() {
			defer d.all.queue.Release()
			p.askOwner()
		}()
	default:
		go p.follow(f, since)
	}
}

// launch executes a call with an id that has begun a flight.
func (p *Promise) launch(f *flight.Flight[engine.Answer], accepted bool) {
	p.flight = f
	b := p.db.all
	if p.part != nil {
		b = p.part.batcher
	}
	p.join(b, accepted)
}

// follow waits for the call with p's id that is under way, and for the next, until one has an outcome for p, too, or it is
// p's turn. p has been accepted, even if the database is closed meanwhile: its own queue, which has accepted p, is closed before
// those of the partitions.
func (p *Promise) follow(f *flight.Flight[engine.Answer], since time.Time) {
	d, e := p.db, &p.exec
	defer d.all.queue.Release()
	mine, out, err := d.inFlight.Follow(e.Context(), f, d.wait(since))
	switch {
	case err == flight.ErrOther:
		p.askOwner()
	case err != nil:
		p.reject(joinError(e.Context(), e.ID(), err))
	case mine != nil:
		p.launch(mine, true)
	default:
		e.SetOutcome(joined(out))
		p.joined = true
		p.settle()
	}
}

// askOwner settles a promise whose id is under way with another request.
func (p *Promise) askOwner() {
	e := &p.exec
	e.SetOutcome(p.db.ofOwner(e.Context(), e.ID(), e.Fingerprint()))
	p.settle()
}

// goUngrouped runs a call that cannot join a group as a blocking Exec does, beside its caller. Its connection is not of db's
// pool, which refuses calls as soon as db.Close has begun.
func (p *Promise) goUngrouped() {
	q := p.db.all.queue
	if !q.Accept() {
		p.reject(ErrClosed)
		return
	}
	go func() {
		defer q.Release()
		defer p.settle() // also after runtime.Goexit
		p.runUngrouped()
	}()
}

func (p *Promise) runUngrouped() {
	e := &p.exec
	ctx, query, args := e.Context(), e.Query, e.Args
	for try := 0; ; try++ {
		e.Try(func(*engine.Call) (driver.Result, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			c := p.db.newConn()
			bad := true
			defer func() {
				if !bad {
					c.IsValid()
				}
				c.Close()
			}()
			res, err := c.ExecContext(ctx, query, append([]driver.NamedValue(nil), args...))
			bad = errors.Is(err, driver.ErrBadConn)
			return res, err
		})
		if try == staleRetries || !errors.Is(e.Err(), driver.ErrBadConn) {
			return
		}
	}
}

// reject settles a promise that never became a call.
func (p *Promise) reject(err error) *Promise {
	p.exec.SetOutcome(engine.Answer{Err: err})
	p.settle()
	return p
}

// goApiece is runApiece for a promise, beside its caller. accepted says that the database's own queue has counted it, and that the
// caller of goApiece will release that count.
func (p *Promise) goApiece(accepted bool) {
	q := p.db.all.queue
	if accepted {
		q.Hold()
	} else if !q.Accept() {
		p.reject(ErrClosed)
		return
	}
	go func() {
		defer q.Release()
		defer p.settle()
		p.db.runApiece(&p.exec)
	}()
}

// inQueue is a promise as its queue sees it.
type inQueue Promise

// Settle is called when the call is answered, or was withdrawn.
func (q *inQueue) Settle() {
	p := (*Promise)(q)
	if err := p.exec.slot.Err(); err != nil {
		p.exec.SetOutcome(engine.Answer{Err: err})
	}
	p.settle()
}

// settle gives the promise the call's outcome. It is called once.
func (p *Promise) settle() {
	e := &p.exec
	e.Query, e.Args = "", nil
	out := e.Outcome()
	if p.flight != nil { // first: a caller that has seen the outcome must not find the call in flight
		p.db.complete(p.flight, &out, e.Context(), false)
	}
	p.count(&out)
	p.state.Store(uint32(stateOf(out.Err, e.Context())))
	p.future.Settle()
	p.part.leave()
}

// count counts how the call has ended.
func (p *Promise) count(out *engine.Answer) {
	if p.db == nil || p.apart {
		return
	}
	if out.Err != nil {
		p.db.Ends.Failed(p.exec.Context(), p.db.Traits.Load(), out.Err)
	}
	if isReplay(out, p.joined) {
		p.db.Ends.Replayed()
	}
}

// stateOf is the state of an outcome. An error of a context is the caller's only if the caller's context has ended.
func stateOf(err error, ctx context.Context) durable.State {
	switch {
	case err == nil:
		return durable.Resolved
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return durable.RejectedCanceled
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return durable.RejectedTimedout
	}
	return durable.Rejected
}

// Await waits for the outcome, which is what db.ExecContext would have returned. ctx bounds only the waiting: if it ends
// first, Await returns its error and the promise goes on.
func (p *Promise) Await(ctx context.Context) (sql.Result, error) {
	if err := p.future.Wait(ctx); err != nil {
		return nil, err
	}
	out := p.exec.Outcome()
	if out.Err != nil {
		return nil, out.Err
	}
	return &out.Result, nil
}

// Done is closed when the promise is settled.
func (p *Promise) Done() <-chan struct{} { return p.future.Done() }

// ID is the id of [WithID]; "" if there was none.
func (p *Promise) ID() string { return p.exec.ID() }

// State is PENDING until the promise is settled. It is then RESOLVED, or REJECTED if there is an error: REJECTED_CANCELED or
// REJECTED_TIMEDOUT if that is the end of the context of [Go].
func (p *Promise) State() durable.State { return durable.State(p.state.Load()) }

// Deduplicated reports that the call was not executed: its outcome comes from the ledger, or from another call with the same
// id that was under way. False until the promise is settled, and if it has an error.
func (p *Promise) Deduplicated() bool { return p.future.Settled() && p.exec.Outcome().Result.Replayed }
