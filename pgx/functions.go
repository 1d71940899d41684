package pgx

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/internal/applog"
)

// A function may set something for its transaction (set_config(…, true), SET LOCAL, a temporary table that is dropped ON
// COMMIT). The setting lasts to the transaction's end: in a group, through other callers' calls. An audit trigger or a
// policy for row level security then takes one caller for another. So the session asks whether the database has such
// functions. If it has, each call gets a transaction of its own.
//
// The answer is read from their source, on the server. It misses a setting that a function's text does not show (a name put
// together at run time, a function in C), and one that stands in a column's default, a policy, a view, a rule or a
// constraint itself. A function's own SET clause is harmless, because it ends with the function. Locks (LOCK TABLE,
// pg_advisory_xact_lock) are harmless, too: they are held for longer, and change no answer.
//
// The same is done where a function would see that a group's constraints are checked at once: see functionsThatDefer.

// functions holds the findings about a database's functions, for all its sessions.
type functions struct {
	asking contextMutex
	latest atomic.Pointer[findings]
	warned atomic.Bool
}

// A contextMutex is a mutex that a goroutine waits for no longer than a context lasts. The goroutine that holds it may be
// asking by a silent connection.
type contextMutex chan struct{} // with room for one

func (m contextMutex) try() bool {
	select {
	case m <- struct{}{}:
		return true
	default:
		return false
	}
}

func (m contextMutex) take(ctx context.Context) error {
	select {
	case m <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m contextMutex) leave() { <-m }

type findings struct {
	at     time.Time
	schema int64  // the changes of the schema that had gone through this sql.DB
	print  string // of the functions that there were
	why    string // calls must not share a transaction; "" if they may
}

// askEvery is how old findings may be: another program may have made a function.
const askEvery = 5 * time.Second

// whyApiece says why calls must not share a transaction; "" if they may. schema is the number of schema changes. The first
// session that finds the findings old asks for all; the others meanwhile go on with the old ones, if the schema is the same.
func (f *functions) whyApiece(ctx context.Context, w *wire, schema int64) (string, error) {
	k, now := f.latest.Load(), time.Now()
	if k != nil && k.schema == schema {
		if now.Sub(k.at) < askEvery || !f.asking.try() {
			return k.why, nil
		}
	} else if err := f.asking.take(ctx); err != nil {
		return "", err
	}
	defer f.asking.leave()
	if k = f.latest.Load(); k != nil && k.schema == schema && now.Sub(k.at) < askEvery {
		return k.why, nil // another session has asked meanwhile
	}
	fresh, err := w.findings(ctx, k)
	if err != nil {
		return "", err
	}
	fresh.at, fresh.schema = now, schema
	f.latest.Store(fresh)
	if fresh.why != "" && f.warned.CompareAndSwap(false, true) {
		applog.Write(slog.LevelWarn, "groupcommit/pgx: each call has a transaction of its own, because of functions of the database; groupcommit_mode=transaction says that it does not matter",
			"database", w.pg.Config().Database, "why", fresh.why)
	}
	return fresh.why, nil
}

// findings asks the server, first whether anything has changed. An error is the connection's. If the server itself refuses, calls
// must not share a transaction.
func (w *wire) findings(ctx context.Context, old *findings) (*findings, error) {
	k := &findings{}
	print, err := w.ask(ctx, functionsPrint)
	if err == nil {
		k.print = string(print[0])
	}
	if err == nil && old != nil && old.print == k.print {
		k.why = old.why
		return k, nil
	}
	var why []string
	for _, reason := range []struct{ what, query string }{
		{"functions that set something for their transaction", functionsThatSet(w.server.version)},
		{"functions for which constraints must be checked late", functionsThatDefer},
	} {
		var found [][]byte
		if err == nil {
			found, err = w.ask(ctx, reason.query)
		}
		if err != nil || found[0] == nil {
			continue
		}
		why = append(why, reason.what+": "+string(found[0]))
	}
	k.why = strings.Join(why, "; ")
	switch {
	case err == nil:
		return k, nil
	case asPg(err) == nil || w.pg.IsClosed():
		return nil, err
	}
	k.print, k.why = "", fmt.Sprintf("functions that are not known, because pg_proc cannot be read: %v", err)
	return k, nil
}

// functionsPrint changes when a function or a deferred constraint is made, changed or dropped. The functions of pg_catalog
// (whose oid is 11) are not read: there are thousands.
const functionsPrint = `SELECT count(*)::text || ' ' || coalesce(sum(hashtext(oid::text || ' ' || xmin::text)), 0)::text ||
	(SELECT ' ' || count(*)::text || ' ' || coalesce(sum(hashtext(oid::text || ' ' || xmin::text)), 0)::text FROM pg_trigger WHERE tginitdeferred)
	FROM pg_proc WHERE pronamespace <> 11`

// functionsThatSet is the statement that names some of the functions, and says how many more there are. Of an extension's functions only those that
// return trigger count: a program calls the others knowingly. OFFSET 0 keeps the server from matching the texts of PostgreSQL's own
// thousands of functions before it leaves them out, which takes tens of milliseconds. The statement's texts are escaped so that every value of
// standard_conforming_strings reads them alike.
func functionsThatSet(version int) string {
	source := "prosrc"
	if version >= 140000 {
		source = "CASE WHEN prosqlbody IS NULL THEN prosrc ELSE pg_get_function_sqlbody(p.oid) END"
	}
	return `WITH source AS (
	SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS name, ` + source + ` AS text
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
	WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND l.lanname NOT IN ('internal', 'c')
	AND (p.prorettype IN (SELECT oid FROM pg_type WHERE typname IN ('trigger', 'event_trigger'))
		OR NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'))
	OFFSET 0
), found AS (
	SELECT DISTINCT name FROM source WHERE text ~* ` + escaped(setsAnywhere) + ` OR text ~* ` + escaped(mayComment) + `
	AND regexp_replace(text, ` + escaped(comment) + `, ' ', 'g') ~* ` + escaped(setsAnywhere) + `
)
` + someNames
}

// someNames is null where there is none.
const someNames = `SELECT (SELECT string_agg(name, ', ') FROM (SELECT name FROM found ORDER BY name LIMIT 5) few) ||
	CASE WHEN count(*) > 5 THEN ' and ' || count(*) - 5 || ' more' ELSE '' END FROM found`

// functionsThatDefer is the same about functions which could tell that a group checks deferred constraints early. A deferred
// trigger of the program's sees the rows as they are then. A function that handles errors handles the error of a key which
// it would have made good.
var functionsThatDefer = `WITH found AS (
	SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS name
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
	WHERE p.oid IN (SELECT tgfoid FROM pg_trigger WHERE tginitdeferred AND NOT tgisinternal)
	OR n.nspname NOT IN ('pg_catalog', 'information_schema') AND l.lanname NOT IN ('internal', 'c', 'sql')
	AND (l.lanname <> 'plpgsql' OR p.prosrc ~* ` + escaped(`\mexception\s*(\mwhen\M|--|/\*)`) + `)
	AND EXISTS (SELECT FROM pg_trigger WHERE tginitdeferred)
)
` + someNames

func escaped(s string) string { return "E" + quote(strings.ReplaceAll(s, `\`, `\\`)) }

// The server's regular expressions, in any letter case. A comment between two words hides them from the first look. A quoted
// text that looks like a comment would hide them from the second. So there are two looks.
const (
	setsAnywhere = `set_config` +
		// SET or RESET where a statement begins. In a quoted text it begins right behind the quote: ' SET x = 1' continues
		// an UPDATE, and so may the text behind a quoted name.
		"|(^|[;$]|\\m(begin|atomic|then|else|loop|do)\\M)\\s*(set|reset)\\s+[a-z_\"%]" +
		"|['\"`](set|reset)\\s+[a-z_\"%']" + // and the text may end there, with a name to come
		// Elsewhere, unless it is a column that UPDATE sets.
		`|\mset\s+(local|session|role|constraints|transaction)\s+[a-z_"'%]` +
		`|\mreset\s+(all|role|session)\M` +
		`|\mtemp(orary)?\s+(table|view|sequence)\M|\minto\s+(local\s+|global\s+)?temp(orary)?\s|\mpg_temp\.` +
		`|\mon\s+commit\s+(drop|delete|preserve)\M` +
		`|\mdiscard\s+(all|temp|temporary|plans|sequences)\M`
	mayComment = `(--[^\n]*\n|\*/)\s*(set|reset|temp|temporary|on|commit|into|discard|drop)\M|\m(set|reset|temp|temporary|on|commit|into|discard)\s*(--|/\*)`
	comment    = `--[^\n]*|/\*([^*]|\*+[^*/])*\*+/` // an alternative makes a lazy quantifier greedy
)
