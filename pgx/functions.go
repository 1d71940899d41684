package pgx

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// What a function sets for its transaction (set_config(…, true), SET LOCAL, a temporary table that is dropped ON COMMIT) lasts to
// the transaction's end: in a group, to the calls of others. An audit trigger or a policy for row level security then takes one
// caller for another. So it is found out whether the database has such functions, and where it has, each call gets a
// transaction of its own.
//
// That is read from their source, on the server: what a function's text does not show (a name put together at run time, a
// function in C) is not seen, nor is what stands in a column's default, a policy, a view, a rule or a constraint itself. A function's own SET clause is harmless, because it ends with the function. So are locks
// (LOCK TABLE, pg_advisory_xact_lock): they are held for longer, and change no answer.
//
// The same is done where a function would see that a group's constraints are checked at once: see functionsThatDefer.

// functions is what is known of a database's functions, for all its sessions.
type functions struct {
	asking turn // of who asks
	known  atomic.Pointer[knowledge]
	warned atomic.Bool
}

// A turn is a mutex that is not waited for beyond a context: who has it may be asking by a connection that is silent.
type turn struct {
	once sync.Once
	room chan struct{}
}

func (t *turn) channel() chan struct{} {
	t.once.Do(func() { t.room = make(chan struct{}, 1) })
	return t.room
}

func (t *turn) try() bool {
	select {
	case t.channel() <- struct{}{}:
		return true
	default:
		return false
	}
}

func (t *turn) take(ctx context.Context) error {
	select {
	case t.channel() <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) leave() { <-t.room }

type knowledge struct {
	at     time.Time
	schema int64  // the changes of the schema that had gone through us
	print  string // of what there was
	why    string // calls must not share a transaction; "" if they may
}

// askEvery is how old the knowledge may be: somebody else may have made a function.
const askEvery = 5 * time.Second

// whyApiece says why calls must not share a transaction; "" if they may. Who finds the knowledge old asks, on behalf
// of all; the others go on with what is known.
func (f *functions) whyApiece(ctx context.Context, s *session) (string, error) {
	k, now := f.known.Load(), time.Now()
	schema := s.settings.SchemaChanges()
	if k != nil && k.schema == schema {
		if now.Sub(k.at) < askEvery || !f.asking.try() {
			return k.why, nil
		}
	} else if err := f.asking.take(ctx); err != nil {
		return "", err
	}
	defer f.asking.leave()
	if k = f.known.Load(); k != nil && k.schema == schema && now.Sub(k.at) < askEvery {
		return k.why, nil // somebody has asked meanwhile
	}
	fresh, err := ask(ctx, s, k)
	if err != nil {
		return "", err
	}
	fresh.at, fresh.schema = now, schema
	f.known.Store(fresh)
	if fresh.why != "" && f.warned.CompareAndSwap(false, true) {
		slog.Warn("groupcommit/pgx: each call has a transaction of its own, because of functions of the database; groupcommit_mode=transaction says that it does not matter",
			"database", s.pg.Config().Database, "why", fresh.why)
	}
	return fresh.why, nil
}

// ask asks the server, first whether anything has changed. An error is the connection's; what the server itself refuses leaves
// the worst to be thought.
func ask(ctx context.Context, s *session, old *knowledge) (*knowledge, error) {
	k := &knowledge{}
	err := s.pg.QueryRow(ctx, functionsPrint).Scan(&k.print)
	if err == nil && old != nil && old.print == k.print {
		k.why = old.why
		return k, nil
	}
	var why []string
	for _, reason := range []struct{ what, query string }{
		{"functions that set something for their transaction", functionsThatSet(s.server.version)},
		{"functions for which constraints must be checked late", functionsThatDefer},
	} {
		var names []string
		var all int
		if err == nil {
			err = s.pg.QueryRow(ctx, reason.query).Scan(&all, &names)
		}
		if err != nil || all == 0 {
			continue
		}
		text := reason.what + ": " + strings.Join(names, ", ")
		if more := all - len(names); more > 0 {
			text += " and " + strconv.Itoa(more) + " more"
		}
		why = append(why, text)
	}
	k.why = strings.Join(why, "; ")
	switch {
	case err == nil:
		return k, nil
	case asPg(err) == nil || s.pg.IsClosed():
		return nil, err
	}
	k.print, k.why = "", fmt.Sprintf("functions that are not known, because pg_proc cannot be read: %v", err)
	return k, nil
}

// functionsPrint is another one where a function or a deferred constraint has been made, changed or dropped. Those of pg_catalog
// (whose oid is 11) are not read: there are thousands.
const functionsPrint = `SELECT count(*)::text || ' ' || coalesce(sum(hashtext(oid::text || ' ' || xmin::text)), 0)::text ||
	(SELECT ' ' || count(*)::text || ' ' || coalesce(sum(hashtext(oid::text || ' ' || xmin::text)), 0)::text FROM pg_trigger WHERE tginitdeferred)
	FROM pg_proc WHERE pronamespace <> 11`

// functionsThatSet is the statement that counts the functions, and names some. Of an extension only those count that return
// trigger: the others are called by those who know them. Its texts are escaped so that they are read alike whatever
// standard_conforming_strings is.
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
), found AS (
	SELECT DISTINCT name FROM source WHERE text ~* ` + escaped(setsAnywhere) + ` OR text ~* ` + escaped(mayComment) + `
	AND regexp_replace(text, ` + escaped(comment) + `, ' ', 'g') ~* ` + escaped(setsAnywhere) + `
)
` + countAndSome
}

const countAndSome = `SELECT (SELECT count(*) FROM found), coalesce((SELECT array_agg(name) FROM (SELECT name FROM found ORDER BY name LIMIT 5) few), '{}')`

// functionsThatDefer is the same about functions which could tell that a group checks deferred constraints early: triggers of
// the program's that are deferred see the rows as they are then; and where a function handles errors, it handles that of a
// key which it would have made good.
var functionsThatDefer = `WITH found AS (
	SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS name
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
	WHERE p.oid IN (SELECT tgfoid FROM pg_trigger WHERE tginitdeferred AND NOT tgisinternal)
	OR n.nspname NOT IN ('pg_catalog', 'information_schema') AND l.lanname NOT IN ('internal', 'c', 'sql')
	AND (l.lanname <> 'plpgsql' OR p.prosrc ~* ` + escaped(`\mexception\s*(\mwhen\M|--|/\*)`) + `)
	AND EXISTS (SELECT FROM pg_trigger WHERE tginitdeferred)
)
` + countAndSome

func escaped(s string) string { return "E" + quote(strings.ReplaceAll(s, `\`, `\\`)) }

// The server's regular expressions, in any letter case. A comment between two words hides them from the first look, and a quoted
// text that looks like one would hide them from the second: so there are two.
const (
	setsAnywhere = `set_config` +
		// SET or RESET where a statement begins. In a quoted text that is right behind the quote: ' SET x = 1' goes on with an UPDATE,
		// and so may what follows a quoted name.
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

// Mode makes an engine a engine.Moder. It is asked after the first connection.
func (e *adapter) Mode() (engine.GroupMode, string) {
	if e.settings.Mode != engine.Automatic {
		return e.settings.Mode, "option " + e.settings.Spelled("Mode")
	}
	if level := e.isolation.Load(); level != nil {
		return engine.Autocommit, "default_transaction_isolation is " + *level
	}
	switch k := e.functions.known.Load(); {
	case k == nil:
		return engine.Automatic, ""
	case k.why != "":
		return engine.Autocommit, k.why
	}
	return engine.Transaction, ""
}

// apiece reports that each call is to have a transaction of its own.
func (s *session) apiece(ctx context.Context) (bool, error) {
	switch {
	case !s.server.readCommitted:
		s.adapter.isolation.Store(&s.server.isolation)
		return true, nil
	case s.settings.Mode == engine.Autocommit:
		return true, nil
	case s.settings.Mode == engine.Transaction:
		return false, nil
	}
	why, err := s.adapter.functions.whyApiece(ctx, s)
	return why != "", err
}
