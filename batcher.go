package groupcommit

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// A batcher turns calls from many goroutines into groups.
//
// There is no goroutine of its own and no timer. The first caller that finds nobody leading leads: it takes a turn on
// the writer, claims what is queued, has it run, answers everybody and hands the lead to the caller that has waited
// longest. While one group commits, the next one fills. So a lone caller never waits, and a group of one is run by
// its own caller, as the plain driver's call.
//
//	call:  new → [backlog →] queued → [leading →] claimed, and answered
//	                 └─────────┴→ withdrawn (by its ctx, before any group claimed it: certainly not executed)
//
// Invariants, under mu:
//   - if a call is queued, somebody leads, or has been told to;
//   - the backlog is empty unless the queue is full;
//   - a claimed call is answered by the leader that claimed it, whatever happens to it.
//
// Rejected: a goroutine that owns the connection and receives calls over a channel. It costs two more switches of
// goroutine a group, keeps one goroutine a database alive for ever, runs a lone call away from its caller, and its
// panic is nobody's. Rejected too: a timer that closes groups. Callers in a closed loop wait for it in vain, and a
// lone one always.
type batcher struct {
	env    environment
	limits limits

	mu      sync.Mutex
	queue   callList
	backlog callList // waiting for room in the queue
	bytes   int      // of the queued calls
	leading bool
	closed  bool
	running bool           // a group is being run
	watch   *time.Timer    // over the waiting of the others meanwhile
	active  sync.WaitGroup // calls accepted and not yet answered
	calls   sync.Pool      // of *call
	stats   Stats

	waiting atomic.Int32  // calls in the queue, for the leader to watch without the lock
	filled  chan struct{} // cap 1: the queue holds a full group; only for a leader who lingers
	linger  bool          // a leader watches filled

	pace pace // the leader's alone; handing on the lead hands it on
}

// environment is the batcher's world: the writer and the engine. It is all that the batcher knows of a database.
type environment interface {
	// enter takes a turn on the writer, for a call that has waited since then. An error is that call's alone.
	enter(ctx context.Context, since time.Time) error
	// patience is how long a call may wait for a group at the most, and its error then; 0 for as long as it takes.
	patience() (time.Duration, error)
	// leave ends the turn.
	leave()
	// alone runs one call as the plain driver does, and answers it, also if it panics.
	alone(c *call)
	// overtime is how long a call that runs alone may keep the lead. 0 is for as long as it takes: there is one writer,
	// and calls are executed in their order.
	overtime() time.Duration
	// apart runs a call that its group has put off, as the plain driver does, and answers it. The group's turn has ended.
	apart(c *call)
	// commit runs at least two calls as one group.
	commit(calls []*call) engine.Outcome
}

func newBatcher(env environment, l limits) *batcher {
	return &batcher{env: env, limits: l, filled: make(chan struct{}, 1)}
}

// call returns a Call for a blocking Exec, which free takes back. What the caller keeps is a copy of the result, a fraction
// of a Call: with a thousand callers, what is allocated for each decides how often the collector walks their stacks.
// The pool is the batcher's own, because a channel made in one bubble of testing/synctest must not be used in another.
func (b *batcher) call() *call {
	if c, ok := b.calls.Get().(*call); ok {
		return c
	}
	return &call{wake: make(chan struct{}, 1)}
}

// free takes c back when nobody else knows it any more: it is answered, or withdrawn, or was never queued.
func (b *batcher) free(c *call) {
	*c = call{wake: c.wake}
	b.calls.Put(c)
}

// do runs c and returns when it has its outcome, or was withdrawn because its context ended. An error that do returns
// means that c was not executed; otherwise the outcome is c's.
func (b *batcher) do(c *call) error {
	if err := c.Context().Err(); err != nil {
		return err
	}
	lead, err := b.admit(c)
	if err != nil {
		return err
	}
	defer b.active.Done()
	if !lead && !b.await(c) {
		return c.Context().Err()
	}
	if lead || c.state == callLeading {
		b.lead(c)
	}
	if c.IsPutOff() {
		b.env.apart(c)
	}
	if c.state == callWithdrawn {
		return c.Err()
	}
	return nil
}

// await waits until c is answered or leads. False if c was withdrawn.
func (b *batcher) await(c *call) bool {
	done := c.Context().Done()
	if done == nil {
		<-c.wake
		return true
	}
	select {
	case <-c.wake:
	case <-done:
		if b.withdraw(c) {
			return false
		}
		<-c.wake
	}
	return true
}

// lead runs one group, with own at its head, and hands the lead on. own is answered or withdrawn when it returns. If it was
// answered it is its caller's: nothing of it may be looked at.
func (b *batcher) lead(own *call) (withdrawn bool) {
	var claimed []*call
	var held lead
	defer func() { b.conclude(own, claimed, &held) }()
	err := own.Context().Err()
	if err == nil {
		if b.limits.maxDelay > 0 {
			b.lingerFor(own)
		} else {
			b.anticipate()
		}
		if err = own.Context().Err(); err == nil {
			err = b.env.enter(own.Context(), own.since)
		}
	}
	if err != nil {
		b.mu.Lock()
		b.dequeue(own)
		b.withdrawn(own, err)
		b.mu.Unlock()
		return true
	}
	defer b.env.leave()
	start := time.Now()
	var reason Reason
	claimed, reason = b.claim()
	defer b.guard()()
	if len(claimed) == 1 {
		b.lone(claimed[0], &held)
	} else {
		b.attempt(claimed, &held)
	}
	b.account(claimed, reason, held.failures, start)
	return false
}

// A lead is one leader's. It ends once: when the group has been run, or when a lone call has kept it for too long.
type lead struct {
	ended    atomic.Bool
	failures int // of the group, so far
}

func (l *lead) end() bool { return l.ended.CompareAndSwap(false, true) }

// lone runs a group of one. It keeps the lead for a limited time: it may be waiting for a lock that is held by a
// goroutine whose next call is behind it in the queue.
func (b *batcher) lone(c *call, held *lead) {
	if limit := b.env.overtime(); limit > 0 {
		clock := time.AfterFunc(limit, func() {
			if held.end() {
				b.handOn()
			}
		})
		defer clock.Stop()
	}
	b.env.alone(c)
}

// claim takes the next group off the queue. The leader's own call is its first: it was the oldest when it was told to
// lead, and the oldest stays where it is.
func (b *batcher) claim() ([]*call, Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	group, bytes, reason := (*spares.Get().(*[]*call))[:0], 0, Drained
	// The backlog moves up as the queue empties; a group is still what had been queued when it was claimed.
	n, share := b.queue.n, b.pace.share()
	if share < n {
		n, reason = share, Halved
	}
	if n >= b.limits.maxLen {
		n, reason = b.limits.maxLen, Full
	}
	for ; n > 0; n-- {
		c := b.queue.first
		if bytes += c.Bytes(); bytes > b.limits.maxBytes && len(group) > 0 {
			reason = FullBytes
			break
		}
		b.dequeue(c)
		c.state = callClaimed
		c.Reset()
		group = append(group, c)
	}
	return group, reason
}

// maxRedo is how many times a group may come back for a culprit's sake. After that the rest runs one by one: each time
// costs what had been executed so far.
const maxRedo = 3

// attempt runs calls as one group and, where the engine had to roll back, again in the same order: what was before
// the culprit, the culprit alone, what was after it.
//
// Where calls have no order, a call that is to run alone is put off: nobody waits for it.
func (b *batcher) attempt(calls []*call, held *lead) {
	switch len(calls) {
	case 0:
		return
	case 1:
		b.single(calls[0])
		return
	}
	switch out := b.commit(calls); out.Verdict {
	case engine.Committed:
		b.pace.committed(out.Commit)
	case engine.RolledBack:
		for _, c := range calls { // what the attempt said of them is void
			c.Reset()
		}
		held.failures++
		if out.Culprit < 0 || held.failures > maxRedo {
			for i, c := range calls {
				b.alone(c, out.Apart && i == out.Culprit)
			}
			return
		}
		b.attempt(calls[:out.Culprit], held)
		b.alone(calls[out.Culprit], out.Apart)
		b.attempt(calls[out.Culprit+1:], held)
	case engine.Refused:
		answerAll(calls, out.Err)
	case engine.Unknown:
		b.unknown(calls, out.Err)
	}
}

// unknown answers the calls of a group of which nobody knows what became. A call with an id is run again: its claim will
// find out.
func (b *batcher) unknown(calls []*call, err error) {
	for _, c := range calls {
		switch {
		case c.IsPutOff():
		case c.ID() != "":
			c.PutOff()
			c.Doubt(err)
		default:
			c.Answer(nil, &engine.OutcomeUnknownError{Cause: err})
		}
	}
}

func (b *batcher) single(c *call) { b.alone(c, false) }

// alone runs a call by itself: apart where it must be so, or where the others need not wait for it.
func (b *batcher) alone(c *call, apart bool) {
	if apart || b.env.overtime() > 0 {
		c.PutOff()
	} else {
		b.env.alone(c)
	}
}

// commit is the environment's, with an engine's own panic made into everybody's error: what became of the
// transaction is then not known.
func (b *batcher) commit(calls []*call) (out engine.Outcome) {
	returned := false
	defer func() {
		if !returned {
			out = engine.Outcome{Verdict: engine.Unknown, Err: &PanicError{Value: recover(), Stack: debug.Stack()}}
			answerAll(calls, &engine.OutcomeUnknownError{Cause: out.Err}) // runtime.Goexit does not come back to attempt
		}
	}()
	out = b.env.commit(calls)
	returned = true
	return out
}

func answerAll(calls []*call, err error) {
	for _, c := range calls {
		if !c.IsPutOff() {
			c.Answer(nil, err)
		}
	}
}

// account notes what a group was, and tells who wants to know. It runs after the commit and before the answers.
func (b *batcher) account(calls []*call, reason Reason, failures int, start time.Time) {
	took := time.Since(start)
	oldest := start.Sub(calls[0].since)
	b.mu.Lock()
	b.stats.observe(calls, reason, failures, oldest, took)
	b.mu.Unlock()
	if b.limits.onGroup != nil {
		b.limits.onGroup(GroupInfo{Calls: engineCalls(calls), Reason: reason, Reruns: failures, Waited: oldest, Took: took})
	}
}

// conclude hands on the lead and answers the group's calls, the one beside the other: the next group may run while
// this one's callers are woken. It is deferred: it happens whatever became of the group.
func (b *batcher) conclude(own *call, group []*call, held *lead) {
	if held.end() {
		b.pace.concluded(len(group), int(b.waiting.Load()))
		b.handOn()
	}
	for i, c := range group {
		group[i] = nil
		b.settle(c, own)
	}
	if group != nil {
		spares.Put(&group)
	}
}

// spares keeps the slices that groups were in.
var spares = sync.Pool{New: func() any { return new([]*call) }}

func (b *batcher) handOn() {
	b.mu.Lock()
	next := b.queue.first
	if next == nil {
		b.leading = false
		b.mu.Unlock()
		return
	}
	next.state = callLeading
	promise := next.promise
	b.mu.Unlock()
	if promise != nil {
		go promise.lead()
		return
	}
	next.wake <- struct{}{}
}

// settle gives c its answer. From then on c is its caller's.
func (b *batcher) settle(c, own *call) {
	switch {
	case c.promise != nil && c.IsPutOff():
		go c.promise.alone()
	case c.promise != nil:
		c.promise.settle()
	case c != own:
		c.wake <- struct{}{}
	}
}
