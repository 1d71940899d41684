package pgx

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A watch is over a session that waits for its server's answers. It bounds the time for which calls may wait for locks, and
// keep their group waiting.
//
// A group that takes twice as long as it should is late. Then the watch asks the server, by another connection, to cancel the
// session's statement if that waits for a lock. WHEN OTHERS does not handle the error of a cancel, so no function takes it
// for an answer and goes on. The cancelled call is undone, and runs alone. So what calls of a group wait for locks, one after
// the other, costs their neighbours about as much again as the group itself; what it should take is known from its members'
// costs (see memory). The option LockTimeout bounds that time.
//
//	expect  begin  [aim]  (hear…)  end
//
// Invariants:
//   - It cancels no other session's statement: the question names the transaction, or the process where that is certain to be
//     the session's.
//   - When end has returned, no cancel can come any more, and the connection can be used for anything.
//
// Rejected: lock_timeout. A function may handle its error, so that a call succeeds without having done its work. The calls'
// own code sees the setting. The preparing of a text waits for locks before there is a transaction to set it for, and a
// pooler leaves a session's setting to other clients.
type watch struct {
	wire     *wire
	asker    *asker
	limit    time.Duration // the option's; 0: there is nothing to watch
	expected time.Duration // what the group should take; 0: not known
	heard    atomic.Int64  // when the server was heard of, since epoch

	mu      sync.Mutex
	timer   *time.Timer // of the next look; nil before the first begin
	on      bool
	began   time.Time
	target  string        // the session's transaction or process, as a condition on pg_stat_activity; "" if it is not known
	sure    bool          // the server executes a call, or prepares one
	asking  chan struct{} // closed when the look that is under way is over; nil if there is none
	abort   func()        // ends that look, as long as nothing has been asked
	sent    bool          // it has asked
	hit     bool          // something has been cancelled since begin, or may have been
	lost    bool          // it is not known when that will come
	stopped bool          // it was cancelled because it is slow

	// The look that is under way uses these alone; when there is none, begin and end do.
	refused  int           // questions in a row that could not be asked
	patience time.Duration // how long the next call may wait: see impatient
}

var epoch = time.Now()

const (
	// askWithin bounds one question, for a server that does not answer it.
	askWithin = time.Second
	// mostRefused is how many questions may fail, because the server has no room for one more connection, say, before the
	// protocol's own cancel request is used. That needs no room, but it ends every slow statement, be it a lock or not. So it
	// is used only where nothing has been heard for as long as the option says.
	mostRefused = 3
	// lateBy is how many times as long as it should a group takes when it is late.
	lateBy = 2
)

// expect says what the next group should take: once, and what its requests cost.
func (w *watch) expect(once time.Duration, requests []request) {
	w.expected = once
	for _, r := range requests {
		w.expected += r.route.cost
	}
}

// begin begins to watch. target is "" if the transaction is not known yet.
func (w *watch) begin(target string) {
	if w.limit <= 0 {
		return
	}
	now := time.Now()
	w.hear(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on, w.sure, w.target, w.began = true, true, target, now
	w.hit, w.lost, w.stopped, w.patience = false, false, false, w.limit
	if w.expected > 0 {
		w.patience = min(w.limit, max(lateBy*w.expected, w.asker.least()))
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(w.patience, w.look)
	} else {
		w.timer.Reset(w.patience)
	}
}

// aim says which transaction the server executes from now on.
func (w *watch) aim(target string, now time.Time) {
	if w.limit <= 0 {
		return
	}
	w.hear(now)
	w.mu.Lock()
	w.target = target
	w.mu.Unlock()
}

// hear notes that the server was heard of.
func (w *watch) hear(now time.Time) { w.heard.Store(int64(now.Sub(epoch))) }

// silent is for how long the server has not been heard of.
func (w *watch) silent() time.Duration { return time.Since(epoch) - time.Duration(w.heard.Load()) }

// named reads the answer to a statement that ends with thisTransaction, and aims at the transaction that it names.
func (w *watch) named(p *pgconn.Pipeline) (row [][]byte, err error) {
	_, row, err = readAnswer(p, true)
	if n := len(row); err == nil {
		w.aim(at(string(row[n-2]), string(row[n-1])), time.Now())
	}
	return row, err
}

// executed says that the server has executed the calls. Only their commit may take long from now on.
func (w *watch) executed() {
	w.mu.Lock()
	w.sure = false
	w.mu.Unlock()
}

// mayHaveHit reports whether the watch may have caused an error.
func (w *watch) mayHaveHit(err error) bool {
	if pg := asPg(err); pg == nil || pg.Code != "57014" { // query_canceled
		return false
	}
	w.mu.Lock()
	asking := w.asking
	if !w.sent {
		asking = nil
	}
	w.mu.Unlock()
	if asking != nil { // the error may be here before the answer
		<-asking
	}
	return w.struck()
}

// struck reports that the watch has cancelled something since begin, or may have.
func (w *watch) struck() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hit
}

// strike notes that something was cancelled, or may have been. lost says that it is not known when that will come.
func (w *watch) strike(lost bool) {
	w.mu.Lock()
	w.hit, w.lost = true, w.lost || lost
	w.mu.Unlock()
}

// stop cancels what the session executes, because its text has become too slow: rest is what the remaining requests of that
// text will take. They are better off by themselves if that is more than what is thrown away, which is the group's time so
// far and what the others' new group pays once. A group that is not late is left alone: the samples may be the machine's
// fault, and would put off a thousand calls.
func (w *watch) stop(now time.Time, rest time.Duration) bool {
	w.mu.Lock()
	so := now.Sub(w.began)
	ok := w.on && w.sure && w.expected > 0 && so > lateBy*w.expected && rest > so+w.expected
	w.stopped = w.stopped || ok
	w.mu.Unlock()
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	w.wire.pg.PgConn().CancelRequest(ctx)
	w.strike(ctx.Err() != nil)
	return true
}

// end ends the watch, and reports whether it may have cancelled something.
func (w *watch) end(ctx context.Context) (hit bool) {
	if w.limit <= 0 {
		return false
	}
	w.mu.Lock()
	if !w.on {
		w.mu.Unlock()
		return false
	}
	w.on = false
	w.timer.Stop()
	asking := w.asking
	if asking != nil && !w.sent {
		w.abort()
	}
	w.mu.Unlock()
	if asking != nil {
		<-asking
	}
	conn := w.wire
	conn.ended = conn.ended || w.lost
	if w.hit && !conn.ended && !conn.pg.IsClosed() {
		// The signal has been sent. A server that has answered one more message has received the signal before, and forgets
		// it where there is nothing to cancel.
		_, err := conn.pg.PgConn().Exec(ctx, "").ReadAll()
		conn.ended = err != nil && (asPg(err) == nil || endsConnection(err))
	}
	return w.hit
}

// look asks the server if the time has come.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on || w.asking != nil {
		return
	}
	if w.target == "" {
		w.timer.Reset(w.patience)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	target, sure, done := w.target, w.sure, make(chan struct{})
	w.asking, w.abort, w.sent = done, cancel, false
	w.mu.Unlock()
	next := w.ask(ctx, target, sure)
	w.mu.Lock()
	w.asking = nil
	close(done)
	if w.on {
		w.timer.Reset(next)
	}
}

// mayAsk is called before a question, whose effect end must wait for. It returns false if the watch has ended.
func (w *watch) mayAsk() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = w.sent || w.on
	return w.on
}

// ask asks, and returns when to look again.
func (w *watch) ask(ctx context.Context, target string, sure bool) (next time.Duration) {
	answer, err := w.asker.ask(ctx, w.wire.wayTo(w.refused%2 == 0), w.wire.peer(), cancelIfLocked(target, w.patience), w.mayAsk)
	switch {
	case err == errOver:
		return w.patience
	case err != nil:
		if w.sent {
			w.strike(asPg(err) == nil)
		}
		w.refused++
		w.insist(sure)
		return max(w.patience, w.limit/mostRefused)
	}
	w.refused = 0
	switch answer {
	case "t":
		w.strike(false)
		w.impatient()
	case "f": // it waits, but not for as long
		return w.patience/4 + time.Millisecond
	}
	return w.patience
}

// impatient shortens the time for the next call. The calls of an autocommit pipeline may all wait for the same lock, and the
// calls behind them would wait for the sum. So the sum is at most twice the limit, and a little for each call.
func (w *watch) impatient() { w.patience = max(w.patience/2, w.asker.least()) }

// insist cancels the session's statement without a question, if the server could not be asked for too long.
func (w *watch) insist(sure bool) {
	if w.refused <= mostRefused || !sure || w.silent() < w.limit || !w.mayAsk() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	w.wire.pg.PgConn().CancelRequest(ctx)
	w.strike(ctx.Err() != nil)
}

// cancelIfLocked is the question. The server cancels a process that has executed one statement for so long and waits for a
// lock. The answer is true if it cancelled, false if the statement is younger, and no row if the process waits for no lock
// or the target does not fit any more.
//
// The role that has logged in asks. The program's configuration may set another role, which may not see the statements of
// the first one's sessions.
func cancelIfLocked(target string, limit time.Duration) string {
	return "SET LOCAL ROLE NONE; SELECT CASE WHEN query_start <= clock_timestamp() - " + quote(strconv.FormatInt(limit.Microseconds(), 10)+" us") +
		"::interval THEN pg_cancel_backend(pid) ELSE false END FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND " + target
}
