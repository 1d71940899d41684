package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// exchanges are what a proxy sees of transactions: how often the client asks for an answer, from BEGIN to COMMIT.
type exchanges struct {
	mu   sync.Mutex
	open map[int][]string // by connection: the last text before each demand
	text map[int]string
	done [][]string
}

func (e *exchanges) see(m proxy.Message) proxy.Action {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m.SQL != "" {
		e.text[m.Conn] = m.SQL
	}
	if strings.EqualFold(m.SQL, "begin") && m.Type != 'E' {
		e.open[m.Conn] = []string{}
	}
	open, ok := e.open[m.Conn]
	if !ok || m.Type != 'S' && m.Type != 'Q' {
		return proxy.Pass
	}
	e.open[m.Conn] = append(open, e.text[m.Conn])
	if strings.EqualFold(e.text[m.Conn], "commit") {
		e.done = append(e.done, e.open[m.Conn])
		delete(e.open, m.Conn)
	}
	return proxy.Pass
}

// fewest are those of the transaction with the fewest of all that have executed a text. A connection to which the texts are new
// has more.
func (e *exchanges) fewest(text string) (fewest []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, texts := range e.done {
		if slices.ContainsFunc(texts, func(t string) bool { return strings.HasPrefix(t, text) }) && (fewest == nil || len(texts) < len(fewest)) {
			fewest = texts
		}
	}
	return fewest
}

func TestCommitTravelsWithTheRecordOfAHandlersOutcomes(t *testing.T) {
	t.Parallel()
	const several = 8
	for _, mode := range unlikeModes("cache_statement", "exec", "simple_protocol") {
		for name, c := range map[string]struct {
			ids, result, durable bool
			trips                int // BEGIN with the first statement, or with the claim; the handler's; COMMIT
		}{
			"no id":               {trips: 2},
			"an id":               {ids: true, trips: 3},
			"an id with a result": {ids: true, result: true, trips: 3},
			"durable":             {ids: true, result: true, durable: true, trips: 3},
		} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				dsn := pgtest.DSN(t)
				p, err := proxy.New(pgtest.Shared(t).Addr())
				require.NoError(t, err)
				defer p.Close()
				r := setUpOn(t, dsn, []pgtest.DSNOption{pgtest.Via(p.Addr()), pgtest.Param("default_query_exec_mode", mode)}, groupcommit.Promises())
				defer r.db.Close()
				seen := &exchanges{open: make(map[int][]string), text: make(map[int]string)}
				p.OnClient(seen.see)
				opts := []groupcommit.HandlerOption{}
				if c.durable {
					opts = append(opts, groupcommit.Durable())
				}
				cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
					if c.result {
						batch[0].Resolve(7)
					}
					_, err := tx.ExecContext(ctx, logRow, batch[0].Value.K)
					return err
				}, opts...)
				for k := range several {
					id := ""
					if c.ids {
						id = fmt.Sprint(k)
					}
					_, err := cs.Do(background, id, entry{k})
					require.NoError(t, err)
				}
				r.once(several)
				got, want := seen.fewest("INSERT INTO log"), c.trips
				switch mode {
				case "simple_protocol":
					want++ // of BEGIN
					if c.result {
						want++ // of COMMIT
					}
				case "describe_exec":
					want = len(got) // each statement is described first
				}
				require.Len(t, got, want, "%q", got)
				require.Equal(t, "commit", got[len(got)-1])
				if c.result && mode != "simple_protocol" {
					require.Equal(t, logRow, got[len(got)-2], "the record has no exchange of its own")
				}
			})
		}
	}
}

// handled is what a story of one handler shows: the outcomes, and what it leaves.
type handled struct {
	outcomes []string
	log      string
	promises string
}

// stories are handlers, and databases, that end in different ways.
var stories = map[string]struct {
	before []string // what is done to the database
	handle func(ctx context.Context, tx *sql.Tx, k int) error
}{
	"nothing": {},
	"a trigger refuses the record": {before: []string{
		"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$",
		"CREATE TRIGGER refusing BEFORE UPDATE ON groupcommit_promises FOR EACH ROW WHEN (NEW.state = 1 AND NEW.value <> '0') EXECUTE FUNCTION refuse()"}},
	"a trigger ignores a record": {before: []string{
		"CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
		"CREATE TRIGGER ignoring BEFORE UPDATE ON groupcommit_promises FOR EACH ROW WHEN (OLD.id = '1' AND NEW.state = 1) EXECUTE FUNCTION ignore()"}},
	"a constraint of the table": {before: []string{"ALTER TABLE groupcommit_promises ADD CHECK (value <> '4')"}},
	"a deferred constraint": {
		before: []string{"ALTER TABLE log ADD CONSTRAINT late UNIQUE (k) DEFERRABLE INITIALLY DEFERRED"},
		handle: func(ctx context.Context, tx *sql.Tx, k int) error {
			if k != 1 {
				return nil
			}
			_, err := tx.ExecContext(ctx, logRow, k)
			return err
		}},
	"a constraint trigger fails to serialize": {before: []string{
		"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'later' USING ERRCODE = '40001'; END $$",
		"CREATE CONSTRAINT TRIGGER failing AFTER INSERT ON log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.k = 2) EXECUTE FUNCTION fail()"}},
	"a statement has failed, and nobody says so": {handle: func(ctx context.Context, tx *sql.Tx, k int) error {
		if k == 1 {
			tx.ExecContext(ctx, "SELECT 1/$1::int", 0)
		}
		return nil
	}},
	"the backend ends in COMMIT": {before: []string{
		"CREATE FUNCTION fall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
		"CREATE CONSTRAINT TRIGGER falling AFTER INSERT ON log DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.k = 2) EXECUTE FUNCTION fall()"}},
	"the backend has ended": {handle: func(ctx context.Context, tx *sql.Tx, k int) error {
		if k == 3 {
			tx.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
		}
		return nil
	}},
	"rows are left open": {handle: func(ctx context.Context, tx *sql.Tx, k int) error {
		if k == 3 {
			_, err := tx.QueryContext(ctx, "SELECT generate_series(1, $1::int)", 3)
			return err
		}
		return nil
	}},
	"statements are forgotten": {handle: func(ctx context.Context, tx *sql.Tx, k int) error {
		_, err := tx.ExecContext(ctx, "DEALLOCATE ALL")
		return err
	}},
	"the session changes": {handle: func(ctx context.Context, tx *sql.Tx, k int) error {
		_, err := tx.ExecContext(ctx, "SET LOCAL standard_conforming_strings = off")
		return err
	}},
	"the handler fails": {handle: func(ctx context.Context, tx *sql.Tx, k int) error {
		if k == 1 {
			return errors.New("no")
		}
		return nil
	}},
}

// times are numbers that differ from one run to the next.
var times = regexp.MustCompile(`\d{13}`)

// tell runs a story by way of some options, with and without durable commands.
func tell(t *testing.T, name string, opts []groupcommit.HandlerOption, twoSteps bool) (got handled) {
	s := stories[name]
	r := ledgerRig(t)
	config, err := pgx.ParseConfig(r.dsn)
	require.NoError(t, err)
	if twoSteps {
		config.Tracer = new(seen) // is to see each statement
	}
	connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config), groupcommit.Promises(), groupcommit.Retry(groupcommit.Never))
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	for _, q := range s.before {
		r.exec(r.plain, q)
	}
	h, there, open := gated(t, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		for _, c := range batch {
			if _, err := tx.ExecContext(ctx, logRow, c.Value.K); err != nil {
				return err
			}
			if s.handle != nil {
				if err := s.handle(ctx, tx, c.Value.K); err != nil {
					return err
				}
			}
			c.Resolve(2 * c.Value.K)
		}
		return nil
	})
	cs := handle(t, db, h, opts...)
	plug := cs.Go(background, "plug", entry{-1})
	<-there
	var promises []*groupcommit.PromiseOf[int]
	for k := range 4 {
		promises = append(promises, cs.Go(background, fmt.Sprint(k), entry{k}))
	}
	r.eventually("commands are queued", func() bool { return cs.Stats().Queued == 4 })
	open()
	for _, p := range append(promises, plug) {
		v, err := p.Await(soon(t))
		got.outcomes = append(got.outcomes, fmt.Sprint(v, " ", times.ReplaceAllString(errorText(err), "time")))
	}
	r.eventually("no transaction is open", func() bool { // a keeper may have one
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'") == "0"
	})
	got.log = r.value("SELECT string_agg(k::text, ',' ORDER BY k) FROM log")
	got.promises = r.value("SELECT string_agg(id || ' ' || state || ' ' || convert_from(value, 'UTF8'), ',' ORDER BY id) FROM groupcommit_promises WHERE id <> ''")
	return got
}

func TestOneStepAndTwoEndAHandlersTransactionAlike(t *testing.T) {
	t.Parallel()
	for name := range stories {
		for kind, opts := range map[string][]groupcommit.HandlerOption{"recorded with its effect": nil, "durable": {groupcommit.Durable(), groupcommit.Lease(time.Hour)}} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				want := tell(t, name, opts, true)
				t.Logf("%+v", want)
				require.Equal(t, want, tell(t, name, opts, false))
			})
		}
	}
}

func TestARecordWhoseTextFellOutOfTheCacheIsParsedAnew(t *testing.T) {
	t.Parallel()
	r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("statement_cache_capacity", "1")}, groupcommit.Promises())
	r.db.SetMaxOpenConns(1)
	calls := 0
	cs := handle(t, r.db, logging(&calls), groupcommit.Retry(groupcommit.Never))
	for k := range 3 {
		_, err := cs.Do(background, fmt.Sprint(k), entry{k + 1})
		require.NoError(t, err)
		require.Equal(t, done, execID(background, r.db, named{fmt.Sprint("call ", k), logged(k)}), "its texts take the place in the cache")
	}
}

func TestARecordWhoseTextTheServerHasForgottenIsParsedAnew(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	r.db.SetMaxOpenConns(1)
	calls := 0
	log := logging(&calls)
	forget := false
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		err := log(ctx, tx, batch)
		if forget && err == nil {
			_, err = tx.ExecContext(ctx, "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$") // after the plain text the connection is closed
		}
		return err
	}, groupcommit.Retry(groupcommit.Never))
	_, err := cs.Do(background, "0", entry{1})
	require.NoError(t, err)
	forget = true
	_, err = cs.Do(background, "1", entry{2})
	require.Equal(t, "26000", sqlState(err), "as of the driver's own statements: %v", err)
	forget = false
	for range 4 { // each text that pgx has prepared fails once, too
		if _, err = cs.Do(background, "2", entry{3}); err == nil {
			break
		}
	}
	require.NoError(t, err)
	r.once(2)
}
