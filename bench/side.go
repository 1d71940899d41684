package main

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"

	"github.com/groupcommit/groupcommit"
)

// A side of the comparison is a driver, the pool that serves it best, the program that uses it, and the way to count its
// commits.
type side struct {
	driver string // its registered name
	title  string // for people, where the driver's name is not enough
	batch  bool
	alone  bool   // its api is one goroutine, whatever the flags ask for
	conns  int    // the connections that its pool keeps; 0: they are virtual
	pool   string // its description in the output
	via    string // the api's name in the JSON
	api    api
	call   caller                                     // what api makes, where that is concurrent; nil: an open loop cannot be made of it
	open   func(name string, r *run) (*sql.DB, error) // name is home's
	count  func(db *sql.DB, w *work) (groups, error)
}

func (s side) String() string {
	if s.title != "" {
		return s.title
	}
	return s.driver
}

// The names of the apis: those that --api allows, and the hand-written programs'.
const (
	viaExec     = "exec"
	viaCommands = "commands"
	viaHand     = "hand"
)

// titled tells sides of one driver apart.
func (s side) titled(api string) side {
	s.title = s.driver + " (" + api + ")"
	return s
}

// making is the side with another program: concurrent goroutines that make the calls of c.
func (s side) making(c caller) side {
	s.call, s.api = c, concurrent(c)
	return s
}

// groups counts the transactions of a run so far, and the calls in them.
type groups struct {
	commits int
	calls   int
	largest int
}

// oneEach counts where every Exec by itself is a transaction.
func oneEach(_ *sql.DB, w *work) (groups, error) {
	n := w.rows()
	return groups{n, n, min(1, n)}, nil
}

// byStats takes groupcommit's own count.
func byStats(db *sql.DB, _ *work) (groups, error) {
	s, err := groupcommit.StatsOf(db)
	return grouping(s), err
}

// byHandler counts the batches of a handler.
func byHandler(_ *sql.DB, w *work) (groups, error) {
	if w.commands == nil { // nothing was made so far
		return groups{}, nil
	}
	return grouping(w.commands.Stats()), nil
}

func grouping(s groupcommit.Stats) groups {
	return groups{int(s.Groups), int(math.Round(s.MeanGroup() * float64(s.Groups))), s.MaxGroup}
}

// byItself takes the api's count, where the api made the transactions.
func byItself(_ *sql.DB, w *work) (groups, error) { return w.byHand, nil }

// virtual describes groupcommit's pool in the output.
const virtual = "as many connections as goroutines, all of them kept: they are virtual"

// inBatches describes a handler in the output.
const inBatches = "each goroutine has one command in flight; the handler prepares the INSERT once a batch"

// openVirtual opens a driver of groupcommit's with a connection for every goroutine.
func openVirtual(driver, dsn string, r *run) (*sql.DB, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(r.goroutines)
	return db, nil
}

// tuned registers a driver of groupcommit's once more, with options that a DSN cannot hold.
func tuned(name string, d driver.Driver, opts ...groupcommit.Option) string {
	name = fmt.Sprintf("%s-%d", name, len(sql.Drivers()))
	groupcommit.Register(name, d, opts...)
	return name
}
