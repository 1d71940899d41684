package pgx

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A watch is over a session that waits for its server's answers: no call waits for a lock, and has its group wait, for
// longer than a limit.
//
// While nothing has been heard of the server for so long, it asks the server, on a connection of its own, to cancel what
// the session is at if that waits for a lock. The error of that is not one that WHEN OTHERS handles, so no function takes
// it for an answer and goes on. Whoever gets it is undone, and runs alone.
//
//	begin  [aim]  (hear…)  end
//
// Invariants:
//   - It cancels nobody else's: the question names the transaction, or the process where that is certain to be the session's.
//   - When end has returned, nothing that was asked for can come any more, and the connection can be used for anything.
//
// Rejected: lock_timeout. Its error is one that a function may handle, so that a call succeeds without having done what it
// was for. It is a setting that the calls' own code sees; and what is prepared waits for locks before there is a transaction
// to set it for, while a session's setting is left with strangers by a pooler.
type watch struct {
	session *session
	limit   time.Duration // 0: there is nothing to watch
	heard   atomic.Int64  // when the server was heard of, since epoch

	mu     sync.Mutex
	timer  *time.Timer // of the next look; nil before the first begin
	on     bool
	target string        // what the server is at, as a condition on pg_stat_activity; "" if it is not known
	sure   bool          // it is at a call, or at what is done for one
	asking chan struct{} // closed when the look that is under way is over; nil if there is none
	abort  func()        // ends that look, as long as nothing has been asked
	sent   bool          // it has asked
	asked  bool          // something has been asked since begin
	hit    bool          // something has been cancelled since begin, or may have been
	lost   bool          // it is not known when that will come

	// A look's own, and begin's and end's when there is none.
	conn     *pgconn.PgConn // to ask on; nil if there is none
	refused  int            // questions in a row that could not be asked
	patience time.Duration  // how long the next call may wait: see impatient
}

var epoch = time.Now()

const (
	// askWithin bounds one question: nobody waits for a server that does not answer it.
	askWithin = time.Second
	// mostRefused is how many questions may fail, because the server has no room for one more connection, say, before the
	// protocol's own cancel request is used. That needs no room, but it ends whatever takes long, be it a lock or not.
	mostRefused = 3
)

// begin begins to watch. target is what the server is at, if that is known already.
func (w *watch) begin(target string) {
	if w.limit <= 0 {
		return
	}
	w.hear(time.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on, w.sure, w.target = true, true, target
	w.asked, w.hit, w.lost, w.patience = false, false, false, w.limit
	if w.timer == nil {
		w.timer = time.AfterFunc(w.limit, w.look)
	} else {
		w.timer.Reset(w.limit)
	}
}

// aim says what the server is at, from now on.
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

// executed says that the server has done with the calls: what may take long from now on is their commit.
func (w *watch) executed() {
	w.mu.Lock()
	w.sure = false
	w.mu.Unlock()
}

// mayHaveHit reports whether an error may be of the watch's making.
func (w *watch) mayHaveHit(err error) bool {
	if pg := asPg(err); pg == nil || pg.Code != "57014" { // query_canceled
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
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
	s := w.session
	s.ended = s.ended || w.lost
	if w.hit && !s.ended && !s.pg.IsClosed() {
		// The signal has been sent. A server that has answered one more message has received it before, and forgets it
		// where there is nothing to cancel.
		_, err := s.pg.PgConn().Exec(ctx, "").ReadAll()
		s.ended = err != nil && (asPg(err) == nil || endsConnection(err))
	}
	return w.hit
}

// close closes the connection that was asked on.
func (w *watch) close() {
	if conn := w.conn; conn != nil {
		w.conn = nil
		go hangUp(conn) // which waits for the server
	}
}

func hangUp(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	conn.Close(ctx)
}

// look asks if it is time to.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on || w.asking != nil {
		return
	}
	if rest := w.patience - (time.Since(epoch) - time.Duration(w.heard.Load())); rest > 0 {
		w.timer.Reset(rest)
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

// asks is called before something is asked for that must be waited for. False if it is no longer to be.
func (w *watch) asks() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on {
		w.sent, w.asked = true, true
	}
	return w.on
}

// ask asks, and returns when to look again.
func (w *watch) ask(ctx context.Context, target string, sure bool) (next time.Duration) {
	if w.conn == nil {
		conn, err := pgconn.ConnectConfig(ctx, w.session.wayTo(w.refused%2 == 0))
		if err != nil {
			w.refused++
			w.insist(sure)
			return w.patience
		}
		w.conn = conn
	}
	if !w.asks() {
		return w.patience
	}
	ctx, cancel := context.WithTimeout(context.Background(), askWithin) // it is not aborted from here on
	defer cancel()
	res, err := w.conn.Exec(ctx, cancelIfLocked(target, w.patience)).ReadAll()
	if err != nil {
		w.hit, w.lost = true, w.lost || asPg(err) == nil
		w.close()
		w.refused++
		w.insist(sure)
		return w.patience
	}
	w.refused = 0
	switch rows := res[len(res)-1].Rows; {
	case len(rows) == 0: // it waits for no lock
	case string(rows[0][0]) == "t":
		w.hit = true
		w.impatient()
	default: // it does, but not for as long
		return w.patience/4 + time.Millisecond
	}
	return w.patience
}

// impatient makes the next call wait for less: the calls of an autocommit pipeline may all wait for the same lock, and those
// behind them would wait for the sum. So that is no more than twice the limit, and a little for each.
func (w *watch) impatient() { w.patience = max(w.patience/2, w.limit/32) }

// insist cancels what the server is at if it could not be asked for too long.
func (w *watch) insist(sure bool) {
	if w.refused <= mostRefused || !sure || !w.asks() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	w.session.pg.PgConn().CancelRequest(ctx)
	w.hit, w.lost = true, w.lost || ctx.Err() != nil
}

// cancelIfLocked is the question: a process is cancelled if it has been at one statement for so long and now waits for a
// lock. Its answer is true if it was cancelled, false if it has not been at it for so long, and none if it waits for no
// lock, or is at something else.
//
// It is asked as the role that has logged in. The program's configuration may set another one, which need not see what a session
// of the first is at.
func cancelIfLocked(target string, limit time.Duration) string {
	return "SET LOCAL ROLE NONE; SELECT CASE WHEN query_start <= clock_timestamp() - " + quote(strconv.FormatInt(limit.Microseconds(), 10)+" us") +
		"::interval THEN pg_cancel_backend(pid) ELSE false END FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND " + target
}

// thisTransaction is what a transaction says of itself, as two columns of a statement. The process that a client knows may be a
// pooler's.
var thisTransaction = "pg_backend_pid(), " + micros("now()")

// at is thisTransaction's condition.
func at(pid, began string) string {
	return "pid = " + pid + " AND " + micros("xact_start") + " = " + began
}

// micros is a time as a number that no setting of a session's writes differently.
func micros(t string) string { return "(extract(epoch FROM " + t + ") * 1000000)::bigint" }

// itself is the condition that the session's process is meant; "" where a pooler may have given that to somebody else.
func (s *session) itself() string {
	if !s.direct() {
		return ""
	}
	return "pid = " + s.server.pid + " AND " + micros("backend_start") + " = " + s.server.born
}

// direct reports that the session has a process of the server for itself, because the server and whoever answered the
// connection agree about which. A pooler tells a number of its own, which its cancel requests are about.
func (s *session) direct() bool {
	return s.server.born != "" && s.server.pid == strconv.FormatUint(uint64(s.pg.PgConn().PID()), 10)
}

// wayTo is the session's configuration. same leads to its own server, whatever other hosts the configuration has; where
// connections are made in a way of the program's own, only the other one may do.
func (s *session) wayTo(same bool) *pgconn.Config {
	way := s.pg.Config().Config
	way.AfterConnect = nil
	peer := s.pg.PgConn().Conn().RemoteAddr()
	if !same || peer == nil || peer.Network() != "tcp" {
		return &way
	}
	network, address, dial := peer.Network(), peer.String(), way.DialFunc
	way.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	way.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, network, address) }
	return &way
}

// confirm makes certain that what has been committed is as durable as the session has it. A cancel that came while COMMIT
// waited for a standby has ended that wait, and the server says no more about it.
func (s *session) confirm(ctx context.Context) error {
	if !s.server.flushes || s.server.syncCommit == "off" {
		return nil
	}
	if !s.ended {
		_, err := s.pg.PgConn().Exec(ctx, flush).ReadAll()
		if err == nil {
			return nil
		}
		s.ended = s.ended || endsConnection(err)
	}
	return s.flushElsewhere()
}
