package pgx_test

import (
	"database/sql"
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// Behind a pooler whatever is left on a session is left to a stranger. Each program runs on the plain driver first: where that
// does not survive the pooler, there is nothing to compare.
func TestBehindAPoolerAnswersAreThePlainDriversAndStrangersKeepTheirSessions(t *testing.T) {
	t.Parallel()
	for _, pool := range []string{"session", "transaction"} {
		via := pgtest.Bouncer(t, pgtest.Shared(t), pool)
		for _, exec := range unlikeModes("cache_statement", "exec", "simple_protocol") {
			t.Run(pool+"/"+exec, func(t *testing.T) {
				param := pgtest.Param("default_query_exec_mode", exec)
				plain := behindPooler(t, "pgx", via, param)
				if plain.unfit != "" {
					t.Logf("the plain driver does not survive it: %s", plain.unfit)
					return
				}
				for _, mode := range []string{"transaction", "autocommit"} {
					t.Run(mode, func(t *testing.T) {
						ours := behindPooler(t, "pgx-groupcommit", via, param, pgtest.Param("groupcommit_mode", mode))
						require.Empty(t, ours.unfit)
						require.Equal(t, plain.answers, ours.answers)
						require.Equal(t, plain.rows, ours.rows)
						require.Equal(t, plain.settings, ours.settings, "what is set on sessions that strangers will have")
						require.Equal(t, plain.seen, ours.seen, "what strangers have seen meanwhile")
						require.Equal(t, plain.statements, ours.statements, "statements that strangers will find")
					})
				}
			})
		}
	}
}

// findings are what came of a program behind a pooler.
type findings struct {
	unfit      string   // an error of the pooler's making
	answers    []string // of the calls
	rows       string
	settings   []string // on the pool's sessions afterwards
	seen       []string // by a stranger meanwhile
	statements []string // named ones, on the pool's sessions afterwards
}

func behindPooler(t *testing.T, driver string, opts ...pgtest.DSNOption) (f findings) {
	direct := pgtest.DSN(t)
	r := &rig{T: t}
	r.plain = r.open("pgx", direct)
	r.exec(r.plain, "CREATE TABLE rows (k BIGINT PRIMARY KEY, v TEXT, f FLOAT8)")
	r.exec(r.plain, "INSERT INTO rows SELECT 1000 + i, 'there' FROM generate_series(0, 9) i")
	db := r.open(driver, pgtest.With(direct, opts...))
	db.SetMaxOpenConns(40)
	simple := pgtest.Param("default_query_exec_mode", "simple_protocol")
	stranger := r.open("pgx", pgtest.With(direct, opts[0], simple))
	stranger.SetMaxIdleConns(0)

	const callers = 24
	var mu sync.Mutex
	answer := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		f.answers = append(f.answers, fmt.Sprint(what, " ", err))
		if err != nil && (strings.Contains(err.Error(), "prepared statement") || strings.Contains(err.Error(), "bind message")) {
			f.unfit = err.Error()
		}
	}
	seen := make(map[string]bool)
	var over atomic.Bool
	var watching, all sync.WaitGroup
	watching.Go(func() {
		for !over.Load() {
			for _, s := range changed(t, stranger) {
				seen[s] = true
			}
		}
	})
	for w := range callers {
		all.Go(func() {
			for i := range 12 {
				k := w*100 + i
				var err error
				switch {
				case i == 3: // a failing call
					k = 1000 + w%10
					_, err = db.Exec("INSERT INTO rows (k, v, f) VALUES ($1, $2, $3)", k, "again", 1.5)
				case i == 5:
					_, err = db.Exec(fmt.Sprintf("INSERT INTO rows (k, v) VALUES (%d, 'text')", k+5000))
				case i == 7:
					var n int
					err = db.QueryRow("SELECT 1 + $1::int", k).Scan(&n)
				case i == 9:
					err = inTx(db, k+9000)
				default:
					_, err = db.Exec("INSERT INTO rows (k, v, f) VALUES ($1, $2, $3)", k+20000, "v", float64(k))
				}
				answer(fmt.Sprint(w, " ", i), err)
			}
		})
	}
	bounded.Wait(t, "the calls are answered", all.Wait)
	over.Store(true)
	bounded.Wait(t, "the watcher has ended", watching.Wait)
	for s := range seen {
		f.seen = append(f.seen, s)
	}
	f.rows = r.value("SELECT md5(string_agg(rows::text, ';' ORDER BY k)) FROM rows")
	require.NoError(t, db.Close())

	// All sessions of the pool at a time.
	for range pgtest.BouncerPool {
		tx, err := stranger.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		f.settings = append(f.settings, strings.Join(changed(t, tx), " "))
		f.statements = append(f.statements, list(t, tx, "SELECT name FROM pg_prepared_statements ORDER BY 1")...)
	}
	sort.Strings(f.answers)
	sort.Strings(f.settings)
	sort.Strings(f.seen)
	return f
}

func inTx(db *sql.DB, k int) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec("INSERT INTO rows (k, v, f) VALUES ($1, $2, $3)", k, "tx", 2.5); err != nil {
		return err
	}
	return tx.Commit()
}

type querier interface {
	Query(query string, args ...any) (*sql.Rows, error)
}

// changed are the settings that are a session's own, but those that pgbouncer sets for its clients.
func changed(t *testing.T, q querier) []string {
	return list(t, q, `SELECT name || '=' || setting FROM pg_settings WHERE source = 'session'
		AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings') ORDER BY 1`)
}

func list(t *testing.T, q querier, query string) (all []string) {
	rows, err := q.Query(query)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		all = append(all, s)
	}
	require.NoError(t, rows.Err())
	return all
}

func TestCallsWithIDsTakeEffectOnceBehindAPooler(t *testing.T) {
	t.Parallel()
	via := pgtest.Bouncer(t, pgtest.Shared(t), "transaction")
	for _, exec := range []string{"exec", "simple_protocol"} {
		t.Run(exec, func(t *testing.T) {
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{via, pgtest.Param("default_query_exec_mode", exec)}, sideBySide, groupcommit.Promises())
			var all sync.WaitGroup
			for range 3 {
				for k := range 20 {
					all.Go(func() {
						_, err := r.db.ExecContext(groupcommit.WithID(background, fmt.Sprint("id ", k)), logged(k).query, k)
						require.NoError(t, err)
					})
				}
			}
			bounded.Wait(t, "the calls are answered", all.Wait)
			r.once(20)
		})
	}
}
