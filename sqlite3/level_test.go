package sqlite3_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit/internal/difftest"
	"github.com/stretchr/testify/require"
)

// Random programs of all that can begin and end a transaction. After each step every physical connection on which no transaction is open
// is at the program's own level of synchronous: or else a commit would not be synced that nobody waits for. Package difftest says how to
// run more of them.

func TestNoConnectionIsBelowItsLevelOutsideOfATransaction(t *testing.T) {
	levelTest(t, 60, 1)
}

func TestNoConnectionIsBelowItsLevelBesideOthers(t *testing.T) {
	levelTest(t, 12, 4)
}

func levelTest(t *testing.T, usual, callers int) {
	dir := inMemory(t)
	var other, shared atomic.Int64
	difftest.Test[levelProgram]{
		Usual: usual,
		Tries: callers,
		New:   func(r *rand.Rand) levelProgram { return newLevelProgram(r, callers) },
		Run: func(p levelProgram) (string, error) {
			return p.run(filepath.Join(dir, fmt.Sprint(databases.Add(1))), &other, &shared)
		},
		Less: levelProgram.less,
		Show: levelProgram.String,
	}.All(t)
	require.Positive(t, shared.Load())
	require.True(t, other.Load() > 0 || callers > 1, "no transaction was at another level")
}

// levelProgram is what callers do with a database at the same time.
type levelProgram struct {
	level   int
	params  string
	callers [][]levelOp
}

// levelOp is one step.
type levelOp struct {
	what string // begin, conn, exec, together, prepared, query, first (row), cancelled, cut (short), cancel, commit, rollback, close, check
	sql  string
}

func newLevelProgram(r *rand.Rand, callers int) levelProgram {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	p := levelProgram{level: 1 + r.IntN(3)}
	p.params = fmt.Sprintf("_fk=1&_busy_timeout=30000&_sync=%d&_journal=", p.level) + one("WAL", "WAL", "WAL", "WAL", "DELETE") +
		one("", "&_txlock=immediate") + one("", "", "", "", "&psow=0")
	if callers == 1 || r.IntN(2) == 0 { // or else a caller who is alone shares nothing
		p.params += "&groupcommit_sync=full"
	}
	for range callers {
		var ops []levelOp
		for len(ops) < 24 {
			ops = append(ops, levelUnit(r)...)
		}
		p.callers = append(p.callers, ops)
	}
	return p
}

var (
	levelWrites = []string{
		"INSERT INTO t (v) VALUES (1)", "UPDATE t SET v = v + 1 WHERE k < 9", "INSERT INTO t (v) VALUES (5) RETURNING k", "INSERT INTO u VALUES (1)",
		"INSERT OR ROLLBACK INTO t (k) VALUES (1), (1)", "INSERT INTO r VALUES (1)", "INSERT INTO c VALUES (77)",
		"BEGIN; INSERT INTO t (v) VALUES (4); COMMIT", "INSERT INTO t (v) VALUES (2); INSERT INTO u VALUES (1)",
		"CREATE TABLE IF NOT EXISTS d (a)", "DROP TABLE IF EXISTS d", "no sense", "PRAGMA user_version = 3",
	}
	levelReads = []string{
		"SELECT count(*) FROM t", "PRAGMA synchronous", "SELECT synchronous FROM pragma_synchronous", "PRAGMA main . synchronous -- ?",
	}
	levelControls = []string{
		"COMMIT", "END", "ROLLBACK", "BEGIN", "BEGIN IMMEDIATE", "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s", "COMMIT; BEGIN",
		"INSERT INTO t (v) VALUES (2); COMMIT; INSERT INTO t (v) VALUES (3)", "INSERT INTO t (v) VALUES (6); COMMIT; BEGIN",
		"SAVEPOINT s; INSERT INTO t (v) VALUES (7); RELEASE s", "ROLLBACK; INSERT INTO t (v) VALUES (8)", "PRAGMA wal_checkpoint",
	}
)

const levelLong = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t (v) SELECT i FROM n"

// levelUnit is a statement by itself, or all that is done with one sql.Tx or sql.Conn.
func levelUnit(r *rand.Rand) (ops []levelOp) {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	statement := func(among ...[]string) levelOp {
		switch n := r.IntN(40); {
		case n == 0:
			return levelOp{"cut", levelLong}
		case n < 3:
			return levelOp{"cancelled", one(levelWrites...)}
		case n < 12:
			return levelOp{one("query", "first"), one(levelReads...)}
		}
		q := one(slices.Concat(among...)...)
		if strings.Contains(q, "RETURNING") {
			return levelOp{one("query", "first", "exec"), q}
		}
		if strings.HasPrefix(q, "BEGIN") { // the driver prepares the first statement only
			return levelOp{"exec", q}
		}
		return levelOp{one("exec", "exec", "prepared"), q}
	}
	what := one("alone", "begin", "begin", "conn")
	if what == "alone" {
		op := statement(levelWrites)
		if op.what == "exec" {
			op.what = one("exec", "together")
		}
		return []levelOp{op, {what: "check"}}
	}
	ops = append(ops, levelOp{what: what})
	for range 1 + r.IntN(6) {
		op := statement(levelWrites, levelWrites, levelControls)
		if what == "conn" && r.IntN(8) == 0 {
			op = levelOp{what: one("begin", "commit", "rollback")}
		}
		ops = append(ops, op)
	}
	if what == "conn" {
		return append(ops, levelOp{what: "close"}, levelOp{what: "check"})
	}
	return append(ops, levelOp{what: one("commit", "commit", "commit", "rollback", "cancel")}, levelOp{what: "check"})
}

func (p levelProgram) less(yield func(levelProgram) bool) {
	for i, ops := range p.callers {
		if difftest.Without(ops, func(ops []levelOp) bool {
			less := p
			less.callers = slices.Clone(p.callers)
			less.callers[i] = ops
			return yield(less)
		}) {
			return
		}
	}
}

func (p levelProgram) String() string {
	return fmt.Sprintf("level %d, %s\n%q", p.level, p.params, p.callers)
}
