package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/fingerprint"
)

// A Promise is an Exec whose outcome will come. It is made by [Go]. It settles whether anybody awaits it or not, once,
// and any number of goroutines may use it.
type Promise struct {
	call    call
	batch   *batcher
	part    *partition // until it is settled; nil without Partition
	state   atomic.Uint32
	done    atomic.Pointer[chan struct{}] // made when somebody wants it
	unwatch func() bool                   // ends the watch over the context
	flights *flights                      // of the call's flight, if that is its own
	flight  *flight
}

// Go executes query as db.ExecContext does, without waiting for the outcome. db must be a database of ours.
//
// Go waits only if [MaxQueue] calls are waiting already; then for room, and no longer than ctx allows. ctx counts until
// a group claims the call: if it ends before, the promise is rejected with the context's error and the call is
// certainly not executed; but see [WithID]. The calls of one goroutine are executed in the order of their Go
// where there is one writer (see [Writers]), but for one that ran alone for longer than 100 ms on a database that may have several. The arguments belong to the
// promise until it is settled: memory that they point to must not change before.
//
// A statement that cannot join a group runs at once and beside the others, on a connection that does not count against
// db's limits.
//
// The error of a call that cannot be made (a database that is not ours, a closed one, an argument that cannot be
// converted) is the promise's. A driver.Valuer that panics does not panic here: the promise is rejected with a
// [*PanicError].
func Go(ctx context.Context, db *sql.DB, query string, args ...any) *Promise {
	p := &Promise{}
	p.call.promise = p
	p.call.Call = engine.NewCall(ctx, query, nil, false)
	d, err := databaseOf(db)
	if err != nil {
		return p.reject(err)
	}
	traits, err := d.ready(ctx)
	if err != nil {
		if d.isClosed() {
			err = ErrClosed
		}
		return p.reject(err)
	}
	nvs, err := named(args)
	if err != nil {
		return p.reject(err)
	}
	p.call.Args = nvs
	d.pool.mayKeep() // no connection of the program's own pool is ever used
	c := &conn{db: d}
	if !c.groupable(ctx, d.texts.Get(traits.Dialect, query), traits, nvs) {
		if !d.lanes[0].accept() {
			return p.reject(ErrClosed)
		}
		go p.apart(d)
		return p
	}
	if traits.Check != nil {
		if err := engine.Guard(func() (err error) {
			nvs, err = fallback.Check(nvs, -1, []fallback.ArgCheck{traits.Check, fallback.DefaultCheck})
			return err
		}); err != nil {
			return p.reject(err)
		}
	}
	p.call.Call = engine.NewCall(ctx, query, nvs, false)
	var lanes []*batcher
	if p.part, lanes, err = d.lanesFor(ctx); err != nil {
		return p.reject(err)
	}
	if id, ok := idOf(ctx); ok {
		if err := d.keeps(id); err != nil {
			return p.reject(err)
		}
		p.call.since = time.Now()
		p.call.Identify(id, "")
		if err := engine.Guard(func() error {
			print, err := fingerprint.Of(id, query, nvs)
			p.call.Identify(id, print)
			return err
		}); err != nil {
			return p.reject(err)
		}
		p.depart(d)
		return p
	}
	p.join(d, lanes)
	return p
}

// join hands the call to a lane.
func (p *Promise) join(d *database, lanes []*batcher) {
	if d.apiece(d.traits.Load()) {
		p.goApiece(d)
		return
	}
	p.batch = pick(lanes)
	p.batch.submit(p)
}

// depart has a call with an id executed, or waits for the one that is under way.
func (p *Promise) depart(d *database) {
	f, mine, err := d.flights.board(p.call.ID(), p.call.Fingerprint())
	switch {
	case err != nil:
		p.reject(err)
	case mine:
		p.launch(d, f)
	case !d.lanes[0].accept():
		p.reject(ErrClosed)
	default:
		go p.follow(d, f)
	}
}

// launch has a call with an id executed, whose flight is its own.
func (p *Promise) launch(d *database, f *flight) {
	p.flights, p.flight = &d.flights, f
	lanes := d.lanes
	if p.part != nil {
		lanes = p.part.lanes
	}
	p.join(d, lanes)
}

// follow waits for a call with the same id, and for the next, until there is an outcome for p too, or it is p's turn. It has
// been accepted, whether the database is closed meanwhile or not: the lanes are closed in their order, and the first one,
// which has accepted it, before the others.
func (p *Promise) follow(d *database, f *flight) {
	defer d.lanes[0].active.Done()
	patience, busy := d.patience()
	for mine := false; !mine; {
		out, ok := f.share(p.call.Context(), p.call.since, patience, busy)
		if ok {
			p.call.SetOutcome(out)
			p.settle()
			return
		}
		var err error
		if f, mine, err = d.flights.board(p.call.ID(), p.call.Fingerprint()); err != nil {
			p.reject(err)
			return
		}
	}
	p.call.accepted = true
	p.launch(d, f)
}

// apart runs a call that cannot join a group, as a blocking Exec does.
// The connection is not of db's pool, which refuses calls as soon as db.Close has begun.
func (p *Promise) apart(d *database) {
	defer d.lanes[0].active.Done()
	defer p.settle() // also after runtime.Goexit
	query, args := p.call.Query, p.call.Args
	for try := 0; ; try++ {
		p.call.Try(func(*engine.Call) (driver.Result, error) {
			if err := p.call.Context().Err(); err != nil {
				return nil, err
			}
			c := &conn{db: d}
			bad := true
			defer func() {
				if !bad {
					c.IsValid()
				}
				c.Close()
			}()
			res, err := c.ExecContext(p.call.Context(), query, append([]driver.NamedValue(nil), args...))
			bad = errors.Is(err, driver.ErrBadConn)
			return res, err
		})
		if try == staleRetries || !errors.Is(p.call.Err(), driver.ErrBadConn) {
			return
		}
	}
}

func named(args []any) ([]driver.NamedValue, error) {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		if na, ok := a.(sql.NamedArg); ok {
			if r, _ := utf8.DecodeRuneInString(na.Name); na.Name != "" && !unicode.IsLetter(r) {
				return nil, fmt.Errorf("name %q does not begin with a letter", na.Name)
			}
			named[i] = driver.NamedValue{Name: na.Name, Value: na.Value}
		} else {
			named[i].Value = a
		}
	}
	return named, nil
}

// accept counts a call that close must wait for, though no group will run it.
func (b *batcher) accept() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.active.Add(1)
	}
	return !b.closed
}

// submit queues the promise's call; it waits for room if there is none.
func (b *batcher) submit(p *Promise) {
	c, ctx := &p.call, p.call.Context()
	if err := ctx.Err(); err != nil {
		p.reject(err)
		return
	}
	if ctx.Done() != nil {
		p.unwatch = context.AfterFunc(ctx, p.withdraw)
	}
	lead, err := b.admit(c)
	switch {
	case err != nil:
		p.reject(err)
	case lead:
		go p.lead()
	default:
		if ctx.Err() != nil { // the watch may have looked before there was anything to withdraw
			p.withdraw()
		}
		b.awaitRoom(p)
	}
}

func (b *batcher) awaitRoom(p *Promise) {
	b.mu.Lock()
	waits := p.call.state == callBacklog
	b.mu.Unlock()
	if waits {
		select {
		case <-p.call.wake:
		case <-p.Done(): // its context ended
		}
	}
}

// withdraw settles the promise if its context ended before any group claimed its call.
func (p *Promise) withdraw() {
	if p.batch.withdraw(&p.call) {
		p.settle()
	}
}

// lead leads a group on the promise's behalf: nobody may be waiting for it.
func (p *Promise) lead() {
	if p.batch.lead(&p.call) {
		p.settle()
	}
}

// alone runs a call that its group has put off.
func (p *Promise) alone() {
	defer p.settle() // also after runtime.Goexit
	p.batch.env.apart(&p.call)
}

// reject settles a promise that never came to be a call.
func (p *Promise) reject(err error) *Promise {
	p.call.SetOutcome(engine.Answer{Err: err})
	p.settle()
	return p
}

// settle makes the call's outcome the promise's. It is called once.
func (p *Promise) settle() {
	p.call.Query, p.call.Args = "", nil
	if p.flight != nil { // first, so that who has seen the outcome does not find the call under way
		p.flights.land(p.flight, p.call.Outcome(), p.call.Context())
	}
	p.state.Store(uint32(p.call.verdict()))
	if asked := p.done.Swap(&settled); asked != nil {
		close(*asked)
	}
	if p.unwatch != nil {
		p.unwatch()
	}
	if p.batch != nil && p.call.state != callNew {
		p.batch.active.Done()
	}
	p.part.leave()
}

// settled is closed.
var settled = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// verdict is the state that the call's outcome comes to. An error of a context is the caller's only if that one ended.
func (c *call) verdict() durable.State {
	switch err := c.Err(); {
	case err == nil:
		return durable.Resolved
	case errors.Is(err, context.Canceled) && c.Context().Err() != nil:
		return durable.RejectedCanceled
	case errors.Is(err, context.DeadlineExceeded) && c.Context().Err() != nil:
		return durable.RejectedTimedout
	}
	return durable.Rejected
}

// Await waits for the outcome, which is what db.ExecContext would have returned. ctx bounds the waiting and nothing
// else: if it ends first, Await returns its error and the promise goes on.
func (p *Promise) Await(ctx context.Context) (sql.Result, error) {
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	out := p.call.Outcome()
	if out.Err != nil {
		return nil, out.Err
	}
	return &out.Result, nil
}

// wait returns nil when the promise is settled.
func (p *Promise) wait(ctx context.Context) error {
	if p.State().Done() {
		return nil
	}
	ended := ctx.Done()
	if ended == nil {
		<-p.Done()
		return nil
	}
	select {
	case <-p.Done():
		return nil
	case <-ended:
		return ctx.Err()
	}
}

// Done is closed when the promise is settled.
func (p *Promise) Done() <-chan struct{} {
	for {
		if done := p.done.Load(); done != nil {
			return *done
		}
		if done := make(chan struct{}); p.done.CompareAndSwap(nil, &done) {
			return done
		}
	}
}

// ID is the id of [WithID]; "" if there was none.
func (p *Promise) ID() string { return p.call.ID() }

// State is PENDING until the promise is settled. It is then RESOLVED, or REJECTED if there is an error:
// REJECTED_CANCELED or REJECTED_TIMEDOUT if that is the end of the context of [Go].
func (p *Promise) State() durable.State { return durable.State(p.state.Load()) }
