// Package expvars publishes the counters of a groupcommit database by package expvar, in one call:
//
//	db, err := sql.Open("sqlite3-groupcommit", "app.db")
//	…
//	err = expvars.Publish("db", db)
//
// They are at /debug/vars then, which package expvar adds to http.DefaultServeMux. A program that serves that to the world shows it
// to the world. docs/metrics.md has what each number means.
package expvars

import (
	"database/sql"
	"encoding/json"
	"expvar"
	"fmt"
	"sync"

	"github.com/groupcommit/groupcommit"
)

// publishing makes the question whether a name is taken, and the taking, one.
var publishing sync.Mutex

// Publish publishes groupcommit.StatsOf(db) under a name, as JSON that is made whenever it is read. Times are seconds. Of a histogram
// there are count, sum and some quantiles, which are at most a quarter too large. If StatsOf fails later, the value is
// {"error": "…"}.
//
// It is an error if the name is taken, or if StatsOf fails now: if db is not groupcommit's, say. Nothing is published then. What is
// published stays so, and keeps db in memory, until the program ends: package expvar takes nothing back.
func Publish(name string, db *sql.DB) error {
	if _, err := groupcommit.StatsOf(db); err != nil {
		return err
	}
	publishing.Lock()
	defer publishing.Unlock()
	if expvar.Get(name) != nil {
		return fmt.Errorf("groupcommit/expvars: the name %q is taken; each database needs one of its own", name)
	}
	expvar.Publish(name, database{db})
	return nil
}

type database struct{ db *sql.DB }

// String implements expvar.Var.
func (d database) String() string {
	var v any
	if s, err := groupcommit.StatsOf(d.db); err != nil {
		v = map[string]string{"error": err.Error()}
	} else {
		v = statsOf(&s)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "null" // no number here can fail
	}
	return string(text)
}
