package sqlite3_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/difftest"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// The differential tests run random programs on random schemas with the plain driver and with ours, and compare everything
// that a program can see: each answer, each error with its codes, and the database in the end. What docs/differences.md
// lists does not come up. Package difftest says how to run more of them.

func TestDifferentialAProgramCannotTell(t *testing.T) {
	diffTest(t, 120, 1, 1)
}

func TestDifferentialConcurrentCallersCannotTell(t *testing.T) {
	eachWay(t, func(t *testing.T) { diffTest(t, 40, ownRows, 5) })
}

func diffTest(t *testing.T, usual, callers, tries int) {
	dir := inMemory(t)
	difftest.Test[diffProgram]{
		Usual: usual,
		Tries: tries,
		New:   func(r *rand.Rand) diffProgram { return newProgram(r, callers) },
		Run:   func(p diffProgram) (string, error) { return difference(dir, p) },
		Less:  diffProgram.less,
		Show:  diffProgram.String,
	}.All(t)
}

// inMemory is a folder in memory, where a sync costs nothing, if the system has one.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "groupcommit-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// sometimesFULL is a data source name's parameters of a database without syncs, or of one whose commits share syncs: where the option is full,
// also a caller's who is alone. Only in WAL mode any are shared.
func (g *diffGen) sometimesFULL(percent int, params string) string {
	if !strings.Contains(params, "_journal=WAL") || !g.chance(percent) {
		return params
	}
	return strings.Replace(params, "_sync=OFF", "_sync="+g.one("FULL", "FULL&groupcommit_sync=full", "EXTRA&groupcommit_sync=full", "NORMAL&groupcommit_sync=full"), 1)
}

// sharedWell is an error if commits were to share syncs and have not, or the other way round.
func sharedWell(db *sql.DB, params string) error {
	st, err := groupcommit.StatsOf(db)
	if err != nil {
		return err
	}
	full, sure := !strings.Contains(params, "_sync=OFF"), strings.Contains(params, "groupcommit_sync=full")
	if st.Shared > 0 && !full || st.Shared == 0 && sure {
		return fmt.Errorf("%d commits have shared their sync with %s", st.Shared, params)
	}
	return nil
}

// sameAnswers is for a program that a differential test has found.
func sameAnswers(t *testing.T, p diffProgram) {
	t.Helper()
	differs, err := difference(inMemory(t), p)
	require.NoError(t, err)
	if differs != "" {
		t.Errorf("%s\n\n%s", differs, p)
	}
}

// late reports that ours has prepared a statement for a table that its caller has dropped on another connection: SQLite asks
// the file when the statement is executed, and does so on the plain driver, too, where there is more than one connection.
func late(plain, ours string) bool { return ours == "ok" && strings.Contains(plain, "no such table") }

// difference says how ours differs from the plain driver; "" if it does not.
func difference(dir string, p diffProgram) (string, error) {
	plain, err := runProgram(dir, p, false)
	if err != nil {
		return "", err
	}
	ours, err := runProgram(dir, p, true)
	if err != nil {
		return "", err
	}
	for i, answers := range plain.answers {
		for j := range answers {
			if answers[j] != ours.answers[i][j] && !(len(p.callers) > 1 && late(answers[j], ours.answers[i][j])) {
				what := "the end"
				if j < len(p.callers[i]) {
					what = p.callers[i][j].String()
				}
				return fmt.Sprintf("caller %d, step %d: %s\nplain: %s\nours:  %s", i, j, what, answers[j], ours.answers[i][j]), nil
			}
		}
	}
	if plain.final != ours.final {
		return diffLines(plain.final, ours.final), nil
	}
	return "", nil
}

func diffLines(plain, ours string) string {
	p, o := strings.Split(plain, "\n"), strings.Split(ours, "\n")
	for i := range min(len(p), len(o)) {
		if p[i] != o[i] {
			return fmt.Sprintf("the final database, line %d\nplain: %s\nours:  %s", i, p[i], o[i])
		}
	}
	return fmt.Sprintf("the final database\nplain: %s\nours:  %s", plain, ours)
}

// outcome is what a program has come to on one driver.
type outcome struct {
	answers [][]string // of each caller
	final   string
}

// hookedOnce registers the drivers with a function.
var hookedOnce = sync.OnceValues(func() (plain, grouped string) {
	return hookedDrivers(func(c *mattn.SQLiteConn) error {
		return c.RegisterFunc("failing", func(x int64) (int64, error) {
			if x == 7 {
				return 0, errors.New("a function's own error")
			}
			return x, nil
		}, true)
	})
})

var databases atomic.Int64

func runProgram(dir string, p diffProgram, ours bool) (o outcome, err error) {
	driverName, grouped := "sqlite3", sqlite3.DriverName
	if p.hooked {
		driverName, grouped = hookedOnce()
	}
	if ours {
		driverName = grouped
	}
	dsn := ":memory:?" + p.params
	if !p.memory {
		own := filepath.Join(dir, fmt.Sprint(databases.Add(1)))
		if err := os.Mkdir(own, 0o700); err != nil {
			return o, err
		}
		defer os.RemoveAll(own)
		dsn = "file:" + filepath.Join(own, "d") + "?" + p.params
	}
	db, err := sql.Open(driverName, dsn)
	if err != nil {
		return o, err
	}
	defer db.Close()
	if len(p.callers) == 1 || !ours {
		db.SetMaxOpenConns(1)
	}
	db.SetMaxIdleConns(len(p.callers))
	if _, err := db.Exec("BEGIN; " + strings.Join(p.schema, "; ") + "; COMMIT"); err != nil {
		return o, err
	}
	callers := make([]*diffRunner, len(p.callers))
	for i := range callers {
		callers[i] = &diffRunner{db: db, on: db}
		if p.pinned {
			conn, err := db.Conn(background)
			if err != nil {
				return o, err
			}
			defer conn.Close()
			callers[i].on = conn
		}
	}
	o.answers = make([][]string, len(callers))
	if len(callers) == 1 || !ours {
		for i, r := range callers {
			o.answers[i] = r.all(p.callers[i])
		}
	} else if err := p.together(db, callers, o.answers); err != nil {
		return o, err
	}
	if ours && !p.memory {
		if err := sharedWell(db, p.params); err != nil {
			return o, err
		}
	}
	on := callers[0].on
	if len(callers) == 1 {
		_, err := on.ExecContext(background, "ROLLBACK") // of what text began
		o.answers[0] = append(o.answers[0], errorText(err))
	}
	o.final = dumped(on, len(callers) > 1) + strings.Join(texts(on, "PRAGMA integrity_check"), "\n")
	return o, nil
}

// together runs the callers at the same time. A transaction keeps all of them waiting, so that a group forms.
func (p diffProgram) together(db *sql.DB, callers []*diffRunner, answers [][]string) error {
	hold, err := db.Begin()
	if err != nil {
		return err
	}
	defer hold.Rollback()
	if _, err := hold.Exec("CREATE TABLE held (a)"); err != nil {
		return err
	}
	var done sync.WaitGroup
	queued := 0
	var over atomic.Int64
	for i, r := range callers {
		if p.callers[i][0].joins() {
			queued++
		}
		done.Go(func() { answers[i] = r.all(p.callers[i]); over.Add(1) })
	}
	if err := awaitQueue(db, queued, &over); err != nil {
		return err
	}
	if err := hold.Rollback(); err != nil {
		return err
	}
	done.Wait()
	st, err := groupcommit.StatsOf(db)
	if err == nil && st.MaxGroup < 2 && queued > 1 {
		return fmt.Errorf("no group of %d calls", queued)
	}
	return err
}

// joins reports a step that a group may have.
func (o diffOp) joins() bool {
	st := sqltext.Classify(sqltext.SQLite, o.sql)
	switch o.what {
	case "exec", "go":
		return o.sql != "" && st.Class == sqltext.Batch
	case "query", "first":
		return st.Class == sqltext.Batch && st.Returning
	}
	return false
}

// all are the answers to a caller's steps, and to what ends them.
func (r *diffRunner) all(ops []diffOp) (answers []string) {
	for _, op := range ops {
		answers = append(answers, r.do(op))
	}
	for _, st := range r.stmts {
		if st != nil {
			st.Close()
		}
	}
	if r.tx != nil {
		answers = append(answers, errorText(r.tx.Commit()))
	}
	return answers
}
