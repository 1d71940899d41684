package pgx

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// An asker asks a server whether sessions wait for locks, for all watches of a database, by one connection of its own. It is
// opened for the first question, and closed when there have been none for a while: the server may have no room to spare.
type asker struct {
	asking contextMutex // guards conn and its use
	conn   *pgconn.PgConn
	to     string // its peer

	open atomic.Bool  // there is a conn, for a look without asking
	took atomic.Int64 // what a question takes, in nanoseconds, moving average; 0: not known

	mu   sync.Mutex
	idle *time.Timer
}

const (
	// askIdle is how long the connection is kept. To open one takes some milliseconds, a hundredth of that at the most.
	askIdle = time.Second
	// askFirst is taken for what a question takes that needs a connection: a process of the server's, and some round trips.
	askFirst = 10 * time.Millisecond
)

// least is what a question takes. A group that is late by less than that is sooner over than asked about.
func (a *asker) least() time.Duration {
	if !a.open.Load() {
		return askFirst
	}
	return time.Duration(a.took.Load())
}

// errOver says that the answer is no longer wanted.
var errOver = errors.New("groupcommit/pgx: the group is over")

// ask asks the server at to, by way, a question and returns the one value of its answer; "" if there is none. ctx ends the way to the question: may is
// called when that is over. From there on the question has its own time.
func (a *asker) ask(ctx context.Context, way *pgconn.Config, to, question string, may func() bool) (answer string, err error) {
	if err := a.asking.take(ctx); err != nil {
		return "", err
	}
	defer a.asking.leave()
	if a.conn != nil && (a.conn.IsClosed() || a.to != to) {
		a.hangUp()
	}
	if a.conn == nil {
		if a.conn, err = pgconn.ConnectConfig(ctx, way); err != nil {
			a.conn = nil
			return "", err
		}
		a.to = to
		a.open.Store(true)
	}
	a.keep()
	if !may() {
		return "", errOver
	}
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	start := time.Now()
	res, err := a.conn.Exec(ctx, question).ReadAll()
	if err != nil {
		a.hangUp()
		return "", err
	}
	took := int64(time.Since(start))
	if before := a.took.Load(); before > 0 {
		took = before + (min(took, 2*before)-before)/8
	}
	a.took.Store(took)
	if rows := res[len(res)-1].Rows; len(rows) > 0 {
		return string(rows[0][0]), nil
	}
	return "", nil
}

// keep puts off the end of the connection.
func (a *asker) keep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.idle == nil {
		a.idle = time.AfterFunc(askIdle, a.rest)
	} else {
		a.idle.Reset(askIdle)
	}
}

// rest closes the connection, unless it is used just now.
func (a *asker) rest() {
	if a.asking.try() {
		defer a.asking.leave()
		a.hangUp()
	}
}

// hangUp closes the connection. Its caller holds asking.
func (a *asker) hangUp() {
	if conn := a.conn; conn != nil {
		a.conn = nil
		a.open.Store(false)
		go func() { // which waits for the server
			ctx, cancel := context.WithTimeout(context.Background(), askWithin)
			defer cancel()
			conn.Close(ctx)
		}()
	}
}
